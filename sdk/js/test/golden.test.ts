// This client, the Python client and the server mean the same bytes: the golden vectors hold for it as they do for them.

import { describe, expect, test } from "vitest";
import controlVectors from "../../../docs/golden/control.json";
import invalidVectors from "../../../docs/golden/invalid.json";
import mediaVectors from "../../../docs/golden/media.json";
import { decodeServer, encode } from "../src/control.js";
import { ProtocolError } from "../src/errors.js";
import { decodeMedia, encodeMedia, MEDIA_LIMITS, type Media, type MediaLimits } from "../src/media.js";
import { FLAG, KIND, STREAM, type ClientMessage } from "../src/protocol.js";

interface Vector {
  name: string;
  direction: string;
  text?: string;
  hex?: string;
  value?: Record<string, unknown> | null;
  canonical?: boolean;
  ignored?: string[];
  error?: string;
  limits?: { image_bytes?: number; audio_bytes?: number; ext_bytes?: number; raw_video?: boolean };
}

const control = controlVectors as unknown as Vector[];
const invalid = invalidVectors as unknown as Vector[];
const media = mediaVectors as unknown as Vector[];

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function hexOf(raw: Uint8Array): string {
  return Array.from(raw, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function limits(given: Vector["limits"] = {}): MediaLimits {
  return {
    imageBytes: given.image_bytes ?? MEDIA_LIMITS.imageBytes,
    audioBytes: given.audio_bytes ?? MEDIA_LIMITS.audioBytes,
    extBytes: given.ext_bytes ?? MEDIA_LIMITS.extBytes,
    rawVideo: given.raw_video ?? false,
  };
}

function nameOf(table: Record<string, number>, value: number): string {
  return Object.entries(table).find(([, number]) => number === value)![0].toLowerCase();
}

function fieldsOf(media: Media): Record<string, unknown> {
  const { source, size } = media;
  return {
    kind: nameOf(KIND, media.kind),
    flags: Object.entries(FLAG).flatMap(([name, bit]) => (media.flags & bit ? [name.toLowerCase()] : [])),
    stream: nameOf(STREAM, media.stream),
    seq: media.seq,
    ts: media.ts,
    window: media.window,
    dur: media.dur,
    source: source && {
      newest_us: source.newestUs,
      newest_step: source.newestStep,
      age_steps: source.ageSteps,
      seed: source.seed,
      revision: source.revision,
    },
    size,
    payload: hexOf(media.payload),
  };
}

function codeOf(decode: () => unknown): string {
  try {
    decode();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return "taken";
}

describe("control messages from the server", () => {
  test.each(control.filter(({ direction }) => direction === "server"))("$name", (vector) => {
    const message = decodeServer(vector.text!);
    if (vector.value === null) return expect(message).toBeNull();
    expect(vector.ignored!.length ? { ...message, ...vector.value } : message).toMatchObject(vector.value!);
  });
});

describe("control messages to the server", () => {
  const canonical = control.filter(({ direction, canonical }) => direction === "client" && canonical);
  test.each(canonical)("$name", (vector) => {
    const message = JSON.parse(vector.text!) as ClientMessage;
    expect(JSON.parse(encode(message))).toEqual(vector.value);
  });
});

describe("media", () => {
  test.each(media)("$name", (vector) => {
    const raw = bytes(vector.hex!);
    const read = decodeMedia(raw, limits(vector.limits));
    if (vector.value === null) return expect(read).toBeNull();
    expect(fieldsOf(read!)).toEqual(vector.value);
    expect(hexOf(encodeMedia(read!)) === vector.hex).toBe(vector.canonical);
  });
});

describe("what breaks the protocol is refused with the same code", () => {
  test.each(invalid.filter(({ hex }) => hex !== undefined))("media: $name", ({ hex, error, limits: given }) => {
    expect(codeOf(() => decodeMedia(bytes(hex!), limits(given)))).toBe(error);
  });
  // Fields of the client's messages are the server's to check; a name that comes twice is gone when JSON.parse returns.
  const ofTheServer = invalid.filter(({ error }) => error === "bad_request").slice(3);
  const notHere = new Set([...ofTheServer.map(({ name }) => name), "same_name_twice", "too_long"]);
  test.each(invalid.filter(({ name, text }) => text !== undefined && !notHere.has(name)))("text: $name", ({ text, error }) => {
    expect(codeOf(() => decodeServer(text!))).toBe(error);
  });
  test("text: too_long", () => {
    expect(codeOf(() => decodeServer(`{"type":"${"x".repeat(1 << 16)}"}`))).toBe("message_too_large");
  });
});
