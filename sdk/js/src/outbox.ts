// Control messages on their way: numbered, kept until the server has seen them, sent again after a resume.
//
// The server counts the control messages that a session has seen, `session.start` being the first, and tells the count once a second
// and when a connection resumes. What it has not seen is sent again in the same order. Reports and pings pass: they count too, but an
// old one is worth nothing. The newest of each kind takes turns with what waits, and after a resume they are left out.

import { TooMuch } from "./errors.js";
import type { ClientMessage } from "./protocol.js";

/** More than a client sends within ten seconds at the server's default rate; a server tells its count every second. */
export const KEPT_MESSAGES = 512;

/** Full: the oldest one that was sent is forgotten, and lost if the connection breaks just then; when none was sent, one that passes
 * waits and another one throws TooMuch. */
export class Outbox {
  lost = 0;
  private messages: ClientMessage[] = []; // bound: KEPT_MESSAGES, see the class
  private readonly passing = new Map<string, ClientMessage>(); // bound: 1 of each kind, a newer one replaces it
  private sent = 0; // of these, from the left
  private before = 1; // messages before the first of these: session.start

  get waiting(): readonly ClientMessage[] {
    return this.messages;
  }

  add(message: ClientMessage): void {
    if (isPassing(message)) this.passing.set(message.type, message);
    else if (this.hasRoom()) this.messages.push(message);
    else throw new TooMuch(`${KEPT_MESSAGES} control messages wait for the connection`);
  }

  /** Whether there is anything to send. */
  get waits(): boolean {
    return this.passing.size > 0 || this.sent < this.messages.length;
  }

  /** The next one to send. */
  take(): ClientMessage | null {
    const [passes] = this.passing.values();
    if (passes && this.mayPass() && this.hasRoom()) {
      this.passing.delete(passes.type);
      this.messages.splice(this.sent, 0, passes);
    }
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
    this.messages = this.kept();
    this.passing.clear();
    this.sent = 0;
    this.before = count;
  }

  /** A new session: nothing counts. Returns what had not been seen. */
  restart(): ClientMessage[] {
    const left = this.kept();
    this.messages = [];
    this.passing.clear();
    this.sent = 0;
    this.before = 1;
    return left;
  }

  /** Not two in a row while others wait. */
  private mayPass(): boolean {
    const last = this.messages[this.sent - 1];
    return this.sent === this.messages.length || !last || !isPassing(last);
  }

  /** Room for one more; the oldest one that was sent makes it. */
  private hasRoom(): boolean {
    if (this.messages.length >= KEPT_MESSAGES && this.sent) this.drop();
    return this.messages.length < KEPT_MESSAGES;
  }

  private kept(): ClientMessage[] {
    return this.messages.filter((message) => !isPassing(message));
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
