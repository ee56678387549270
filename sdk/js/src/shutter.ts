// Takes pictures of a video, a canvas or a track and pushes them to a client: as often and as large as the server wants them.
//
// Frames of a track are taken as the camera delivers them where the browser has MediaStreamTrackProcessor, which goes on in a hidden
// page. Elsewhere, and of elements, a worker's clock says when to look.

import type { Client } from "./client.js";
import { makeEasel, type Drawable, type Easel, type Shown } from "./easel.js";
import { Unsupported } from "./errors.js";
import { Ticker } from "./ticker.js";

/** How often is looked whether a picture is wanted: no server takes more than 60 a second. */
const LOOK_MS = 12;
/** What browsers throw where a video or a canvas is not to be read by this page. */
const FOREIGN = new Set(["DataCloneError", "SecurityError"]);

interface FrameReader {
  readonly readable: ReadableStream<VideoFrame>;
}
declare const MediaStreamTrackProcessor: undefined | (new (from: { track: MediaStreamTrack; maxBufferSize: number }) => FrameReader);

export type Subject = HTMLVideoElement | HTMLCanvasElement | OffscreenCanvas | MediaStreamTrack;

export interface ShutterOptions {
  /** Called with each picture that was pushed, to be drawn at once or never. */
  readonly onPicture?: (atUs: number, shown: Shown) => void;
  /** Called when a picture cannot be made or sent. When left out, the page hears of the first of a row (`reportError`). */
  readonly onError?: (error: Error) => void;
}

export class Shutter {
  private readonly easel: Easel = makeEasel();
  private readonly close: () => void;
  private busy = false;
  private over = false;
  private failing = false;

  /** Begins at once; until the client is live nothing is taken. */
  constructor(
    private readonly client: Client,
    subject: Subject,
    private readonly options: ShutterOptions = {},
  ) {
    this.close = subject instanceof MediaStreamTrack ? this.follow(subject) : this.watch(subject);
  }

  stop(): void {
    this.over = true;
    this.close();
    this.easel.close();
  }

  /** Each frame of a track. */
  private follow(track: MediaStreamTrack): () => void {
    if (typeof MediaStreamTrackProcessor === "undefined") return this.play(track);
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable.getReader();
    void this.read(reader).catch((error: Error) => this.fail(error));
    return () => void reader.cancel().catch(() => {}); // the track may have ended
  }

  private async read(reader: ReadableStreamDefaultReader<VideoFrame>): Promise<void> {
    for (;;) {
      const { value: frame } = await reader.read();
      if (!frame) return;
      this.take(frame);
      frame.close();
    }
  }

  /** A track in an element that nobody sees. */
  private play(track: MediaStreamTrack): () => void {
    const element = document.createElement("video");
    element.muted = element.playsInline = true;
    element.srcObject = new MediaStream([track]);
    element.play().catch((error: Error) => this.fail(error));
    const close = this.watch(element);
    return () => {
      close();
      element.srcObject = null;
    };
  }

  private watch(subject: Drawable): () => void {
    const ticker = new Ticker(LOOK_MS, () => this.take(subject));
    return () => ticker.close();
  }

  private take(subject: Drawable): void {
    const { client, easel } = this;
    const atUs = client.nowUs;
    if (this.busy || this.over || !client.live || !client.wants(atUs)) return;
    if (easel.draw(subject, client.video!.max_edge)) void this.send(atUs);
  }

  /** While a picture is encoded no other one is taken. */
  private async send(atUs: number): Promise<void> {
    const { client, easel, options } = this;
    this.busy = true;
    try {
      const { kind, payload, shown } = await easel.encode(client.video!.codecs);
      if (this.over) return;
      client.push({ kind, payload, atUs });
      this.failing = false;
      options.onPicture?.(atUs, shown);
    } catch (error) {
      this.fail(error as Error);
    } finally {
      this.busy = false;
    }
  }

  private fail(error: Error): void {
    const said = 'the browser gives no pictures of another site\'s video: it needs CORS there and crossorigin="anonymous" here';
    const told = FOREIGN.has(error.name) ? new Unsupported(said) : error;
    if (this.options.onError) this.options.onError(told);
    else if (!this.failing) reportError(told);
    this.failing = true;
  }
}
