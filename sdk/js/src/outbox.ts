// Control messages on their way: numbered, kept until the server has seen them, sent again after a resume.
//
// The server counts the control messages that a session has seen, `session.start` being the first, and tells the count once a second
// and when a connection resumes. What it has not seen is sent again in the same order. Reports and pings count too, but an old one is
// worth nothing: after a resume they are left out.

import { TooMuch } from "./errors.js";
import type { ClientMessage } from "./protocol.js";

/** More than a client sends within ten seconds at the server's default rate; a server tells its count every second. */
export const KEPT_MESSAGES = 512;

/** Full: the oldest one that was sent is forgotten, and lost if the connection breaks just then; when none was sent, a passing
 * message is left out and another one throws TooMuch. */
export class Outbox {
  lost = 0;
  private messages: ClientMessage[] = []; // bound: KEPT_MESSAGES, see the class
  private sent = 0; // of these, from the left
  private before = 1; // messages before the first of these: session.start

  get waiting(): readonly ClientMessage[] {
    return this.messages;
  }

  add(message: ClientMessage): void {
    if (this.messages.length >= KEPT_MESSAGES) {
      if (!this.sent) {
        if (isPassing(message)) return;
        throw new TooMuch(`${KEPT_MESSAGES} control messages wait for the connection`);
      }
      this.drop();
    }
    this.messages.push(message);
  }

  /** The next one to send. */
  take(): ClientMessage | null {
    return this.sent < this.messages.length ? this.messages[this.sent++]! : null;
  }

  /** The server has seen `count` messages of this session. */
  consumed(count: number): void {
    while (this.sent && this.before < count) this.drop();
  }

  /** A connection resumed, and the server had seen `count`: those after it are sent again. */
  rewind(count: number): void {
    this.consumed(count);
    this.lost += Math.max(0, this.before - count);
    this.messages = this.messages.filter((message) => !isPassing(message));
    this.sent = 0;
    this.before = count;
  }

  /** A new session: nothing counts. Returns what had not been seen. */
  restart(): ClientMessage[] {
    const left = this.messages.filter((message) => !isPassing(message));
    this.messages = [];
    this.sent = 0;
    this.before = 1;
    return left;
  }

  private drop(): void {
    this.messages.shift();
    this.sent -= 1;
    this.before += 1;
  }
}

function isPassing({ type }: ClientMessage): boolean {
  return type === "playout.report" || type === "ping";
}
