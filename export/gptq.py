"""Four bits a weight whose errors answer for each other: GPTQ (Frantar et al. 2022, algorithm 1).

Input by input, what rounding changed in an output is made good by the inputs that are not rounded yet, as far as inputs go
together in the model's own music. ONNX Runtime's tool of that name is not used: `onnxruntime.quantization` 1.32 takes the
column of a triangular matrix where its row is meant, so that nothing is made good (its error equals plain rounding's).
"""

from __future__ import annotations

import torch
from torch import Tensor

from export.nearest import in_four_bits, scale_of, steps_of
from export.quantise import Rounded, block_of

DAMPING = 0.01
"""Of the mean square of an input, added to each: what was not heard in calibration may come."""
LAZY = 128
"""Inputs after which the others are told of the errors, all at once."""
SENSITIVE = 0.025
"""A matrix whose outputs four bits move by more of their root mean square is kept at eight. The starter with all matrices at four
bits has 3.5 % more cross-entropy; its errors go from 0.005 to 0.045. Random weights of the small geometry stay under 0.02."""


def solved(weight: Tensor, moments: Tensor) -> Rounded:
    """weight [N, K]; moments [K, K]: sums of products of inputs. Returns four bits a weight."""
    outputs, inputs = weight.shape
    block = block_of(inputs)
    upper = _inverse_root(moments)
    left = weight.clone()
    steps = torch.zeros(outputs, -(-inputs // block) * block)
    scales = torch.zeros(outputs, steps.shape[1] // block)
    for first in range(0, inputs, LAZY):
        end = min(inputs, first + LAZY)
        part, errors = left[:, first:end].clone(), torch.zeros(outputs, end - first)
        for at in range(first, end):
            here = at - first
            if at % block == 0:
                scales[:, at // block] = scale_of(part[:, here : here + block])
            scale = scales[:, at // block]
            steps[:, at] = steps_of(part[:, here], scale)
            errors[:, here] = (part[:, here] - steps[:, at] * scale) / upper[at, at]
            part[:, here + 1 :] -= errors[:, here, None] * upper[at, at + 1 : end]
        left[:, end:] -= errors @ upper[first:end, end:]
    return in_four_bits(steps.view(outputs, -1, block), scales)


def output_error(weight: Tensor, rounded: Tensor, moments: Tensor) -> float:
    """What rounding changes in the outputs, root mean square over that of the outputs. Both weights are [N, K]."""

    def power(of: Tensor) -> float:
        return float(((of.double() @ moments.double()) * of).sum())

    return (power(rounded - weight) / max(power(weight), 1e-30)) ** 0.5


def _inverse_root(moments: Tensor) -> Tensor:
    """Upper triangular U with U^T U the inverse of the damped moments, [K, K]."""
    damped = moments.double().clone()
    mean = float(damped.diagonal().mean())
    damped.diagonal().add_(DAMPING * mean if mean else 1.0)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
