// Hears a session that others show pictures to: WHEP, one peer connection from its beginning to its end.

import { ClientError } from "./errors.js";
import { addressOf, ask, bearing, unlike } from "./rest.js";
import { CONNECT_MS, checkWebRtc, withStereo } from "./rtctransport.js";

/** Of `connectionState`; a browser says "disconnected" some seconds after the last word. */
const GONE = new Set(["disconnected", "failed", "closed"]);

export interface WhepOptions {
  /** The key, the session's listening token or that of its page; some addresses carry one. */
  readonly token?: string | undefined;
  readonly iceServers?: RTCIceServer[];
}

export class WhepPlayer {
  /** The `srcObject` of an audio element, or the input of a graph. */
  music!: MediaStream;
  /** Resolves when nothing is heard any more, whoever ended it. */
  readonly ended: Promise<void>;
  private readonly peer: RTCPeerConnection;
  private track: MediaStreamTrack | null = null;
  private resource: URL | null = null;
  private end!: () => void;

  /** url: `urls.whep` of the session. Resolves when the music is there. Throws Refused (404: no such session), Unsupported or ClientError. */
  static async open(url: string | URL, options: WhepOptions = {}): Promise<WhepPlayer> {
    checkWebRtc();
    const address = addressOf(String(url), globalThis.location?.href);
    if (!address) throw new ClientError(`an address such as urls.whep was expected, found "${url}"`);
    const player = new WhepPlayer(address, options);
    try {
      await player.meet();
    } catch (error) {
      player.close();
      throw error;
    }
    return player;
  }

  private constructor(
    private readonly url: URL,
    private readonly options: WhepOptions,
  ) {
    this.peer = new RTCPeerConnection({ iceServers: options.iceServers ?? [], bundlePolicy: "max-bundle" });
    this.peer.addTransceiver("audio", { direction: "recvonly" });
    this.peer.ontrack = ({ track }) => (this.track = track);
    this.ended = new Promise((done) => (this.end = done));
  }

  /** Hear no more, and tell the server so. */
  close(): void {
    const told = this.resource;
    this.resource = null;
    this.peer.close();
    this.end();
    if (told) void fetch(told, { method: "DELETE", headers: bearing(this.options.token), keepalive: true }).catch(() => {});
  }

  /** Our offer, without candidates: the server learns our address when we check its own. */
  private async meet(): Promise<void> {
    const { peer } = this;
    const headers = { ...bearing(this.options.token), "content-type": "application/sdp" };
    const { sdp = "" } = await peer.createOffer();
    const offer = withStereo(sdp);
    await peer.setLocalDescription({ type: "offer", sdp: offer });
    const answer = await ask(this.url, { method: "POST", headers, body: offer });
    if (!answer.text.startsWith("v=0")) throw unlike(this.url, answer.status);
    this.resource = new URL(answer.headers.get("location") ?? "", this.url);
    await peer.setRemoteDescription({ type: "answer", sdp: answer.text });
    const track = await this.connected();
    this.music = new MediaStream([track]);
    peer.onconnectionstatechange = () => GONE.has(peer.connectionState) && this.close();
  }

  /** The music, once the connection stands; an answer may also leave it out. */
  private async connected(): Promise<MediaStreamTrack> {
    const { peer } = this;
    let late;
    const stands = new Promise<void>((resolve, reject) => {
      const fail = () => reject(new ClientError("WebRTC: no connection"));
      late = setTimeout(fail, CONNECT_MS);
      const look = () => {
        if (peer.connectionState === "connected") resolve();
        else if (peer.connectionState === "failed") fail();
      };
      peer.onconnectionstatechange = look;
      look();
    });
    try {
      await stands;
    } finally {
      clearTimeout(late);
    }
    if (!this.track) throw new ClientError("WebRTC: the answer has no music");
    return this.track;
  }
}
