// The seam between a client and what carries its messages: one line at a time, opened anew after each break.

/** Where a connection goes. url: the websocket's address. offer: the address for WebRTC. token: of the one who begins a session;
 * null when a session goes on, whose handle says enough. */
export interface Where {
  readonly url: string;
  readonly offer: string | null;
  readonly token: string | null;
}

/** What a line tells. Of `closed`, which comes exactly once and last, `status` is that of an HTTP answer that refused the line. */
export interface Receiver {
  opened(): void;
  received(data: string | ArrayBuffer): void;
  closed(end: { readonly code: number; readonly reason: string; readonly stood: boolean; readonly status?: number }): void;
}

export interface Line {
  send(data: string | Uint8Array<ArrayBuffer>): void;
  /** That wait to be sent. */
  readonly bufferedBytes: number;
  /** Close it and tell so at once, whatever the other side does. */
  close(code: number): void;
}

export interface Transport {
  /** Whether pictures and music are messages on the line; otherwise they are tracks beside it. */
  readonly carriesMedia: boolean;
  open(where: Where, receiver: Receiver): Line;
}
