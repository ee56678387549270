// Binary messages of cuestream.v1, as docs/protocol.md lays them out: a header of 24 bytes, extensions, a payload.

const HEADER = 24;
export const JPEG = 0x01;
export const PCM_S16 = 0x10;
export const FLAGS = { discontinuity: 2, concealed: 4, end: 8, crossfade: 16 };
const VIDEO = 0, MUSIC = 2, SOURCE = 1;

/** A picture. atUs: capture time, whole microseconds. */
export function picture(kind, seq, atUs, payload) {
  const message = new Uint8Array(HEADER + payload.byteLength);
  const view = new DataView(message.buffer);
  view.setUint8(0, kind);
  view.setUint16(2, VIDEO, true);
  view.setUint32(4, seq >>> 0, true);
  view.setUint32(8, atUs % 2 ** 32, true);
  view.setUint32(12, Math.floor(atUs / 2 ** 32), true);
  message.set(new Uint8Array(payload), HEADER);
  return message;
}

/** Music, or null for what this page does not know. samples: Int16Array, interleaved, laid over the message. */
export function music(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER || view.getUint8(0) !== PCM_S16 || view.getUint16(2, true) !== MUSIC) return null;
  const extensions = view.getUint16(22, true);
  return {
    flags: view.getUint8(1),
    first: view.getUint32(8, true) + 2 ** 32 * view.getUint32(12, true),
    count: view.getUint16(20, true),
    source: source(view, HEADER + extensions),
    samples: new Int16Array(buffer, HEADER + extensions),
  };
}

function source(view, end) {
  for (let at = HEADER; at < end; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) === SOURCE) {
      return {
        newestUs: view.getUint32(at + 4, true) + 2 ** 32 * view.getUint32(at + 8, true),
        revision: view.getUint32(at + 28, true),
      };
    }
  }
  return null;
}
