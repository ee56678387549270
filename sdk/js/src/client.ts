// The client: a Session on a transport that is opened anew after each break.
//
//   const client = new Client({ url: "http://127.0.0.1:8765" });
//   client.on("music", (chunk) => ...);
//   await client.connect();
//   client.play();
//   client.push({ kind: KIND.JPEG, payload, atUs: client.nowUs });

import { BROKEN, LEAVING } from "./closes.js";
import type { Next } from "./comeback.js";
import { Emitter } from "./emitter.js";
import { ClientError, Closed, Refused, Unreachable } from "./errors.js";
import { Gate } from "./gate.js";
import type { Chunk } from "./music.js";
import type {
  ClientMessage,
  Config,
  ConfigPatch,
  Playback,
  Recording,
  ServerMessage,
  SessionCreated,
  SessionResumed,
  VideoFormat,
} from "./protocol.js";
import { across, createSession, isInvitation, serverAt, type Invitation } from "./rest.js";
import { Session, type Picture, type Playout, type Seen, type SessionOptions } from "./session.js";
import type { Ticket } from "./ticket.js";
import type { Line, Transport } from "./transport.js";
import { WsTransport } from "./wstransport.js";

const TICK_MS = 50;
/** Above it pictures wait, and newer ones replace them. */
const FULL_BYTES = 200_000;
const NO_INVITATION = "invite() must give the answer of POST /v1/sessions";
/** How long one attempt waits for its invitation. */
const INVITE_MS = 10_000;
/** Of a timer; a longer one rings at once. */
const LONGEST_MS = 2 ** 31 - 1;
/** How long `close` waits for the server's goodbye. */
const END_MS = 3000;

export interface ClientOptions extends Omit<SessionOptions, "wish" | "ticket"> {
  /** The server, http or https. In a page it may be relative, and is where the page is when left out; elsewhere it is needed, or
   * `invite`. */
  readonly url?: string;
  /** Its API key. A page that others open has no key: it gives `invite`. */
  readonly key?: string | undefined;
  /** Of the session, so that others can hear it there; the server names it when left out. */
  readonly name?: string | null;
  /** Asks a backend of yours for what POST /v1/sessions answered there; called for each new session. */
  readonly invite?: () => Promise<Invitation>;
  /** How long that may take, 10 s when left out; then it is asked again, as where nobody answers. */
  readonly inviteMs?: number;
  /** What to turn from the start. */
  readonly config?: ConfigPatch;
  /** How the music should come; PCM. 48 kHz, 16 bits, stereo when left out. */
  readonly audio?: Session["audio"];
  /** What the server is told of who asks. */
  readonly client?: string;
  /** Go on with a session that was left by a reload: `savedTicket()`. */
  readonly ticket?: Ticket | null;
  /** A websocket when left out. */
  readonly transport?: Transport;
}

/** "lost" and "closed" say why, and what comes next. */
export type LineState =
  | { readonly state: "connecting" | "open"; readonly next?: undefined }
  | { readonly state: "lost" | "closed"; readonly next: Next };

/** Every message of the server by its type, and besides: `message`, all of them; `music`; `line`, how the connection is. */
export type Events = { [Type in ServerMessage["type"]]: Extract<ServerMessage, { type: Type }> } & {
  message: ServerMessage;
  music: Chunk;
  line: LineState;
};

/** What a client has counted so far. */
export interface Stats {
  readonly state: Session["state"];
  readonly sessions: number;
  readonly resumed: number;
  readonly rttMs: number | null;
  readonly receivedThrough: number;
  readonly skippedSamples: number;
  readonly repeatedSamples: number;
  readonly concealedSamples: number;
  readonly sentPictures: number;
  /** Left out because the line was full. */
  readonly skippedPictures: number;
  readonly bufferedBytes: number;
  readonly ignored: Readonly<Record<string, number>>;
}

