// A jitter buffer that plays: chunks go in as they come, blocks come out as a sound card asks for them, at the card's rate.
//
// It waits until the target is full, then plays, corrected for drift, and fades out where the music is late. The target adapts: each
// underrun makes it larger, calm makes it smaller by a part of what was never needed. It does no I/O and reads no clock: the card's
// samples are its time. It runs in an AudioWorklet, so playing allocates nothing.

import { Drift } from "./drift.js";
import { Sinc } from "./sinc.js";

/** Seconds. */
export interface Comfort {
  /** The level at first, and where it adapts to. */
  readonly targetS: number;
  readonly leastS: number;
  readonly mostS: number;
  /** Of each fade: a beginning, an underrun, a gap. */
  readonly fadeS: number;
  /** After so long without an underrun the target shrinks; `spareS` shall always be left. */
  readonly calmS: number;
  readonly spareS: number;
  /** So much beyond the target, for `settledS`, is not waited for: it goes by a crossfade. */
  readonly excessS: number;
  readonly settledS: number;
  /** Fuller than this it goes at once. */
  readonly capacityS: number;
}

export const COMFORT: Comfort = {
  targetS: 0.06,
  leastS: 0.04,
  mostS: 0.4,
  fadeS: 0.005,
  calmS: 20,
  spareS: 0.02,
  excessS: 0.08,
  settledS: 3,
  capacityS: 2,
};

/** Music as it is put in. samples: interleaved. */
export interface Stretch {
  readonly session: number;
  readonly first: number;
  readonly crossfade: boolean;
  readonly samples: Float32Array;
}

/** What was played of which session, and how it went. playedThrough: one after the last sample. skipped: samples that went by a
 * crossfade. */
export interface Played {
  readonly session: number;
  readonly playedThrough: number;
  readonly playing: boolean;
  readonly levelS: number;
  readonly targetS: number;
  readonly underruns: number;
  readonly skipped: number;
  readonly clockPpm: number;
}

/** Where music with other indices begins. at: samples put in before it. */
interface Mark {
  at: number;
  first: number;
  session: number;
}

const MOST_MARKS = 64;
/** Of the ring, beyond the capacity: the longest stretch, and what the filter looks back on. */
const ROOM = 65_536 + 1024;

export class JitterBuffer {
  /** False while a pause or the end makes an empty buffer no underrun. */
  expecting = true;
  playing = false;
  underruns = 0;
  skipped = 0;
  targetS: number;
  readonly drift = new Drift();
  private readonly comfort: Comfort;
  private readonly base: number; // samples of music for one of the card, but for the drift
  private readonly sinc: Sinc;
  private readonly rings: Float32Array[];
  private readonly mask: number;
  private readonly fade: number; // samples of music
  private readonly marks: Mark[] = [{ at: 0, first: 0, session: 0 }]; // bound: MOST_MARKS, none is near when it goes
  private put = 0; // samples put in
  private at = 0; // the position that is played next, counted the same
  private gain = 0;
  private lowestS = Infinity;
  private calmS = 0;
  private floorS = Infinity;
  private settledS = 0;

  /** rate: of the music; cardRate: of the blocks that are read. */
  constructor(
    readonly rate: number,
    readonly cardRate: number,
    readonly channels: number,
    comfort: Partial<Comfort> = {},
  ) {
    this.comfort = { ...COMFORT, ...comfort };
    this.targetS = this.comfort.targetS;
    this.base = rate / cardRate;
    this.sinc = new Sinc(Math.min(1, cardRate / rate));
    this.fade = Math.round(this.comfort.fadeS * rate);
    const length = 2 ** Math.ceil(Math.log2(this.comfort.capacityS * rate + ROOM));
    this.mask = length - 1;
    this.rings = Array.from({ length: channels }, () => new Float32Array(length));
  }

  /** Seconds of music that wait. */
  get levelS(): number {
    return Math.max(0, this.put - this.at) / this.rate;
  }

  get played(): Played {
    const at = Math.floor(this.at);
    const mark = this.marks.filter((mark) => mark.at <= at).at(-1) ?? this.marks[0]!;
    return {
      session: mark.session,
      playedThrough: mark.first + Math.max(0, at - mark.at),
      playing: this.playing,
      levelS: this.levelS,
      targetS: this.targetS,
      underruns: this.underruns,
      skipped: this.skipped,
      clockPpm: this.drift.clockPpm,
    };
  }

