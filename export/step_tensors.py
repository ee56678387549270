"""What a decoder step reads, by name: for `kernels.native`, which takes it without the graph.

Found in the traced graph itself, so that both read the same bytes of the same file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from engine.backends.manifest import WEIGHTS_FILE
from kernels.native import MATRICES, NORMS, SCALES

KEY_SCALE, VALUE_SCALE = 12, 13
"""Inputs of a GroupQueryAttention."""
TURNED_ON_THE_WAY = ("Cast", "Transpose")
"""What a compact export does with a tensor of the package before it is read."""

Place = Callable[[bytes], tuple[int, int]]
"""Puts bytes into the file of weights, or finds them there: their offset and length."""
Named = Iterator[tuple[str, ir.Value]]


def step_tensors(model: ir.Model, layers: int, place: Place) -> dict[str, dict[str, Any]]:
    """Of a traced guided step of one segment. Each tensor: its file, its offset there, its type, its shape, and a matrix's bits
    and inputs; `turned` where rows and columns lie the other way round. Scales are of what has few bits. Nothing where the
    step is not made of the operators for ONNX Runtime's CPU."""
    kinds = defaultdict[str, list[ir.Node]](list)
    for node in model.graph:
        kinds[node.op_type].append(node)
    products = kinds["MatMulNBits"] or kinds["MatMul"]
    counted = [len(of) for of in (products, kinds["GroupQueryAttention"], kinds["MultiHeadAttention"])]
    if counted != [len(MATRICES) * layers + 1, 2 * layers, layers]:
        return {}
    found = {name: _described(value, place) for name, value in _constants(kinds, layers)}
    names = [f"{at}.{name}" for at in range(layers) for name in MATRICES]
    for name, node in zip([*names, "logits"], products, strict=True):
        found |= _few_bits(name, node, place) if kinds["MatMulNBits"] else _floats(name, node, place)
    return found


def _few_bits(name: str, node: ir.Node, place: Place) -> dict[str, dict[str, Any]]:
    packed, scales = (_described(_constant(node, at), place) for at in (1, 2))
    bits, inputs = (node.attributes[key].as_int() for key in ("bits", "K"))
    return {name: packed | {"bits": bits, "inputs": inputs}, f"{name}{SCALES}": scales}


def _floats(name: str, node: ir.Node, place: Place) -> dict[str, dict[str, Any]]:
    """A product reads [inputs, outputs], a step [outputs, inputs]."""
    matrix = _described(_constant(node, 1), place)
    turned = not matrix.pop("turned", False)
    inputs = matrix["shape"][0 if turned else 1]
    about = {"bits": 8 * np.dtype(matrix["dtype"]).itemsize, "inputs": inputs} | (
        {"turned": True} if turned else {}
    )
    return {name: matrix | about}


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
        if len(node.inputs) > VALUE_SCALE:
            part = "seen" if at % 2 else "heard"
            yield f"{at // 2}.{part}_keys", _constant(node, KEY_SCALE)
            yield f"{at // 2}.{part}_values", _constant(node, VALUE_SCALE)


def _tables(nodes: Sequence[ir.Node]) -> Iterator[ir.Value]:
    """Constants of floats that rows are taken from."""
    for node in nodes:
        value = _constant(node, 0)
        tensor = _stored(value)[0].const_value
        if tensor is not None and tensor.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            yield value


def _constant(node: ir.Node, at: int) -> ir.Value:
    value = node.inputs[at]
    assert value is not None
    return value


def _stored(value: ir.Value) -> tuple[ir.Value, bool]:
    """What it is made of, and whether it was turned on the way."""
    turned = False
    while (node := value.producer()) is not None and node.op_type in TURNED_ON_THE_WAY:
        turned ^= node.op_type == "Transpose"
        value = _constant(node, 0)
    return value, turned


def _described(value: ir.Value, place: Place) -> dict[str, Any]:
    stored, turned = _stored(value)
    tensor = stored.const_value
    assert tensor is not None, value.name
    if isinstance(tensor, ir.ExternalTensor):
        file, offset = str(tensor.location), tensor.offset
    else:
        file, (offset, _) = WEIGHTS_FILE, place(tensor.tobytes())
    about = {"file": file, "offset": offset, "dtype": tensor.numpy().dtype.name}
    return about | {"shape": list(tensor.shape.numpy())} | ({"turned": True} if turned else {})
