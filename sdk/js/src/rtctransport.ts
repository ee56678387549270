// Over one WebRTC peer connection: the video of a track up, music as a track down, and the messages on a data channel.

import { BROKEN } from "./closes.js";
import { ClientError, Refused, Unsupported } from "./errors.js";
import { ask, bearing, parsed, unlike } from "./rest.js";
import type { Line, LineEnd, Receiver, Transport, Where } from "./transport.js";

const CHANNEL = "cuestream";
const GATHER_MS = 2000;
export const CONNECT_MS = 15_000;

export interface RtcOptions {
  /** What the music shall watch; `show` changes it. */
  readonly video?: MediaStreamTrack | null;
  /** For networks that need them: the browser asks no server by itself. */
  readonly iceServers?: RTCIceServer[];
  /** The music, another stream with each connection: the `srcObject` of an audio element, or the input of a graph. */
  readonly onMusic: (music: MediaStream) => void;
  /** How much music the browser's jitter buffer tries to hold back, 0 to 4000 ms: little answers sooner, much forgives a bad network
   * more. Left out, the browser chooses; it never holds back less than it finds that the network needs. */
  readonly bufferMs?: number | undefined;
}

export class RtcTransport implements Transport {
  readonly carriesMedia = false;
  private video: MediaStreamTrack | null;
  private line: RtcLine | null = null;

  /** Throws Unsupported. */
  constructor(private readonly options: RtcOptions) {
    checkWebRtc();
    this.video = options.video ?? null;
  }

  /** Another track from now on; null sends nothing. */
  async show(video: MediaStreamTrack | null): Promise<void> {
    this.video = video;
    await this.line?.show(video);
  }

  /** What the browser counts of the connection; null while there is none. */
  async stats(): Promise<RTCStatsReport | null> {
    return this.line?.stats() ?? null;
  }

  /** Throws Unsupported where the server has no WebRTC. */
  open(where: Where, receiver: Receiver): Line {
    if (!where.offer) throw new Unsupported("this server has no WebRTC; the websocket and endless sound need none");
    this.line = new RtcLine(where.offer, where.token ?? where.handle, receiver, this.video, this.options);
    return this.line;
  }
}

class RtcLine implements Line {
  private readonly peer: RTCPeerConnection;
  private readonly channel: RTCDataChannel;
  private readonly sender: RTCRtpSender;
  private readonly patience: ReturnType<typeof setTimeout>;
  private stood = false;
  private over = false;

  constructor(
    private readonly offer: string,
    private readonly token: string | null,
    private readonly receiver: Receiver,
    video: MediaStreamTrack | null,
    { iceServers = [], onMusic, bufferMs }: RtcOptions,
  ) {
    this.peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.channel = this.peer.createDataChannel(CHANNEL);
    this.channel.binaryType = "arraybuffer";
    this.sender = this.peer.addTransceiver(video ?? "video", { direction: "sendonly" }).sender;
    const music = this.peer.addTransceiver("audio", { direction: "recvonly" }).receiver;
    if (bufferMs !== undefined) music.jitterBufferTarget = bufferMs;
    this.peer.ontrack = ({ track }) => onMusic(new MediaStream([track]));
    this.peer.onconnectionstatechange = () => this.peer.connectionState === "failed" && this.close(BROKEN);
    this.channel.onopen = () => this.opened();
    this.channel.onmessage = ({ data }) => this.over || receiver.received(data as string | ArrayBuffer);
    this.channel.onclose = () => this.close(BROKEN);
    this.patience = setTimeout(() => this.close(BROKEN), CONNECT_MS);
    void this.meet().catch((error: Error) => this.refused(error));
  }

  stats(): Promise<RTCStatsReport> {
    return this.peer.getStats();
  }

  get bufferedBytes(): number {
    return this.channel.bufferedAmount;
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    if (this.channel.readyState === "open") this.channel.send(data as string);
  }

  async show(video: MediaStreamTrack | null): Promise<void> {
    if (!this.over) await this.sender.replaceTrack(video);
  }

  /** There are no codes on a data channel: the server hears that we are gone, and waits. */
  close(code: number): void {
    this.ended({ code, reason: "" });
  }

  /** Our offer, with all candidates, and the server's answer. */
  private async meet(): Promise<void> {
    const { peer, offer, token } = this;
    const { sdp = "" } = await peer.createOffer();
    await peer.setLocalDescription({ type: "offer", sdp: withStereo(sdp) });
    await gathered(peer);
    if (this.over) return; // nobody is left to answer
    const headers = { "content-type": "application/json", ...bearing(token) };
    const body = JSON.stringify({ type: "offer", sdp: peer.localDescription!.sdp });
    const { text, status } = await ask(offer, { method: "POST", headers, body });
    const answer = parsed(text) as { sdp?: string } | null;
    if (!answer?.sdp) throw unlike(offer, status);
    if (!this.over) await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  }

  private opened(): void {
    clearTimeout(this.patience);
    this.stood = true;
    this.receiver.opened();
  }

  private refused(error: Error): void {
    const answered = error instanceof Refused ? { status: error.code, retryAfterMs: error.retryAfterMs, word: error.word } : {};
    const reason = error instanceof ClientError ? error.message : `WebRTC: ${error.message}`;
    this.ended({ code: BROKEN, reason, ...answered });
  }

  private ended(end: Omit<LineEnd, "stood">): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.patience);
    this.peer.close();
    this.receiver.closed({ ...end, stood: this.stood });
  }
}

/** Throws Unsupported: browsers may be built without it, as those of WebKitGTK are. */
export function checkWebRtc(): void {
  if (!globalThis.RTCPeerConnection) throw new Unsupported("this browser has no WebRTC; the websocket and endless sound need none");
}

async function gathered(peer: RTCPeerConnection): Promise<void> {
  if (peer.iceGatheringState === "complete") return;
  await new Promise<void>((done) => {
    const late = setTimeout(done, GATHER_MS);
    peer.onicegatheringstatechange = () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(late);
      done();
    };
  });
}

/** Browsers play Opus as mono unless their own offer says that they want both channels. */
export function withStereo(sdp: string): string {
  const lines = sdp.split("\r\n");
  for (const [, payload] of sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000/gim)) {
    const at = lines.findIndex((line) => line.startsWith(`a=fmtp:${payload} `));
    if (at < 0) lines.splice(lines.findIndex((line) => line.startsWith(`a=rtpmap:${payload} `)) + 1, 0, `a=fmtp:${payload} stereo=1`);
    else if (!/[ ;]stereo=1/.test(lines[at]!)) lines[at] += ";stereo=1";
  }
  return lines.join("\r\n");
}
