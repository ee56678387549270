"""What a graph reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import MissingRuntime

if TYPE_CHECKING:
    import onnx


def constant_bytes(path: Path) -> int:
    """Bytes of the constants that a graph reads at every run, without tables, of which it reads a row. Raises MissingRuntime
    without onnx."""
    try:
        import onnx
    except ImportError as error:
        raise MissingRuntime(
            "to count what a step's graph reads, onnx is needed: pip install onnx"
        ) from error

    graph = onnx.load(path, load_external_data=False).graph
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    used = {name for node in graph.node for name in node.input}
    return sum(_bytes(x) for x in graph.initializer if x.name in used and x.name not in tables)


def _bytes(tensor: onnx.TensorProto) -> int:
    place = {entry.key: entry.value for entry in tensor.external_data}
    return int(place["length"]) if place else len(tensor.raw_data)
