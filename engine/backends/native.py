"""Exported graphs on a CPU whose decoder step is `kernels.native` instead of a graph: x86-64 with AVX2.

Weights, caches and conditions are the graphs' own, byte for byte: a prompt is read by the graph, and either can go on from the
other. Streams need not lie beside each other to share the weights.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import F32
from engine.backends.manifest import Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.ort_places import Call, OrtCaches, OrtCondition
from engine.backends.providers import CPU, check_export
from engine.errors import PackageError
from engine.threads import Threads, cache_folder, cores
from kernels import native

Array = NDArray[Any]
Addresses = NDArray[np.uintp]

VARIABLE, GRAPHS = "CUESTREAM_STEP", "graph"
"""Set to this, it keeps to the exported graphs."""
TABLES = ("embedding", "positions")
"""Of which a step reads a row: they stay in the file, mapped."""
NULLS = ("null_keys", "null_values")
LINE_BYTES = 64
EPSILON = 1e-5
MOST_FLOAT_BYTES = 256 << 20
"""Of a decoder in floats. A larger one is bound by the memory's bandwidth, by the graph as well, and its copy would be felt."""


def on_cpu(folder: Path, threads: int | Threads = 0, profile: Path | None = None) -> OnnxBackend:
    """An exported model on the CPU, by the quickest way that there is for it here. See `OnnxBackend`.

    Raises PackageError for one that is made for GPUs."""
    check_export(CPU, Manifest.read(folder))
    with suppress(native.Unavailable):
        _check_choice()
        return NativeBackend(folder, threads, profile)
    return OnnxBackend(folder, threads, profile)


def obstacle(manifest: Manifest) -> str | None:
    """Why a model's steps are run by its graphs on this machine; None where they are not."""
    try:
        _check_choice()
        _check_geometry(manifest)
        _library()
    except native.Unavailable as error:
        return str(error)
    return None


class NativeBackend(OnnxBackend):
    """Raises `kernels.native.Unavailable` where the step cannot be built or run."""

    def __init__(self, folder: Path, threads: int | Threads = 0, profile: Path | None = None) -> None:
        super().__init__(folder, threads, profile)
        _check_geometry(self.manifest)
        self._library = _library()
        self._weights = _Weights(self._library, self.manifest)
        self._steps: dict[int, NativeStep] = {}

    def _ready(self, caches: OrtCaches) -> None:
        self._step_of(caches.rows)

    def _together(self, calls: Sequence[Call]) -> Iterator[list[int]]:
        """Wherever they lie."""
        for rows in {call.caches.rows for call in calls}:
            yield [at for at, call in enumerate(calls) if call.caches.rows == rows]

    def _run(self, calls: Sequence[Call]) -> list[F32]:
        return self._step_of(calls[0].caches.rows).run(calls)

    def step_seconds(self) -> Counter[str]:
        seconds = Counter[str]()
        for step in self._steps.values():
            seconds.update(step.spent())
        return seconds

    def weight_bytes(self, guided: bool) -> int:
        """What a step reads, without tables, of which it reads a row."""
        return self._weights.read_bytes(guided)

    def _step_of(self, rows: int) -> NativeStep:
        if rows not in self._steps:
            self._steps[rows] = NativeStep(self._library, self._weights, self._threads, rows)
        return self._steps[rows]


def _library() -> ctypes.CDLL:
    try:
        return native.library(cache_folder())
    except OSError as error:
        raise native.Unavailable(f"{error.strerror} to keep the native step in: {error.filename}") from error


def _check_choice() -> None:
    if os.environ.get(VARIABLE) == GRAPHS:
        raise native.Unavailable(f"{VARIABLE}={GRAPHS}")


def _check_geometry(manifest: Manifest) -> None:
    decoder = manifest.spec.decoder
    caches = {manifest.cache_dtype, manifest.condition_dtype}
    if not manifest.step or not caches <= {np.float32, np.int8}:
        raise native.Unavailable(
            "the export does not say what its step reads: it is older, made in fp16, or for other runtimes"
        )
    floats = sum(map(_float_bytes, manifest.step.values()))
    if floats > MOST_FLOAT_BYTES:
        raise native.Unavailable(
            f"the native step holds a copy of its matrices; of floats it takes up to {MOST_FLOAT_BYTES >> 20} MB, this "
            f"decoder has {floats >> 20}"
        )
    outputs = (decoder.width, decoder.ffn_width, decoder.codebooks * decoder.card)
    whole = not any(of % native.BESIDE for of in outputs) and decoder.head_dim % native.HEAD_MULTIPLE == 0
    if not whole or decoder.head_dim > native.MOST_HEAD or manifest.cache_head_dim != decoder.head_dim:
        raise native.Unavailable(
            f"the native step takes heads of {native.HEAD_MULTIPLE} to {native.MOST_HEAD} channels, {native.HEAD_MULTIPLE} at a "
            f"time, and outputs {native.BESIDE} at a time; this decoder has heads of {decoder.head_dim} and {outputs} outputs"
        )


