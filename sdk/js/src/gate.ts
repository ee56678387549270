// Lets through at most so many pictures a second, by absolute deadlines, so that the average is exact.

export class Gate {
  private nextUs = -Infinity;

  passes(atUs: number, fps: number): boolean {
    const interval = 1e6 / fps;
    if (atUs < this.nextUs) return false;
    this.nextUs = Math.max(this.nextUs + interval, atUs + interval / 2);
    return true;
  }
}
