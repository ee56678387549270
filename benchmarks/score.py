"""`python -m benchmarks.score`: the real-time factor of making music live, part by part and of the whole
stream.

Real-time factor: seconds of compute for a second of music. A part's factor is its median time, times how
often a second of music calls for it by the policy that the model's makers recommend. Beside a model with
EnCodec stands MusicGen of the same geometry.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EncodecConfig, EncodecModel

from benchmarks import report
from benchmarks.asked import add_name_option, add_patience_option, duration, positive
from benchmarks.models import add_effort_option, add_model_options, model_folder
from benchmarks.step import Theirs, engine_steps, measure
from cuestream import measuring
from cuestream.cases import Case
from cuestream.gpu.musicgen import Musicgen
from engine import codec
from engine.backends.base import Backend
from engine.backends.manifest import Manifest
from engine.backends.native import on_cpu
from engine.library import recommended
from engine.segments import context_steps
from engine.sight import window_slots
from engine.spec import CodecSpec, ModelSpec, StreamPolicy
from engine.stream import ScoreStream
from training.shell import in_one_line

MUSICGEN_PIECE_S = 10
"""MusicGen decodes a whole piece at once; EnCodec's time grows with its length."""
FRAME_STEPS = 2
"""A video of 25 frames a second shows a frame each second step."""
WARM_UP_STEPS = 50
CODEC_PART = "codec, chunks of "

