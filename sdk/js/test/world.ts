// A client, a server and the line between them, 20 ms at a time, on a virtual clock. What is on the line when it breaks is gone.

import type { Patience } from "../src/closes.js";
import type { Next } from "../src/comeback.js";
import type { Chunk } from "../src/music.js";
import type { ServerMessage } from "../src/protocol.js";
import { Session } from "../src/session.js";
import type { Ticket } from "../src/ticket.js";
import { Line, Take } from "./fakeserver.js";

const STEP_MS = 20;

/** Numbers from 0 to 1, the same for each seed. */
export function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class World {
  now = 1000;
  takes = new Map<string, Take>();
  chunks: Chunk[] = [];
  seen: ServerMessage[] = [];
  next: Next | null = null;
  line: Line | null = null;
  /** The server has no place. */
  full = false;
  session: Session;
  private retryAt = 0;
  private up: { at: number; raw: string | Uint8Array }[] = [];
  private down: { at: number; raw: string | ArrayBuffer }[] = [];

  constructor(
    seed = 1,
    private readonly catchUp = Infinity,
    private readonly delay = 3,
    private readonly patience: Partial<Patience> = {},
  ) {
    this.session = this.begin(seed, null);
    this.connect();
  }

  /** The page is loaded again: all that is left of the old one is its ticket. */
  reload(ticket: Ticket | null, seed = 2): void {
    this.up = [];
    this.down = [];
    this.session = this.begin(seed, ticket);
    this.connect();
  }

  connect(): void {
    this.next = null;
    this.line = new Line(this.takes, this.catchUp);
    this.line.full = this.full;
    this.session.opened();
  }

  cut(code = 1006): void {
    this.up = [];
    this.down = [];
    this.line = null;
    this.next = this.session.lost(code);
    this.retryAt = this.now + this.next.pauseMs;
  }

  step(): void {
    this.now += STEP_MS;
    for (const take of this.takes.values()) take.advance();
    if (!this.line) {
      if (this.next && this.next.then !== "stop" && this.now >= this.retryAt) this.connect();
      return;
    }
    const at = this.now + this.delay * STEP_MS;
    this.session.tick();
    for (let raw = this.session.take(); raw !== null; raw = this.session.take()) this.up.push({ at, raw });
    while (this.up[0] && this.up[0].at <= this.now) this.line.feed(this.up.shift()!.raw);
    for (const raw of this.line.due()) this.down.push({ at, raw });
    this.receive();
    if (this.line.close !== null && !this.down.length) this.cut(this.line.close);
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i++) this.step();
  }

  /** The session on the server that plays now. */
  get take(): Take {
    return [...this.takes.values()].at(-1)!;
  }

  private begin(seed: number, ticket: Ticket | null): Session {
    const patience = { mostMs: 1000, stableMs: 0, ...this.patience }; // the calm at the end of a test is longer than a pause
    return new Session("ws://x", { patience, clock: () => this.now, random: chance(seed), ticket });
  }

  /** Each chunk is heard at once. */
  private receive(): void {
    while (this.down[0] && this.down[0].at <= this.now) {
      const seen = this.session.receive(this.down.shift()!.raw);
      if (!seen) continue;
      if ("message" in seen) this.seen.push(seen.message);
      else {
        this.chunks.push(seen.chunk);
        const { session, end: playedThrough } = seen.chunk;
        this.session.report({ session, playedThrough, bufferMs: 0, underruns: 0, clockPpm: 0 });
      }
    }
  }
}
