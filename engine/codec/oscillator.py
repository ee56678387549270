"""The oscillator codec in pieces: it looks back a few frames and never ahead, so a piece is final as soon as its codes are known.

Phases follow from the number of a code frame, so all that is carried is the last codes and how many frames went before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.asking import Asking
from engine.spec import OscillatorSpec

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OscillatorState:
    """Between two pieces."""

    emitted: int
    """Frames whose samples have left."""
    codes: I64
    """[K, context]: the frames before, those before the beginning being the code of nothing."""


class OscillatorGraphs(Protocol):
    """The codec as a backend runs it."""

    def synthesise(self, codes: I64, first: int) -> F32:
        """codes [K, context + T], `first` the number of the first frame that sounds, to samples [T x hop]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Synthesise:
    """See `OscillatorGraphs.synthesise`."""

    stage: ClassVar[int] = 0
    codes: I64
    first: int

    def on(self, graphs: OscillatorGraphs) -> F32:
        return graphs.synthesise(self.codes, self.first)


def start(spec: OscillatorSpec, codebooks: int) -> OscillatorState:
    return OscillatorState(0, np.full((codebooks, spec.context), spec.codebook_size, np.int64))


def decoding(spec: OscillatorSpec, state: OscillatorState, codes: I64) -> Asking[tuple[F32, OscillatorState]]:
    """Take further codes [K, T] and return their samples [T x hop]."""
    frames = codes.shape[1]
    if frames == 0:
        return np.zeros(0, np.float32), state
    read = np.concatenate((state.codes, codes), axis=1)
    samples = yield Synthesise(read, state.emitted % spec.period)
    return samples, OscillatorState(state.emitted + frames, read[:, frames:])
