// The last 30 seconds, drawn: pictures and cuts, waveform, spectrogram, all on one axis of samples.

const RATE = 48000, SECONDS = 30;
const COLUMN = 960; // samples of a column: 20 ms
const COLUMNS = (RATE * SECONDS) / COLUMN;
const SIZE = 2048; // of the transform
const BANDS = 96;
const LOWEST = 60, HIGHEST = 14000; // Hz
const FLOOR_DB = -85, CEILING_DB = -18;
const THUMB_S = 1.6;

export class Scope {
  constructor({ strip, wave, spectrum }) {
    this.canvases = { strip, wave, spectrum };
    this.low = new Float32Array(COLUMNS);
    this.high = new Float32Array(COLUMNS);
    this.looped = new Uint8Array(COLUMNS);
    this.tape = Object.assign(document.createElement("canvas"), { width: COLUMNS, height: BANDS });
    this.paper = this.tape.getContext("2d", { alpha: false });
    this.pixels = this.paper.createImageData(1, BANDS);
    this.recent = new Float32Array(SIZE);
    this.fft = new Fourier(SIZE);
    this.bins = Array.from({ length: BANDS + 1 }, (_, i) => (LOWEST * (HIGHEST / LOWEST) ** (i / BANDS) * SIZE) / RATE);
    this.clear();
  }

  clear() {
    this.end = 0; // columns so far
    this.pending = [];
    this.cuts = []; // sample indexes
    this.thumbs = []; // {at, image}
    this.low.fill(0);
    this.high.fill(0);
    this.looped.fill(0);
    this.recent.fill(0);
    this.paper.fillStyle = "#07090d";
    this.paper.fillRect(0, 0, COLUMNS, BANDS);
  }

  get samples() {
    return this.end * COLUMN;
  }

  /** A chunk of music; the left side is drawn. */
  hear({ first, samples, channels, concealed }) {
    if (first > this.samples + RATE) this.end = Math.floor(first / COLUMN);
    for (let i = 0; i < samples.length; i += channels) {
      this.pending.push(samples[i]);
      if (this.pending.length === COLUMN) this.column(concealed);
    }
  }

