// The jitter buffer, its drift correction and its resampling, on the samples of a card that exists in numbers only.

import { describe, expect, test } from "vitest";
import { Drift } from "../src/drift.js";
import { JitterBuffer, type Comfort } from "../src/jitterbuffer.js";
import { Sinc } from "../src/sinc.js";

const RATE = 48_000;
const CHUNK = 960;
const BLOCK = 128;
const HZ = 440;
const LEVEL = 0.5;

/** A tone's stretch of 20 ms. */
function tone(first: number, { rate = RATE, session = 1, crossfade = false } = {}) {
  const samples = Float32Array.from({ length: rate / 50 }, (_, i) => LEVEL * Math.sin((2 * Math.PI * HZ * (first + i)) / rate));
  return { session, first, crossfade, samples };
}

/** A server that makes a chunk each 20 ms of its own time, and a card that reads by its own. ppm: how much faster the card is. */
class Room {
  readonly buffer: JitterBuffer;
  readonly heard: number[] = [];
  nextChunk = 0;
  private serverS = 0;
  private readonly block: number;
  private readonly blockS: number;

  constructor({ rate = RATE, cardRate = RATE, ppm = 0, comfort = {} as Partial<Comfort> } = {}) {
    this.buffer = new JitterBuffer(rate, cardRate, 1, comfort);
    this.block = Math.round((BLOCK * cardRate) / RATE);
    this.blockS = this.block / cardRate / (1 + ppm / 1e6);
  }

  /** late: by how many seconds a chunk comes too late; null when it never comes. */
  play(seconds: number, late: (chunk: number) => number | null = () => 0): void {
    const plane = new Float32Array(this.block);
    const { rate } = this.buffer;
    const chunk = rate / 50;
    for (const end = this.serverS + seconds; this.serverS < end; this.serverS += this.blockS) {
      for (;;) {
        const delay = late(this.nextChunk);
        if (delay !== null && this.nextChunk / 50 + delay > this.serverS) break;
        if (delay !== null) this.buffer.add(tone(this.nextChunk * chunk, { rate }));
        this.nextChunk += 1;
      }
      this.buffer.read([plane]);
      this.heard.push(...plane);
    }
  }
}

/** The largest step from one sample to the next: of a tone without a click it is that of its slope. */
function steepest(samples: readonly number[]): number {
  return samples.reduce((most, x, i) => Math.max(most, i ? Math.abs(x - samples[i - 1]!) : 0), 0);
}

const SLOPE = (2 * Math.PI * HZ * LEVEL) / RATE;

describe("playing", () => {
  test("begins when the target is full, and plays what was put in", () => {
    const room = new Room();
    room.play(0.035);
    expect(room.buffer.playing).toBe(false);
    room.play(1);
    expect(room.buffer).toMatchObject({ playing: true, underruns: 0, skipped: 0 });
    const begin = room.heard.findIndex((x) => x !== 0);
    expect(begin / RATE).toBeCloseTo(0.04, 1);
    expect(steepest(room.heard)).toBeLessThan(SLOPE * 1.1);
    expect(Math.max(...room.heard.slice(-RATE / 2))).toBeCloseTo(LEVEL, 2);
  });

  test("says what was played by the index of the server", () => {
    const room = new Room();
    room.play(2);
    const { session, playedThrough, levelS } = room.buffer.played;
    expect(session).toBe(1);
    expect(playedThrough).toBeCloseTo(room.nextChunk * CHUNK - levelS * RATE, -1);
  });

  test("both channels, apart", () => {
    const buffer = new JitterBuffer(RATE, RATE, 2);
    const samples = Float32Array.from({ length: 2 * CHUNK }, (_, i) => (i % 2 ? -0.25 : 0.5));
    for (let i = 0; i < 10; i++) buffer.add({ session: 1, first: i * CHUNK, crossfade: false, samples });
    const planes = [new Float32Array(1024), new Float32Array(1024)];
    buffer.read(planes);
    expect(planes[0]!.at(-1)).toBeCloseTo(0.5, 4);
    expect(planes[1]!.at(-1)).toBeCloseTo(-0.25, 4);
  });

  test("the rest at the end is played, and is no underrun", () => {
    const buffer = new JitterBuffer(RATE, RATE, 1);
    buffer.add(tone(0));
    buffer.read([new Float32Array(BLOCK)]);
    expect(buffer.playing).toBe(false);
    buffer.expecting = false;
    for (let i = 0; i < 20; i++) buffer.read([new Float32Array(BLOCK)]);
    expect(buffer).toMatchObject({ playing: false, underruns: 0 });
    expect(buffer.played.playedThrough).toBeGreaterThan(CHUNK - 20);
  });
});

