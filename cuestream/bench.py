"""`cuestream bench cpu`: where the time of a live stream goes on this machine, and the roof above its steps.

A seeded video is shown to a stream that plays as fast as it can. Each verb of its backend is timed where it is called; what is
left of the stream's time is our Python: seeing, sampling, cutting audio into chunks. The roof of a step is what the machine's
memory reads in a second over what the step reads: every weight, and as much of the caches as it holds then.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.table import Table

from cuestream.flame import Node
from cuestream.measuring import Bandwidth, Machine, Usage, read_bandwidth
from engine.backends.base import U8, Backend
from engine.backends.native import NativeBackend, on_cpu
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.timed import VERBS, Timed
from engine.errors import CuestreamError
from engine.keys import Keys
from engine.library import recommended
from engine.spec import Effort, StreamPolicy
from engine.stream import ScoreStream
from engine.threads import Threads
from export.imagined import picture, watched
from export.sizes import constant_bytes

WARM_UP_STEPS = 50
LEAST_SHOWN, MOST_OPERATORS = 0.03, 12
"""Parts of a smaller share are not divided when a profile is printed; no more operators of one are listed."""
REST = "all else (Python)"
STEP = "step"


@dataclass(frozen=True, slots=True)
class Part:
    """What one verb took, or what was left. Real-time factor: seconds of compute for a second of music."""

    name: str
    calls_a_second: float
    p50_ms: float
    p99_ms: float
    real_time_factor: float


@dataclass(frozen=True, slots=True)
class Roof:
    """Of the steps with so many segments, at the middle of what they held. of_roof: share of the bandwidth that was used."""

    segments: int
    steps: int
    mb_a_step: float
    weights_mb: float
    self_mb: float
    cross_mb: float
    p50_ms: float
    p99_ms: float
    p99_over_p50: float
    roof_steps_s: float
    of_roof: float


@dataclass(frozen=True, slots=True)
class Bench:
    model: str
    precision: str
    music_s: float
    real_time_factor: float
    p99_over_p50: float
    """Of all decoder steps, across hand-overs."""
    others_cores: float
    parts: list[Part]
    roofs: list[Roof]
    bandwidth: Bandwidth
    machine: Machine
    policy: StreamPolicy
    step_ms: list[float]
    """The trace: each decoder step."""
    segments: list[int]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Held:
    """What a step had to read when it was taken: columns of its segments together, frames of the condition."""

    columns: int
    frames: int


def bench(
    folder: Path,
    music_s: float,
    threads: int | Threads = 0,
    policy: StreamPolicy | None = None,
    paced: bool = False,
    effort: Effort = "full",
    patience_s: float = 30.0,
) -> Bench:
    """Play so many seconds, as fast as it goes or, `paced`, each step when it is due; by default as the model's makers recommend.
    Raises CuestreamError when they are too few to say anything."""
    backend = on_cpu(folder, threads)
    spec = backend.spec
    least_s = 2 * WARM_UP_STEPS / spec.code_rate
    if not least_s <= music_s < math.inf:
        raise CuestreamError(f"expected at least {least_s:g} s of music, found {music_s:g} s")
    steps = round(music_s * spec.code_rate)
    policy = (policy or recommended(folder, spec)).at_effort(effort)
    timed = Timed(backend)
    keys = Keys.load(folder, spec.decoder.codebooks, spec.decoder.card)
    stream = ScoreStream(cast("Backend[Any, Any]", timed), policy, keys=keys)
    weights = weight_bytes(backend, policy.guided)
    bandwidth = read_bandwidth(backend.threads, patience_s=patience_s)
    held, usage, began, aside = list[Held](), Usage.now(), time.perf_counter(), 0.0

    def drawn(*of: int) -> U8:
        nonlocal aside
        before = time.perf_counter()
        shown = picture(*of)
        aside += time.perf_counter() - before
        return shown

    for step in watched(stream, steps, policy.seed, drawn):
        stream.take()
        if step + 1 == WARM_UP_STEPS:
            timed.clear()
            held.clear()
            usage, began, aside = Usage.now(), time.perf_counter(), 0.0
        held.append(_held(stream))
        if paced and step >= WARM_UP_STEPS:
            aside += _sleep_until(began + (step + 1 - WARM_UP_STEPS) / spec.code_rate)
    took = time.perf_counter() - began - aside  # neither drawing the video nor waiting is the stream's work
    held = held[-len(timed.segments) :]
    heard_s = (steps - WARM_UP_STEPS) / spec.code_rate
    step_ms = [seconds * 1e3 for seconds in timed.seconds[STEP]]
    return Bench(
        spec.name,
        backend.manifest.label,
        round(heard_s, 2),
        round(took / heard_s, 4),
        _p99_over_p50(step_ms),
        round(usage.others_until(Usage.now()), 2),
        list(_parts(timed.seconds, took, heard_s)),
        list(_roofs(backend, weights, timed.segments, step_ms, held, policy, bandwidth)),
        bandwidth,
        Machine.this(),
        policy,
        [round(ms, 3) for ms in step_ms],
        timed.segments,
    )


def _sleep_until(due: float) -> float:
    """Seconds that were slept."""
    asleep = time.perf_counter()
    time.sleep(max(0.0, due - asleep))
    return time.perf_counter() - asleep


def _held(stream: ScoreStream) -> Held:
    segments = stream.segments
    active = [s for s in (segments.leading, segments.following) if s]
    return Held(sum(segments.held_positions(s) for s in active), stream.sight.frames)


def _parts(seconds: Mapping[str, Sequence[float]], took_s: float, heard_s: float) -> Iterator[Part]:
    for verb in VERBS:
        if calls := seconds.get(verb):
            p50, p99 = (round(float(np.percentile(calls, p)) * 1e3, 3) for p in (50, 99))
            yield Part(verb, round(len(calls) / heard_s, 2), p50, p99, round(sum(calls) / heard_s, 4))
    rest = took_s - sum(map(sum, seconds.values()))
    yield Part(REST, 0, 0, 0, round(rest / heard_s, 4))


def _roofs(
    backend: OnnxBackend,
    weights_read: int,
    segments: Sequence[int],
    step_ms: Sequence[float],
    held: Sequence[Held],
    policy: StreamPolicy,
    bandwidth: Bandwidth,
) -> Iterator[Roof]:
    manifest, spec = backend.manifest, backend.spec
    numbers = 2 * spec.decoder.layers * spec.decoder.width
    rows = 2 if policy.guided else 1
    weights = weights_read / 1e6
    for count in sorted(set(segments)):
        ms = [t for t, n in zip(step_ms, segments, strict=True) if n == count]
        then = [h for h, n in zip(held, segments, strict=True) if n == count]
        columns, frames = (float(np.mean([getattr(h, part) for h in then])) for part in ("columns", "frames"))
        own = numbers * rows * columns * np.dtype(manifest.cache_dtype).itemsize / 1e6
        cross = numbers * frames * spec.vision.tokens * np.dtype(manifest.condition_dtype).itemsize / 1e6
        read = weights + own + cross
        p50, p99 = (float(np.percentile(ms, p)) for p in (50, 99))
        roof = bandwidth.best_gb_s * 1e3 / read
        figures = (read, weights, own, cross, p50, p99, p99 / p50, roof, 1e3 / p50 / roof)
        yield Roof(count, len(ms), *(round(x, 3) for x in figures))


def weight_bytes(backend: OnnxBackend, guided: bool) -> int:
    """What each step reads, whichever way it is taken; without tables, of which it reads a row. Raises MissingRuntime without
    onnx, where ONNX Runtime takes the steps."""
    if isinstance(backend, NativeBackend):
        return backend.weight_bytes(guided)
    return constant_bytes(Path(backend.manifest.graph(STEP if guided else f"{STEP}_unguided")))


PROFILED_S = 4.0
"""Music that is played for a profile: it is the same second after second."""
GRAPHS = {
    "encode_frames": "vision",
    "look": "short_term",
    "remember": "long_term",
    "fuse": "fuse",
    "write_condition": "condition",
    "recur": "codec_recurrent",
    "upsample": "codec_upsample",
    "synthesise": "codec_oscillator",
}
"""Of each verb but `step`, which has one for each number of segments."""


def profile(folder: Path, found: Bench, threads: int = 0) -> Node:
    """A second of the stream that was measured, by verb and by operator: the times of the verbs are those of `found`, and ONNX
    Runtime's profiler, which slows small operators down, says how each divides among its operators."""
    with tempfile.TemporaryDirectory() as kept:
        backend = on_cpu(folder, threads, profile=Path(kept))
        stream = ScoreStream(backend, found.policy)
        for _ in watched(stream, round(PROFILED_S * backend.spec.code_rate), found.policy.seed):
            stream.take()
        operators = {graph: operator_seconds(path) for graph, path in backend.end_profiles().items()}
    steps = sum((of for graph, of in operators.items() if graph.startswith(STEP)), backend.step_seconds())
    parts = [
        _divided(part, steps if part.name == STEP else operators.get(GRAPHS.get(part.name, ""), Counter()))
        for part in found.parts
    ]
    return Node("a second of music", sum(part.seconds for part in parts), parts)


