// Plays music from a ring by sample index. It begins when `target` is buffered, fades where it runs dry and then wants more, and
// drops a little, crossfaded, when far too much has gathered: the buffer is as small as the line allows.

const RATE = 48000;
const CAPACITY = RATE * 12; // sample frames; server credit keeps it far from full
const FIRST_TARGET = 0.1, GROWTH = 0.03, MOST = 0.4; // seconds
const SPARE = 0.16; // above the target for SETTLED seconds, the rest is dropped
const SETTLED = 3;
const FADE = 240; // sample frames of every fade
const TELL_EVERY = 0.1;

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ring = new Float32Array(CAPACITY * 2);
    this.read = 0;
    this.write = 0;
    this.playing = false;
    this.level = 0;
    this.target = FIRST_TARGET;
    this.underruns = 0;
    this.silent = 0;
    this.least = Infinity;
    this.leastSince = currentTime;
    this.told = 0;
    this.expecting = false;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(data) {
    if ("expecting" in data) {
      this.expecting = data.expecting;
      return;
    }
    const { first, samples } = data;
    if (first > this.write || first < this.write - CAPACITY / 2) {
      // it goes on elsewhere: what is held is played out from there on
      const held = this.playing ? Math.min(this.write - this.read, FADE * 4) : 0;
      for (let i = 0; i < held; i++) this.copy(this.read + i, first - held + i);
      this.read = first - held;
    }
    const count = samples.length / 2;
    for (let i = 0; i < count; i++) {
      const at = ((first + i) % CAPACITY) * 2;
      this.ring[at] = samples[2 * i] / 32768;
      this.ring[at + 1] = samples[2 * i + 1] / 32768;
    }
    this.write = first + count;
  }

  copy(from, to) {
    const a = (((from % CAPACITY) + CAPACITY) % CAPACITY) * 2, b = (((to % CAPACITY) + CAPACITY) % CAPACITY) * 2;
    this.ring[b] = this.ring[a];
    this.ring[b + 1] = this.ring[a + 1];
  }

  get ahead() {
    return (this.write - this.read) / RATE;
  }

  process(_, [out]) {
    const [left, right] = out;
    if (!this.playing && this.ahead >= this.target) {
      this.playing = true;
      this.least = Infinity;
      this.leastSince = currentTime;
    }
    for (let i = 0; i < left.length; i++) {
      const left_over = this.write - this.read;
      const wanted = this.playing && left_over > FADE ? 1 : 0;
      this.level += Math.max(-1 / FADE, Math.min(1 / FADE, wanted - this.level));
      if (this.playing && left_over > 0) {
        const at = (((this.read % CAPACITY) + CAPACITY) % CAPACITY) * 2;
        left[i] = this.ring[at] * this.level;
        right[i] = this.ring[at + 1] * this.level;
        this.read += 1;
      } else if (this.playing) {
        this.playing = false;
        this.level = 0;
        if (this.expecting) {
          this.underruns += 1;
          this.target = Math.min(MOST, this.target + GROWTH);
        }
      }
    }
    this.shrink();
    if (currentTime - this.told >= TELL_EVERY) {
      this.told = currentTime;
      this.port.postMessage({ played: this.read, ahead: this.ahead, underruns: this.underruns, target: this.target, playing: this.playing });
    }
    return true;
  }

  // What was never needed for SETTLED seconds is too much: jump over it with a crossfade.
  shrink() {
    if (!this.playing) return;
    this.least = Math.min(this.least, this.ahead);
    if (currentTime - this.leastSince < SETTLED) return;
    const extra = Math.floor((this.least - this.target) * RATE);
    if (extra > SPARE * RATE) {
      for (let i = 0; i < FADE; i++) {
        const share = (i + 1) / FADE;
        for (const side of [0, 1]) {
          const from = ((this.read + i) % CAPACITY) * 2 + side, to = ((this.read + extra + i) % CAPACITY) * 2 + side;
          this.ring[to] = this.ring[from] * Math.sqrt(1 - share) + this.ring[to] * Math.sqrt(share);
        }
      }
      this.read += extra;
    }
    this.least = Infinity;
    this.leastSince = currentTime;
  }
}

registerProcessor("cuestream-player", Player);
