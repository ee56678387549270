// Music as it arrives: messages to chunks of samples, each index once and in order.
//
// An index names one moment of the music. After a resume the server may begin before what was received already: the overlap is cut
// off, so no sample comes twice. Where it begins later, the gap is counted and seen in the index of the next chunk.

import { ProtocolError } from "./errors.js";
import { newer, type Media, type Source } from "./media.js";
import { FLAG, KIND, STREAM, type AudioFormat } from "./protocol.js";

/** A stretch of music. session: 1, 2, ...; another number is a new session, whose indices begin again. first, end: indices of its
 * first sample and one after its last. samples: interleaved, full scale 1, its own. source: what made it, null when unknown.
 * crossfade: the server faded from what was heard before. concealed: it was looped because the music was late. */
export interface Chunk {
  readonly session: number;
  readonly first: number;
  readonly end: number;
  readonly rate: number;
  readonly channels: number;
  readonly samples: Float32Array<ArrayBuffer>;
  readonly source: Source | null;
  readonly window: number;
  readonly crossfade: boolean;
  readonly concealed: boolean;
}

/** The music of one session over all its connections. receivedThrough: one after the last sample received. */
export class Music {
  staleMessages = 0;
  repeatedSamples = 0;
  skippedSamples = 0;
  concealedSamples = 0;
  ended = false;
  private source: Source | null = null;
  private seq: number | null = null;

  constructor(
    readonly session: number,
    readonly audio: AudioFormat,
    public receivedThrough = 0,
  ) {}

  /** The next message may have any sequence number. */
  reconnected(): void {
    this.seq = null;
  }

  /** What is new in a message, null when nothing is. Throws ProtocolError, also when it is not PCM: nothing else is decoded here. */
  add(media: Media): Chunk | null {
    if (media.stream !== STREAM.MUSIC) throw new ProtocolError("invalid_media", `stream ${media.stream} goes the other way`);
    if (this.seq !== null && !newer(media.seq, this.seq)) {
      this.staleMessages += 1;
      return null;
    }
    this.seq = media.seq;
    this.source = media.source ?? this.source;
    this.ended ||= (media.flags & FLAG.END) > 0;
    return media.payload.length ? this.place(media) : null;
  }

  private place(media: Media): Chunk | null {
    const { channels } = this.audio;
    const known = Math.max(0, this.receivedThrough - media.ts);
    this.repeatedSamples += Math.min(known, media.dur);
    if (known >= media.dur) return null;
    const samples = toFloats(media, channels);
    const first = media.ts + known;
    const concealed = (media.flags & FLAG.CONCEALED) > 0;
    this.skippedSamples += first - this.receivedThrough;
    this.receivedThrough = media.ts + media.dur;
    this.concealedSamples += concealed ? media.dur - known : 0;
    return {
      session: this.session,
      first,
      end: this.receivedThrough,
      rate: this.audio.sample_rate,
      channels,
      samples: known ? samples.slice(known * channels) : samples,
      source: this.source,
      window: media.window,
      crossfade: (media.flags & FLAG.CROSSFADE) > 0,
      concealed,
    };
  }
}

function toFloats({ kind, dur, payload }: Media, channels: number): Float32Array<ArrayBuffer> {
  const count = dur * channels;
  if (kind !== KIND.PCM_S16 && kind !== KIND.PCM_F32) {
    throw new ProtocolError("unsupported_codec", `kind ${kind} was not agreed on`);
  }
  if (payload.length !== count * (kind === KIND.PCM_S16 ? 2 : 4)) {
    throw new ProtocolError("invalid_media", `${payload.length} bytes are not ${dur} samples of ${channels} channels`);
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const samples = new Float32Array(count);
  if (kind === KIND.PCM_S16) for (let i = 0; i < count; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
  else for (let i = 0; i < count; i++) samples[i] = view.getFloat32(4 * i, true);
  return samples;
}