export class Client extends Emitter<Events> {
  readonly session: Session;
  /** Where the session can be reached otherwise. */
  urls: Invitation["urls"] | null;
  /** Why it is over; null while it is not, and after an end that was asked for. */
  failure: Error | null = null;
  /** Whether music counts as heard once its listeners had it. Off from the first `report` on, and while a player is connected. */
  acknowledge = true;
  private readonly transport: Transport;
  private readonly invite: () => Promise<Invitation>;
  private readonly inviteMs: number;
  private readonly gate = new Gate();
  private line: Line | null = null;
  private running: Promise<void> | null = null;
  private leaving: (() => void) | null = null;
  private isLeft = false;
  private full = 0;
  private word: string | undefined; // the server's, for why the last connection did not come about
  private handed: Playout | null = null;

  /** Throws ClientError for a url that is none, Unsupported where there is no WebSocket. */
  constructor(options: ClientOptions = {}) {
    super();
    const { url = ".", key, name, invite, inviteMs = INVITE_MS, config, audio, client, transport } = options;
    const wish = { ...(config && { config }), ...(audio && { audio }), ...(client && { client }) };
    this.session = new Session(options.ticket?.url ?? "", { ...options, wish });
    this.urls = options.ticket?.urls ?? null;
    this.transport = transport ?? new WsTransport();
    const server = invite ? "" : serverAt(url);
    this.invite = invite ?? (() => createSession(server, key, name));
    this.inviteMs = Math.min(inviteMs, LONGEST_MS);
  }

  /** Begin, or go on. Resolves when the session stands. Throws Refused or Unreachable. */
  connect(): Promise<SessionCreated | SessionResumed> {
    if (this.running) throw new Closed("a client connects once; make another one");
    return new Promise((resolve, reject) => {
      const stands = (message: SessionCreated | SessionResumed) => {
        for (const end of ends) end();
        resolve(message);
      };
      const ends = [this.on("session.created", stands), this.on("session.resumed", stands)];
      this.running = this.run().then(() => reject(this.failure ?? new Closed("the session ended before it began")));
    });
  }

  // --- what holds

  get live(): boolean {
    return this.session.state === "open";
  }

  get config(): Config | null {
    return this.session.config;
  }

  /** How the server wants pictures; null before it said so. */
  get video(): VideoFormat | null {
    return this.session.video;
  }

  /** For `keepTicket`; null when nobody else could go on with the session. */
  get ticket(): Ticket | null {
    const { ticket } = this.session;
    return ticket && { ...ticket, ...(this.urls && { urls: this.urls }) };
  }

  /** The clock of pictures, whole microseconds. */
  get nowUs(): number {
    return this.session.nowUs;
  }

  /** A moment on the clock of pictures as `performance.now()` would have said it. */
  timeOf(atUs: number): number {
    return this.session.zeroMs + atUs / 1000 - performance.timeOrigin;
  }

  get stats(): Stats {
    const { session, line } = this;
    const { music, sync, sessions, resumed, sentPictures, replacedPictures, ignored, state } = session;
    return {
      state,
      sessions,
      resumed,
      rttMs: sync.best && sync.best.rttUs / 1000,
      receivedThrough: music?.receivedThrough ?? 0,
      skippedSamples: music?.skippedSamples ?? 0,
      repeatedSamples: music?.repeatedSamples ?? 0,
      concealedSamples: music?.concealedSamples ?? 0,
      sentPictures,
      skippedPictures: replacedPictures + this.full,
      bufferedBytes: line?.bufferedBytes ?? 0,
      ignored: { ...ignored },
    };
  }

  // --- up

  play(): void {
    this.playback("play");
  }

  pause(): void {
    this.playback("pause");
  }

  stop(): void {
    this.playback("stop");
  }

  resetContext(): void {
    this.playback("reset_context");
  }

  /** Turn what is named, all of it or, when the server refuses a value, nothing. */
  update(config: ConfigPatch): void {
    this.send({ type: "session.update", config });
  }

  /** Change now: a cut, at that moment or with the next picture. */
  sceneChange(atUs?: number): void {
    this.send(atUs === undefined ? { type: "scene.change" } : { type: "scene.change", at_us: atUs });
  }

  credit(creditMs: number): void {
    this.send({ type: "flow.credit", credit_ms: creditMs });
  }

