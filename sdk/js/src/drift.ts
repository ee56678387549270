// Two clocks that differ: the server makes music by its own, a sound card plays by another. The difference fills or empties the
// buffer between them; a PI controller holds its level by playing a little faster or slower.
//
// The level answers to the ratio as an integrator. With gains KP and KI the loop has the natural frequency sqrt(KI) and the damping
// KP / (2 sqrt(KI)); here it is critically damped at 1/40 s, far below the chunks' sawtooth, which SMOOTH_S takes away. The integral
// is the difference of the clocks itself.

/** Largest change of the ratio: half a percent is a twelfth of a semitone. */
const MOST = 0.005;
/** Per second: 100 ms too many are played 0.5 % faster. */
const KP = 0.05;
const KI = KP ** 2 / 4;
const SMOOTH_S = 1;

export class Drift {
  /** Samples of music for one of the card, where both have the same rate. */
  ratio = 1;
  private levelS: number | null = null;
  private integral = 0;

  /** levelS: in the buffer now. passedS: since the last call. Returns the ratio to play with. */
  update(levelS: number, targetS: number, passedS: number): number {
    const before = this.levelS ?? levelS;
    this.levelS = before + (levelS - before) * Math.min(1, passedS / SMOOTH_S);
    const error = this.levelS - targetS;
    const wanted = KP * error + this.integral + KI * error * passedS;
    if (Math.abs(wanted) < MOST || wanted * error < 0) this.integral += KI * error * passedS; // at the bound it would wind up
    this.ratio = 1 + Math.max(-MOST, Math.min(MOST, wanted));
    return this.ratio;
  }

  /** The level jumps: what was learnt of the clocks stays. */
  restart(): void {
    this.levelS = null;
  }

  /** How much faster than the server's clock the card is, millionths; true in the mean over minutes. */
  get clockPpm(): number {
    return -this.integral * 1e6;
  }
}
