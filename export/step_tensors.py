"""What a decoder step of few bits reads, by name: for `kernels.native`, which takes it without the graph.

Found in the traced graph itself, so that both read the same bytes of the same file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from kernels.native import MATRICES, NORMS, SCALES

KEY_SCALE, VALUE_SCALE = 12, 13
"""Inputs of a GroupQueryAttention."""

Place = Callable[[bytes], tuple[int, int]]
"""Puts bytes into the file of weights, or finds them there: their offset and length."""
Named = Iterator[tuple[str, ir.Value]]


def step_tensors(model: ir.Model, layers: int, place: Place) -> dict[str, dict[str, Any]]:
    """Of a traced guided step of one segment. Each tensor: its offset in the file of weights, its type, its shape, and a matrix's
    bits and inputs. Nothing where the step is not made of few bits throughout (floats, a condition with ages)."""
    kinds = defaultdict[str, list[ir.Node]](list)
    for node in model.graph:
        kinds[node.op_type].append(node)
    counted = [len(kinds[kind]) for kind in ("MatMulNBits", "GroupQueryAttention", "MultiHeadAttention")]
    scaled = all(len(node.inputs) > VALUE_SCALE for node in kinds["GroupQueryAttention"])
    if counted != [6 * layers + 1, 2 * layers, layers] or not scaled:
        return {}
    found = {name: _described(value, place) for name, value in _constants(kinds, layers)}
    for name, node in _products(kinds["MatMulNBits"], layers):
        packed, scales = (_described(_constant(node, at), place) for at in (1, 2))
        bits, inputs = (node.attributes[key].as_int() for key in ("bits", "K"))
        found[name] = packed | {"bits": bits, "inputs": inputs}
        found[f"{name}{SCALES}"] = scales
    return found


def _products(nodes: Sequence[ir.Node], layers: int) -> Iterator[tuple[str, ir.Node]]:
    names = [f"{at}.{name}" for at in range(layers) for name in MATRICES]
    return zip([*names, "logits"], nodes, strict=True)


def _constants(kinds: Mapping[str, Sequence[ir.Node]], layers: int) -> Named:
    """Tables, norms, the null condition and the caches' scales."""
    yield "embedding", next(_tables(kinds["Gather"]))
    yield "positions", next(_tables(kinds["GatherND"]))
    names = [f"{at}.{name}" for at in range(layers) for name in NORMS]
    for name, node in zip([*names, "last"], kinds["LayerNormalization"], strict=True):
        yield f"{name}.weight", _constant(node, 1)
        yield f"{name}.bias", _constant(node, 2)
    for at, node in enumerate(kinds["MultiHeadAttention"]):
        yield f"{at}.null_keys", _constant(node, 1)
        yield f"{at}.null_values", _constant(node, 2)
    for at, node in enumerate(kinds["GroupQueryAttention"]):  # a layer hears, then it sees
        part = "seen" if at % 2 else "heard"
        yield f"{at // 2}.{part}_keys", _constant(node, KEY_SCALE)
        yield f"{at // 2}.{part}_values", _constant(node, VALUE_SCALE)


def _tables(nodes: Sequence[ir.Node]) -> Iterator[ir.Value]:
    """Constants of floats that rows are taken from."""
    for node in nodes:
        value = node.inputs[0]
        if (
            value is not None
            and value.const_value is not None
            and value.const_value.dtype == ir.DataType.FLOAT
        ):
            yield value


def _constant(node: ir.Node, at: int) -> ir.Value:
    value = node.inputs[at]
    assert value is not None
    return value


def _described(value: ir.Value, place: Place) -> dict[str, Any]:
    tensor = value.const_value
    assert tensor is not None, value.name
    offset, _ = place(tensor.tobytes())
    return {"offset": offset, "dtype": tensor.numpy().dtype.name, "shape": list(tensor.shape.numpy())}
