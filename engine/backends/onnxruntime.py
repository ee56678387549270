"""The default backend: exported graphs on ONNX Runtime, on the CPU. `engine.backends.devices` is the same on an NVIDIA GPU.

Caches are arrays that the graphs read and write in place: inputs and outputs are bound to the same memory, once for each set
of segments and frames, so that a step is one call without copies. A session is opened when it is first needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import F32, I64, U8, OneByOne, OnHost, StepCall
from engine.backends.manifest import Manifest
from engine.backends.ort_places import Bound, Call, OrtCaches, OrtCondition, Pool, check_call, runs
from engine.backends.runtime import require_onnxruntime
from engine.errors import PackageError
from engine.spec import ModelSpec
from engine.threads import Threads, allowance, cores, tuned

Array = NDArray[Any]


PLACES = 8
"""Streams that may share a step. Memory is taken when a place is written, so that an empty one costs nothing."""
MOST_BOUND = 64
"""Steps of a pool whose memory stays bound: by which streams take them, and by which of their segments."""


class OnnxBackend(OneByOne, OnHost):
    """An exported model folder (see `cuestream export`). `threads` 0: what `cuestream tune` found, else the machine's cores."""

    def __init__(
        self,
        folder: Path,
        threads: int | Threads = 0,
        profile: Path | None = None,
        places: int = PLACES,
    ) -> None:
        """profile: a folder for ONNX Runtime's traces, which `end_profiles` completes. places: streams that may share a step."""
        self._runtime = self._need_runtime()
        self.manifest = Manifest.read(folder)
        self._profile, self._places = profile, places
        asked = threads if isinstance(threads, Threads) else Threads(threads)
        self._threads = asked if asked.count else tuned(self.manifest.spec.digest) or asked
        self._pools: dict[tuple[tuple[int, ...], type[np.generic]], list[Pool]] = {}
        self._sessions: dict[str, Any] = {}

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.spec

    def encode_frames(self, frames: U8) -> F32:
        return self._of_frames("vision", "features", "frames", frames)

    def look(self, features: F32) -> F32:
        return self._of_frames("short_term", "short", "features", features)

    def remember(self, features: F32) -> F32:
        return self._of_frames("long_term", "memory", "features", features)

    def fuse(self, short: F32, memory: F32) -> F32:
        return self._of_frames("fuse", "tokens", "short", short, memory=memory)

    def _of_frames(self, graph: str, answer: str, name: str, frames: Array, **besides: Array) -> F32:
        """What a graph answers to its input `name`; frame by frame where its frames share the scale of their activations."""
        if graph not in self.manifest.quantised or len(frames) == 1:
            return self.run(graph, {name: frames, **besides}, [answer])[0]
        each = [self.run(graph, {name: frame[None], **besides}, [answer])[0] for frame in frames]
        return np.concatenate(each)

    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        y, hidden, cell = self.run("codec_recurrent", {"codes": codes, "hidden": hidden, "cell": cell})
        return y, hidden, cell

    def upsample(self, y: F32) -> F32:
        return self.run("codec_upsample", {"y": y})[0]

    def synthesise(self, codes: I64, first: int) -> F32:
        return self.run("codec_oscillator", {"codes": codes, "first": np.array(first)})[0]

    def new_condition(self, frames: int) -> OrtCondition:
        decoder, tokens = self.spec.decoder, self.spec.vision.tokens
        shape = (1, decoder.heads, frames * tokens, self.manifest.cache_head_dim)
        pool, place = self._place(shape, self.manifest.condition_dtype)
        kept = (frames, tokens, decoder.width) if decoder.ages else (0,)
        ages, dated = np.zeros(frames, np.int64), np.zeros(kept, np.float32)
        condition = OrtCondition(pool, place, *pool.rows(place, place + 1), ages, dated)
        pool.take(condition, place)
        return condition

    def write_condition(self, condition: OrtCondition, slot: int, tokens: F32) -> None:
        end = slot + len(tokens)
        if end > len(condition.ages):
            raise ValueError(f"a condition of {len(condition.ages)} slots cannot hold slot {end - 1}")
        if self.spec.decoder.ages:
            condition.tokens[slot:end] = tokens
        self._project(condition, slot, tokens)

    def write_ages(self, condition: OrtCondition, ages: I64) -> None:
        """An age is part of what a frame's keys and values are made of."""
        known = condition.ages[: len(ages)]
        if not np.array_equal(known, ages):
            known[...] = ages
            self._project(condition, 0, condition.tokens[: len(ages)])

    def _project(self, condition: OrtCondition, slot: int, tokens: F32) -> None:
        """A frame's keys and values lie beside those of others, head by head."""
        each = 1 if "condition" in self.manifest.quantised else len(tokens)
        for first in range(0, len(tokens), each):
            given: dict[str, Array] = {"tokens": tokens[first : first + each]}
            at = slice(slot + first, slot + first + each)
            if self.spec.decoder.ages:
                given["ages"] = condition.ages[at]
            projected = self.run("condition", given)
            for held, fresh in zip((*condition.keys, *condition.values), projected, strict=True):
                self._frames(held)[at] = fresh

    def new_caches(self, segments: int, guided: bool, positions: int) -> OrtCaches:
        decoder, rows = self.spec.decoder, 2 if guided else 1
        shape = (segments * rows, decoder.heads, positions, self.manifest.cache_head_dim)
        pool, place = self._place(shape, self.manifest.cache_dtype)
        caches = OrtCaches(pool, place, *pool.rows(place * pool.each, (place + 1) * pool.each), rows)
        pool.take(caches, place)
        self._ready(caches)
        return caches

    def _ready(self, caches: OrtCaches) -> None:
        """What steps need, opened now: in a step it would stall the music."""
        for graph in ("step", "step_two")[: caches.segments]:
            self.session(_graph(graph, caches))

    def _place(self, shape: tuple[int, ...], kind: type[np.generic]) -> tuple[Pool, int]:
        """The first free place among arrays of this shape; more of them when all are taken. Arrays of other shapes that nobody
        uses any more are given back."""
        for other, idle in list(self._pools.items()):
            idle[:] = [pool for pool in idle if len(pool.free) < pool.places or other == (shape, kind)]
        self._pools = {other: pools for other, pools in self._pools.items() if pools}
        pools = self._pools.setdefault((shape, kind), [])
        pool = next((pool for pool in pools if pool.free), None)
        if pool is None:
            pool = Pool(self.spec.decoder.layers, self._places, shape, lambda whole: self._zeros(whole, kind))
            pools.append(pool)
        return pool, min(pool.free)

    def step(
        self,
        caches: OrtCaches,
        segment: int,
        condition: OrtCondition,
        frames: int,
        tokens: I64,
        position: I64,
    ) -> F32:
        call = StepCall(caches, segment, condition, frames, tokens, position)
        check_call(call)
        return self._prefill(call) if tokens.shape[1] > 1 else self._run([call])[0]

    def step_all(self, calls: Sequence[Call]) -> list[F32]:
        for call in calls:
            check_call(call)
        answers = dict[int, F32]()
        for run in self._together(calls):
            for at, answer in zip(run, self._run([calls[at] for at in run]), strict=True):
                answers[at] = answer
        return [answers[at] for at in range(len(calls))]

    def _together(self, calls: Sequence[Call]) -> Iterator[list[int]]:
        """Which of them one step takes, each in one of these."""
        return runs(calls)

    def _run(self, calls: Sequence[Call]) -> list[F32]:
        """One step of streams that lie beside each other. A segment that does not play reads a column at position 0, which nobody
        hears: whoever plays there next begins at 0."""
        alone = len(calls) == 1
        bound = self._bound_to(calls, calls[0].segment if alone else 0, len(calls[0].tokens) if alone else 2)
        for row, call in enumerate(calls):
            read = slice(0, None) if alone else slice(call.segment, call.segment + len(call.tokens))
            bound.position[row] = 0
            bound.tokens[row, read] = call.tokens[:, 0]
            bound.position[row, read] = call.position
            bound.frames[row] = call.frames
        self._launch(bound)
        logits = bound.logits.reshape(len(calls), -1, *bound.logits.shape[1:])
        if alone:
            return [logits[0].copy()]
        return [
            logits[row, call.segment : call.segment + len(call.tokens)].copy()
            for row, call in enumerate(calls)
        ]

    def _bound_to(self, calls: Sequence[Call], segment: int, segments: int) -> Bound:
        caches, condition, count = calls[0].caches, calls[0].condition, len(calls)
        place, rows = caches.place, caches.rows
        key = (place, rows, id(condition.pool), condition.place, count, segment, segments)
        if (known := caches.pool.bound.get(key)) is not None:
            return known
        decoder = self.spec.decoder
        session = self.session(_graph("step" if segments == 1 else "step_two", caches))
        binding = session.io_binding()
        tokens = self._host((count, segments, decoder.codebooks), np.int64)
        position, frames = self._host((count, segments), np.int64), self._host((count,), np.int64)
        logits = self._host((count * segments, rows, decoder.codebooks, decoder.card), np.float32)
        near = (self._near(tokens), self._near(position), self._near(frames), self._near(logits))
        bound = Bound(
            session, condition.pool, binding, tokens, position, frames, logits, near, self._run_options()
        )
        first = place * caches.pool.each + segment * rows
        end = first + count * segments * rows
        for part, arrays in zip(("self_key", "self_value"), caches.pool.rows(first, end), strict=True):
            self._bind_in_place(binding, part, arrays)
        seen = condition.pool.rows(condition.place, condition.place + count)
        for part, arrays in zip(("key", "value"), seen, strict=True):
            self._bind(binding.bind_input, part, arrays)
        for part, array in zip(("tokens", "position", "frames"), near, strict=False):
            self._bind_one(binding.bind_input, part, array)
        self._bind_one(binding.bind_output, "logits", near[-1])
        if len(caches.pool.bound) >= MOST_BOUND:
            del caches.pool.bound[next(iter(caches.pool.bound))]
        caches.pool.bound[key] = bound
        return bound

    def _prefill(self, call: Call) -> F32:
        """Many columns of one segment, which is read once: nothing stays bound."""
        caches, decoder = call.caches, self.spec.decoder
        session = self.session(_graph("prefill", caches))
        binding = session.io_binding()
        logits = np.zeros((1, caches.rows, decoder.codebooks, decoder.card), np.float32)
        rows = slice(call.segment * caches.rows, (call.segment + 1) * caches.rows)
        held = call.frames * self.spec.vision.tokens
        seen = [
            [np.ascontiguousarray(self._read(a)[:, :, :held]) for a in part]
            for part in (call.condition.keys, call.condition.values)
        ]
        given = [np.ascontiguousarray(x) for x in (call.tokens, call.position)]
        for part, arrays in (("self_key", caches.keys), ("self_value", caches.values)):
            self._bind_in_place(binding, part, [a[rows] for a in arrays])
        for part, arrays in zip(("key", "value"), seen, strict=True):
            self._bind(binding.bind_input, part, arrays)
        for part, array in zip(("tokens", "position"), given, strict=True):
            self._bind_one(binding.bind_input, part, array)
        self._bind_one(binding.bind_output, "logits", logits)
        session.run_with_iobinding(binding)
        return logits

    # --- what another place than the host's memory changes

    def _need_runtime(self) -> Any:
        return require_onnxruntime()

    def _host(self, shape: tuple[int, ...], kind: type[np.generic]) -> Array:
        """What a step is given and answers, on the host."""
        return np.zeros(shape, kind)

    def _zeros(self, shape: tuple[int, ...], kind: type[np.generic]) -> Any:
        return np.zeros(shape, kind)

    def _near(self, array: Array) -> Any:
        """Where a graph reads or writes what the host has in this."""
        return array

    def _run_options(self) -> Any:
        return None

    def _launch(self, bound: Bound) -> None:
        bound.session.run_with_iobinding(bound.binding, bound.options)

    def _read(self, array: Any) -> Array:
        """An array as the host sees it."""
        return np.asarray(array)

    @contextmanager
    def _changing(self, array: Any) -> Iterator[Array]:
        """An array as the host sees it; what is written to that is there in the end."""
        yield array

    def _bind_in_place(self, binding: Any, name: str, arrays: Sequence[Any]) -> None:
        """What a graph reads, and writes as `new_` of that name."""
        self._bind(binding.bind_input, name, arrays)
        self._bind(binding.bind_output, f"new_{name}", arrays)

    def _bind(self, bind: Any, name: str, arrays: Iterable[Any]) -> None:
        for layer, array in enumerate(arrays):
            self._bind_one(bind, f"{name}_{layer}", array)

    def _bind_one(self, bind: Any, name: str, array: Any) -> None:
        assert array.flags.c_contiguous, name
        bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def read_caches(self, caches: OrtCaches, segment: int, positions: int) -> Array:
        rows = slice(segment * caches.rows, (segment + 1) * caches.rows)
        pairs = zip(caches.keys, caches.values, strict=True)
        return np.stack(
            [np.stack([self._read(part[rows])[:, :, :positions] for part in pair]) for pair in pairs]
        )

    def write_caches(self, caches: OrtCaches, segment: int, held: Array) -> None:
        rows = slice(segment * caches.rows, (segment + 1) * caches.rows)
        for layer, pair in enumerate(held):
            for arrays, fresh in zip((caches.keys, caches.values), pair, strict=True):
                with self._changing(arrays[layer][rows]) as part:
                    part[:, :, : fresh.shape[2]] = fresh

    def read_condition(self, condition: OrtCondition, frames: int) -> Array:
        pairs = zip(condition.keys, condition.values, strict=True)
        return np.stack(
            [
                np.stack([self._frames(self._read(part))[:frames].reshape(frames, -1) for part in pair])
                for pair in pairs
            ]
        )

    def write_held_condition(self, condition: OrtCondition, held: Array) -> None:
        for layer, pair in enumerate(held):
            for arrays, rows in zip((condition.keys, condition.values), pair, strict=True):
                with self._changing(arrays[layer]) as part:
                    frames = self._frames(part)
                    frames[: len(rows)] = rows.reshape(-1, *frames.shape[1:])

    def _frames(self, array: Array) -> Array:
        """A view of a stream's keys or values by frames, [F, H, P, d]."""
        _, heads, _, head = array.shape
        return array.reshape(heads, -1, self.spec.vision.tokens, head).swapaxes(0, 1)

    def run(self, name: str, inputs: dict[str, Array], outputs: list[str] | None = None) -> list[Any]:
        """Run a graph on host arrays, for its outputs in order or for those named."""
        ready = {k: np.ascontiguousarray(v) for k, v in inputs.items()}
        answer: list[Any] = self.session(name).run(outputs, ready)
        return answer

    @property
    def threads(self) -> int:
        return self._threads.count or len(cores())

    def end_profiles(self) -> dict[str, Path]:
        """The trace of each graph that was run, when the backend was made to keep them."""
        return {name: Path(session.end_profiling()) for name, session in self._sessions.items()}

    def step_seconds(self) -> Counter[str]:
        """Of all steps so far, by part, where they are no graph, of which `end_profiles` tells."""
        return Counter()

    def session(self, name: str) -> Any:
        if name not in self._sessions:
            path = self.manifest.graph(name)
            if self._profile:
                self._options.enable_profiling = True
                self._options.profile_file_prefix = str(self._profile / name)
            self._sessions[name] = self._open(name, path)
        return self._sessions[name]

    def _open(self, name: str, path: str) -> Any:
        return self._opened(path, self._options, ["CPUExecutionProvider"])

    def _opened(self, path: str, options: Any, providers: list[Any]) -> Any:
        try:
            return self._runtime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            reason = " ".join(str(error).split())
            raise PackageError(
                f"{path}: the graph or its weights are damaged; export it again ({reason})"
            ) from error

    @cached_property
    def _options(self) -> Any:
        return self._make_options()

    def _make_options(self) -> Any:
        options = self._runtime.SessionOptions()
        own = len(cores()) if allowance() else 0  # 0: one for each core, as ONNX Runtime counts them
        options.intra_op_num_threads = self._threads.count or own
        if places := self._threads.places:
            affinities = ";".join(str(core + 1) for core in places)  # counted from 1
            options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A stream runs several sessions in turn: without this, threads of the last one spin on the next one's core.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Where it makes one operator of a matrix of few bits and its product, activations stay the floats that they are.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        return options


def _graph(name: str, caches: OrtCaches) -> str:
    return name if caches.rows == 2 else f"{name}_unguided"
