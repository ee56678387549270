// Control messages as text: I-JSON (RFC 7493), one object with a `type`. Unknown types are null, unknown fields are left alone.
// Ranges of fields are the server's affair: it checks what it is sent, and what it sends is made from the same structs as the types.

import { ProtocolError } from "./errors.js";
import { SAFE_INTEGER, type ClientMessage, type ServerMessage } from "./protocol.js";

const TEXT_BYTES = 1 << 16;
const DEPTH = 16;
const HALF_SURROGATE = /[\uD800-\uDFFF]/u; // of whole pairs this makes one character

const TYPES: Record<ServerMessage["type"], true> = {
  "session.created": true,
  "session.resumed": true,
  "session.updated": true,
  "session.ended": true,
  state: true,
  "scene.cut": true,
  "memory.state": true,
  latency: true,
  "resume.handle": true,
  "recording.state": true,
  "video.request": true,
  go_away: true,
  warning: true,
  error: true,
  pong: true,
};
const KNOWN: ReadonlySet<string> = new Set(Object.keys(TYPES));

export function encode(message: ClientMessage): string {
  return JSON.stringify(message);
}

/** What a server sent, null when its type is unknown. Throws ProtocolError. */
export function decodeServer(text: string): ServerMessage | null {
  const tree = parse(text);
  if (!isObject(tree) || typeof tree.type !== "string") {
    throw new ProtocolError("bad_request", "a message is a JSON object with a `type`, a string");
  }
  return KNOWN.has(tree.type) ? (tree as unknown as ServerMessage) : null;
}

function parse(text: string): unknown {
  if (text.length > TEXT_BYTES) {
    throw new ProtocolError("message_too_large", `a text message has at most ${TEXT_BYTES} bytes`);
  }
  let tree: unknown;
  try {
    tree = JSON.parse(text);
  } catch (error) {
    refuse((error as Error).message);
  }
  check(tree, DEPTH);
  return tree;
}

/** What JSON.parse takes and I-JSON does not. Names that come twice are gone by now. */
function check(value: unknown, depth: number): void {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) refuse("a number that no double holds");
    if (Number.isInteger(value) && Math.abs(value) > SAFE_INTEGER) refuse("an integer beyond 2**53 - 1");
  } else if (typeof value === "string") {
    if (HALF_SURROGATE.test(value)) refuse("half of a surrogate pair");
  } else if (typeof value === "object" && value !== null) {
    if (!depth) refuse(`objects and arrays inside each other more than ${DEPTH} deep`);
    for (const part of Object.values(value)) check(part, depth - 1);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(text: string): never {
  throw new ProtocolError("invalid_json", text);
}
