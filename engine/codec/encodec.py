"""EnCodec in pieces: which context a piece needs, and what is carried from one piece to the next.

The law: decoding in pieces of any size gives the samples of decoding the whole. A piece is final as soon as
`reach(spec).look_ahead` further code frames are known; `last=True` says that none will come and closes the right edge.

Letters: K codebooks, T code frames, C LSTM width, L LSTM layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.asking import Asking
from engine.spec import CodecSpec

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Carried: TypeAlias = Any
"""An array of floats where the backend keeps it, NumPy's before the first piece: it is given back, and read for a snapshot."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Code frames that must be known on each side: `lead` before the LSTM, `context` after it."""

    lead: int
    context: int

    @property
    def look_ahead(self) -> int:
        return self.lead + self.context


@cache
def reach(spec: CodecSpec) -> Reach:
    """Follow one code frame's samples back through the layers, and see which latent frames they touch."""
    first, last = 0, spec.hop - 1
    first, last = _widen(first, last, spec.last_kernel)
    for ratio in reversed(spec.ratios):
        for block in range(spec.residual_layers):
            first, last = _widen(first, last, spec.residual_kernel, spec.dilation_growth**block)
        trimmed = ratio - ratio // 2  # a transposed kernel of two strides: each output sample has two inputs
        first, last = (first + trimmed) // ratio - 1, (last + trimmed) // ratio
    return Reach(lead=(spec.kernel - 1) // 2, context=max(-first, last))


def _widen(first: int, last: int, kernel: int, dilation: int = 1) -> tuple[int, int]:
    total = (kernel - 1) * dilation
    return first - (total - total // 2), last + total // 2


@dataclass(frozen=True, slots=True)
class EncodecState:
    """Between two pieces: how far each half has come, and what it must still see."""

    read: int
    """Frames that went through the LSTM."""
    emitted: int
    """Frames whose samples have left."""
    codes: I64
    """[K, t]: the frames from `read - lead` on."""
    hidden: Carried
    cell: Carried
    """[L, 1, C] each."""
    y: Carried
    """[C, t]: the LSTM's output from frame `emitted - context` on."""


def start(spec: CodecSpec, codebooks: int) -> EncodecState:
    still = np.zeros((spec.lstm_layers, 1, spec.lstm_width), np.float32)
    nothing = np.zeros((codebooks, 0), np.int64)
    return EncodecState(0, 0, nothing, still, still, np.zeros((spec.lstm_width, 0), np.float32))


class EncodecGraphs(Protocol):
    """The two halves of an EnCodec, as a backend runs them."""

    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        """codes [K, T + 2 lead] to y [C, T], hidden, cell."""
        ...

    def upsample(self, y: F32) -> F32:
        """y [C, T] to samples [T x hop]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Both halves of a piece: codes [K, T + 2 lead], what the LSTM carries, and y [C, t] from before.

    Answered by the samples of all t + T frames, by hidden and cell, and by the last 2 `context` frames of y.
    """

    stage: ClassVar[int] = 0
    codes: I64
    hidden: Carried
    cell: Carried
    y: Carried
    context: int

    def on(self, graphs: EncodecGraphs) -> tuple[F32, Carried, Carried, Carried]:
        fresh, hidden, cell = graphs.recur(np.ascontiguousarray(self.codes), self.hidden, self.cell)
        y = np.concatenate((self.y, fresh), axis=1)
        return graphs.upsample(y), hidden, cell, y[:, carried_from(y.shape[1], self.context) :]


def carried_from(frames: int, context: int) -> int:
    """The first of so many frames of y that the next piece needs: it begins `context` before what sounds next, which begins
    `context` before the end."""
    return max(0, frames - 2 * context)


def decoding(
    spec: CodecSpec, state: EncodecState, codes: I64, *, last: bool = False
) -> Asking[tuple[F32, EncodecState]]:
    """Take further codes [K, T] and return the samples that they make final; nothing is asked before there are any."""
    needs = reach(spec)
    lead, context = needs.lead, needs.context
    held = np.concatenate((state.codes, codes), axis=1)
    first_held = max(0, state.read - lead)
    known = first_held + held.shape[1]
    read = known if last else known - lead
    emitted = read if last else read - context
    if emitted <= state.emitted:
        return np.zeros(0, np.float32), replace(state, codes=held)
    window = held
    if last or state.read < lead:
        at = padded_indices(state.read, read, known if last else None, lead, spec.pad_mode)
        window = held[:, np.asarray(at) - first_held]
    samples, hidden, cell, y = yield Piece(window, state.hidden, state.cell, state.y, context)
    first_y = max(0, state.emitted - context)
    final = samples[(state.emitted - first_y) * spec.hop : (emitted - first_y) * spec.hop]
    rest = held[:, max(0, read - lead) - first_held :]
    return final, EncodecState(read, emitted, rest, hidden, cell, y)


def padded_indices(first: int, end: int, total: int | None, lead: int, pad_mode: str) -> list[int]:
    """Frames `first - lead` to `end + lead`, those beyond a real edge (0, and `total` where it is known) mirrored."""
    if pad_mode != "reflect":
        raise ValueError(f"this codec pads with {pad_mode!r}; only 'reflect' (encodec_32khz) is known")
    if total is not None and total <= lead:
        raise ValueError(f"a codec with {lead} frames of lead needs at least {lead + 1} frames, not {total}")

    def mirrored(i: int) -> int:
        i = abs(i)
        return i if total is None or i < total else 2 * (total - 1) - i

    return [mirrored(i) for i in range(first - lead, end + lead)]
