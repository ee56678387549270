// One session with a server as a state machine without I/O: it survives its connections and is told what they did.
//
//   idle ─opened─► greeting ─created, resumed─► open ─lost─► waiting ─opened─► greeting ...      any ─► over
//
//   opened()       a connection stands; the greeting waits in `take`
//   receive(raw)   a message came; returns what the program should see
//   take()         the next message to write: greeting, then control, then the newest picture
//   tick()         now and then: pings, reports
//   lost(code)     the connection closed; returns what to do next, as `refused` and `impossible` do where none came about
//   send, push, report    what the program wants
//
// It reads the time from the clock that it was given and never waits.

import { Bucket } from "./bucket.js";
import { ClockSync } from "./clocksync.js";
import { afterClose, afterStatus, BAD_HANDSHAKE, BROKEN, FULL, GONE, PATIENCE, UNKNOWN, type Patience } from "./closes.js";
import { Comeback, type Next } from "./comeback.js";
import { decodeServer, encode } from "./control.js";
import { Closed, ProtocolError } from "./errors.js";
import { decodeMedia, encodeMedia, MEDIA_LIMITS, type Size } from "./media.js";
import { Music, type Chunk } from "./music.js";
import { Outbox } from "./outbox.js";
import {
  FLAG,
  HEADER_BYTES,
  PROTOCOL_MINOR,
  SAFE_INTEGER,
  STREAM,
  type AudioFormat,
  type ClientMessage,
  type CloseAction,
  type Config,
  type ConfigPatch,
  type FlowCredit,
  type PlayoutReport,
  type ServerMessage,
  type SessionCreated,
  type SessionEnded,
  type SessionLimits,
  type SessionResumed,
  type VideoFormat,
} from "./protocol.js";
import type { Ticket } from "./ticket.js";

const PING_EVERY_MS = 2000;
/** Half of what the protocol asks for, so that one late report stops no music. */
const REPORT_EVERY_MS = 100;
/** A server says something once a second; after so long without a word the line is dead. */
const SILENCE_MS = 10_000;
const MOST_PPM = 10_000;

export const PCM: AudioFormat = { codec: "pcm_s16", sample_rate: 48_000, channels: 2 };

/** What a session begins with. client: how the program calls itself. */
export interface Wish {
  readonly audio: AudioFormat;
  readonly config: ConfigPatch;
  readonly client: string;
}

/** kind: one of KIND. atUs: when it was captured, on the session's clock (`nowUs`). size: of a raw picture. */
export interface Picture {
  readonly kind: number;
  readonly payload: Uint8Array;
  readonly atUs: number;
  readonly size?: Size;
}

/** What was heard. session: the number of the session whose samples these are. */
export interface Playout {
  readonly session: number;
  readonly playedThrough: number;
  readonly bufferMs: number;
  readonly underruns: number;
  readonly clockPpm: number;
}

export type State = "idle" | "greeting" | "open" | "waiting" | "over";
export type Seen = { readonly message: ServerMessage } | { readonly chunk: Chunk };

export interface SessionOptions {
  readonly wish?: Partial<Wish>;
  readonly patience?: Partial<Patience>;
  /** Monotonic milliseconds; to go on after a reload of the page it must go on there too. */
  readonly clock?: () => number;
  readonly random?: () => number;
  /** Of a session that another page, or this one before it was reloaded, has left. */
  readonly ticket?: Ticket | null;
}

export class Session {
  state: State = "idle";
  created: SessionCreated | null = null;
  config: Config | null = null;
  video: VideoFormat | null = null;
  limits: SessionLimits | null = null;
  music: Music | null = null;
  ended: SessionEnded | null = null;
  id: string | null = null;
  sessions = 0;
  /** The newest of the session, to go on with it. */
  handle: string | null = null;
  ending = false;
  resumed = 0;
  sentPictures = 0;
  replacedPictures = 0;
  readonly sync = new ClockSync();
  readonly outbox = new Outbox();
  /** Messages that were left alone, by why. */
  readonly ignored: Record<string, number> = {};
  readonly zeroMs: number;
  private readonly clock: () => number;
  private readonly comeback: Comeback;
  private bucket: Bucket | null = null;
  private wish: Wish;
  private greeted = false;
  private handleUntilMs = 0;
  private wantsPlay = false;
  private creditWish: FlowCredit | null = null;
  private picture: Picture | null = null; // bound: 1, a newer one replaces it
  private seq = 0;
  private playout: Playout | null = null; // bound: 1, a newer one replaces it
  private reportedMs = -Infinity;
  private pingedMs = -Infinity;
  private heardMs = -Infinity;
  private told = "";

