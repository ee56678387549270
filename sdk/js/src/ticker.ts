// A clock that is not throttled when the page is hidden: a worker's.

const WORKER = "let timer; onmessage = ({ data }) => { clearInterval(timer); timer = setInterval(() => postMessage(0), data); };";

export class Ticker {
  private readonly worker: Worker;

  constructor(everyMs: number, onTick: () => void) {
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(url);
    URL.revokeObjectURL(url);
    this.worker.onmessage = onTick;
    this.worker.postMessage(everyMs);
  }

  close(): void {
    this.worker.terminate();
  }
}