  column(looped) {
    const at = this.end % COLUMNS;
    let low = 0, high = 0;
    for (const x of this.pending) {
      low = Math.min(low, x);
      high = Math.max(high, x);
    }
    [this.low[at], this.high[at], this.looped[at]] = [low, high, looped];
    this.recent.copyWithin(0, COLUMN);
    this.recent.set(this.pending, SIZE - COLUMN);
    this.pending = [];
    const power = this.fft.power(this.recent);
    for (let band = 0; band < BANDS; band++) {
      const [a, b] = [Math.floor(this.bins[band]), Math.max(Math.floor(this.bins[band]) + 1, Math.floor(this.bins[band + 1]))];
      let peak = 1e-12;
      for (let k = a; k < b; k++) peak = Math.max(peak, power[k]);
      const level = Math.max(0, Math.min(1, (10 * Math.log10(peak) - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
      this.pixels.data.set(colour(level), 4 * (BANDS - 1 - band));
    }
    this.paper.putImageData(this.pixels, at, 0);
    this.end += 1;
  }

  cut(sample) {
    this.cuts.push(sample);
    if (this.cuts.length > 200) this.cuts.shift();
  }

  /** A picture that was sent now: a canvas or a bitmap. */
  show(canvas) {
    const last = this.thumbs.at(-1);
    if (last && this.samples - last.at < THUMB_S * RATE) return;
    const image = Object.assign(document.createElement("canvas"), { width: 96, height: 54 });
    const scale = Math.max(96 / canvas.width, 54 / canvas.height);
    const [w, h] = [canvas.width * scale, canvas.height * scale];
    image.getContext("2d").drawImage(canvas, (96 - w) / 2, (54 - h) / 2, w, h);
    this.thumbs.push({ at: this.samples, image });
    if (this.thumbs.length > 40) this.thumbs.shift();
  }

  draw() {
    for (const canvas of Object.values(this.canvases)) fit(canvas);
    this.drawStrip(this.canvases.strip);
    this.drawWave(this.canvases.wave);
    this.drawSpectrum(this.canvases.spectrum);
  }

  x(sample, width) {
    return width * (1 - (this.samples - sample) / (RATE * SECONDS));
  }

  drawStrip(canvas) {
    const pen = canvas.getContext("2d");
    const { width, height } = canvas;
    pen.fillStyle = "#07090d";
    pen.fillRect(0, 0, width, height);
    const w = (width * THUMB_S) / SECONDS;
    for (const { at, image } of this.thumbs) pen.drawImage(image, this.x(at, width), 0, w - 2, height);
    this.drawCuts(pen, canvas, true);
  }

  drawWave(canvas) {
    const pen = canvas.getContext("2d");
    const { width, height } = canvas;
    pen.fillStyle = "#07090d";
    pen.fillRect(0, 0, width, height);
    const loudest = Math.max(0.05, ...this.high, ...this.low.map((x) => -x));
    const scale = (height / 2 - 3) / loudest, step = width / COLUMNS;
    const shade = pen.createLinearGradient(0, 0, width, 0);
    shade.addColorStop(0, "#5d51b8");
    shade.addColorStop(0.7, "#8f7dff");
    shade.addColorStop(1, "#4cc9f0");
    for (const looped of [0, 1]) {
      pen.fillStyle = looped ? "#ffb454" : shade;
      for (let i = 0; i < COLUMNS; i++) {
        const at = (this.end + i) % COLUMNS;
        if (this.looped[at] !== looped) continue;
        const top = height / 2 - this.high[at] * scale;
        pen.fillRect(i * step, top, Math.max(1, step), Math.max(1, (this.high[at] - this.low[at]) * scale));
      }
    }
    this.drawCuts(pen, canvas, false);
  }

  drawSpectrum(canvas) {
    const pen = canvas.getContext("2d");
    const { width, height } = canvas;
    const at = this.end % COLUMNS, split = (width * (COLUMNS - at)) / COLUMNS;
    pen.drawImage(this.tape, at, 0, COLUMNS - at, BANDS, 0, 0, split, height);
    if (at) pen.drawImage(this.tape, 0, 0, at, BANDS, split, 0, width - split, height);
    this.drawCuts(pen, canvas, false);
  }

  drawCuts(pen, { width, height }, flag) {
    const unit = devicePixelRatio;
    for (const cut of this.cuts) {
      const x = Math.round(this.x(cut, width));
      if (x < 0) continue;
      pen.fillStyle = flag ? "#a99bff" : "#a99bff88";
      pen.fillRect(x, 0, flag ? 2 * unit : unit, height);
      if (flag) pen.fillRect(x - 3 * unit, 0, 8 * unit, 6 * unit);
    }
  }
}

function fit(canvas) {
  const [w, h] = [Math.round(canvas.clientWidth * devicePixelRatio), Math.round(canvas.clientHeight * devicePixelRatio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
}

// From the dark through violet and cyan to white.
const STOPS = [[7, 9, 13], [38, 26, 92], [124, 92, 240], [76, 201, 240], [240, 252, 255]];
function colour(level) {
  const at = level * (STOPS.length - 1), i = Math.min(STOPS.length - 2, Math.floor(at)), share = at - i;
  return [...STOPS[i].map((c, k) => c + (STOPS[i + 1][k] - c) * share), 255];
}

/** Radix-2 transform of a Hann-windowed real signal. */
class Fourier {
  constructor(size) {
    this.size = size;
    this.window = Float32Array.from({ length: size }, (_, i) => (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size)) * (4 / size));
    this.cos = Float32Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sin = Float32Array.from({ length: size / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / size));
    const bits = Math.log2(size);
    this.order = Uint16Array.from({ length: size }, (_, i) => parseInt(i.toString(2).padStart(bits, "0").split("").reverse().join(""), 2));
    this.re = new Float32Array(size);
    this.im = new Float32Array(size);
  }

  power(signal) {
    const { size, re, im, cos, sin } = this;
    for (let i = 0; i < size; i++) {
      re[i] = signal[this.order[i]] * this.window[this.order[i]];
      im[i] = 0;
    }
    for (let half = 1; half < size; half *= 2) {
      const stride = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const a = start + k, b = a + half, c = cos[k * stride], s = -sin[k * stride];
          const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
      }
    }
    return re.map((x, i) => x * x + im[i] * im[i]);
  }
}