  /** Have the server record the session; "recording.state" comes when it begins, and when it is finished. */
  record(audio: NonNullable<Recording["audio"]> = "flac", video = false): void {
    this.send({ type: "recording", action: "start", audio, video });
  }

  stopRecording(): void {
    this.send({ type: "recording", action: "stop" });
  }

  /** Fade out and end. */
  end(fadeMs?: number): void {
    this.send(fadeMs === undefined ? { type: "session.end" } : { type: "session.end", fade_ms: fadeMs });
  }

  /** Any control message; it waits for the connection. Throws Closed or TooMuch. */
  send(message: ClientMessage): void {
    this.check();
    this.session.send(message);
    this.flush();
  }

  /** Whether a picture of that moment is wanted now: not more often than the server asks, and not while the line is full. True
   * counts as taken. Throws Closed, or why the session is over. */
  wants(atUs: number): boolean {
    this.check();
    if (!this.live || !this.transport.carriesMedia) return false;
    if ((this.line?.bufferedBytes ?? 0) > FULL_BYTES) {
      this.full += this.gate.passes(atUs, this.video!.fps) ? 1 : 0;
      return false;
    }
    return this.gate.passes(atUs, this.video!.fps);
  }

  /** Show a picture; one that still waits is dropped. Throws RangeError when it is larger than the server takes, and as `wants`. */
  push(picture: Picture): void {
    this.check();
    this.session.push(picture);
    this.flush();
  }

  /** What was heard, by whoever plays the music; from the first one on nothing else counts, and the server sends half a second
   * more than that. A MusicPlayer that is connected says it. */
  report(playout: Playout): void {
    this.acknowledge = false;
    this.session.report(playout);
    this.flush();
  }

  /** End the session without a fade, and the connection. A client that was not connected yet is not connected any more. */
  async close(): Promise<void> {
    if (this.live) await this.goodbye();
    this.leave(1000);
    await this.running;
  }

  /** Leave the session to whoever has its ticket. */
  detach(): void {
    this.leave(LEAVING);
  }

  private check(): void {
    if (this.session.state === "over") throw this.failure ?? new Closed("the session is over");
  }

  // --- the connection

  private playback(action: Playback["action"]): void {
    this.send({ type: "playback", action });
  }

  private async goodbye(): Promise<void> {
    let timer;
    try {
      this.end(0);
      await Promise.race([this.running, new Promise((done) => (timer = setTimeout(done, END_MS)))]);
    } catch {
      // too much waits to be sent: the server ends the session by itself
    } finally {
      clearTimeout(timer);
    }
  }

  private leave(code: number): void {
    this.isLeft = true;
    this.session.close();
    this.line?.close(code);
    this.leaving?.();
  }

  private async run(): Promise<void> {
    const ticking = setInterval(() => this.tick(), TICK_MS);
    let next: Next;
    for (;;) {
      this.emit("line", { state: "connecting" });
      next = await this.connection();
      if (next.then === "stop") break;
      this.emit("line", { state: "lost", next });
      if (this.session.state !== "over") await this.rest(next.pauseMs); // a listener may have left
    }
    clearInterval(ticking);
    if (!this.isLeft) this.failure ??= failure(next, this.session, this.word);
    this.emit("line", { state: "closed", next });
  }

  private async rest(ms: number): Promise<void> {
    let timer;
    await Promise.race([new Promise((done) => (timer = setTimeout(done, Math.min(ms, LONGEST_MS)))), this.left()]);
    clearTimeout(timer);
  }

  /** What is waited for besides is not waited for any more once the client is left. */
  private left(): Promise<null> {
    return new Promise((done) => (this.leaving = () => done(null)));
  }

  /** One connection from its beginning to what follows it. */
  private async connection(): Promise<Next> {
    const { session } = this;
    this.word = undefined;
    try {
      if (!session.begins || session.state === "over") return await this.talk(null);
      const invited = await this.inTime(this.invited());
      if (!invited) return session.lost(1000);
      const { client_secret, urls } = invited;
      this.urls = urls;
      session.url = urls.ws;
      return await this.talk(client_secret.value);
    } catch (error) {
      if (error instanceof Refused) {
        this.word = error.word;
        return session.refused(error.code, error.message, error.retryAfterMs);
      }
      if (error instanceof ClientError && !(error instanceof Unreachable)) {
        this.failure = error;
        return session.impossible(error.message);
      }
      return session.refused(null, (error as Error).message);
    }
  }

