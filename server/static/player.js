// The loudspeaker: an AudioContext at the wire's rate and the worklet that buffers.

export class Player {
  /** onReport: called ten times a second with {played, ahead, underruns, target, playing}. */
  static async open(onReport) {
    const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
    await context.audioWorklet.addModule("static/worklet.js");
    const node = new AudioWorkletNode(context, "cuestream-player", { numberOfInputs: 0, outputChannelCount: [2] });
    node.connect(context.destination);
    await context.resume();
    node.port.onmessage = ({ data }) => onReport(data);
    return new Player(context, node);
  }

  constructor(context, node) {
    this.context = context;
    this.node = node;
  }

  /** Milliseconds from the worklet to the ear. */
  get outputMs() {
    return 1000 * (this.context.baseLatency + (this.context.outputLatency || 0));
  }

  /** Whether music is to be there: running dry then is an underrun. */
  expect(expecting) {
    this.node.port.postMessage({ expecting });
  }

  play({ first, samples }) {
    this.node.port.postMessage({ first, samples });
  }

  close() {
    return this.context.close();
  }
}
