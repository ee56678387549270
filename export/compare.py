"""`cuestream compare`: how far an export is from another one of the same model, on music that the first one plays.

A seeded video of moving shapes with a cut every few seconds is shown to both; the first one's tokens are played, and both are
asked for the logits of the next ones. Runs on ONNX Runtime alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends.base import F32
from engine.backends.beside import Answered, Beside, Seen
from engine.backends.native import on_cpu
from engine.keys import Keys
from engine.library import recommended
from engine.stream import ScoreStream
from export.imagined import watched


@dataclass(frozen=True, slots=True)
class Comparison:
    """Relative errors are root mean squares over those of the first export; cross-entropies are in nats a token."""

    first: str
    second: str
    steps: int
    logit_error: float
    top1_agreement: float
    """Of the conditional row: how often the likeliest token is the same."""
    cross_entropy_first: float
    cross_entropy_second: float
    """Of the tokens that the first one drew."""
    feature_error: float
    audio_error: float

    @property
    def cross_entropy_change(self) -> float:
        return self.cross_entropy_second / self.cross_entropy_first - 1 if self.cross_entropy_first else 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"cross_entropy_change": self.cross_entropy_change}


def compare(first: Path, second: Path, seconds: float, seed: int = 0, threads: int = 0) -> Comparison:
    """Both are folders of exports. Raises ValueError when they are not of one model, PackageError when one is damaged."""
    backends = [on_cpu(folder, threads) for folder in (first, second)]
    beside = Beside(*backends)
    spec = beside.spec
    policy = recommended(first, spec)
    stream = ScoreStream(beside, policy, keys=Keys.load(first, spec.decoder.codebooks, spec.decoder.card))
    for _ in watched(stream, int(seconds * spec.code_rate), seed):
        stream.take()
    names = [f"{spec.name} {backend.manifest.precision}" for backend in backends]
    return _comparison(names[0], names[1], beside.seen)


def _comparison(first: str, second: str, seen: Seen) -> Comparison:
    agreed = [np.mean(s.first.argmax(-1) == s.second.argmax(-1)) for s in seen.steps]
    return Comparison(
        first,
        second,
        len(seen.steps),
        seen.logits.relative,
        float(np.mean(agreed)) if agreed else 1.0,
        cross_entropy(seen.steps, [s.first for s in seen.steps]),
        cross_entropy(seen.steps, [s.second for s in seen.steps]),
        seen.features.relative,
        seen.audio.relative,
    )


def cross_entropy(steps: Sequence[Answered], logits: Sequence[F32]) -> float:
    """Of the played tokens, the special ones left out, in nats a token."""
    total, count = 0.0, 0
    for step, answered in zip(steps, logits, strict=True):
        highest = answered.max(-1, keepdims=True)
        log_sum = np.log(np.exp(answered - highest).sum(-1)) + highest[:, 0]
        real = step.played < answered.shape[-1]
        books = np.flatnonzero(real)
        total += float(np.sum(log_sum[books] - answered[books, step.played[books]]))
        count += len(books)
    return total / count if count else 0.0
