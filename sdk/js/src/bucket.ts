// How fast control messages go: a bucket smaller and slower than the server's, so that what a line holds up and then brings together,
// for half a second, is still taken.

const SHARE = 0.9;
const BURST_S = 0.5;

/** messagesPerS: what the server takes. It begins full, as the server's does with each connection. */
export class Bucket {
  private readonly most: number;
  private level: number;

  constructor(
    private readonly messagesPerS: number,
    private seenMs: number,
  ) {
    this.most = this.level = Math.max(1, BURST_S * messagesPerS);
  }

  /** Whether one may go now; counted as gone when it may. */
  allows(nowMs: number): boolean {
    const grown = ((nowMs - this.seenMs) / 1000) * SHARE * this.messagesPerS;
    this.level = Math.min(this.most, this.level + grown);
    this.seenMs = nowMs;
    if (this.level < 1) return false;
    this.level -= 1;
    return true;
  }
}
