"""The default backend: exported graphs on ONNX Runtime, on the CPU.

Caches are arrays that the graphs read and write in place: inputs and outputs are bound to the same memory, once for each set
of segments and frames, so that a step is one call without copies. A session is opened when it is first needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import F32, I64, U8
from engine.backends.manifest import Manifest
from engine.backends.runtime import require_onnxruntime
from engine.errors import PackageError
from engine.spec import ModelSpec

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class OrtCondition:
    """Cross-attention keys [F, H, d, P] and values [F, H, P, d] of each layer, in eight bits both [1, H, F P, d]; ages [F].
    Frames in use are a prefix."""

    keys: list[Array]
    values: list[Array]
    ages: I64


@dataclass(frozen=True, slots=True)
class OrtCaches:
    """Self-attention keys and values of each layer, [segments x R, H, positions, d]."""

    keys: list[Array]
    values: list[Array]
    rows: int
    bindings: dict[tuple[int, ...], _Bound] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A step whose memory is bound: fill the inputs, run, read the logits."""

    binding: Any
    tokens: I64
    position: I64
    logits: F32
    condition: OrtCondition
    frames: I64


class OnnxBackend:
    """An exported model folder (see `cuestream export`). `threads` 0 takes the machine's cores."""

    def __init__(self, folder: Path, threads: int = 0, profile: Path | None = None) -> None:
        """profile: a folder for ONNX Runtime's traces, which `end_profiles` completes."""
        self._runtime = require_onnxruntime()
        self.manifest = Manifest.read(folder)
        self._threads, self._profile = threads, profile
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

    @property
    def _sees_eight_bits(self) -> bool:
        return self.manifest.condition_dtype is np.int8

    def new_condition(self, frames: int) -> OrtCondition:
        decoder, tokens = self.spec.decoder, self.spec.vision.tokens
        kind, ages = self.manifest.condition_dtype, np.zeros(frames, np.int64)
        if self._sees_eight_bits:
            shape = (1, decoder.heads, frames * tokens, self.manifest.cache_head_dim)
            return OrtCondition(self._layers(shape, kind), self._layers(shape, kind), ages)
        keys, values = (
            (frames, decoder.heads, decoder.head_dim, tokens),
            (frames, decoder.heads, tokens, decoder.head_dim),
        )
        return OrtCondition(self._layers(keys, kind), self._layers(values, kind), ages)

    def write_condition(self, condition: OrtCondition, slot: int, tokens: F32) -> None:
        end = slot + len(tokens)
        if end > len(condition.ages):
            raise ValueError(f"a condition of {len(condition.ages)} slots cannot hold slot {end - 1}")
        if self._sees_eight_bits:
            for at in range(len(tokens)):
                self._write_frame(condition, slot + at, tokens[at : at + 1])
            return
        session = self.session("condition")
        binding = session.io_binding()
        binding.bind_cpu_input("tokens", np.ascontiguousarray(tokens))
        for name, arrays in (("key", condition.keys), ("value", condition.values)):
            _bind(binding.bind_output, name, (array[slot:end] for array in arrays))
        session.run_with_iobinding(binding)

    def _write_frame(self, condition: OrtCondition, slot: int, tokens: F32) -> None:
        """A frame's tokens lie beside those of others, head by head: [1, H, F P, d]."""
        projected = self.run("condition", {"tokens": tokens})
        count = self.spec.vision.tokens
        for held, fresh in zip((*condition.keys, *condition.values), projected, strict=True):
            held[:, :, slot * count : (slot + 1) * count] = fresh

    def write_ages(self, condition: OrtCondition, ages: I64) -> None:
        condition.ages[: len(ages)] = ages

    def new_caches(self, segments: int, guided: bool, positions: int) -> OrtCaches:
        decoder, rows = self.spec.decoder, 2 if guided else 1
        shape = (segments * rows, decoder.heads, positions, self.manifest.cache_head_dim)
        kind = self.manifest.cache_dtype
        return OrtCaches(self._layers(shape, kind), self._layers(shape, kind), rows)

    def _layers(self, shape: tuple[int, ...], kind: type[np.generic]) -> list[Array]:
        return [np.zeros(shape, kind) for _ in range(self.spec.decoder.layers)]

    def step(
        self,
        caches: OrtCaches,
        segment: int,
        condition: OrtCondition,
        frames: int,
        tokens: I64,
        position: I64,
    ) -> F32:
        segments, columns, _ = tokens.shape
        if columns > 1 and (segments > 1 or position[0] != 0):
            raise ValueError("only one segment that holds nothing can read several columns at once")
        if int(position.max()) + columns > caches.keys[0].shape[2]:
            raise ValueError(f"a segment of {caches.keys[0].shape[2]} positions cannot hold another column")
        name = ("step" if columns == 1 else "prefill") + ("" if caches.rows == 2 else "_unguided")
        key = (segment, segments, 0 if self._sees_eight_bits else frames, columns)
        bound = caches.bindings.get(key)
        if bound is None or bound.condition is not condition:
            bound = self._bind_step(name, caches, segment, condition, frames, tokens.shape)
            caches.bindings.clear()  # at most one set of segments and frames is in use at a time
            caches.bindings[key] = bound
        bound.tokens[...] = tokens
        bound.position[...] = position
        bound.frames[...] = frames
        self.session(name).run_with_iobinding(bound.binding)
        return bound.logits.copy()

    def _bind_step(
        self,
        name: str,
        caches: OrtCaches,
        segment: int,
        condition: OrtCondition,
        frames: int,
        shape: tuple[int, ...],
    ) -> _Bound:
        decoder, rows, segments = self.spec.decoder, caches.rows, shape[0]
        binding = self.session(name).io_binding()
        bound = _Bound(
            binding,
            np.zeros(shape, np.int64),
            np.zeros(segments, np.int64),
            np.zeros((segments, rows, decoder.codebooks, decoder.card), np.float32),
            condition,
            np.zeros((), np.int64),
        )
        first, end = segment * rows, (segment + segments) * rows
        for part, arrays in (("self_key", caches.keys), ("self_value", caches.values)):
            _bind(binding.bind_input, part, (a[first:end] for a in arrays))
            _bind(binding.bind_output, f"new_{part}", (a[first:end] for a in arrays))
        for part, arrays in (("key", condition.keys), ("value", condition.values)):
            _bind(binding.bind_input, part, self._seen(arrays, frames, shape[1]))
        if self._sees_eight_bits and shape[1] == 1:
            _bind_one(binding.bind_input, "frames", bound.frames)
        if decoder.ages:
            _bind_one(binding.bind_input, "ages", condition.ages[:frames])
        _bind_one(binding.bind_input, "tokens", bound.tokens)
        _bind_one(binding.bind_input, "position", bound.position)
        _bind_one(binding.bind_output, "logits", bound.logits)
        return bound

    def _seen(self, arrays: list[Array], frames: int, columns: int) -> Iterator[Array]:
        """What a graph is given of a condition: the frames in use; in eight bits all, of which a step is told how many are."""
        if not self._sees_eight_bits:
            return (a[:frames] for a in arrays)
        if columns == 1:
            return iter(arrays)
        return (np.ascontiguousarray(a[:, :, : frames * self.spec.vision.tokens]) for a in arrays)

    def read_caches(self, caches: OrtCaches, segment: int, positions: int) -> Array:
        rows = slice(segment * caches.rows, (segment + 1) * caches.rows)
        pairs = zip(caches.keys, caches.values, strict=True)
        return np.stack([np.stack((k[rows, :, :positions], v[rows, :, :positions])) for k, v in pairs])

    def write_caches(self, caches: OrtCaches, segment: int, held: Array) -> None:
        rows = slice(segment * caches.rows, (segment + 1) * caches.rows)
        for layer, (keys, values) in enumerate(held):
            caches.keys[layer][rows, :, : keys.shape[2]] = keys
            caches.values[layer][rows, :, : values.shape[2]] = values

    def read_condition(self, condition: OrtCondition, frames: int) -> Array:
        pairs = zip(condition.keys, condition.values, strict=True)
        return np.stack(
            [np.stack([self._frames(part)[:frames].reshape(frames, -1) for part in pair]) for pair in pairs]
        )

    def write_held_condition(self, condition: OrtCondition, held: Array) -> None:
        for layer, (keys, values) in enumerate(held):
            for array, rows in ((condition.keys[layer], keys), (condition.values[layer], values)):
                frames = self._frames(array)
                frames[: len(rows)] = rows.reshape(-1, *frames.shape[1:])

    def _frames(self, array: Array) -> Array:
        """A view of a layer's keys or values by frames, [F, ...]."""
        if not self._sees_eight_bits:
            return array
        _, heads, _, head = array.shape
        return array.reshape(heads, -1, self.spec.vision.tokens, head).swapaxes(0, 1)

    def run(self, name: str, inputs: dict[str, Array], outputs: list[str] | None = None) -> list[Any]:
        """Run a graph on host arrays, for its outputs in order or for those named."""
        ready = {k: np.ascontiguousarray(v) for k, v in inputs.items()}
        answer: list[Any] = self.session(name).run(outputs, ready)
        return answer

    @property
    def threads(self) -> int:
        return self._threads or os.cpu_count() or 1

    def end_profiles(self) -> dict[str, Path]:
        """The trace of each graph that was run, when the backend was made to keep them."""
        return {name: Path(session.end_profiling()) for name, session in self._sessions.items()}

    def session(self, name: str) -> Any:
        if name not in self._sessions:
            path = self.manifest.graph(name)
            if self._profile:
                self._options.enable_profiling = True
                self._options.profile_file_prefix = str(self._profile / name)
            self._sessions[name] = self._open(path)
        return self._sessions[name]

    def _open(self, path: str) -> Any:
        try:
            return self._runtime.InferenceSession(path, self._options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            reason = " ".join(str(error).split())
            raise PackageError(
                f"{path}: the graph or its weights are damaged; export it again ({reason})"
            ) from error

    @cached_property
    def _options(self) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A stream runs several sessions in turn: without this, threads of the last one spin on the next one's core.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options


def _bind(bind: Any, name: str, arrays: Iterable[Array]) -> None:
    for layer, array in enumerate(arrays):
        _bind_one(bind, f"{name}_{layer}", array)


def _bind_one(bind: Any, name: str, array: Array) -> None:
    assert array.flags.c_contiguous, name
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
