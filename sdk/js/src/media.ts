// Binary messages of cuestream.v1, as docs/protocol.md lays them out: a header of 24 bytes, extensions, a payload.
// Unknown kinds and streams are null, unknown extensions and flags are skipped.

import { ProtocolError } from "./errors.js";
import {
  EXTENSION,
  FLAG,
  HEADER_BYTES,
  HEADER_OFFSETS,
  KIND,
  SAFE_INTEGER,
  SIZE_BYTES,
  SIZE_OFFSETS,
  SOURCE_BYTES,
  SOURCE_OFFSETS,
  STREAM,
} from "./protocol.js";

/** What made a stretch of music: the newest picture that it knew (capture time, and as a step), how many steps old that is at the
 * end of the stretch, the seed, the revision of the configuration. */
export interface Source {
  readonly newestUs: number;
  readonly newestStep: number;
  readonly ageSteps: number;
  readonly seed: number;
  readonly revision: number;
}

/** Of a raw picture, pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** One binary message. ts: capture time in microseconds of a picture, index of the first sample of sound. */
export interface Media {
  readonly kind: number;
  readonly flags: number;
  readonly stream: number;
  readonly seq: number;
  readonly ts: number;
  readonly window: number;
  readonly dur: number;
  readonly source: Source | null;
  readonly size: Size | null;
  readonly payload: Uint8Array;
}

/** Bytes of one binary message. */
export interface MediaLimits {
  readonly imageBytes: number;
  readonly audioBytes: number;
  readonly extBytes: number;
  readonly rawVideo: boolean;
}

export const MEDIA_LIMITS: MediaLimits = { imageBytes: 1 << 20, audioBytes: 1 << 18, extBytes: 1024, rawVideo: false };

const KINDS = new Set<number>(Object.values(KIND));
const STREAMS = new Set<number>(Object.values(STREAM));
const RAW = new Set<number>([KIND.I420, KIND.RGB24]);
const SAMPLE_BYTES = new Map<number, number>([
  [KIND.PCM_S16, 2],
  [KIND.PCM_F32, 4],
]);
const FIRST_AUDIO = 0x10;
const SHOWN_FLAGS = 31; // all but the one for extensions, which is set by whether there are any
const U32 = 2 ** 32;

export function encodeMedia(media: Media): Uint8Array<ArrayBuffer> {
  const extensions = (media.source ? 4 + SOURCE_BYTES : 0) + (media.size ? 4 + SIZE_BYTES : 0);
  const message = new Uint8Array(HEADER_BYTES + extensions + media.payload.length);
  const view = new DataView(message.buffer);
  view.setUint8(HEADER_OFFSETS.kind, media.kind);
  view.setUint8(HEADER_OFFSETS.flags, media.flags | (extensions ? FLAG.EXTENDED : 0));
  view.setUint16(HEADER_OFFSETS.stream, media.stream, true);
  view.setUint32(HEADER_OFFSETS.seq, media.seq, true);
  setU64(view, HEADER_OFFSETS.ts, media.ts);
  view.setUint32(HEADER_OFFSETS.window, media.window, true);
  view.setUint16(HEADER_OFFSETS.dur, media.dur, true);
  view.setUint16(HEADER_OFFSETS.ext_len, extensions, true);
  let at = HEADER_BYTES;
  if (media.source) at = writeSource(view, at, media.source);
  if (media.size) at = writeSize(view, at, media.size);
  message.set(media.payload, at);
  return message;
}

/** A binary message, null when its kind or stream is unknown. The payload lies in `raw`. Throws ProtocolError. */
export function decodeMedia(raw: Uint8Array, limits: MediaLimits = MEDIA_LIMITS): Media | null {
  if (raw.length > Math.max(limits.imageBytes, limits.audioBytes)) tooLarge(raw.length);
  if (raw.length < HEADER_BYTES) refuse(`a binary message has at least ${HEADER_BYTES} bytes, this one ${raw.length}`);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const kind = view.getUint8(HEADER_OFFSETS.kind);
  const flags = view.getUint8(HEADER_OFFSETS.flags);
  const stream = view.getUint16(HEADER_OFFSETS.stream, true);
  if (!KINDS.has(kind) || !STREAMS.has(stream)) return null;
  const ts = getU64(view, HEADER_OFFSETS.ts);
  checkHeader(kind, stream, ts, raw.length, limits);
  const extensions = view.getUint16(HEADER_OFFSETS.ext_len, true);
  if (extensions > 0 !== (flags & FLAG.EXTENDED) > 0) refuse("the flag for extensions and their length contradict each other");
  const end = HEADER_BYTES + extensions;
  if (extensions > limits.extBytes || extensions % 4 || end > raw.length) {
    refuse(`extensions of ${extensions} bytes: not a multiple of 4, or too long`);
  }
  const found = readExtensions(view, end);
  const media: Media = {
    kind,
    flags: flags & SHOWN_FLAGS,
    stream,
    seq: view.getUint32(HEADER_OFFSETS.seq, true),
    ts,
    window: view.getUint32(HEADER_OFFSETS.window, true),
    dur: view.getUint16(HEADER_OFFSETS.dur, true),
    source: found.has(EXTENSION.SOURCE) ? readSource(found.get(EXTENSION.SOURCE)!) : null,
    size: found.has(EXTENSION.SIZE) ? readSize(found.get(EXTENSION.SIZE)!) : null,
    payload: raw.subarray(end),
  };
  checkPayload(media);
  return media;
}

