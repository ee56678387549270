// The loudspeaker's end: a JitterBuffer where the sound card asks. build.mjs puts it as text into the bundle.

import { JitterBuffer, type Comfort, type Stretch } from "./jitterbuffer.js";

declare const sampleRate: number;
declare const currentTime: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;

const TELL_EVERY_S = 0.05;

/** What the page says. */
export type Told =
  | { readonly stretch: Stretch; readonly rate: number; readonly channels: number }
  | { readonly expecting: boolean }
  | { readonly over: true };

class Loudspeaker extends AudioWorkletProcessor {
  private buffer: JitterBuffer | null = null;
  private expecting = false;
  private over = false;
  private told = 0;
  private readonly comfort: Partial<Comfort>;

  constructor(options: { processorOptions: Partial<Comfort> }) {
    super();
    this.comfort = options.processorOptions;
    this.port.onmessage = ({ data }: MessageEvent<Told>) => this.hear(data);
  }

  process(_: unknown, [planes]: [Float32Array[]]): boolean {
    const { buffer } = this;
    if (!buffer) return !this.over;
    buffer.read(planes.slice(0, buffer.channels));
    if (buffer.channels === 1) planes[1]!.set(planes[0]!);
    if (currentTime - this.told >= TELL_EVERY_S) {
      this.told = currentTime;
      this.port.postMessage(buffer.played);
    }
    return !this.over;
  }

  private hear(told: Told): void {
    if ("stretch" in told) this.play(told);
    else if ("expecting" in told) this.expecting = told.expecting;
    else this.over = true;
    if (this.buffer) this.buffer.expecting = this.expecting;
  }

  private play({ stretch, rate, channels }: Extract<Told, { stretch: Stretch }>): void {
    if (this.buffer?.rate !== rate || this.buffer.channels !== channels) {
      this.buffer = new JitterBuffer(rate, sampleRate, channels, this.comfort);
    }
    this.buffer.add(stretch);
  }
}

registerProcessor("cuestream-loudspeaker", Loudspeaker);