  /** A backend of someone else's answers what it likes, also nothing, or a page. What is no invitation never becomes one; what fails
   * otherwise, as a request that nobody answers, may pass. Throws ClientError. */
  private async invited(): Promise<Invitation> {
    let answer: Invitation;
    try {
      answer = await this.invite();
    } catch (error) {
      if (error instanceof ClientError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw error instanceof SyntaxError ? new ClientError(`${NO_INVITATION}: ${why}`) : new Unreachable(why);
    }
    if (isInvitation(answer)) return answer;
    throw new ClientError(NO_INVITATION);
  }

  /** What comes of it; null when the client is left before. */
  private async inTime(invited: Promise<Invitation>): Promise<Invitation | null> {
    let timer;
    const late = new Promise<never>((_, fail) => {
      const error = new Unreachable(`no invitation came within ${this.inviteMs / 1000} s`);
      timer = setTimeout(() => fail(error), this.inviteMs);
    });
    try {
      return await Promise.race([invited, late, this.left()]);
    } finally {
      clearTimeout(timer);
    }
  }

  private talk(token: string | null): Promise<Next> {
    const { session } = this;
    if (session.state === "over") return Promise.resolve(session.lost(1000));
    const where = { url: session.url, offer: this.urls?.offer ?? null, token, handle: token ? null : session.handle };
    return new Promise((resolve) => {
      this.line = this.transport.open(where, {
        opened: () => {
          session.opened();
          this.flush();
        },
        received: (data) => this.received(data),
        closed: ({ code, reason, stood, status = null, retryAfterMs, word }) => {
          this.line = null;
          this.word = word;
          if (stood || session.state === "over") resolve(session.lost(code, reason));
          else resolve(session.refused(status, reason || unopened(session.url, token), retryAfterMs));
        },
      });
    });
  }

  private tick(): void {
    if (this.session.isSilent) this.line?.close(BROKEN);
    else if (this.session.wantsToLeave) this.line?.close(LEAVING);
    this.flush();
  }

  /** Write what there is to say. */
  private flush(): void {
    const { line, session } = this;
    if (!line) return;
    if (this.acknowledge && this.handed) session.report(this.handed);
    session.tick();
    for (;;) {
      const data = session.take(this.transport.carriesMedia && line.bufferedBytes <= FULL_BYTES);
      if (data === null) return;
      line.send(data);
    }
  }

  private received(data: string | ArrayBuffer): void {
    const seen = this.seen(data);
    if (seen === null) return;
    if ("chunk" in seen) return this.hand(seen.chunk);
    const { message } = seen;
    if (message.type === "session.created" || message.type === "session.resumed") this.emit("line", { state: "open" });
    this.emit(message.type, message as never);
    this.emit("message", message);
    this.flush();
  }

  private hand(chunk: Chunk): void {
    this.emit("music", chunk);
    this.handed = { session: chunk.session, playedThrough: chunk.end, bufferMs: 0, underruns: 0, clockPpm: 0 };
    this.flush(); // no timer of a hidden page is soon enough
  }

  /** A server that sends what was not agreed on is left. */
  private seen(data: string | ArrayBuffer): Seen | null {
    try {
      return this.session.receive(data);
    } catch (error) {
      this.failure = error as Error;
      this.leave(LEAVING);
      return null;
    }
  }
}

/** token: of a session that was just made, so that its server answers. Browsers do not tell a page what became of a websocket. */
function unopened(url: string, token: string | null): string {
  const proxy = token ? "; where a proxy is before the server, does it hand websockets on?" : "";
  return `${url}: no answer${across(url) || proxy}`;
}

/** What a program should hear of an end that nobody asked for. */
function failure(next: Next, session: Session, word?: string): Error | null {
  if (session.hasEnded || session.ending || next.code === 1000) return null;
  return next.gaveUp ? new Unreachable(next.why) : new Refused(next.code, next.why, next.askedMs || undefined, word);
}
