// When and where a client connects again: the pauses, the server's wishes, the place that it names when it goes away.
// It knows no messages but those that say something about coming back, and neither handles nor sockets.

import { BROKEN, LEAVING, pauseMs, type Patience } from "./closes.js";
import { ERRORS, type CloseAction, type ErrorMessage, type GoAway } from "./protocol.js";
import { addressOf } from "./rest.js";
import { withoutSecrets } from "./secrets.js";

/** From `go_away` to our leaving: a newer resume handle comes within a second. */
const LEAVE_AFTER_MS = 1500;
/** So many attempts that nobody answers, at a place that a server named as it went away; then the others have their turn, too. */
const TRIES_THERE = 3;
/** Where the session stood: they take half a minute, for which a server that starts again may still have it. */
const TRIES_AT_ITS_PLACE = 9;
/** No answer, of the server or as a proxy before it says. */
const NOBODY: readonly number[] = [BROKEN, 502, 504];
/** After these the first attempt does not wait: the music in the buffer is short. */
const AT_ONCE: readonly number[] = [BROKEN, LEAVING, 1001];

/** What to do after a connection is gone: wait for `pauseMs` and connect, or stop. why: one line. code: of the close, or the HTTP
 * status. askedMs: how long the client was asked to stay away; 0 when it was not. */
export interface Next {
  readonly then: CloseAction;
  readonly pauseMs: number;
  readonly code: number;
  readonly why: string;
  readonly gaveUp: boolean;
  readonly askedMs: number;
}

/** One session's, over its connections. */
export class Comeback {
  private failures = 0;
  private ever = false;
  private stoodMs: number | null = null;
  private said: ErrorMessage | null = null;
  private retryAfterMs = 0;
  private leaveAtMs: number | null = null;
  private leaveTo: string | null = null;
  private here: string;
  private others: readonly string[] = []; // where to try, too; bound: 2
  private tries = 0; // left here, before it is their turn

  /** home: where to connect at first. clock: monotonic milliseconds. */
  constructor(
    private home: string,
    private readonly patience: Patience,
    private readonly clock: () => number,
    private readonly random: () => number,
  ) {
    this.here = home;
  }

  /** Where to connect. */
  get url(): string {
    return this.here;
  }

  /** Of a session that begins. */
  set url(url: string) {
    this.here = this.home = url;
    this.others = [];
  }

  /** A connection stands, the session not yet. */
  opened(): void {
    this.said = this.leaveAtMs = this.stoodMs = null;
    this.retryAfterMs = 0;
  }

  /** The session stands on it. */
  stands(): void {
    this.ever = true;
    this.others = this.here === this.home ? [] : [this.home];
    this.tries = TRIES_AT_ITS_PLACE;
    this.stoodMs = this.clock();
  }

  /** What the server said before it closes, and how long it wants to be left alone. One that refused the greeting need not close;
   * there is nothing to wait for. */
  error(error: ErrorMessage): void {
    if (!error.fatal && this.stoodMs !== null) return; // of one thing, in a session that goes on
    this.said = error;
    if (this.isRefused) this.leaveAtMs = this.clock();
    this.retryAfterMs = error.retry_after_ms ?? 0;
  }

  /** Prepare to leave before the end for the place that it names; without one the music is here to the end. A session at its limit
   * would only be refused elsewhere. */
  goAway(message: GoAway): void {
    const url = message.reconnect_url;
    if (message.reason === "session_limit" || !url || !isAsSafe(url, this.url)) return;
    this.leaveAtMs = this.clock() + Math.min(LEAVE_AFTER_MS, message.time_left_ms / 2);
    this.leaveTo = url;
  }

  /** The server is there again, only without the session: a new one need not wait long. */
  answered(): void {
    this.failures = 0;
  }

  /** Whether the greeting was, on a connection that lives on. */
  get isRefused(): boolean {
    return this.said?.fatal === false;
  }

  get wantsToLeave(): boolean {
    return this.leaveAtMs !== null && this.clock() >= this.leaveAtMs;
  }

  /** The code of a close, or what the last error said where the line itself says nothing. */
  codeOf(code: number): number {
    const errors: Record<string, { close: number | null }> = ERRORS;
    return (code === BROKEN && this.said && errors[this.said.code]?.close) || code;
  }

  why(code: number, reason: string): string {
    return this.said ? `${this.said.code}: ${this.said.text}` : reason || `closed with ${code}`;
  }

  /** The connection is gone, or did not come about: when to try again, or that it was tried often enough. */
  after(then: CloseAction, code: number, why: string, retryAfterMs?: number): Next {
    if (this.stoodMs !== null && this.clock() - this.stoodMs >= this.patience.stableMs) this.failures = 0;
    const askedMs = retryAfterMs ?? this.retryAfterMs;
    if (then === "stop") return this.next({ then, code, why, askedMs });
    if (!this.ever && askedMs > this.patience.askedMs) {
      return this.next({ then: "stop", code, why: `${why}; it asks to come again in ${askedMs / 1000} s`, askedMs });
    }
    const nobody = code === BROKEN && !this.ever;
    const tried = this.failures + (this.ever ? 0 : 1); // a line that broke was no attempt
    if (tried >= (nobody ? this.patience.firstAttempts : this.patience.attempts)) {
      const gaveUp = `gave up after ${tried} attempt${tried === 1 ? "" : "s"}; ${why}`;
      return this.next({ then: "stop", code, why: gaveUp, gaveUp: true, askedMs });
    }
    this.turn(code);
    const pauseMs = Math.max(this.pauseMs(code), Math.min(askedMs, this.patience.askedMs));
    this.failures += 1;
    this.stoodMs = null;
    return this.next({ then, code, why, askedMs, pauseMs });
  }

  /** Where to connect next: where a server sent us; where nobody answers there, the place before and that of the beginning, too. Who
   * answers has the session, or says that it is gone. */
  private turn(code: number): void {
    if (this.leaveTo !== null) {
      const before = new Set([this.here, this.home]);
      before.delete(this.leaveTo);
      this.here = this.leaveTo;
      this.others = [...before];
      this.leaveTo = null;
      this.tries = TRIES_THERE;
    } else if (this.stoodMs === null && NOBODY.includes(code)) {
      this.tries -= 1; // a line that broke was no attempt
      const [next, ...rest] = this.others;
      if (this.tries > 0 || next === undefined) return;
      this.others = [...rest, this.here];
      this.here = next;
    }
  }

  private next(next: Omit<Next, "pauseMs" | "gaveUp"> & Partial<Next>): Next {
    return { pauseMs: 0, gaveUp: false, ...next, why: withoutSecrets(next.why) };
  }

  private pauseMs(code: number): number {
    if (this.ever && this.failures === 0 && AT_ONCE.includes(code)) return 0;
    return pauseMs(this.patience, this.failures, this.random);
  }
}

/** Whether an address that a server names is a websocket's, and encrypted where the first one was: a handle goes there. */
function isAsSafe(url: string, asThis: string): boolean {
  const there = addressOf(url);
  return !!there && !there.hash && (there.protocol === "wss:" || (there.protocol === "ws:" && !asThis.startsWith("wss://")));
}
