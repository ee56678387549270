// A picture, made small and encoded: drawn on a canvas no larger than the server looks at, then JPEG or what else it takes.

import { Unsupported } from "./errors.js";
import { KIND, type VideoFormat } from "./protocol.js";

const QUALITY = 0.8;
/** What a canvas can encode, the quickest first. */
const FORMS = [
  { codec: "jpeg", kind: KIND.JPEG, mime: "image/jpeg" },
  { codec: "webp", kind: KIND.WEBP, mime: "image/webp" },
  { codec: "png", kind: KIND.PNG, mime: "image/png" },
] as const;

export type Drawable = HTMLVideoElement | HTMLCanvasElement | OffscreenCanvas | ImageBitmap | VideoFrame;
export type Canvas = OffscreenCanvas | HTMLCanvasElement;

export class Easel {
  readonly canvas: Canvas = typeof OffscreenCanvas === "undefined" ? document.createElement("canvas") : new OffscreenCanvas(1, 1);
  private readonly pen: CanvasDrawImage;

  constructor() {
    const pen = this.canvas.getContext("2d", { alpha: false }) as CanvasDrawImage | null;
    if (!pen) throw new Unsupported("this browser gives no canvas");
    this.pen = pen;
  }

  /** Draw so that the longer edge is at most maxEdge. False where there is no picture yet. */
  draw(what: Drawable, maxEdge: number): boolean {
    const { width, height } = sizeOf(what);
    if (!width || !height) return false;
    const size = fitted(width, height, maxEdge);
    if (this.canvas.width !== size.width || this.canvas.height !== size.height) Object.assign(this.canvas, size);
    this.pen.drawImage(what, 0, 0, size.width, size.height);
    return true;
  }

  /** What was drawn, as one of the codecs. Throws Unsupported where there is none in common. */
  async encode(codecs: VideoFormat["codecs"]): Promise<{ kind: number; payload: Uint8Array }> {
    const form = FORMS.find(({ codec }) => codecs.includes(codec));
    if (!form) throw new Unsupported(`the server takes ${codecs.join(", ")}; a canvas makes none of them`);
    const blob = await toBlob(this.canvas, form.mime);
    return { kind: form.kind, payload: new Uint8Array(await blob.arrayBuffer()) };
  }
}

/** A size with the same shape whose longer edge is at most maxEdge. */
export function fitted(width: number, height: number, maxEdge: number): { width: number; height: number } {
  const scale = Math.min(1, maxEdge / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

function sizeOf(what: Drawable): { width: number; height: number } {
  if ("videoWidth" in what) return { width: what.videoWidth, height: what.videoHeight };
  if ("displayWidth" in what) return { width: what.displayWidth, height: what.displayHeight };
  return what;
}

function toBlob(canvas: Canvas, type: string): Promise<Blob> {
  if ("convertToBlob" in canvas) return canvas.convertToBlob({ type, quality: QUALITY });
  return new Promise((done, failed) =>
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Unsupported("the canvas gave no picture"))), type, QUALITY),
  );
}
