"""An exported model by ONNX Runtime's and TensorRT's ways to run it, beside each other: one stream, as `steps.alone` plays it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cuestream.gpu.steps import play
from engine.backends.devices import open_backend


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A step of one stream with guidance, a call each."""

    provider: str
    model: str
    step_p50_ms: float
    step_p99_ms: float
    x_real_time: float
    """20 ms over the median step."""
    failed: str = ""
    """Why it could not be measured."""


def provider_rows(folder: Path, providers: Sequence[str], steps: int) -> Iterator[ProviderRow]:
    for provider in providers:
        try:
            backend = open_backend(folder, provider=provider)
            took_ms = np.array(play(backend, steps).took_s) * 1e3
        except Exception as error:
            yield ProviderRow(provider, folder.name, 0, 0, 0, " ".join(str(error).split())[:200])
            continue
        p50, p99 = np.percentile(took_ms, (50, 99))
        yield ProviderRow(provider, backend.spec.name, float(p50), float(p99), 20 / float(p50))
