// One session with the server: made by REST, played over a websocket, resumed when the line drops.
//
// Events (CustomEvent, detail): message (a control message), music (see protocol.js), state ("connecting", "open", "lost", "closed"),
// trouble (a text for people).

import { JPEG, music, picture } from "./protocol.js";

const RETRY_MS = [200, 400, 800, 1600, 3000, 5000];
const FULL_BYTES = 200_000; // above it pictures are skipped rather than queued

export class Session extends EventTarget {
  constructor(made, config) {
    super();
    this.made = made;
    this.config = config;
    this.received = 0;
    this.played = 0;
    this.handle = null;
    this.tries = 0;
    this.over = false;
    this.seq = 0;
    this.skipped = 0;
  }

  /** POST /v1/sessions. Throws Error with the server's own words; `.status` is the answer's. */
  static async make(key, config) {
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    const answer = await fetch("v1/sessions", { method: "POST", headers });
    const body = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(body.error.text), { status: answer.status });
    return new Session(body, config);
  }

  open() {
    this.tell("state", "connecting");
    const first = this.handle
      ? {
          type: "session.resume", protocol_minor: 0, handle: this.handle,
          received_through_sample: this.received, played_through_sample: Math.min(this.played, this.received),
        }
      : {
          type: "session.start", protocol_minor: 0, client: "page",
          audio: { codec: "pcm_s16", sample_rate: 48000, channels: 2 }, config: this.config,
        };
    const token = this.handle ? [] : [`cuestream.token.${this.made.client_secret.value}`];
    const socket = new WebSocket(this.made.urls.ws, ["cuestream.v1", ...token]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify(first));
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.control(JSON.parse(data)) : this.sound(data));
    socket.onclose = ({ code }) => this.closed(code);
    this.socket = socket;
  }

  control(message) {
    if (message.type === "resume.handle") this.handle = message.handle;
    if (message.type === "session.created" || message.type === "session.resumed") {
      this.tries = 0;
      this.live = true;
      this.tell("state", "open");
    }
    if (message.type === "error" && message.fatal) this.tell("trouble", message.text);
    this.tell("message", message);
  }

  sound(data) {
    const chunk = music(data);
    if (!chunk) return;
    this.received = chunk.first + chunk.count;
    this.tell("music", chunk);
  }

  closed(code) {
    this.live = false;
    const resumes = !this.over && this.handle && [1001, 1006, 1011, 1012, 4408, 4413].includes(code);
    if (!resumes || this.tries >= RETRY_MS.length) {
      this.over = true;
      this.tell("state", "closed");
      return;
    }
    this.tell("state", "lost");
    setTimeout(() => this.open(), RETRY_MS[this.tries++]);
  }

  /** A picture, if the line is free enough. */
  show(payload, atUs) {
    if (!this.live) return;
    if (this.socket.bufferedAmount > FULL_BYTES) {
      this.skipped += 1;
      return;
    }
    this.socket.send(picture(JPEG, this.seq++, Math.floor(atUs), payload));
  }

  send(message) {
    if (this.live) this.socket.send(JSON.stringify(message));
  }

  report(played, bufferMs, underruns) {
    this.played = played;
    this.send({
      type: "playout.report", played_through_sample: Math.min(Math.floor(played), this.received),
      buffer_ms: bufferMs, underruns,
    });
  }

  end() {
    this.send({ type: "session.end" });
    setTimeout(() => {
      this.over = true;
      this.socket.close(1000);
    }, 1500);
  }

  /** At once, without a fade. */
  leave() {
    this.over = true;
    this.send({ type: "session.end", fade_ms: 0 });
    this.socket.close(1000);
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
