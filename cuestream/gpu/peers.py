"""The stock decoder beside ours: `transformers` MusicGen of the same geometry, on the same device, in the same run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from cuestream.cases import Case
from cuestream.gpu.musicgen import Musicgen
from cuestream.gpu.steps import p50_p99_ms, settle
from engine.spec import ModelSpec

LENGTH, FRAMES, REPEATS, WARM_UP = 750, 20, 40, 5


@dataclass(frozen=True, slots=True)
class PeerRow:
    way: str
    """How a user may run it: its attention and its cache."""
    streams: int
    p50_ms: float | None
    p99_ms: float | None
    x_real_time: float | None
    failed: str = ""


def peer_rows(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> Iterator[PeerRow]:
    """One stream with guidance, behind 750 columns and 20 frames."""
    with device:
        peer = Musicgen(spec, dtype)
        for way in peer.ways():
            try:
                took = _seconds(peer, way)
            except Exception as error:
                yield PeerRow(" ".join(way), 1, None, None, None, " ".join(str(error).split())[:200])
                continue
            p50, p99 = p50_p99_ms(took)
            yield PeerRow(" ".join(way), 1, p50, p99, 20 / p50)
    del peer
    torch.cuda.empty_cache()


def _seconds(peer: Musicgen, way: tuple[str, str]) -> list[float]:
    case = Case(guided=True, length=LENGTH, frames=FRAMES, segments=1)
    advance = peer.steps(case, way, WARM_UP + REPEATS)
    took = []
    for i in range(WARM_UP + REPEATS):
        began = time.perf_counter()
        advance(i)
        settle()
        took.append(time.perf_counter() - began)
    return took[WARM_UP:]