describe("a session of days", () => {
  test.each([0, 2 ** 31, 2 ** 32, 2 ** 40])("beyond %d samples the same is heard", (samples) => {
    const begins = Math.max(0, (Math.floor(samples / CHUNK) - 50) * CHUNK); // a second before; 2 ** 31 come after 12.4 h
    const buffer = new JitterBuffer(RATE, RATE, 1);
    Object.assign(buffer, { put: begins, at: begins });
    const plane = new Float32Array(CHUNK);
    const heard: number[] = [];
    for (let chunk = 0; chunk < 100; chunk++) {
      buffer.add({ ...tone(chunk * CHUNK), first: begins + chunk * CHUNK, crossfade: true });
      buffer.read([plane]);
      heard.push(...plane);
    }
    expect(steepest(heard)).toBeLessThan(1.02 * SLOPE);
    expect(Math.max(...heard.slice(-RATE))).toBeCloseTo(LEVEL, 3);
    expect(buffer.underruns).toBe(0);
    expect(buffer.played.playedThrough).toBeGreaterThan(begins + 90 * CHUNK);
  });
});

describe("when music is late", () => {
  test("it fades out and in, counts, and wants more from then on", () => {
    const room = new Room();
    room.play(3, (chunk) => (chunk >= 50 && chunk < 70 ? (70 - chunk) * 0.02 : 0));
    expect(room.buffer.underruns).toBe(1);
    expect(room.buffer.targetS).toBeCloseTo(0.09);
    expect(room.buffer.playing).toBe(true);
    expect(steepest(room.heard)).toBeLessThan(SLOPE * 1.5);
    expect(room.heard.slice(RATE, 2 * RATE).filter((x) => x === 0).length).toBeGreaterThan(RATE / 5);
  });

  test("calm makes the buffer small again, slowly", () => {
    const room = new Room({ comfort: { targetS: 0.2, calmS: 2 } });
    room.play(3);
    const once = room.buffer.targetS;
    expect(once).toBeLessThan(0.2);
    expect(once).toBeGreaterThan(0.14);
    room.play(40);
    expect(room.buffer.targetS).toBeLessThan(0.07);
    expect(room.buffer.targetS).toBeGreaterThanOrEqual(0.04);
    expect(room.buffer.underruns).toBe(0);
  });

  test("what is far too much goes by a crossfade, without a click", () => {
    const room = new Room();
    for (let i = 0; i < 30; i++) room.buffer.add(tone(i * CHUNK));
    room.nextChunk = 30;
    room.play(5, (chunk) => -0.6 + 0 * chunk);
    expect(room.buffer.skipped).toBeGreaterThan(0.4 * RATE);
    expect(room.buffer.levelS).toBeLessThan(0.3);
    expect(steepest(room.heard)).toBeLessThan(LEVEL * 0.1);
  });

  test("it never holds more than its capacity", () => {
    const buffer = new JitterBuffer(RATE, RATE, 1);
    for (let i = 0; i < 400; i++) buffer.add(tone(i * CHUNK));
    expect(buffer.levelS).toBeLessThanOrEqual(2);
    expect(buffer.played.playedThrough).toBeGreaterThan(6 * RATE);
  });
});

