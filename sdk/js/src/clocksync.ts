// The server's clock seen from here: the offset that the shortest round trip of the last minute gives.

const REMEMBERED_US = 60_000_000;
const KEPT = 60;

export interface RoundTrip {
  readonly atUs: number;
  readonly rttUs: number;
  /** Server's clock minus ours. */
  readonly offsetUs: number;
}

export class ClockSync {
  private trips: RoundTrip[] = []; // bound: KEPT, the oldest goes

  pong(sentUs: number, serverUs: number, nowUs: number): void {
    this.trips.push({ atUs: nowUs, rttUs: nowUs - sentUs, offsetUs: serverUs - (sentUs + nowUs) / 2 });
    if (this.trips.length > KEPT) this.trips.shift();
  }

  /** null before the first answer. */
  get best(): RoundTrip | null {
    const newest = this.trips.at(-1)?.atUs ?? 0;
    const recent = this.trips.filter((trip) => newest - trip.atUs <= REMEMBERED_US);
    return recent.reduce<RoundTrip | null>((best, trip) => (best && best.rttUs <= trip.rttUs ? best : trip), null);
  }
}
