"""Weights of few bits: products by constant matrices become operators of ONNX Runtime that read a quarter of the bytes or less.

A decoder step is bound by the bytes of its weights. `by_blocks` makes its products `MatMulNBits`: blocks of `BLOCK` weights of
one output share a scale, and each row's activations are rounded to eight bits as they come (`accuracy_level` 4), so that what one
row answers depends on no other. Eight bits are rounded plainly; four are made by `export.gptq` or `export.nearest`.

A frame is bound by arithmetic: it has 50 rows. `by_columns` makes its products `DynamicQuantizeMatMul`, twice as fast as floats
(MatMulNBits is slower than floats there). All rows share a scale, so the engine shows such a graph one frame at a time.

What does not lie in matrices stays as it is: embeddings, norms, the constants of the null condition. Of an EnCodec the LSTM's
matrices are rounded like a frame's (`export.lstm`), since it reads all of them for each code frame; its convolutions are not.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from engine.backends.beside import Difference

EIGHT = 8
BLOCK, LEAST_BLOCK = 128, 16
"""Weights that share a scale. Blocks of 32 cost a seventh of the time more and move the logits hardly less, since activations
are rounded alike."""
COLUMN_LARGEST = 63
"""Of `by_columns`: seven bits, since AVX2 adds two products in 16 bits, and cuts off what does not fit."""
INTEGER_PRODUCTS = 4
"""`accuracy_level`: activations of eight bits."""
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
LEAST_WEIGHTS = 4096
"""Smaller matrices cost nothing."""
DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Rounded:
    """A matrix as `MatMulNBits` reads it: uint8 [N, blocks, block bits / 8], half of the range being zero; scales [N, blocks]."""

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    bits: int

    @property
    def block(self) -> int:
        return self.packed.shape[-1] * 8 // self.bits

    def floats(self, inputs: int) -> NDArray[np.float32]:
        """The weights [K, N] that products are made with."""
        levels = self.packed if self.bits == EIGHT else unpacked_nibbles(self.packed)
        parted = (levels.astype(np.float32) - (1 << (self.bits - 1))) * self.scales[..., None]
        return parted.reshape(len(levels), -1)[:, :inputs].T


@dataclass(slots=True)
class Quantised:
    """What was done to a graph. bits: how many matrices have so many; rounding: how four bits were made, if there are any;
    difference: what it changed of the weights."""

    bits: Counter[int] = field(default_factory=Counter)
    rounding: str | None = None
    weights: int = 0
    difference: Difference = field(default_factory=Difference)

    def note(self, weight: NDArray[np.float32], rounded: NDArray[np.float32], bits: int) -> None:
        self.bits[bits] += 1
        self.weights += weight.size
        self.difference.note(weight, rounded)

    def as_json(self) -> dict[str, Any]:
        bits = {str(bits): count for bits, count in sorted(self.bits.items())}
        return {
            "matrices": self.bits.total(),
            "by_bits": bits,
            "weights": self.weights,
            "error": round(self.difference.relative, 6),
            **({"rounding": self.rounding} if self.rounding else {}),
        }


def by_blocks(model: ir.Model, four: Mapping[str, Rounded], rounding: str | None) -> Quantised:
    """Change a traced graph in place. four: by the digest of a weight [N, K], as it lies in memory, what to put there instead of
    eight bits; rounding: how it was made."""
    done = Quantised(rounding=rounding)
    for node, weight in products(model):
        matrix = four.get(digest(weight.T.tobytes())) or rounded(weight)
        done.note(weight, matrix.floats(len(weight)), matrix.bits)
        about = {
            "K": weight.shape[0],
            "N": weight.shape[1],
            "bits": matrix.bits,
            "block_size": matrix.block,
            "accuracy_level": INTEGER_PRODUCTS,
        }
        _replace(model, node, "MatMulNBits", {"weight": matrix.packed, "scales": matrix.scales}, about)
    return done


def by_columns(model: ir.Model) -> Quantised:
    """Change a traced graph in place."""
    done = Quantised()
    for node, weight in products(model):
        levels, scales = by_column(weight)
        done.note(weight, levels * scales, EIGHT)
        _replace(model, node, "DynamicQuantizeMatMul", {"weight": levels, "scales": scales}, {})
    return done


def by_column(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """weight [K, N] to levels [K, N] and scales [N]."""
    scales = (np.abs(weight).max(0) / COLUMN_LARGEST).astype(np.float32)
    return np.rint(weight / np.where(scales, scales, 1)).astype(np.int8), scales


def digest(data: bytes) -> str:
    """Names a tensor by what is in it."""
    return hashlib.sha256(data).hexdigest()


def block_of(inputs: int) -> int:
    """For so many inputs. The operator takes powers of two from 16 on, and a block beyond the matrix is bytes for nothing."""
    return min(BLOCK, max(LEAST_BLOCK, 1 << (inputs - 1).bit_length()))


def rounded(weight: NDArray[np.float32]) -> Rounded:
    """weight [K, N] to eight bits. K is filled up with zeros."""
    inputs, outputs = weight.shape
    block = block_of(inputs)
    blocks = -(-inputs // block)
    filled = np.zeros((outputs, blocks * block), np.float32)
    filled[:, :inputs] = weight.T
    parted = filled.reshape(outputs, blocks, block)
    half = 1 << (EIGHT - 1)
    scales = np.abs(parted).max(-1) / (half - 1)
    steps = np.rint(parted / np.where(scales, scales, 1.0)[..., None])
    return Rounded((steps + half).astype(np.uint8), scales.astype(np.float32), EIGHT)


def packed_nibbles(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[..., block] from 0 to 15 to [..., block / 2], the first one in the low half."""
    low, high = levels[..., ::2], levels[..., 1::2]
    return low | (high << np.uint8(4))


