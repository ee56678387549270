"""The file of weights that all graphs of an export share: each tensor once, and its place in the graphs that read it.

A compact export shares the package's own file besides: its graphs cast and turn what they find there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import onnx_ir as ir

from engine.backends.manifest import WEIGHTS_FILE
from export.checkpoint import WEIGHTS_FILE as PACKAGE_FILE
from export.checkpoint import Package, save_package
from export.quantise import digest

INLINE_BYTES = 1024
"""Smaller tensors (shapes, scalars) stay inside the graphs, where the optimiser folds them."""
PAGE_BYTES, LINE_BYTES = 4096, 64
"""Large tensors start on a page, so that they can be mapped; small ones on a cache line."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """Where a tensor is in the package's file, and how it lies there. turned: rows and columns the other way round."""

    offset: int
    length: int
    dtype: ir.DataType
    shape: tuple[int, ...]
    turned: bool


def packaged(package: Package, folder: Path) -> dict[str, Packaged]:
    """Write the package; its larger tensors by the digest of what a graph might hold of them."""
    save_package(package, folder)
    path, found = folder / PACKAGE_FILE, dict[str, Packaged]()
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        described: Mapping[str, Any] = json.loads(file.read(header))
    kinds = {"F16": ir.DataType.FLOAT16, "F32": ir.DataType.FLOAT}
    for name, entry in described.items():
        tensor = package.weights.get(name)
        if tensor is None or entry["dtype"] not in kinds or tensor.nbytes < INLINE_BYTES:
            continue
        first, end = entry["data_offsets"]
        place = (8 + header + first, end - first, kinds[entry["dtype"]], tuple(tensor.shape))
        if tensor.ndim == 2:
            found[digest(tensor.T.contiguous().numpy().tobytes())] = Packaged(*place, turned=True)
        found[digest(tensor.contiguous().numpy().tobytes())] = Packaged(*place, turned=False)
    return found


class SharedWeights:
    """Appends tensors to the weights file, each once, and leaves their place in the graph."""

    def __init__(self, file: BinaryIO, folder: Path, packaged: Mapping[str, Packaged]) -> None:
        self._file, self._folder, self._packaged = file, folder, packaged
        self._places: dict[str, tuple[int, int]] = {}

    def move_out(self, model: ir.Model) -> ir.Model:
        for value in list(model.graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or tensor.nbytes < INLINE_BYTES:
                continue
            data = tensor.tobytes()
            if (held := self._packaged.get(digest(data))) and tensor.dtype == ir.DataType.FLOAT:
                self._read_package(model.graph, value, held)
            else:
                place = self.place(data)
                value.const_value = self._external(
                    WEIGHTS_FILE, *place, tensor.dtype, tuple(tensor.shape.numpy()), tensor.name
                )
        self._file.flush()
        return model

    def _read_package(self, graph: ir.Graph, value: ir.Value, held: Packaged) -> None:
        """Put a cast, and where it lies turned a transposition, between the package's tensor and its readers."""
        name = f"{value.name}.packaged"
        stored = ir.Value(name=name, shape=ir.Shape(held.shape), type=ir.TensorType(held.dtype))
        stored.const_value = self._external(
            PACKAGE_FILE, held.offset, held.length, held.dtype, held.shape, name
        )
        nodes = [ir.node("Cast", [stored], {"to": int(ir.DataType.FLOAT)})]
        if held.turned:
            nodes.append(ir.node("Transpose", nodes[0].outputs, {"perm": [1, 0]}))
        read = nodes[-1].outputs[0]
        ir.convenience.replace_all_uses_with(value, read)
        graph.insert_before(graph[0], nodes)
        del graph.initializers[str(value.name)]
        read.name = value.name
        graph.register_initializer(stored)

    @property
    def digest(self) -> str:
        """Of everything that is held, whatever graph it is for."""
        return digest("".join((*sorted(self._places), *sorted(self._packaged))).encode())

    def _external(
        self,
        file: str,
        offset: int,
        length: int,
        dtype: ir.DataType,
        shape: tuple[int, ...],
        name: str | None,
    ) -> ir.ExternalTensor:
        return ir.ExternalTensor(
            file, offset, length, dtype, shape=ir.Shape(shape), name=name or "", base_dir=self._folder
        )

    def place(self, data: bytes) -> tuple[int, int]:
        """Where it lies in the file: its offset and length."""
        name = digest(data)
        if name not in self._places:
            alignment = PAGE_BYTES if len(data) >= 1 << 20 else LINE_BYTES
            self._file.write(bytes(-self._file.tell() % alignment))
            self._places[name] = (self._file.tell(), len(data))
            self._file.write(data)
        return self._places[name]