def _float_bytes(entry: Mapping[str, Any]) -> int:
    """Of a matrix in floats, of any other tensor none."""
    bits = entry.get("bits", 0)
    return int(np.prod(entry["shape"])) * bits // 8 if bits >= native.HALVES else 0


class _Weights:
    """What a step reads: in large pages as far as it is read whole, matrices laid as `step.c` has them."""

    def __init__(self, library: ctypes.CDLL, manifest: Manifest) -> None:
        self.spec, described, folder = manifest.spec, manifest.step, manifest.folder
        try:
            files = {e["file"]: np.memmap(folder / e["file"], np.uint8, "r") for e in described.values()}
            self.arrays = {name: _part(files[entry["file"]], entry) for name, entry in described.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PackageError(f"{folder}: weights are damaged, export it again ({error})") from error
        self.bits = {name: entry["bits"] for name, entry in described.items() if "bits" in entry}
        self.inputs = {name: entry["inputs"] for name, entry in described.items() if "bits" in entry}
        ones = np.ones((self.spec.decoder.heads, self.spec.decoder.head_dim), np.float32)
        layers = range(self.spec.decoder.layers)
        scales = {f"{at}.{name}": ones for at in layers for name in native.CONSTANTS}
        self.arrays = scales | self.arrays
        kinds = (manifest.cache_dtype, manifest.condition_dtype)
        self.heard_bits, self.seen_bits = (8 * np.dtype(kind).itemsize for kind in kinds)
        self._lay(library, [name for name in self.arrays if name not in TABLES])

    def _lay(self, library: ctypes.CDLL, names: Sequence[str]) -> None:
        ends = np.cumsum([0, *(-(-self.arrays[name].nbytes // LINE_BYTES) * LINE_BYTES for name in names)])
        whole, laid = np.empty(ends[-1], np.uint8), dict[str, Array]()  # NumPy asks for large pages
        for name, first in zip(names, ends, strict=False):
            array = self.arrays[name]
            copy = whole[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
            laid[name] = copy
            if name not in self.bits and not name.endswith(native.SCALES):
                copy[...] = array
        for name in self.bits:
            self.arrays[name] = np.ascontiguousarray(self.arrays[name])
            scales = laid.get(f"{name}{native.SCALES}")
            to = (laid[name].ctypes.data, None if scales is None else scales.ctypes.data)
            library.cuestream_lay(ctypes.byref(self.matrix(name)), *to)
            self.arrays[name] = laid[name]
        self.arrays |= laid

    def read_bytes(self, guided: bool) -> int:
        """Without guidance there is no row that hears the null condition."""
        idle = TABLES if guided else (*TABLES, *NULLS)
        return sum(a.nbytes for name, a in self.arrays.items() if name.rpartition(".")[2] not in idle)

    def address(self, name: str) -> int:
        return int(self.arrays[name].ctypes.data)

    def norm(self, name: str) -> native.Norm:
        return native.Norm(self.address(f"{name}.weight"), self.address(f"{name}.bias"))

    def matrix(self, name: str) -> native.Matrix:
        packed, bits = self.arrays[name], self.bits[name]
        if bits >= native.HALVES:
            return native.Matrix(self.address(name), None, self.inputs[name], len(packed), bits, 1)
        outputs, _, stored = packed.shape
        scales = self.address(f"{name}{native.SCALES}")
        return native.Matrix(self.address(name), scales, self.inputs[name], outputs, bits, stored * 8 // bits)

    def layer(self, at: int) -> native.Layer:
        return native.Layer(
            *(self.norm(f"{at}.{name}") for name in native.NORMS),
            *(self.matrix(f"{at}.{name}") for name in native.MATRICES),
            *(self.address(f"{at}.{name}") for name in native.CONSTANTS),
        )


def _part(file: NDArray[np.uint8], entry: Mapping[str, Any]) -> Array:
    kind, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    first = entry["offset"]
    array = file[first : first + kind.itemsize * int(np.prod(shape))].view(kind).reshape(shape)
    if kind == np.float16 and "bits" not in entry:
        array = array.astype(np.float32)
    return array.T if entry.get("turned") else array


class NativeStep:
    """The step of streams with so many rows a segment, and its threads. One call at a time."""

    def __init__(self, library: ctypes.CDLL, weights: _Weights, threads: Threads, rows: int) -> None:
        decoder = weights.spec.decoder
        self._library, self._weights, self.rows = library, weights, rows
        self._layers = (native.Layer * decoder.layers)(*map(weights.layer, range(decoder.layers)))
        self._columns = len(weights.arrays["positions"])
        self._model = native.Model(
            layers=decoder.layers,
            width=decoder.width,
            heads=decoder.heads,
            head=decoder.head_dim,
            hidden=decoder.ffn_width,
            codebooks=decoder.codebooks,
            card=decoder.card,
            null_tokens=weights.arrays["0.null_keys"].shape[-2],
            rows=rows,
            columns=self._columns,
            heard_bits=weights.heard_bits,
            seen_bits=weights.seen_bits,
            scale=decoder.head_dim**-0.5,
            epsilon=EPSILON,
            embedding=weights.address("embedding"),
            positions=weights.address("positions"),
            last=weights.norm("last"),
            logits=weights.matrix("logits"),
            each=self._layers,
        )
        count = threads.count or len(cores())
        places = threads.places
        pinned = (ctypes.c_int32 * len(places))(*places) if places else None
        self._step = library.cuestream_open(ctypes.byref(self._model), count, pinned)
        if not self._step:
            raise MemoryError(f"no memory or no threads for a step of {count} threads")
        weakref.finalize(self, library.cuestream_close, self._step)
        self._addresses: weakref.WeakKeyDictionary[Any, dict[int, list[Addresses]]] = (
            weakref.WeakKeyDictionary()
        )

    def run(self, calls: Sequence[Call]) -> list[F32]:
        """Each call's logits [G, R, K, card]. Raises ValueError for tokens and columns that the model does not have."""
        decoder = self._weights.spec.decoder
        counts = [len(call.tokens) for call in calls]
        tokens = np.ascontiguousarray(np.concatenate([call.tokens[:, 0] for call in calls]), np.int64)
        columns = np.concatenate([call.position for call in calls])
        if tokens.min() < 0 or tokens.max() > decoder.card:
            raise ValueError(
                f"expected tokens from 0 to {decoder.card}, found {tokens.min()} to {tokens.max()}"
            )
        if columns.min() < 0 or columns.max() >= self._columns:
            raise ValueError(f"expected columns below {self._columns}, found {columns.max()}")
        logits = np.empty((len(tokens), self.rows, decoder.codebooks, decoder.card), np.float32)
        lanes = (native.Lane * len(tokens))(*self._lanes(calls, tokens, columns, logits))
        most = native.MOST_ROWS // self.rows
        for first in range(0, len(lanes), most):
            some = ctypes.addressof(lanes) + first * ctypes.sizeof(native.Lane)
            if not self._library.cuestream_step(self._step, some, min(most, len(lanes) - first)):
                raise MemoryError("no memory for a step's scores")
        return np.split(logits, np.cumsum(counts)[:-1])

    def spent(self) -> Counter[str]:
        """Seconds of one thread, which waits for the others, by part."""
        seconds = np.zeros(len(native.PARTS))
        self._library.cuestream_spent(self._step, seconds.ctypes.data)
        return Counter(dict(zip(native.PARTS, seconds.tolist(), strict=True)))

    def _lanes(
        self, calls: Sequence[Call], tokens: NDArray[np.int64], columns: NDArray[np.int64], logits: F32
    ) -> Iterator[native.Lane]:
        at, held = 0, self._weights.spec.vision.tokens
        for call in calls:
            seen = self._of(call.condition, 0, 1)
            for segment in range(call.segment, call.segment + len(call.tokens)):
                own = self._of(call.caches, segment, self.rows)
                yield native.Lane(
                    *(part.ctypes.data for part in (*own, *seen)),
                    tokens[at].ctypes.data,
                    logits[at].ctypes.data,
                    columns[at],
                    call.caches.keys[0].shape[2],
                    call.frames * held,
                    call.condition.keys[0].shape[2],
                )
                at += 1

    def _of(self, arrays: OrtCaches | OrtCondition, segment: int, rows: int) -> list[Addresses]:
        """Where keys and values of each layer begin."""
        known = self._addresses.setdefault(arrays, {})
        if segment not in known:
            known[segment] = [
                np.array([a[segment * rows :].ctypes.data for a in part], np.uintp)
                for part in (arrays.keys, arrays.values)
            ]
        return known[segment]
