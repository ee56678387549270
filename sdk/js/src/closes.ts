// What a client may do after a connection closed, and how long it waits.
//
// resume  connect again with the newest handle; when that is refused, as retry
// retry   a new session, after `retry_after_ms` when an error said so, otherwise after a pause that doubles
// stop    do not come back by yourself

import { CLOSES, type CloseAction } from "./protocol.js";

/** Never sent: what a client sees when a connection breaks. */
export const BROKEN = 1006;
/** No place now; a session that was to be resumed still waits. */
export const FULL = 1013;
/** The connection did not begin as it must. */
export const BAD_HANDSHAKE = 4400;
/** The session is gone. */
export const UNKNOWN = 4404;
/** The HTTP status of an offer whose handle says so. */
export const GONE = 404;
/** Said to a server that we leave for another one: our session waits for us. */
export const LEAVING = 4000;

/** A code that is not known resumes. */
export function afterClose(code: number): CloseAction {
  return (CLOSES as Record<number, { action: CloseAction }>)[code]?.action ?? "resume";
}

/** HTTP statuses of 5xx that stay: not implemented, and another version of HTTP. */
const FOR_GOOD: readonly number[] = [501, 505];

/** After an HTTP status that refused a session: for now, and one that was still waits, or for good. */
export function afterStatus(status: number): CloseAction {
  const forNow = status === 408 || status === 429 || (status >= 500 && !FOR_GOOD.includes(status));
  return forNow ? "resume" : "stop";
}

/** How a client waits before it connects again: `firstMs`, doubled each time up to `mostMs`, of which a random half is left out so
 * that clients do not come back together; after `attempts` in a row it gives up. */
export interface Patience {
  readonly firstMs: number;
  readonly mostMs: number;
  readonly attempts: number;
  /** So many where nobody ever answered: the address is likely wrong. */
  readonly firstAttempts: number;
  /** A connection that stood for so long makes the next break the first one again. */
  readonly stableMs: number;
  /** The longest that it waits because it was asked to, by the server or a proxy before it: a session that stood is asked for again
   * then, and one that never did is given up at once. A server of ours asks for a minute at most. */
  readonly askedMs: number;
}

export const PATIENCE: Patience = {
  firstMs: 250,
  mostMs: 10_000,
  attempts: 12,
  firstAttempts: 3,
  stableMs: 2000,
  askedMs: 120_000,
};

/** failures: attempts in a row that failed before this one, from 0. */
export function pauseMs(patience: Patience, failures: number, random: () => number): number {
  return Math.min(patience.mostMs, patience.firstMs * 2 ** Math.min(failures, 32)) * (0.5 + 0.5 * random());
}
