// What a shutter looks at when a picture is wanted: an element, a track in an element that nobody sees, a canvas.

import type { Drawable } from "./easel.js";

export interface View {
  /** What can be drawn now. Null while it is waited for: it may be there at the next look. */
  now(): Drawable | null;
  close(): void;
}

/** Something that can be drawn at any time. */
export function still(subject: Drawable): View {
  return { now: () => subject, close: () => {} };
}

/** A stream in an element that nobody sees, which keeps its newest frame. failed: called when it cannot be played. */
export class StreamView implements View {
  private readonly element = document.createElement("video");

  constructor(stream: MediaStream, failed: (error: Error) => void) {
    const { element } = this;
    element.muted = element.playsInline = true;
    element.srcObject = stream;
    element.play().catch((error: Error) => element.srcObject && failed(error)); // closed before it began is no error
  }

  /** So far. */
  get frames(): number {
    return this.element.getVideoPlaybackQuality().totalVideoFrames;
  }

  now(): HTMLVideoElement {
    return this.element;
  }

  close(): void {
    this.element.srcObject = null;
  }
}

/**
 * A canvas, drawn by whatever its page draws with.
 *
 * 2D keeps its picture, which is drawn as it is. WebGL and WebGPU hand each frame to the screen and are empty after it, so that theirs
 * is captured. Which one it is cannot be asked of a canvas before it has its context: asking would make one, and its page could have no
 * other. It has one once something is on it, or a frame was captured of it.
 */
export class CanvasView implements View {
  private keeps: boolean | null = null; // null: not known yet
  private captured: CapturedView | null = null;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly failed: (error: Error) => void,
  ) {
    try {
      this.begin();
    } catch {
      // the first look says it
    }
  }

  now(): Drawable | null {
    this.begin();
    return this.keeps ? this.canvas : (this.captured?.now() ?? null);
  }

  /** Capture what does not keep its picture, before one is wanted: it may be drawn once, and never again. */
  private begin(): void {
    const { canvas, failed } = this;
    if (!canvas.width || !canvas.height) return;
    if (this.keeps === null && (this.captured?.begun || shows(canvas))) this.keeps = keepsPicture(canvas);
    if (this.keeps) this.close();
    else this.captured ??= capture(canvas, failed);
  }

  close(): void {
    this.captured?.close();
    this.captured = null;
  }
}

/** So often is shown again what stands still. */
export const STILL_MS = 1000;
/** So long a frame that was captured before any was wanted is held back for a newer one. */
const FIRST_MS = 60;

/** Of a canvas that is captured: the first frame that is drawn, and then each first one after a picture was wanted. Other frames cost
 * nothing. */
class CapturedView implements View {
  private readonly view: StreamView;
  private askedMs: number | null = null; // when the next frame was asked for
  private before = 0; // frames, then
  private patienceMs = FIRST_MS;

  /** source: the canvas's track, or in Firefox its stream. */
  constructor(
    private readonly stream: MediaStream,
    private readonly source: Pick<CanvasCaptureMediaStreamTrack, "requestFrame">,
    failed: (error: Error) => void,
  ) {
    this.view = new StreamView(stream, failed);
    source.requestFrame();
  }

  get begun(): boolean {
    return this.view.frames > 0;
  }

  now(): Drawable | null {
    const { view, source } = this;
    if (this.askedMs === null) {
      this.askedMs = performance.now();
      this.before = view.frames;
      source.requestFrame();
    }
    const standsStill = view.frames === this.before;
    if (!this.begun || (standsStill && performance.now() - this.askedMs < this.patienceMs)) return null;
    this.askedMs = null;
    this.patienceMs = STILL_MS;
    return view.now();
  }

  close(): void {
    this.view.close();
    for (const track of this.stream.getTracks()) track.stop();
  }
}

/** Null where the canvas has no context yet, which Firefox wants. Throws SecurityError where its page may not read it. */
function capture(canvas: HTMLCanvasElement, failed: (error: Error) => void): CapturedView | null {
  try {
    const stream = canvas.captureStream(0);
    const [track] = stream.getVideoTracks();
    return new CapturedView(stream, (track && "requestFrame" in track ? track : stream) as CanvasCaptureMediaStreamTrack, failed);
  } catch (error) {
    if ((error as Error).name === "SecurityError") throw error;
    return null;
  }
}

const PROBE = 16;

/** Whether something is on it. Throws SecurityError where its page may not read it. */
function shows(canvas: HTMLCanvasElement): boolean {
  const probe = Object.assign(document.createElement("canvas"), { width: PROBE, height: PROBE });
  const pen = probe.getContext("2d", { willReadFrequently: true })!;
  pen.drawImage(canvas, 0, 0, PROBE, PROBE);
  return pen.getImageData(0, 0, PROBE, PROBE).data.some((value, at) => at % 4 === 3 && value > 0);
}

/** Whether a canvas that has its context can be read at any time. WebGL is not asked whether it does: it would tell the page of an error. */
function keepsPicture(canvas: HTMLCanvasElement): boolean {
  try {
    return (canvas.getContext("2d") ?? canvas.getContext("bitmaprenderer")) !== null;
  } catch {
    return true; // a worker draws it, and shows what it has done
  }
}
