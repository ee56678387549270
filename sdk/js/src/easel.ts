// A picture, made small and encoded: drawn no larger than the server looks at, then JPEG or what else it takes.
//
// A worker encodes, since browsers let a page's own canvas wait until the page is idle; where there is no OffscreenCanvas, the page does.

import { Unsupported } from "./errors.js";
import { KIND, type VideoFormat } from "./protocol.js";

const QUALITY = 0.8;
/** Of a video element; before it, it has a size and draws nothing. */
const HAVE_CURRENT_DATA = 2;
/** What a canvas can encode, the quickest first. */
const FORMS = [
  { codec: "jpeg", kind: KIND.JPEG, type: "image/jpeg" },
  { codec: "webp", kind: KIND.WEBP, type: "image/webp" },
  { codec: "png", kind: KIND.PNG, type: "image/png" },
] as const;
const WORKER = `
const canvas = new OffscreenCanvas(1, 1), pen = canvas.getContext("2d", { alpha: false });
onmessage = async ({ data: { bitmap, type, quality } }) => {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  pen.drawImage(bitmap, 0, 0);
  const payload = await (await canvas.convertToBlob({ type, quality })).arrayBuffer();
  postMessage({ payload, bitmap }, [payload, bitmap]);
};`;

export type Drawable = HTMLVideoElement | HTMLCanvasElement | OffscreenCanvas | ImageBitmap | VideoFrame;

/** A picture as it was sent, to be drawn until the next one is taken. */
export type Shown = HTMLCanvasElement | ImageBitmap;

export interface Encoded {
  readonly kind: number;
  readonly payload: Uint8Array;
  readonly shown: Shown;
}

export interface Easel {
  /** Draw so that the longer edge is at most maxEdge. False where there is no picture yet. */
  draw(what: Drawable, maxEdge: number): boolean;
  /** What was drawn, as one of the codecs; one at a time. Throws Unsupported where there is none in common. */
  encode(codecs: VideoFormat["codecs"]): Promise<Encoded>;
  close(): void;
}

export function makeEasel(): Easel {
  return typeof OffscreenCanvas === "undefined" ? new PageEasel() : new WorkerEasel();
}

class WorkerEasel implements Easel {
  private readonly canvas = new OffscreenCanvas(1, 1);
  private readonly pen = penOf(this.canvas);
  private readonly worker: Worker;
  private shown: ImageBitmap | null = null;

  constructor() {
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(url);
    URL.revokeObjectURL(url);
  }

  draw(what: Drawable, maxEdge: number): boolean {
    return drawn(this.canvas, this.pen, what, maxEdge);
  }

  async encode(codecs: VideoFormat["codecs"]): Promise<Encoded> {
    const { kind, type } = formOf(codecs);
    const bitmap = this.canvas.transferToImageBitmap();
    const { data } = await new Promise<MessageEvent<{ payload: ArrayBuffer; bitmap: ImageBitmap }>>((done, failed) => {
      this.worker.onmessage = done;
      this.worker.onerror = ({ message }) => failed(new Unsupported(message || "the pictures cannot be encoded in a worker"));
      this.worker.postMessage({ bitmap, type, quality: QUALITY }, [bitmap]);
    });
    this.shown?.close();
    this.shown = data.bitmap;
    return { kind, payload: new Uint8Array(data.payload), shown: data.bitmap };
  }

  close(): void {
    this.worker.terminate();
    this.shown?.close();
  }
}

class PageEasel implements Easel {
  private readonly canvas = document.createElement("canvas");
  private readonly pen = penOf(this.canvas);

  draw(what: Drawable, maxEdge: number): boolean {
    return drawn(this.canvas, this.pen, what, maxEdge);
  }

  async encode(codecs: VideoFormat["codecs"]): Promise<Encoded> {
    const { kind, type } = formOf(codecs);
    const blob = await new Promise<Blob | null>((done) => this.canvas.toBlob(done, type, QUALITY));
    if (!blob) throw new Unsupported("the canvas gave no picture");
    return { kind, payload: new Uint8Array(await blob.arrayBuffer()), shown: this.canvas };
  }

  close(): void {}
}

/** A size with the same shape whose longer edge is at most maxEdge. */
export function fitted(width: number, height: number, maxEdge: number): { width: number; height: number } {
  const scale = Math.min(1, maxEdge / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

function penOf(canvas: HTMLCanvasElement | OffscreenCanvas): CanvasDrawImage {
  const pen = canvas.getContext("2d", { alpha: false }) as CanvasDrawImage | null;
  if (!pen) throw new Unsupported("this browser gives no canvas");
  return pen;
}

function drawn(canvas: HTMLCanvasElement | OffscreenCanvas, pen: CanvasDrawImage, what: Drawable, maxEdge: number): boolean {
  const { width, height } = sizeOf(what);
  if (!width || !height || ("readyState" in what && what.readyState < HAVE_CURRENT_DATA)) return false;
  const size = fitted(width, height, maxEdge);
  if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
  pen.drawImage(what, 0, 0, size.width, size.height);
  return true;
}

function sizeOf(what: Drawable): { width: number; height: number } {
  if ("videoWidth" in what) return { width: what.videoWidth, height: what.videoHeight };
  if ("displayWidth" in what) return { width: what.displayWidth, height: what.displayHeight };
  return what;
}

function formOf(codecs: VideoFormat["codecs"]): (typeof FORMS)[number] {
  const form = FORMS.find(({ codec }) => codecs.includes(codec));
  if (!form) throw new Unsupported(`the server takes ${codecs.join(", ")}; a canvas makes none of them`);
  return form;
}