COLUMNS = {
    "part": "part",
    "best_ms": "best ms",
    "p50_ms": "p50 ms",
    "p99_ms": "p99",
    "each_second": "times a second",
    "real_time_factor": "RTF",
    "others_cores": "others",
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a second of live music calls for each part, while the picture moves all the time."""

    encoded: float
    """Frames encoded, looked at, fused and written."""
    remembered: float
    """Frames that enter long-term memory; fewer as the stream grows old."""
    refreshed: float
    """Held frames fused and written again, after each change of the memory."""

    @classmethod
    def of(cls, spec: ModelSpec, policy: StreamPolicy) -> Rates:
        slots = spec.long_short.frame_rate
        a_slot = math.ceil(spec.steps_per_slot / policy.encode_every_steps) if policy.open_slot else 1
        refreshed = min(window_slots(spec, policy), spec.steps_per_slot // policy.refresh_every_steps)
        return cls(a_slot * slots, slots, refreshed * slots)


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    call: Callable[[int], object]
    each_second: float


def parts(backend: Backend[Any, Any], policy: StreamPolicy, room: int) -> Iterator[Part]:
    """What a stream asks of its backend, in the order of a step. A step may be called `room` times."""
    spec, rates = backend.spec, Rates.of(backend.spec, policy)
    frames = window_slots(spec, policy)
    random = np.random.default_rng(0)
    picture = np.zeros((1, spec.vision.image_size, spec.vision.image_size, spec.vision.planes), np.uint8)
    picture[..., :3] = moving_picture(spec.vision.image_size, 0)
    features = backend.encode_frames(picture)
    short, memory = backend.look(features), np.repeat(backend.remember(features), policy.recalled, axis=0)
    memory += random.random(memory.shape, np.float32) / 10
    condition = backend.new_condition(frames)
    tokens = backend.fuse(short, memory)
    written = rates.encoded + rates.refreshed

    yield Part("encode a frame (CLIP)", lambda _: backend.encode_frames(picture), rates.encoded)
    yield Part("look at it (short-term branch)", lambda _: backend.look(features), rates.encoded)
    yield Part("remember it (long-term branch)", lambda _: backend.remember(features), rates.remembered)
    yield Part("fuse it, or a held frame again", lambda _: backend.fuse(short, memory), written)
    yield Part("project and write it", lambda _: backend.write_condition(condition, 0, tokens), written)
    yield Part(
        "decoder step, two segments", engine_steps(backend, live_case(spec, policy), room), spec.code_rate
    )
    for chunk in sorted({policy.chunk_steps, 5, 25}):
        yield Part(f"{CODEC_PART}{chunk}", decoding(backend, chunk), spec.code_rate / chunk)


def live_case(spec: ModelSpec, policy: StreamPolicy) -> Case:
    """The mean step of a stream past its first seconds: two segments, together as long as one can be."""
    context, length = context_steps(spec, policy), spec.trained_steps
    segments = 2 if context else 1
    return Case(policy.guided, length // 2, window_slots(spec, policy), segments)


def decoding(backend: Backend[Any, Any], chunk: int) -> Callable[[int], object]:
    """A codec that gets `chunk` further code frames at each call."""
    decoder, spec = backend.spec.decoder, backend.spec.codec
    assert spec is not None
    codes = np.random.default_rng(0).integers(0, decoder.card, (decoder.codebooks, chunk))
    state = codec.start(spec, decoder.codebooks)

    def decode(_: int) -> None:
        nonlocal state
        state = codec.decode(backend, spec, state, codes)[1]

    return decode


def part_rows(backend: Backend[Any, Any], policy: StreamPolicy, options: argparse.Namespace) -> Iterator[Row]:
    for part in parts(backend, policy, measuring.ATTEMPTS * (options.repeats + measuring.WARM_UP)):

        def attempt(call: Callable[[int], object] = part.call) -> measuring.Timing:
            return measuring.measure(call, options.repeats)

        timing = measuring.measure_quietly(attempt, options.patience)
        yield _row(part.name, timing, part.each_second)


def _row(name: str, timing: measuring.Timing, each_second: float) -> Row:
    factor = round(timing.median_s * each_second, 4)
    print(f"{name}: {timing.ms(50):.2f} ms, others {timing.others:.2f} cores", flush=True)
    return {"part": name, **timing.row(), "each_second": each_second, "real_time_factor": factor}


def live_sum(rows: list[Row], policy: StreamPolicy) -> Row:
    """All parts, with the codec in chunks of the policy's length."""
    used = [
        r
        for r in rows
        if not r["part"].startswith(CODEC_PART) or r["part"] == f"{CODEC_PART}{policy.chunk_steps}"
    ]
    return {
        "part": "sum of the parts, as they are used live",
        "real_time_factor": round(sum(row["real_time_factor"] for row in used), 3),
    }


def whole_pipeline(backend: Backend[Any, Any], policy: StreamPolicy, music_s: float) -> Iterator[Row]:
    """A real `ScoreStream`, shown 25 frames a second: one row while one segment plays, one while two do.

    The times are of a chunk: what happens between one chunk of audio and the next.
    """
    stream = ScoreStream(backend, policy)
    side, rate = backend.spec.vision.image_size, backend.spec.code_rate
    pictures = [moving_picture(side, shift) for shift in range(side)]
    chunks: dict[int, list[float]] = {1: [], 2: []}
    chunk_s = policy.chunk_steps / rate
    usage = measuring.Usage.now()
    began = time.perf_counter()
    for step in range(round(music_s * rate)):
        if step % FRAME_STEPS == 0:
            stream.push(pictures[step // FRAME_STEPS % side])
        stream.advance()
        if stream.take() is not None:
            ended = time.perf_counter()
            if step > WARM_UP_STEPS:
                chunks[2 if stream.segments.following else 1].append(ended - began)
            began = ended
    others = usage.others_until(measuring.Usage.now())
    for segments, seconds in chunks.items():
        if seconds:
            timing = measuring.Timing(tuple(seconds), others, os.getloadavg()[0])
            name = f"whole stream, {segments} segment{'s' * (segments > 1)}, a chunk of {policy.chunk_steps}"
            factor = {"real_time_factor": round(float(np.mean(seconds)) / chunk_s, 3)}
            yield {**_row(name, timing, 1 / chunk_s), **factor, "counts": dict(stream.sight.counts)}


def moving_picture(side: int, shift: int) -> NDArray[np.uint8]:
    """Bars that walk a pixel a frame: never the same picture, never a cut. [S, S, 3]"""
    wave = 127 + 100 * np.sin((np.arange(side) + shift) * (2 * np.pi * 2 / side))
    return np.broadcast_to(wave[None, :, None], (side, side, 3)).astype(np.uint8)


def musicgen_rows(spec: ModelSpec, policy: StreamPolicy, options: argparse.Namespace) -> Iterator[Row]:
    """MusicGen on the same condition: it has one segment, and decodes its audio when a piece is complete."""
    case = replace(live_case(spec, policy), segments=1)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        way, timing = measure(Theirs(Musicgen(spec, dtype)), case, options.repeats, options.patience)
        yield _row(f"MusicGen {name} step, one segment ({way})", timing, spec.code_rate)
        gc.collect()
    assert isinstance(spec.codec, CodecSpec)
    decode = _encodec(spec.codec, spec.decoder.codebooks, MUSICGEN_PIECE_S * spec.code_rate)
    timing = measuring.measure_quietly(lambda: measuring.measure(decode, 4, 1), options.patience)
    yield _row(f"transformers EnCodec, {MUSICGEN_PIECE_S} s at once", timing, 1 / MUSICGEN_PIECE_S)


def musicgen_sum(rows: list[Row]) -> Row:
    """Its better precision and EnCodec."""
    step = min(row["real_time_factor"] for row in rows if "step" in row["part"])
    return {
        "part": "MusicGen, better precision, and EnCodec",
        "real_time_factor": round(step + rows[-1]["real_time_factor"], 3),
    }


def _encodec(spec: CodecSpec, codebooks: int, frames: int) -> Callable[[int], object]:
    config = EncodecConfig(
        target_bandwidths=[codebooks * math.log2(spec.codebook_size) * spec.sample_rate / spec.hop / 1000],
        sampling_rate=spec.sample_rate,
        hidden_size=spec.codebook_dim,
        codebook_dim=spec.codebook_dim,
        codebook_size=spec.codebook_size,
        num_filters=spec.filters,
        upsampling_ratios=list(spec.ratios),
        kernel_size=spec.kernel,
        last_kernel_size=spec.last_kernel,
        residual_kernel_size=spec.residual_kernel,
        num_residual_layers=spec.residual_layers,
        dilation_growth_rate=spec.dilation_growth,
        compress=spec.compress,
        num_lstm_layers=spec.lstm_layers,
        use_conv_shortcut=spec.conv_shortcut,
        use_causal_conv=False,
    )
    model: Any = EncodecModel(config)
    model.eval()
    codes = torch.randint(spec.codebook_size, (1, 1, codebooks, frames))

    @torch.inference_mode()
    def decode(_: int) -> None:
        model.decode(codes, [None])

    return decode


@in_one_line()
def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    folder = model_folder(options)
    backend = on_cpu(folder, options.threads)
    spec, policy = backend.spec, recommended(folder, backend.spec).at_effort(options.effort)
    rows = list(part_rows(backend, policy, options))
    rows.append(live_sum(rows, policy))
    measuring.wait_for_quiet(options.patience)
    rows += whole_pipeline(backend, policy, options.music_s)
    del backend
    gc.collect()
    if isinstance(spec.codec, CodecSpec):
        theirs = list(musicgen_rows(spec, policy, options))
        rows += [*theirs, musicgen_sum(theirs)]
    report.print_table(f"Live score: {spec.name}, {options.threads} threads", COLUMNS, rows)
    facts = {"model": spec.name, "threads": options.threads, "policy": asdict(policy)}
    light = options.effort.removeprefix("full")
    path = report.result_path(options.name, report.result_name("score", Manifest.read(folder), light))
    report.write(path, rows, facts)
    print(f"wrote {path}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score", description=__doc__)
    add_model_options(parser)
    add_effort_option(parser)
    parser.add_argument("--repeats", type=positive, default=30)
    parser.add_argument(
        "--music-s", type=duration, default=20, help="seconds of the stream; at 15 a second segment plays"
    )
    add_patience_option(parser, 20)
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