  constructor(url: string, options: SessionOptions = {}) {
    const { wish, patience, ticket } = options;
    this.clock = options.clock ?? (() => performance.timeOrigin + performance.now());
    this.wish = { audio: wish?.audio ?? PCM, config: wish?.config ?? {}, client: wish?.client ?? "@cuestream/client" };
    this.comeback = new Comeback(url, { ...PATIENCE, ...patience }, this.clock, options.random ?? Math.random);
    this.zeroMs = ticket?.zeroMs ?? this.clock();
    if (ticket) this.goOnWith(ticket);
  }

  // --- what the program wants

  /** Where to connect; a server that goes away may name another place. */
  get url(): string {
    return this.comeback.url;
  }

  set url(url: string) {
    this.comeback.url = url;
  }

  /** Whether the next connection begins a session, and does not go on with one. */
  get begins(): boolean {
    return this.handle === null || this.music === null;
  }

  /** The clock of pictures: whole microseconds since the session was thought of. */
  get nowUs(): number {
    return Math.max(0, Math.floor((this.clock() - this.zeroMs) * 1000));
  }

  /** How the music comes; what was wished for before the server said it. */
  get audio(): AudioFormat {
    return this.music?.audio ?? this.wish.audio;
  }

  /** One after the last sample that was heard of the session that stands. */
  get playedThrough(): number {
    if (!this.music || this.playout?.session !== this.sessions) return 0;
    return Math.min(this.playout.playedThrough, this.music.receivedThrough);
  }

  /** Whether the session is over as it should be: it was asked to end, or nothing happened for long. */
  get hasEnded(): boolean {
    return this.ended?.reason === "asked" || this.ended?.reason === "idle";
  }

  /** What another page needs to go on with this session, null when it cannot. */
  get ticket(): Ticket | null {
    if (!this.handle || !this.music || !this.id || this.ending || this.state === "over") return null;
    const { handle, music, id, zeroMs, url, handleUntilMs: untilMs, wantsPlay } = this;
    return { handle, url, id, zeroMs, untilMs, played: this.playedThrough, audio: music.audio, plays: wantsPlay };
  }

  /** A control message; while there is no connection it waits. Throws Closed or TooMuch. */
  send(message: ClientMessage): void {
    if (this.state === "over") throw new Closed("the session is over");
    this.outbox.add(message);
    if (message.type === "playback" && message.action !== "reset_context") this.wantsPlay = message.action === "play";
    if (message.type === "flow.credit") this.creditWish = message;
    if (message.type === "session.end") this.ending = true;
  }

  /** The newest picture; one that still waits is dropped. Throws RangeError when it is larger than the server takes. */
  push(picture: Picture): void {
    const most = this.limits?.image_bytes ?? MEDIA_LIMITS.imageBytes;
    const bytes = picture.payload.length + HEADER_BYTES;
    if (bytes > most) throw new RangeError(`a picture of ${bytes} bytes; the server takes ${most}`);
    this.replacedPictures += this.picture ? 1 : 0;
    this.picture = picture;
  }

  /** What was heard; sent when it is due. Going back or beyond what was received does no harm. */
  report(playout: Playout): void {
    const before = this.playout;
    if (before?.session === playout.session && playout.playedThrough < before.playedThrough) return;
    this.playout = playout;
  }

  /** Nothing more will be sent or received. */
  close(): void {
    this.state = "over";
  }

  // --- the connection

  /** A connection stands. */
  opened(): void {
    this.state = "greeting";
    this.greeted = false;
    this.heardMs = this.clock();
    this.comeback.opened();
    this.music?.reconnected();
  }

  /** The next message to write, null when there is nothing. pictures: whether the line has room for one. */
  take(pictures = true): string | Uint8Array<ArrayBuffer> | null {
    if (this.state === "greeting" && !this.greeted) {
      this.greeted = true;
      return encode(this.greeting());
    }
    if (this.state !== "open") return null;
    const message = this.takeMessage();
    if (message) return encode(message);
    return pictures ? this.takePicture() : null;
  }

