// Values of a signal between its samples, by a windowed sinc from a table of phases. The position may move by any small step from one
// output sample to the next, so a ratio that changes gives no click.

const HALF = 8; // zero crossings on each side
const PHASES = 512;
const BETA = 8;

/** cutoff: of the band that is kept, 1 is half the rate of the music. Less where the card is slower, so that nothing folds back. */
export class Sinc {
  readonly taps: number;
  /** Samples that are needed before a position, and after it. */
  readonly before: number;
  readonly after: number;
  private readonly table: Float32Array;

  constructor(cutoff = 1) {
    this.after = Math.ceil(HALF / cutoff);
    this.before = this.after - 1;
    this.taps = 2 * this.after;
    this.table = new Float32Array((PHASES + 1) * this.taps);
    for (let phase = 0; phase <= PHASES; phase++) this.fill(phase, cutoff);
  }

  /** The value at a position of a ring, whose length is `mask` + 1, a power of two. */
  at(ring: Float32Array, mask: number, position: number): number {
    const { table, taps } = this;
    const whole = Math.floor(position);
    const phase = (position - whole) * PHASES;
    const row = Math.floor(phase);
    const part = phase - row;
    const first = whole - this.before;
    let value = 0;
    for (let k = 0, i = row * taps; k < taps; k++, i++) {
      value += ring[(first + k) & mask]! * (table[i]! + part * (table[i + taps]! - table[i]!));
    }
    return value;
  }

  /** One row, of sum 1. */
  private fill(phase: number, cutoff: number): void {
    const row = this.table.subarray(phase * this.taps, (phase + 1) * this.taps);
    for (let k = 0; k < this.taps; k++) {
      const x = k - this.before - phase / PHASES;
      row[k] = sinc(x * cutoff) * kaiser(x / (this.after + 0.5));
    }
    const sum = row.reduce((a, b) => a + b, 0);
    for (let k = 0; k < this.taps; k++) row[k]! /= sum;
  }
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** The window, x from -1 to 1. */
function kaiser(x: number): number {
  return bessel(BETA * Math.sqrt(Math.max(0, 1 - x * x))) / bessel(BETA);
}

/** The modified Bessel function of order 0, by its series. */
function bessel(x: number): number {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
