"""Weights of eight bits: each matrix product by a constant becomes ONNX Runtime's `MatMulNBits`, a quarter of the bytes.

A decoder step is bound by the bytes of its weights. Blocks of `BLOCK` weights of one output share a scale; activations are
rounded to eight bits as they come (`accuracy_level` 4), so that products are of integers. What does not lie in matrices stays
as it is: embeddings, norms, caches, the constants of the null condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

BITS = 8
BLOCK, LEAST_BLOCK = 128, 16
"""Weights that share a scale. Blocks of 32 cost a seventh of the time more and move the logits hardly less, since activations
are rounded alike."""
HALF = 1 << (BITS - 1)
INTEGER_PRODUCTS = 4
"""`accuracy_level`: activations of eight bits."""
LEAST_WEIGHTS = 4096
"""Smaller matrices cost nothing."""
DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Quantised:
    """What was done to a graph. error: root mean square of what rounding changed, over that of the weights."""

    matrices: int
    weights: int
    error: float

    def as_json(self) -> dict[str, Any]:
        about = {"bits": BITS, "most_block": BLOCK, "matrices": self.matrices, "weights": self.weights}
        return {**about, "error": round(self.error, 6)}


def quantise(model: ir.Model) -> Quantised:
    """Change a traced graph in place."""
    matrices, weights, changed, power = 0, 0, 0.0, 0.0
    for node in list(model.graph):
        weight = _weight_of(model, node)
        if weight is None:
            continue
        packed, scales = rounded(weight)
        error = unrounded(packed, scales, len(weight)) - weight
        matrices, weights = matrices + 1, weights + weight.size
        changed, power = changed + float(np.sum(error**2)), power + float(np.sum(weight**2))
        _replace(model, node, packed, scales, weight.shape)
    return Quantised(matrices, weights, (changed / power) ** 0.5 if power else 0.0)


def block_of(inputs: int) -> int:
    """For so many inputs. The operator takes powers of two from 16 on, and a block beyond the matrix is bytes for nothing."""
    return min(BLOCK, max(LEAST_BLOCK, 1 << (inputs - 1).bit_length()))


def rounded(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """weight [K, N] to what `MatMulNBits` reads: uint8 [N, blocks, block], where 128 is zero, and scales [N, blocks].

    K is filled up with zeros.
    """
    inputs, outputs = weight.shape
    block = block_of(inputs)
    blocks = -(-inputs // block)
    filled = np.zeros((outputs, blocks * block), np.float32)
    filled[:, :inputs] = weight.T
    parted = filled.reshape(outputs, blocks, block)
    scales = np.abs(parted).max(-1) / (HALF - 1)
    steps = np.rint(parted / np.where(scales, scales, 1.0)[..., None])
    return (steps + HALF).astype(np.uint8), scales.astype(np.float32)


def unrounded(packed: NDArray[np.uint8], scales: NDArray[np.float32], inputs: int) -> NDArray[np.float32]:
    """The weights [K, N] that products are made with."""
    parted = (packed.astype(np.float32) - HALF) * scales[..., None]
    return parted.reshape(len(packed), -1)[:, :inputs].T


def _weight_of(model: ir.Model, node: ir.Node) -> NDArray[np.float32] | None:
    """[K, N] of a product by a constant matrix that is large enough."""
    if node.op_type != "MatMul" or node.inputs[1] is None:
        return None
    held = model.graph.initializers.get(str(node.inputs[1].name))
    if held is None or held.const_value is None:
        return None
    tensor = held.const_value
    if tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2 or tensor.size < LEAST_WEIGHTS:
        return None
    return tensor.numpy()


def _replace(
    model: ir.Model,
    node: ir.Node,
    packed: NDArray[np.uint8],
    scales: NDArray[np.float32],
    shape: tuple[int, ...],
) -> None:
    old, name = node.inputs[1], str(node.outputs[0].name)
    read = [node.inputs[0]]
    for part, array in (("weight", packed), ("scales", scales)):
        value = ir.Value(name=f"{name}.{part}", shape=ir.Shape(array.shape))
        value.const_value = ir.tensor(array, name=value.name)
        value.dtype = value.const_value.dtype
        model.graph.register_initializer(value)
        read.append(value)
    about = {
        "K": shape[0],
        "N": shape[1],
        "bits": BITS,
        "block_size": block_of(shape[0]),
        "accuracy_level": INTEGER_PRODUCTS,
    }
    product = ir.node("MatMulNBits", read, about, domain=DOMAIN)
    ir.convenience.replace_nodes_and_values(
        model.graph, node, [node], [product], node.outputs, product.outputs
    )
    if old is not None and not old.uses():
        del model.graph.initializers[str(old.name)]
