"""Weights of few bits in standard operators alone: a matrix is levels and scales, and a `DequantizeLinear` before its product.

What runs a graph makes one of the two where it can: ONNX Runtime a `MatMulNBits` of whole numbers, TensorRT a product that reads
four bits. Activations stay in floats. Eight bits, `int8` or `fp8` (E4M3), have a scale for each output; four have one for each
block of `export.quantise.BLOCK` inputs of an output, as GPTQ or rounding made them. What four bits do not fit has eight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.quantise import (
    EIGHT,
    Quantised,
    Rounded,
    constants,
    digest,
    forget_unread,
    products,
    unpacked_nibbles,
)

KINDS = {"int8": ir.DataType.INT8, "fp8": ir.DataType.FLOAT8E4M3FN, "int4": ir.DataType.INT4}
LARGEST = {"int8": 127.0, "fp8": 448.0}
LEAST_SCALE = 2.0**-14
"""Of floats: the smallest number that fp16 holds to all its digits. They keep theirs whatever the scale is."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """levels [K, N], of one of `KINDS`; scales [N], or [K / block, N]."""

    levels: NDArray[Any]
    scales: NDArray[Any]
    bits: int
    block: int | None = None

    def floats(self) -> NDArray[np.float32]:
        """The weights [K, N] that products are made with."""
        scales = self.scales.astype(np.float32)
        each = scales if self.block is None else np.repeat(scales, self.block, axis=0)
        return self.levels.astype(np.float32) * each


def by_scales(
    model: ir.Model, kind: str, four: Mapping[str, Rounded] | None = None, rounding: str | None = None
) -> Quantised:
    """Change a traced graph in place. kind: one of `KINDS`; four: as in `export.quantise.by_blocks`."""
    done = Quantised(rounding=rounding)
    eight = "fp8" if kind == "fp8" else "int8"
    for node, weight in products(model):
        held = node.inputs[1]
        assert held is not None
        assert held.dtype is not None
        floats = held.dtype.numpy()
        matrix = (four or {}).get(digest(weight.T.tobytes()))
        fits = matrix is not None and len(weight) % matrix.block == 0
        scaled = in_blocks(matrix, floats) if matrix and fits else in_columns(weight, eight, floats)
        done.note(weight, scaled.floats(), scaled.bits)
        _put_before(model, node, scaled)
    return done


def in_columns(weight: NDArray[np.float32], kind: str, floats: Any) -> Scaled:
    """weight [K, N] to eight bits, its scales in that type of floats."""
    scales = (np.abs(weight).max(0) / LARGEST[kind]).astype(floats)
    if kind == "fp8":
        scales = np.maximum(scales, floats.type(LEAST_SCALE))
    steps = weight / np.where(scales, scales, 1).astype(np.float32)
    whole = np.rint(steps).clip(-LARGEST[kind], LARGEST[kind]) if kind == "int8" else steps
    return Scaled(whole.astype(KINDS[kind].numpy()), scales, EIGHT)


def in_blocks(matrix: Rounded, floats: Any) -> Scaled:
    """Four bits that were made already."""
    half = 1 << (matrix.bits - 1)
    levels = unpacked_nibbles(matrix.packed).reshape(len(matrix.packed), -1).T.astype(np.int8) - half
    scales = np.ascontiguousarray(matrix.scales.T).astype(floats)
    return Scaled(levels.astype(KINDS["int4"].numpy()), scales, matrix.bits, matrix.block)


def _put_before(model: ir.Model, node: ir.Node, scaled: Scaled) -> None:
    old, name = node.inputs[1], str(node.outputs[0].name)
    about = {"axis": 1} if scaled.block is None else {"axis": 0, "block_size": scaled.block}
    read = constants(model, name, {"weight": scaled.levels, "scales": scaled.scales})
    dequantised = ir.node("DequantizeLinear", read, about)
    dequantised.outputs[0].name = f"{name}.floats"
    model.graph.insert_before(node, dequantised)
    node.replace_input_with(1, dequantised.outputs[0])
    forget_unread(model, old)
