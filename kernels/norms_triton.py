"""The Triton kernel of `kernels.norms`: a program for each row, which it reads once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.grid import grid
from kernels.linear import EPSILON


def add_norm(x: Tensor, y: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    rows, width = x.shape
    answer = torch.empty(rows, width, dtype=dtype, device=x.device)
    kernel[grid(rows)](
        x,
        x if y is None else y.contiguous(),
        answer,
        width,
        EPS=EPSILON,
        ADD=y is not None,
        ROOM=triton.next_power_of_2(width),
        num_warps=4,
    )
    return x, answer


@triton.jit
def kernel(x, y, answer, width, EPS: tl.constexpr, ADD: tl.constexpr, ROOM: tl.constexpr):
    at = tl.arange(0, ROOM)
    inside = at < width
    first = tl.program_id(0).to(tl.int64) * width
    row = tl.load(x + first + at, mask=inside, other=0.0)
    if ADD:
        row += tl.load(y + first + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(x + first + at, row, mask=inside)
    mean = tl.sum(row, 0) / width
    centred = tl.where(inside, row - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + EPS)
    tl.store(answer + first + at, (centred * scale).to(answer.dtype.element_ty), mask=inside)
