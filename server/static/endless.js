// Endless sound by HTTP into a MusicPlayer, which holds back a third of a second and follows the server's clock.

import { Refused } from "./cuestream.js";

const HEAD_BYTES = 44, FRAME_BYTES = 4; // of WAV with two channels of 16 bits
const RATE = 48_000, CHANNELS = 2, FULL_SCALE = 32_768;
/** The server hands on blocks of 0.1 s. */
export const COMFORT = { targetS: 0.3, leastS: 0.2 };

/** Until it ends. session: counts the sounds that one player plays. begun: called when the first bytes are there. Throws Refused. */
export async function hearEndless(url, player, session, begun) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Refused(answer.status, (await answer.text()).split("\n", 1)[0]);
  begun();
  player.expect(true);
  let first = 0;
  for await (const samples of frames(answer.body.getReader())) {
    const end = first + samples.length / CHANNELS;
    player.play({ session, first, end, rate: RATE, channels: CHANNELS, samples, source: null, window: 0, crossfade: false, concealed: false });
    first = end;
  }
  player.expect(false);
}

/** Whole frames as float32, interleaved, however the bytes come. */
async function* frames(reader) {
  let left = new Uint8Array(0), skip = HEAD_BYTES;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const bytes = new Uint8Array(left.length + value.length);
    bytes.set(left);
    bytes.set(value, left.length);
    const from = Math.min(skip, bytes.length), whole = from + (bytes.length - from) - ((bytes.length - from) % FRAME_BYTES);
    skip -= from;
    left = bytes.slice(whole);
    if (whole > from) yield Float32Array.from(new Int16Array(bytes.slice(from, whole).buffer), (value) => value / FULL_SCALE);
  }
}