  /** What a message says, null when there is nothing to tell. One that breaks the protocol is counted and left alone. */
  receive(raw: string | ArrayBuffer): Seen | null {
    if (this.state !== "greeting") this.heardMs = this.clock(); // there one word alone is waited for
    try {
      if (typeof raw === "string") return this.control(raw);
      const chunk = this.media(raw);
      return chunk && { chunk };
    } catch (error) {
      if (!(error instanceof ProtocolError) || error.code === "unsupported_codec") throw error;
      this.count(`refused_${error.code}`);
      return null;
    }
  }

  /** Queue a ping and a report when they are due. */
  tick(): void {
    const now = this.clock();
    if (this.state !== "open") return;
    if (now - this.pingedMs >= PING_EVERY_MS) {
      this.pingedMs = now;
      this.outbox.add({ type: "ping", t_us: this.nowUs });
    }
    if (this.playout?.session === this.sessions && now - this.reportedMs >= REPORT_EVERY_MS) {
      this.reportedMs = now;
      this.tell(this.playout);
    }
  }

  /** The server goes away, or refused the greeting: it is time to leave this connection. */
  get wantsToLeave(): boolean {
    return this.comeback.wantsToLeave;
  }

  /** Nothing was heard of the server for long, or no answer to the greeting: the line is dead, whatever the socket believes. */
  get isSilent(): boolean {
    return (this.state === "open" || this.state === "greeting") && this.clock() - this.heardMs >= SILENCE_MS;
  }

  /** The connection closed. */
  lost(code: number = BROKEN, reason = ""): Next {
    code = this.comeback.codeOf(code);
    const resumes = this.state === "greeting" && !this.begins; // it asked for its session and was not answered
    let then = code === FULL && resumes ? "resume" : afterClose(code);
    if (this.comeback.isRefused) {
      code = BAD_HANDSHAKE;
      then = resumes ? "retry" : "stop";
    }
    const unanswered = this.state === "greeting" && code === BROKEN ? `${this.url} opened a connection, and no session on it` : "";
    return this.after(this.hasEnded ? "stop" : then, code, this.comeback.why(code, reason || unanswered));
  }

  /** A connection did not come about: the server answered with an HTTP status, or nobody did. */
  refused(status: number | null, why: string, retryAfterMs?: number): Next {
    if (status === null) return this.after("resume", BROKEN, why);
    if (status === GONE && this.handle !== null) return this.after("retry", UNKNOWN, why);
    return this.after(afterStatus(status), status, why, retryAfterMs);
  }

  /** A connection can never come about, by what this program, its browser or an address is. */
  impossible(why: string): Next {
    return this.after("stop", BROKEN, why);
  }

  // --- inside

  private goOnWith(ticket: Ticket): void {
    this.handle = ticket.handle;
    this.handleUntilMs = ticket.untilMs;
    this.id = ticket.id;
    this.wantsPlay = ticket.plays;
    this.sessions = 1;
    this.music = new Music(1, ticket.audio, ticket.played);
    this.playout = { session: 1, playedThrough: ticket.played, bufferMs: 0, underruns: 0, clockPpm: 0 };
  }

  /** Nothing new is not said again. */
  private tell(playout: Playout): void {
    const report: PlayoutReport = {
      type: "playout.report",
      played_through_sample: this.playedThrough,
      buffer_ms: Math.max(0, playout.bufferMs),
      underruns: playout.underruns,
      clock_ppm: Math.max(-MOST_PPM, Math.min(MOST_PPM, playout.clockPpm)),
    };
    const text = encode(report);
    if (text !== this.told) this.outbox.add(report);
    this.told = text;
  }

  private greeting(): ClientMessage {
    if (this.handle !== null && this.music) {
      return {
        type: "session.resume",
        protocol_minor: PROTOCOL_MINOR,
        handle: this.handle,
        received_through_sample: this.music.receivedThrough,
        played_through_sample: this.playedThrough,
        client: this.wish.client,
      };
    }
    if (this.sessions) this.startOver();
    return { type: "session.start", protocol_minor: PROTOCOL_MINOR, ...this.wish };
  }

