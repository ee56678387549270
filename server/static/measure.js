// What the listener gets, measured where it is heard: how old the picture is in the music, and when a picture was first answered.
// One clock, the page's own: the server sends back the capture time of the newest picture that each stretch of music knew.

const RATE = 48000;
const KEPT = 4096; // stretches of music: 80 s of 20 ms
const AGES = 100; // reports of the player: ten seconds

export class Measure {
  constructor() {
    this.clear();
  }

  clear() {
    this.stretches = []; // {first, newestMs}
    this.reports = []; // {through, atMs}: when a sample left for the ear
    this.ages = [];
    this.concealed = this.received = 0;
  }

  /** newestMs: when the newest picture that the music knew was captured (performance.now), null when that is not known. */
  hear({ first, end, concealed }, newestMs) {
    this.received += end - first;
    if (concealed) this.concealed += end - first;
    if (newestMs !== null) this.stretches.push({ first, newestMs });
    if (this.stretches.length > KEPT) this.stretches.shift();
  }

  /** Samples before `through` were given to the loudspeaker, which takes outputMs more. */
  played(through, outputMs, nowMs = performance.now()) {
    this.reports.push({ through, atMs: nowMs + outputMs });
    if (this.reports.length > KEPT) this.reports.shift();
    const heard = this.stretches.filter(({ first }) => first <= through).at(-1);
    if (!heard) return;
    this.ages.push(nowMs + outputMs - heard.newestMs);
    if (this.ages.length > AGES) this.ages.shift();
  }

  /** Milliseconds (performance.now) at which the first music sounded that knew a picture from then or later; null before. */
  answeredAt(captureMs) {
    const answer = this.stretches.find(({ newestMs }) => newestMs >= captureMs);
    return answer ? this.heardAt(answer.first) : null;
  }

  /** When a sample was heard, null before. */
  heardAt(sample) {
    const report = this.reports.find(({ through }) => through >= sample);
    return report ? report.atMs - (1000 * (report.through - sample)) / RATE : null;
  }

  /** {p50, p95} in milliseconds over the last ten seconds, null before anything was heard. */
  get pictureToEar() {
    if (!this.ages.length) return null;
    const sorted = [...this.ages].sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    return { p50: at(0.5), p95: at(0.95) };
  }
}
