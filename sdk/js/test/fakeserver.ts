// A server of the protocol without I/O, for tests: it plays a ramp whose every sample says its own index.
// One `Take` is a session; it outlives connections. A `Line` is one connection to it.

import { decodeMedia, encodeMedia, type Media } from "../src/media.js";
import { FLAG, KIND, STREAM, type ClientMessage, type ServerMessage } from "../src/protocol.js";
import { merged } from "../src/session.js";

export const RATE = 32_000;
export const CHUNK = 640;
export const AUDIO = { codec: "pcm_s16", sample_rate: RATE, channels: 1 } as const;
const CREDIT = RATE / 2;

const CONFIG = {
  guidance: 3, temperature: 1, top_k: 250, top_p: 0, seed: 0, short_term_s: 8, key: "seed", energy: 0, cut_response: "follow",
  hold_scene: false, gain_db: 0, mute: false, fade_ms: 50,
  duck: { enabled: false, threshold_db: -35, depth_db: 9, attack_ms: 60, release_ms: 500 },
} as const; // prettier-ignore

const HOW = {
  protocol_minor: 0,
  audio: AUDIO,
  video: { codecs: ["jpeg"], fps: 4, max_edge: 448 },
  limits: {
    text_bytes: 65536, image_bytes: 1048576, audio_bytes: 262144, messages_per_s: 50, credit_ms: 500, resume_window_s: 30,
    session_s: 3600,
  }, // prettier-ignore
} as const;

/** The value of a sample, as the ramp has it. */
export function ramp(index: number): number {
  return ((index % 65_536) - 32_768) / 32_768;
}

/** A session. position: samples made by now; seen: every control message, in order. */
export class Take {
  position = 0;
  playing = false;
  played = 0;
  consumed = 0;
  revision = 0;
  config: object = CONFIG;
  seen: ClientMessage[] = [];
  pictures: Media[] = [];
  ended = false;

  constructor(readonly catchUp = Infinity) {}

  /** 20 ms pass. */
  advance(): void {
    if (this.playing) this.position += CHUNK;
  }
}

/** One connection. close: the code that the server closes with after what it wrote. */
export class Line {
  take = new Take();
  close: number | null = null;
  /** Whoever comes is turned away: the code that says so. */
  full = false;
  private name = "";
  private cursor = 0;
  private seq = 0;
  private moved = false;
  private turn = 0;
  private pushed: string[] = [];

  constructor(
    private readonly takes: Map<string, Take>,
    private readonly catchUp = Infinity,
  ) {}

  feed(raw: string | Uint8Array): void {
    if (typeof raw !== "string") {
      this.take.pictures.push(decodeMedia(raw)!);
      return;
    }
    const message = JSON.parse(raw) as ClientMessage;
    if (this.full) return this.turnAway("capacity", 1013);
    if (message.type === "session.resume") return this.resume(message);
    if (message.type === "session.start") this.start(message.config ?? {});
    this.take.consumed += 1;
    this.take.seen.push(message);
    this.act(message);
  }

  /** What may be written now: answers, music within the credit, and a handle now and then. */
  due(): (string | ArrayBuffer)[] {
    const out: (string | ArrayBuffer)[] = this.pushed;
    this.pushed = [];
    if (!this.name || this.close !== null) return out;
    while (this.cursor < Math.min(this.take.position, this.take.played + CREDIT)) out.push(this.music());
    this.turn += 1;
    const { consumed } = this.take;
    if (this.turn % 10 === 0) {
      this.say({ type: "resume.handle", handle: this.name, resumable: true, expires_ms: 30_000, consumed_messages: consumed });
    }
    return out;
  }

  say(message: ServerMessage): void {
    this.pushed.push(JSON.stringify(message));
  }

  private music(): ArrayBuffer {
    const end = Math.min(this.take.position, (Math.floor(this.cursor / CHUNK) + 1) * CHUNK);
    const samples = Int16Array.from({ length: end - this.cursor }, (_, i) => ramp(this.cursor + i) * 32_768);
    const message = encodeMedia({
      kind: KIND.PCM_S16, flags: this.moved ? FLAG.DISCONTINUITY | FLAG.CROSSFADE : 0, stream: STREAM.MUSIC, seq: this.seq,
      ts: this.cursor, window: 0, dur: samples.length, source: null, size: null, payload: new Uint8Array(samples.buffer),
    }); // prettier-ignore
    this.moved = false;
    this.seq += 1;
    this.cursor = end;
    return message.buffer;
  }

  private start(config: object): void {
    this.name = `s${this.takes.size}`;
    this.take = new Take(this.catchUp);
    this.takes.set(this.name, this.take);
    this.take.config = merged(CONFIG, config);
    this.say({
      type: "session.created", ...HOW, session_id: this.name, server: "fake/1", model: "ramp", label: "a ramp, not music",
      steps_per_s: 50, revision: 0, config: this.take.config as typeof CONFIG,
    }); // prettier-ignore
  }

  private resume(message: Extract<ClientMessage, { type: "session.resume" }>): void {
    const take = this.takes.get(message.handle);
    if (!take || take.ended) return this.turnAway("session_expired", 4404);
    this.name = message.handle;
    this.take = take;
    this.cursor = message.received_through_sample;
    if (message.played_through_sample > this.cursor || this.cursor > take.position) throw new Error("it cannot have heard that");
    take.played = Math.max(take.played, message.played_through_sample);
    if (take.position - this.cursor > take.catchUp) {
      this.cursor = take.played = take.position;
      this.moved = true;
    }
    this.say({
      type: "session.resumed", ...HOW, session_id: this.name, first_sample: this.cursor, consumed_messages: take.consumed,
      revision: take.revision, config: take.config as typeof CONFIG,
    }); // prettier-ignore
  }

  private turnAway(code: string, close: number): void {
    this.say({ type: "error", code, text: "not now", fatal: true });
    this.close = close;
  }

  private act(message: ClientMessage): void {
    const { take } = this;
    if (message.type === "playback") {
      take.playing = message.action === "play";
      this.say({ type: "state", playback: take.playing ? "playing" : "paused", health: "on_time", level: 0 });
    } else if (message.type === "session.update") {
      take.config = merged(take.config, message.config);
      take.revision += 1;
      this.say({ type: "session.updated", revision: take.revision, config: take.config as typeof CONFIG });
    } else if (message.type === "playout.report") {
      if (message.played_through_sample > take.position) throw new Error("it cannot have played that");
      take.played = Math.max(take.played, message.played_through_sample);
    } else if (message.type === "ping") {
      this.say({ type: "pong", t_us: message.t_us, server_us: message.t_us + 1_000_000 });
    } else if (message.type === "session.end") {
      take.ended = true;
      this.say({ type: "session.ended", reason: "asked", samples: take.position });
      this.close = 1000;
    }
  }
}
