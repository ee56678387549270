"""Codes to audio in pieces, for every kind of codec.

The law: decoding in pieces of any size gives the samples of decoding the whole. A piece is final as soon as `look_ahead(spec)`
further code frames are known; `last=True` says that none will come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.asking import Asking, alone
from engine.codec import encodec, oscillator
from engine.codec.encodec import EncodecState, Reach, padded_indices, reach
from engine.codec.oscillator import OscillatorState
from engine.errors import PackageError
from engine.spec import AnyCodecSpec, ModelSpec, OscillatorSpec

__all__ = [
    "CodecGraphs",
    "CodecState",
    "Reach",
    "codec_of",
    "decode",
    "decoding",
    "look_ahead",
    "pack",
    "padded_indices",
    "reach",
    "shortest",
    "start",
    "unpack",
]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

CodecState: TypeAlias = EncodecState | OscillatorState
"""Between two pieces; `emitted` counts the frames whose samples have left."""


class CodecGraphs(encodec.EncodecGraphs, oscillator.OscillatorGraphs, Protocol):
    """A codec as a backend runs it; it has the graphs of its model's kind."""


def codec_of(model: ModelSpec) -> AnyCodecSpec:
    """Raises PackageError for a model without a codec: it can make codes, but no audio."""
    if model.codec is None:
        raise PackageError(f"the model {model.name!r} was exported without a codec, so it cannot sound")
    return model.codec


def look_ahead(spec: AnyCodecSpec) -> int:
    """Code frames after a piece that must be known before it is final."""
    return 0 if isinstance(spec, OscillatorSpec) else reach(spec).look_ahead


def shortest(spec: AnyCodecSpec) -> int:
    """Code frames that it needs to sound at all."""
    return 1 if isinstance(spec, OscillatorSpec) else reach(spec).lead + 1


def start(spec: AnyCodecSpec, codebooks: int) -> CodecState:
    if isinstance(spec, OscillatorSpec):
        return oscillator.start(spec, codebooks)
    return encodec.start(spec, codebooks)


def decode(
    graphs: CodecGraphs, spec: AnyCodecSpec, state: CodecState, codes: I64, *, last: bool = False
) -> tuple[F32, CodecState]:
    """Take further codes [K, T] and return the samples that they make final."""
    return alone(graphs, decoding(spec, state, codes, last=last))


def decoding(
    spec: AnyCodecSpec, state: CodecState, codes: I64, *, last: bool = False
) -> Asking[tuple[F32, CodecState]]:
    """`decode` as what it asks of the graphs."""
    if isinstance(spec, OscillatorSpec):
        assert isinstance(state, OscillatorState)
        return oscillator.decoding(spec, state, codes)
    assert isinstance(state, EncodecState)
    return encodec.decoding(spec, state, codes, last=last)


def pack(state: CodecState, read: Callable[[Any], F32]) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
    """A state as plain numbers and arrays, for a snapshot. read: of what lies where the backend keeps it."""
    values = {f.name: getattr(state, f.name) for f in fields(state)}
    numbers = {name: value for name, value in values.items() if isinstance(value, int)}
    arrays = {name: value for name, value in values.items() if name not in numbers}
    return numbers, {n: a if isinstance(a, np.ndarray) else read(a) for n, a in arrays.items()}


def unpack(spec: AnyCodecSpec, numbers: dict[str, int], arrays: dict[str, NDArray[Any]]) -> CodecState:
    """What `pack` gave."""
    kind = OscillatorState if isinstance(spec, OscillatorSpec) else EncodecState
    return kind(**numbers, **{f.name: arrays[f.name] for f in fields(kind) if f.name not in numbers})  # type: ignore[arg-type]
