"""The two ways to run a model that `verify` compares: PyTorch's modules, and the graphs exported from them.

A side runs any graph by its name, so that inner values (pixel values, branch outputs) can be looked at, and has a backend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from engine.backends.base import F32, I64, Backend
from engine.backends.native import on_cpu
from engine.backends.torch import TorchBackend
from engine.model.decoder import empty_caches
from engine.model.vidmuse import VidMuse
from export.graphs import Graph, graphs

Array = NDArray[Any]


class Side(Protocol):
    """One way to run the model."""

    @property
    def backend(self) -> Backend[Any, Any]: ...

    def run(self, graph: str, **inputs: Array) -> dict[str, Array]:
        """All outputs of a named graph."""
        ...

    def layers(self, columns: I64, condition: F32) -> F32 | None:
        """The decoder's layer outputs [L, 1, S, D] for columns [S, K], where this side can show them."""
        ...


class TorchSide:
    def __init__(self, model: VidMuse) -> None:
        self.model = model
        self.backend = TorchBackend(model)
        self._graphs: dict[str, Graph] = {g.name: g for g in graphs(model)}

    @torch.inference_mode()
    def run(self, graph: str, **inputs: Array) -> dict[str, Array]:
        traced = self._graphs[graph]
        answer = traced.module(*(torch.from_numpy(inputs[name]) for name in traced.input_names))
        outputs = answer if isinstance(answer, tuple) else (answer,)
        return {name: value.numpy() for name, value in zip(traced.output_names, outputs, strict=True)}

    @torch.inference_mode()
    def layers(self, columns: I64, condition: F32) -> F32:
        decoder, spec = self.model.decoder, self.model.spec.decoder
        keys, values = decoder.project(torch.from_numpy(condition))
        caches = empty_caches(spec, 1, len(columns))
        outputs: list[torch.Tensor] = []
        start = torch.zeros(1, dtype=torch.int64)
        decoder(torch.from_numpy(columns)[None], start, *caches, keys, values, guided=False, trace=outputs)
        return torch.stack([x[0] for x in outputs]).numpy()


class OnnxSide:
    def __init__(self, folder: Path) -> None:
        self.backend = on_cpu(folder)

    def run(self, graph: str, **inputs: Array) -> dict[str, Array]:
        names = [o.name for o in self.backend.session(graph).get_outputs()]
        return dict(zip(names, self.backend.run(graph, inputs, names), strict=True))

    def layers(self, columns: I64, condition: F32) -> None:
        return None