describe("gaps", () => {
  function across(crossfade: boolean): number {
    const buffer = new JitterBuffer(RATE, RATE, 1);
    const heard: number[] = [];
    for (let i = 0; i < 5; i++) buffer.add(tone(i * CHUNK));
    for (let i = 0; i < 5; i++) buffer.add(tone(50_027 + i * CHUNK, { crossfade: crossfade && i === 0 }));
    const plane = new Float32Array(BLOCK);
    while (buffer.levelS > 0.02) {
      buffer.read([plane]);
      heard.push(...plane);
    }
    expect(buffer.played.playedThrough).toBeGreaterThan(50_027);
    return steepest(heard);
  }

  test("both sides are faded", () => expect(across(false)).toBeLessThan(SLOPE * 1.5));
  test("where the server faded, nothing is", () => expect(across(true)).toBeGreaterThan(SLOPE * 1.5));

  test("another session's indices begin again", () => {
    const buffer = new JitterBuffer(RATE, RATE, 1);
    for (let i = 0; i < 5; i++) buffer.add(tone(90_000 + i * CHUNK));
    for (let i = 0; i < 9; i++) buffer.add(tone(i * CHUNK, { session: 2 }));
    const plane = new Float32Array(BLOCK);
    const seen = new Set<string>();
    while (buffer.levelS > 0.02) {
      buffer.read([plane]);
      const { session, playedThrough } = buffer.played;
      seen.add(`${session} ${playedThrough > 90_000}`);
    }
    expect([...seen]).toEqual(["1 true", "2 false"]);
  });
});

describe("clocks that differ", () => {
  test.each([-300, 0, 300])("a card that is %i millionths fast neither runs dry nor fills", (ppm) => {
    const rate = 8000; // for the time it takes
    const room = new Room({ rate, cardRate: rate, ppm });
    room.play(300);
    expect(room.buffer).toMatchObject({ underruns: 0, skipped: 0 });
    expect(Math.abs(room.buffer.levelS - room.buffer.targetS)).toBeLessThan(0.02);
    expect(Math.abs(room.buffer.played.clockPpm - ppm)).toBeLessThan(150);
    expect(steepest(room.heard.slice(rate))).toBeLessThan((2 * Math.PI * HZ * LEVEL * 1.02) / rate);
  });

  test("the ratio stays within half a percent", () => {
    const drift = new Drift();
    for (let i = 0; i < 1000; i++) expect(Math.abs(drift.update(2, 0.06, 0.01) - 1)).toBeLessThanOrEqual(0.005);
  });
});

describe("resampling", () => {
  test.each([44_100, 48_000, 96_000])("a tone stays the tone at a card of %i Hz", (cardRate) => {
    const room = new Room({ cardRate });
    room.play(3);
    const part = room.heard.slice(-cardRate);
    const crossings = part.filter((x, i) => i && x >= 0 && part[i - 1]! < 0).length;
    expect(Math.abs(crossings - HZ)).toBeLessThan(3);
    expect(Math.max(...part)).toBeCloseTo(LEVEL, 2);
    expect(room.buffer.underruns).toBe(0);
  });

  test.each([0, 0.25, 0.5, 0.9])("the value at %f between two samples is that of the tone", (part) => {
    const sinc = new Sinc();
    const ring = Float32Array.from({ length: 1024 }, (_, i) => Math.sin((2 * Math.PI * 5000 * i) / RATE));
    const position = 500 + part;
    expect(sinc.at(ring, 1023, position)).toBeCloseTo(Math.sin((2 * Math.PI * 5000 * position) / RATE), 3);
  });

  test("what a slow card cannot play does not fold back", () => {
    const sinc = new Sinc(16_000 / RATE);
    const ring = Float32Array.from({ length: 4096 }, (_, i) => Math.sin((2 * Math.PI * 12_000 * i) / RATE));
    const out = Array.from({ length: 200 }, (_, i) => Math.abs(sinc.at(ring, 4095, 1000 + 3 * i + 0.4)));
    expect(Math.max(...out)).toBeLessThan(0.01);
  });
});
