// The seam between a client and what carries its messages: one line at a time, opened anew after each break.

/** Where a connection goes. url: the websocket's address. offer: the one for WebRTC, null where the server has none. token: of the
 * one who begins a session; handle: of the session that goes on. One of them is null. */
export interface Where {
  readonly url: string;
  readonly offer: string | null;
  readonly token: string | null;
  readonly handle: string | null;
}

/** How a line ended. stood: whether it ever did. status: of an HTTP answer that refused it; word: the server's own for that. */
export interface LineEnd {
  readonly code: number;
  readonly reason: string;
  readonly stood: boolean;
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly word?: string | undefined;
}

/** What a line tells; `closed` comes exactly once, and last. */
export interface Receiver {
  opened(): void;
  received(data: string | ArrayBuffer): void;
  closed(end: LineEnd): void;
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
