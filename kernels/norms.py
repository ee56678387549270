"""A residual sum and the norm that reads it, in one launch: what lies between the products of a step of many rows.

A norm is without gamma and beta, as in `kernels.linear`.

Letters: M rows, K numbers of a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.attention import Impl, by_triton
from kernels.linear import EPSILON


def add_norm(x: Tensor, y: Tensor | None, dtype: torch.dtype, impl: Impl = "auto") -> tuple[Tensor, Tensor]:
    """x: float32 [M, K], to which y [M, K] is added in place, if any. Returns x and its norm, in float32 and then as `dtype`."""
    if x.dtype != torch.float32 or not x.is_contiguous() or (y is not None and y.shape != x.shape):
        raise ValueError(f"rows are float32, one behind another, not {x.dtype} {list(x.shape)}, {x.stride()}")
    if by_triton(impl, x):
        from kernels import norms_triton

        return norms_triton.add_norm(x, y, dtype)
    return add_norm_plain(x, y, dtype)


def add_norm_plain(x: Tensor, y: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The twin of `add_norm`."""
    if y is not None:
        x += y
    return x, F.layer_norm(x, x.shape[1:], eps=EPSILON).to(dtype)
