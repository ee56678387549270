// One family of errors: what this client throws. The message is one line, without secrets.

import { withoutSecrets } from "./secrets.js";

export class ClientError extends Error {
  override name = "ClientError";
  constructor(text: string) {
    super(withoutSecrets(text));
  }
}

/** A message breaks the protocol. `code` is the protocol's word for it. */
export class ProtocolError extends ClientError {
  override name = "ProtocolError";
  constructor(
    readonly code: string,
    text: string,
  ) {
    super(`${code}: ${text}`);
  }
}

/** The server refused, and another attempt would not help, or not before `retryAfterMs`, which is longer than the client waits.
 * `code`: the close code, or the HTTP status. `word`: the server's own for it, such as "capacity"; none of a close, nor where a proxy
 * answered in its place. */
export class Refused extends ClientError {
  override name = "Refused";
  constructor(
    readonly code: number,
    text: string,
    readonly retryAfterMs?: number,
    readonly word?: string,
  ) {
    super(text);
  }
}

/** No connection after all attempts. */
export class Unreachable extends ClientError {
  override name = "Unreachable";
}

/** The session is over; nothing can be sent. */
export class Closed extends ClientError {
  override name = "Closed";
}

/** A bounded queue is full, and what was to go in may not be dropped. */
export class TooMuch extends ClientError {
  override name = "TooMuch";
}

/** This browser, or this page, cannot do that; the message says what else can be done. */
export class Unsupported extends ClientError {
  override name = "Unsupported";
}

/** An error that nobody waits for: the page's `error` event, Node's `uncaughtException`. */
export function report(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