  /** Take the next stretch of music. */
  add(stretch: Stretch): void {
    const { channels, mask } = this;
    const last = this.marks.at(-1)!;
    const count = stretch.samples.length / channels;
    const joins = stretch.session !== last.session || stretch.first !== last.first + this.put - last.at;
    if (joins) this.mark({ at: this.put, first: stretch.first, session: stretch.session });
    const fades = joins && !stretch.crossfade && this.put > 0;
    if (fades) this.fadeOut();
    for (let channel = 0; channel < channels; channel++) {
      const ring = this.rings[channel]!;
      for (let i = 0; i < count; i++) {
        const rise = fades && i < this.fade ? i / this.fade : 1;
        ring[(this.put + i) & mask] = rise * stretch.samples[i * channels + channel]!;
      }
    }
    this.put += count;
    if (this.levelS > this.comfort.capacityS) this.skip();
  }

  /** The next block for the card, a plane for each channel. Silence where there is no music. */
  read(planes: readonly Float32Array[]): void {
    const count = planes[0]!.length;
    const passedS = count / this.cardRate;
    for (const plane of planes) plane.fill(0);
    if (!this.playing && !this.begins()) return;
    const step = this.base * this.drift.update(this.levelS, this.targetS, passedS);
    const slope = this.base / this.fade;
    for (let i = 0; i < count; i++) {
      const left = this.put - this.sinc.after - this.at;
      if (left <= 0) return this.runDry();
      const wanted = left > this.fade ? 1 : 0; // near the end it fades, so that running dry is not heard as a click
      this.gain += Math.max(-slope, Math.min(slope, wanted - this.gain));
      for (let channel = 0; channel < this.channels; channel++) {
        planes[channel]![i] = this.gain * this.sinc.at(this.rings[channel]!, this.mask, this.at);
      }
      this.at += step;
    }
    this.adapt(passedS);
    this.shorten(passedS);
  }

  // --- inside

  /** Whether enough waits to play; at the end of the music whatever is left does. */
  private begins(): boolean {
    const rest = !this.expecting && this.put - this.sinc.after - this.at > this.fade;
    if (this.levelS < this.targetS && !rest) return false;
    this.playing = true;
    this.gain = 0;
    this.calm();
    this.drift.restart();
    return true;
  }

  private runDry(): void {
    this.playing = false;
    if (!this.expecting) return;
    this.underruns += 1;
    this.targetS = Math.min(this.comfort.mostS, this.targetS * 1.5);
  }

  private calm(): void {
    this.calmS = this.settledS = 0;
    this.lowestS = this.floorS = Infinity;
  }

  private adapt(passedS: number): void {
    this.calmS += passedS;
    this.lowestS = Math.min(this.lowestS, this.levelS);
    if (this.calmS < this.comfort.calmS) return;
    const unused = Math.max(0, this.lowestS - this.comfort.spareS);
    this.targetS = Math.max(this.comfort.leastS, this.targetS - unused / 4);
    this.calmS = 0;
    this.lowestS = Infinity;
  }

  /** What was far too much for long is not worth its delay. */
  private shorten(passedS: number): void {
    this.settledS += passedS;
    this.floorS = Math.min(this.floorS, this.levelS);
    if (this.settledS < this.comfort.settledS) return;
    if (this.floorS > this.targetS + this.comfort.excessS) this.skip(this.floorS - this.targetS);
    this.settledS = 0;
    this.floorS = Infinity;
  }

  private mark(mark: Mark): void {
    this.marks.push(mark);
    if (this.marks.length > MOST_MARKS) this.marks.shift();
  }

  /** What waits ends softly: music follows that does not go on from it. */
  private fadeOut(): void {
    const count = Math.min(this.fade, Math.max(0, this.put - Math.ceil(this.at)));
    for (const ring of this.rings) for (let i = 1; i <= count; i++) ring[(this.put - i) & this.mask]! *= (i - 1) / count;
  }

  /** Go on so much later, by a crossfade; without a number, down to the target. */
  private skip(overS: number = this.levelS - this.targetS): void {
    const over = Math.floor(overS * this.rate);
    const from = Math.floor(this.at);
    const { mask, fade } = this;
    for (const ring of this.rings) {
      for (let i = -this.sinc.before; i < fade; i++) {
        const rise = Math.max(0, i) / fade;
        ring[(from + over + i) & mask] = ring[(from + i) & mask]! * (1 - rise) + ring[(from + over + i) & mask]! * rise;
      }
    }
    this.at += over;
    this.skipped += over;
    this.drift.restart();
  }
}