def unpacked_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What `packed_nibbles` was given."""
    both: NDArray[np.uint8] = np.stack((packed & 15, packed >> 4), axis=-1)
    return both.reshape(*packed.shape[:-1], -1)


def products(model: ir.Model) -> list[tuple[ir.Node, NDArray[np.float32]]]:
    """Products by a constant matrix of floats that is large enough, and that matrix, [K, N]."""
    found = []
    for node in model.graph:
        if node.op_type != "MatMul" or node.inputs[1] is None:
            continue
        held = model.graph.initializers.get(str(node.inputs[1].name))
        tensor = held.const_value if held is not None else None
        if tensor is None or tensor.dtype not in FLOATS or len(tensor.shape) != 2:
            continue
        if tensor.size >= LEAST_WEIGHTS:
            found.append((node, tensor.numpy().astype(np.float32, copy=False)))
    return found


def constants(model: ir.Model, name: str, arrays: Mapping[str, NDArray[Any]]) -> list[ir.Value]:
    """Put them into the graph, each named behind `name`."""
    values = []
    for part, array in arrays.items():
        value = ir.Value(name=f"{name}.{part}", shape=ir.Shape(array.shape))
        value.const_value = ir.tensor(array, name=value.name)
        value.dtype = value.const_value.dtype
        model.graph.register_initializer(value)
        values.append(value)
    return values


def forget_unread(model: ir.Model, held: ir.Value | None) -> None:
    """A matrix that something else was put in the place of."""
    if held is not None and not held.uses():
        del model.graph.initializers[str(held.name)]


def _replace(
    model: ir.Model, node: ir.Node, operator: str, arrays: dict[str, NDArray[Any]], about: dict[str, int]
) -> None:
    old = node.inputs[1]
    read = [node.inputs[0], *constants(model, str(node.outputs[0].name), arrays)]
    product = ir.node(operator, read, about, domain=DOMAIN)
    ir.convenience.replace_nodes_and_values(
        model.graph, node, [node], [product], node.outputs, product.outputs
    )
    forget_unread(model, old)
