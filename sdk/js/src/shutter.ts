// Takes pictures of a video, a canvas or a track and pushes them to a client: as often and as large as the server wants them.
//
// Frames of a track are taken as the camera delivers them where the browser has MediaStreamTrackProcessor, which goes on in a hidden
// page. Elsewhere, and of elements, a worker's clock says when to look.

import type { Client } from "./client.js";
import { makeEasel, type Easel, type Shown } from "./easel.js";
import { report, Unsupported } from "./errors.js";
import { Ticker } from "./ticker.js";
import { CanvasView, still, STILL_MS, StreamView, type View } from "./view.js";

/** How often is looked whether a picture is wanted: no server takes more than 60 a second. */
const LOOK_MS = 12;
/** So often is a picture sent of what stands still, so that what is known of it does not grow old, and its session does not end. */
const STILL_US = STILL_MS * 1000;
/** How often is looked whether a track stands still that delivers its frames. */
const STILL_LOOK_MS = 500;
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
  /** Called when a picture cannot be made or sent. When left out, the page hears of the first of a row. */
  readonly onError?: (error: Error) => void;
}

export class Shutter {
  private readonly easel: Easel = makeEasel();
  private readonly close: () => void;
  private busy = false;
  private wanted = false; // and not taken yet
  private over = false;
  private failing = false;
  private last: Shown | null = null;
  private sentUs = -Infinity;
  private sentAt = NaN; // of a video element, its time

  /** Begins at once; until the client is live nothing is taken. */
  constructor(
    private readonly client: Client,
    private readonly subject: Subject,
    private readonly options: ShutterOptions = {},
  ) {
    if (subject instanceof MediaStreamTrack) this.close = this.follow(subject);
    else this.close = this.watch("toBlob" in subject ? new CanvasView(subject, this.fail) : still(subject));
  }

  stop(): void {
    this.over = true;
    this.close();
    this.easel.close();
  }

  /** Each frame of a track; while none comes, as of a screen on which nothing moves, the last one again. */
  private follow(track: MediaStreamTrack): () => void {
    if (typeof MediaStreamTrackProcessor === "undefined") return this.watch(new StreamView(new MediaStream([track]), this.fail));
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable.getReader();
    void this.read(reader).catch(this.fail);
    const ticker = new Ticker(STILL_LOOK_MS, () => {
      if (this.last && !this.isSentLately) this.take(still(this.last));
    });
    return () => {
      ticker.close();
      void reader.cancel().catch(() => {}); // the track may have ended
    };
  }

  private async read(reader: ReadableStreamDefaultReader<VideoFrame>): Promise<void> {
    for (;;) {
      const { value: frame } = await reader.read();
      if (!frame) return;
      this.take(still(frame));
      frame.close();
    }
  }

  private watch(view: View): () => void {
    const ticker = new Ticker(LOOK_MS, () => this.take(view));
    return () => {
      ticker.close();
      view.close();
    };
  }

  private take(view: View): void {
    const { client } = this;
    if (this.busy || this.over || this.hasEnded || !client.live) return;
    this.wanted ||= client.wants(client.nowUs);
    if (this.wanted && !(this.standsStill && this.isSentLately) && this.drawn(view)) {
      this.wanted = false;
      this.sentUs = client.nowUs;
      this.sentAt = timeOf(this.subject);
      void this.send(client.nowUs);
    }
  }

  /** Of a track: there will be no pictures of it. */
  private get hasEnded(): boolean {
    return this.subject instanceof MediaStreamTrack && this.subject.readyState === "ended";
  }

  /** Whether a video is paused, or over, at what was sent last, or a track gives no frames. */
  private get standsStill(): boolean {
    const { subject } = this;
    if (subject instanceof MediaStreamTrack) return subject.muted;
    return "paused" in subject && (subject.paused || subject.ended) && subject.currentTime === this.sentAt;
  }

  private get isSentLately(): boolean {
    return this.client.nowUs - this.sentUs < STILL_US;
  }

  /** Whether there is a picture; one that fails is wanted no more. */
  private drawn(view: View): boolean {
    try {
      const drawable = view.now();
      return drawable !== null && this.easel.draw(drawable, this.client.video!.max_edge);
    } catch (error) {
      this.wanted = false;
      this.fail(error as Error);
      return false;
    }
  }

  /** While a picture is encoded no other one is taken. */
  private async send(atUs: number): Promise<void> {
    const { client, easel, options } = this;
    this.busy = true;
    try {
      const { kind, payload, shown } = await easel.encode(client.video!.codecs);
      this.last = shown;
      if (this.over || !client.live) return;
      client.push({ kind, payload, atUs });
      this.failing = false;
      options.onPicture?.(atUs, shown);
    } catch (error) {
      this.fail(error as Error);
    } finally {
      this.busy = false;
    }
  }

  private readonly fail = (error: Error): void => {
    if (this.over) return;
    const said = 'the browser gives no pictures of what another site owns: it needs CORS there and crossorigin="anonymous" here';
    const told = FOREIGN.has(error.name) ? new Unsupported(said) : error;
    if (this.options.onError) this.options.onError(told);
    else if (!this.failing) report(told);
    this.failing = true;
  };
}

function timeOf(subject: Subject): number {
  return "currentTime" in subject ? subject.currentTime : NaN;
}