def _divided(part: Part, operators: Mapping[str, float]) -> Node:
    whole = sum(operators.values())
    scale = part.real_time_factor / whole if whole else 0.0
    return Node(
        part.name,
        part.real_time_factor,
        [Node(name, seconds * scale) for name, seconds in sorted(operators.items(), key=lambda o: -o[1])],
    )


def operator_seconds(path: Path) -> Counter[str]:
    """Of ONNX Runtime's trace: seconds by kind of operator."""
    seconds: Counter[str] = Counter()
    for event in json.loads(path.read_text("utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            seconds[event["args"]["op_name"]] += event["dur"] / 1e6
    return seconds


def _p99_over_p50(step_ms: Sequence[float]) -> float:
    p50, p99 = (float(np.percentile(step_ms, p)) for p in (50, 99))
    return round(p99 / p50, 3)


def tables(found: Bench, profiled: Node | None = None) -> Iterator[Table | str]:
    """What is printed."""
    title = (
        f"{found.model} {found.precision}, {found.music_s:g} s of music, {found.bandwidth.threads} threads"
    )
    parts = _table(
        f"{title}: real-time factor {found.real_time_factor:.3f}",
        ("part", "calls a second", "p50 ms", "p99 ms", "real-time factor"),
    )
    for part in found.parts:
        calls = (
            (f"{part.calls_a_second:g}", f"{part.p50_ms:.3g}", f"{part.p99_ms:.3g}")
            if part.calls_a_second
            else ("", "", "")
        )
        parts.add_row(part.name, *calls, f"{part.real_time_factor:.4f}")
    yield parts
    roofs = _table(
        f"steps under a roof of {found.bandwidth.best_gb_s:g} GB/s; p99/p50 of all {found.p99_over_p50:g}",
        ("segments", "steps", "MB", "caches", "p50 ms", "p99 ms", "p99/p50", "of roof"),
    )
    for roof in found.roofs:
        read = (roof.mb_a_step, roof.self_mb + roof.cross_mb, roof.p50_ms, roof.p99_ms, roof.p99_over_p50)
        roofs.add_row(str(roof.segments), str(roof.steps), *(f"{x:.3g}" for x in read), f"{roof.of_roof:.0%}")
    yield roofs
    if profiled:
        yield from _operators(profiled)
    yield f"{found.machine}; others used {found.others_cores:g} cores"


def _operators(profiled: Node) -> Iterator[Table]:
    for part in profiled.parts:
        if not part.parts or part.seconds < LEAST_SHOWN * profiled.seconds:
            continue
        table = _table(f"{part.name}, {part.seconds:.4f} s a second of music", ("operator", "share"))
        for operator in part.parts[:MOST_OPERATORS]:
            table.add_row(operator.name, f"{operator.seconds / part.seconds:.1%}")
        yield table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for n, heading in enumerate(headings):
        table.add_column(heading, justify="right" if n else "left", no_wrap=True)
    return table
