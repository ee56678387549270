"""An exported model by ONNX Runtime's and TensorRT's ways to run it, beside each other: one stream, as `steps.alone` plays it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cuestream.gpu.steps import p50_p99_ms, play
from engine.backends.devices import open_backend


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A step of one stream with guidance, a call each."""

    provider: str
    model: str
    step_p50_ms: float | None
    step_p99_ms: float | None
    x_real_time: float | None
    """20 ms over the median step."""
    failed: str = ""
    """Why it could not be measured."""


def provider_rows(folder: Path, providers: Sequence[str], steps: int) -> Iterator[ProviderRow]:
    for provider in providers:
        try:
            backend = open_backend(folder, provider=provider)
            p50, p99 = p50_p99_ms(play(backend, steps).took_s)
        except Exception as error:
            yield ProviderRow(provider, folder.name, None, None, None, " ".join(str(error).split())[:200])
            continue
        yield ProviderRow(provider, backend.spec.name, p50, p99, 20 / p50)