  /** A session that is gone is begun anew: with what held last and the changes that nobody saw, and playing if it played. */
  private startOver(): void {
    const left = this.outbox.restart();
    let config: ConfigPatch = this.config ?? this.wish.config;
    this.config = null;
    for (const message of left) if (message.type === "session.update") config = merged(config, message.config);
    this.wish = { ...this.wish, config };
    if (this.creditWish) this.outbox.add(this.creditWish);
    if (this.wantsPlay) this.outbox.add({ type: "playback", action: "play" });
    for (const message of left) if (message.type === "session.end") this.outbox.add(message);
  }

  /** The next one, as soon as the server takes one more. */
  private takeMessage(): ClientMessage | null {
    return this.outbox.waits && this.bucket?.allows(this.clock()) ? this.outbox.take() : null;
  }

  private takePicture(): Uint8Array<ArrayBuffer> | null {
    const picture = this.picture;
    if (!picture) return null;
    this.picture = null;
    this.sentPictures += 1;
    const seq = this.seq;
    this.seq = (seq + 1) >>> 0;
    const { kind, payload, atUs, size = null } = picture;
    return encodeMedia({
      kind,
      flags: FLAG.KEYFRAME,
      stream: STREAM.VIDEO,
      seq,
      ts: Math.min(SAFE_INTEGER, Math.max(0, Math.floor(atUs))),
      window: 0,
      dur: 0,
      source: null,
      size,
      payload,
    });
  }

  private media(raw: ArrayBuffer): Chunk | null {
    const media = decodeMedia(new Uint8Array(raw));
    if (!media || !this.music || this.state !== "open") {
      this.count("unknown_media");
      return null;
    }
    return this.music.add(media);
  }

  private control(raw: string): Seen | null {
    const message = decodeServer(raw);
    switch (message?.type) {
      case "session.created":
        this.begin(message);
        break;
      case "session.resumed":
        if (!this.music) return this.count("nothing_to_resume");
        this.outbox.rewind(message.consumed_messages);
        if (this.creditWish) this.outbox.add(this.creditWish); // each connection begins with the server's own
        this.resumed += 1;
        this.opens(message);
        break;
      case "session.updated":
        this.config = message.config;
        break;
      case "resume.handle":
        this.handle = message.resumable ? message.handle : null;
        this.handleUntilMs = this.clock() + message.expires_ms;
        this.outbox.consumed(message.consumed_messages);
        break;
      case "video.request":
        this.video = message.video;
        break;
      case "pong":
        this.sync.pong(message.t_us, message.server_us, this.nowUs);
        break;
      case "error":
        this.comeback.error(message);
        break;
      case "go_away":
        this.comeback.goAway(message);
        break;
      case "session.ended":
        this.ended = message;
        break;
      case undefined:
        this.count("unknown_type");
    }
    return message && { message };
  }

  private begin(created: SessionCreated): void {
    this.sessions += 1;
    this.ended = this.playout = null;
    this.music = new Music(this.sessions, created.audio);
    this.created = created;
    this.opens(created);
  }

  private opens(message: SessionCreated | SessionResumed): void {
    this.state = "open";
    this.heardMs = this.clock();
    this.id = message.session_id;
    this.comeback.stands();
    this.config = message.config;
    this.video = message.video;
    this.limits = message.limits;
    this.bucket = new Bucket(message.limits.messages_per_s, this.clock());
    this.reportedMs = this.pingedMs = -Infinity;
    this.told = "";
  }

  /** resume without a handle is retry; a session that was to end is not begun anew. */
  private after(then: CloseAction, code: number, why: string, retryAfterMs?: number): Next {
    if (this.state === "over") then = "stop";
    if (then === "resume" && this.handle === null) then = "retry";
    if (then === "retry") {
      if (code === UNKNOWN && this.handle && this.state !== "open") this.comeback.answered(); // to who asked for it
      this.handle = null;
      if (this.ending) then = "stop";
    }
    const next = this.comeback.after(then, code, why, retryAfterMs);
    this.state = next.then === "stop" ? "over" : "waiting";
    return next;
  }

  private count(what: string): null {
    this.ignored[what] = (this.ignored[what] ?? 0) + 1;
    return null;
  }
}

export function merged(config: ConfigPatch, change: ConfigPatch): ConfigPatch {
  const duck = { ...config.duck, ...change.duck };
  return { ...config, ...change, ...(Object.keys(duck).length ? { duck } : {}) };
}
