// Plays the music of a client through an AudioContext: a worklet with a JitterBuffer, fed from here.

import type { Client } from "./client.js";
import { Emitter } from "./emitter.js";
import { Unsupported } from "./errors.js";
import type { Comfort, Played } from "./jitterbuffer.js";
import type { Chunk } from "./music.js";
import type { Told } from "./worklet.js";

/** More than the server gives by itself: what is late waits here, where it is seen and shortened, and not at the server. */
const CREDIT_MS = 1500;
/** In which browsers let a context sound: a finger counts when it leaves the glass. */
const GESTURES = ["pointerdown", "touchend", "keydown"];

/** Firefox asks its sound output while the music is made, and holds what the music waits for: on Linux the page may stop for good. */
const TELLS_LATENCY = !globalThis.navigator?.userAgent?.includes("Gecko/");

/** The worklet, by build.mjs. */
declare const WORKLET: string;

export interface PlayerOptions {
  /** One of yours; otherwise one is made, and closed with the player. */
  readonly context?: AudioContext;
  readonly comfort?: Partial<Comfort>;
  /** Where the music goes instead of the context's destination. */
  readonly destination?: AudioNode;
}

export class MusicPlayer extends Emitter<{ played: Played }> {
  /** What was played, at the newest report; null before the first. */
  played: Played | null = null;

  /** In an event of the user's, or the browser keeps it silent: `unlocked`. Throws Unsupported. */
  static async open(options: PlayerOptions = {}): Promise<MusicPlayer> {
    const context = options.context ?? new AudioContext({ latencyHint: "interactive" });
    if (!context.audioWorklet) throw new Unsupported("browsers play on secure pages only: use https or localhost");
    const url = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    try {
      await context.audioWorklet.addModule(url);
    } finally {
      URL.revokeObjectURL(url);
    }
    return new MusicPlayer(context, options);
  }

  readonly node: AudioWorkletNode;
  private readonly owns: boolean;

  private constructor(
    readonly context: AudioContext,
    { context: theirs, comfort = {}, destination }: PlayerOptions,
  ) {
    super();
    this.owns = !theirs;
    context.addEventListener("statechange", () => context.state === "interrupted" && void this.unlocked());
    this.node = new AudioWorkletNode(context, "cuestream-loudspeaker", {
      numberOfInputs: 0,
      outputChannelCount: [2],
      processorOptions: comfort,
    });
    this.node.connect(destination ?? context.destination);
    this.node.port.onmessage = ({ data }: MessageEvent<Played>) => {
      this.played = data;
      this.emit("played", data);
    };
  }

  /** Resolves when it may sound, or never shall: at once, or with the next click, touch or key of the user. Safari takes the sound away
   * during a call and when another program plays (`interrupted`); the player then comes here by itself. */
  async unlocked(): Promise<void> {
    const { context } = this;
    const resume = () => void context.resume().catch(() => {}); // of a context that was closed, or a call that goes on
    for (const gesture of GESTURES) addEventListener(gesture, resume);
    while (context.state === "suspended" || context.state === "interrupted") {
      if (context.state === "suspended") resume();
      await new Promise((changed) => context.addEventListener("statechange", changed, { once: true }));
    }
    for (const gesture of GESTURES) removeEventListener(gesture, resume);
  }

  /** Milliseconds from the worklet to the ear; in Firefox without what the sound output takes. */
  get outputMs(): number {
    const { context } = this;
    return 1000 * (context.baseLatency + ((TELLS_LATENCY && context.outputLatency) || 0));
  }

  /** Play what a client hears, and tell its server what was played. Returns a function that ends this. */
  connect(client: Client): () => void {
    client.credit(CREDIT_MS);
    client.acknowledge = false;
    const ends = [
      client.on("music", (chunk) => this.play(chunk)),
      client.on("state", ({ playback }) => this.expect(playback === "playing")),
      this.on("played", ({ session, playedThrough, levelS, underruns, clockPpm }) =>
        client.report({ session, playedThrough, bufferMs: 1000 * levelS, underruns, clockPpm }),
      ),
    ];
    return () => {
      this.expect(false);
      for (const end of ends) end();
      client.acknowledge = true;
    };
  }

  play({ session, first, crossfade, samples, rate, channels }: Chunk): void {
    this.tell({ stretch: { session, first, crossfade, samples }, rate, channels });
  }

  /** Whether music is to be there: running dry then is an underrun. */
  expect(expecting: boolean): void {
    this.tell({ expecting });
  }

  async close(): Promise<void> {
    this.tell({ over: true });
    this.node.disconnect();
    this.node.port.onmessage = null;
    if (this.owns) await this.context.close();
  }

  private tell(told: Told): void {
    this.node.port.postMessage(told);
  }
}