/** Whether a sequence number comes after another one. Source: RFC 1982, with 32 bits. */
export function newer(seq: number, than: number): boolean {
  const ahead = (seq - than) >>> 0;
  return ahead > 0 && ahead < 2 ** 31;
}

function checkHeader(kind: number, stream: number, ts: number, length: number, limits: MediaLimits): void {
  const isAudio = kind >= FIRST_AUDIO;
  if (isAudio !== (stream !== STREAM.VIDEO)) refuse(`kind ${kind} does not travel on stream ${stream}`);
  if (length > (isAudio ? limits.audioBytes : limits.imageBytes)) tooLarge(length);
  if (ts > SAFE_INTEGER) refuse("ts is at most 2**53 - 1");
  if (RAW.has(kind) && !limits.rawVideo) throw new ProtocolError("unsupported_codec", "raw pictures are not taken here");
}

function checkPayload({ kind, flags, dur, size, payload: { length } }: Media): void {
  if (!length) {
    if (!(flags & FLAG.END)) refuse("a message without a payload");
    return;
  }
  const bytes = SAMPLE_BYTES.get(kind);
  if (bytes && length !== dur * bytes && length !== dur * bytes * 2) {
    refuse(`${length} bytes are not ${dur} samples of one or two channels`);
  }
  if (RAW.has(kind) && (!size || rawBytes(kind, size) !== length)) refuse(`${length} bytes are not a raw picture of its size`);
}

/** Length of a raw picture, -1 when there is none of that size. */
function rawBytes(kind: number, { width, height }: Size): number {
  if (kind === KIND.RGB24) return width * height * 3;
  return width % 2 || height % 2 ? -1 : (width * height * 3) / 2;
}

function readExtensions(view: DataView, end: number): Map<number, DataView> {
  const found = new Map<number, DataView>();
  for (let at = HEADER_BYTES; at < end; ) {
    const type = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    at += 4;
    if (length % 4 || at + length > end) refuse(`extension ${type} has a length of ${length}`);
    if (found.has(type)) refuse(`extension ${type} stands there twice`);
    found.set(type, new DataView(view.buffer, view.byteOffset + at, length));
    at += length;
  }
  return found;
}

function readSource(value: DataView): Source {
  if (value.byteLength < SOURCE_BYTES) refuse(`a source extension has at least ${SOURCE_BYTES} bytes`);
  const source = {
    newestUs: getU64(value, SOURCE_OFFSETS.newest_us),
    newestStep: value.getUint32(SOURCE_OFFSETS.newest_step, true),
    ageSteps: value.getUint32(SOURCE_OFFSETS.age_steps, true),
    seed: getU64(value, SOURCE_OFFSETS.seed),
    revision: value.getUint32(SOURCE_OFFSETS.revision, true),
  };
  if (Math.max(source.newestUs, source.seed) > SAFE_INTEGER) refuse("newest_us and seed are at most 2**53 - 1");
  return source;
}

function readSize(value: DataView): Size {
  if (value.byteLength < SIZE_BYTES) refuse(`a size extension has at least ${SIZE_BYTES} bytes`);
  return { width: value.getUint16(SIZE_OFFSETS.width, true), height: value.getUint16(SIZE_OFFSETS.height, true) };
}

function writeSource(view: DataView, at: number, source: Source): number {
  view.setUint16(at, EXTENSION.SOURCE, true);
  view.setUint16(at + 2, SOURCE_BYTES, true);
  const value = new DataView(view.buffer, at + 4, SOURCE_BYTES);
  setU64(value, SOURCE_OFFSETS.newest_us, source.newestUs);
  value.setUint32(SOURCE_OFFSETS.newest_step, source.newestStep, true);
  value.setUint32(SOURCE_OFFSETS.age_steps, source.ageSteps, true);
  setU64(value, SOURCE_OFFSETS.seed, source.seed);
  value.setUint32(SOURCE_OFFSETS.revision, source.revision, true);
  return at + 4 + SOURCE_BYTES;
}

function writeSize(view: DataView, at: number, size: Size): number {
  view.setUint16(at, EXTENSION.SIZE, true);
  view.setUint16(at + 2, SIZE_BYTES, true);
  view.setUint16(at + 4 + SIZE_OFFSETS.width, size.width, true);
  view.setUint16(at + 4 + SIZE_OFFSETS.height, size.height, true);
  return at + 4 + SIZE_BYTES;
}

/** Beyond 2**53 it is only about right, which is enough to refuse it. */
function getU64(view: DataView, at: number): number {
  return view.getUint32(at, true) + U32 * view.getUint32(at + 4, true);
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % U32, true);
  view.setUint32(at + 4, Math.floor(value / U32), true);
}

function refuse(text: string): never {
  throw new ProtocolError("invalid_media", text);
}

function tooLarge(bytes: number): never {
  throw new ProtocolError("message_too_large", `a binary message of ${bytes} bytes`);
}
