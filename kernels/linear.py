"""The linear layers of a decode step, each with what surrounds it: norm before, residual or GELU behind.

A matrix is held in 16 bits, in 8 with a scale for every output, or in 4 with a scale for every group of inputs
(`quantise`). `linear` is one Triton launch for few rows on a CUDA device, and `linear_plain`, its PyTorch twin, for
everything else: more rows, where cuBLAS is faster, and a CPU. The twin is also what the kernel is tested against.

A norm here is a layer norm without gamma and beta, which are part of the matrix and of the bias behind it
(`engine.model.decoder.Decoder.fold_norms`). What is left of it is a row's mean and deviation, and they come out of the product:
W ((x - mean) / std) = (W (x - p) - (mean - p) sums) / std, where sums are those of W's rows, and p is any number near the row's
mean. So the kernel multiplies x as it comes, takes its moments meanwhile, and nothing is read before the product.

Letters: M rows, K inputs, N outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
"""Of the layer norms."""
GROUP = 128
"""Inputs that share a scale at four bits."""
LEAST_GROUP = 32
"""A smaller group does not fill a matrix instruction."""
MOST_ROWS = 16
"""Rows up to which the kernel is faster than the library."""
LEVELS = {8: 127, 4: 7}
"""bits to the largest whole number of a quantised weight."""

Impl = Literal["auto", "triton", "library"]


@dataclass(frozen=True, slots=True)
class Weight:
    """One matrix as a step reads it.

    values: [N, K] float16, bfloat16 or float32; at 8 bits int8 [N, K]; at 4 bits uint8 [N, K/2], where the low half bytes
    of a group are its first half, and each holds its whole number plus 8.
    scales: None; at 8 bits float32 [N]; at 4 bits float32 [N, K/group].
    sums: float32 [N], of the numbers of each row as they are held. bias: [N] of `dtype`, if any.
    dtype: in what precision x is multiplied.
    """

    values: Tensor
    scales: Tensor | None
    sums: Tensor
    bias: Tensor | None
    bits: int
    dtype: torch.dtype

    @property
    def outputs(self) -> int:
        return self.values.shape[0]

    @property
    def inputs(self) -> int:
        return self.values.shape[1] * (2 if self.bits == 4 else 1)

    @property
    def group(self) -> int:
        """Inputs that share a scale; all of them above 4 bits."""
        return (
            self.inputs // self.scales.shape[1] if self.bits == 4 and self.scales is not None else self.inputs
        )

    @property
    def nbytes(self) -> int:
        """Bytes that a step reads."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def dequantised(self) -> Tensor:
        """float32 [N, K], or the values as they are at 16 bits."""
        return self.values if self.scales is None else _dequantised(self.values, self.scales, self.bits)


def quantise(
    weight: Tensor, bits: int, dtype: torch.dtype | None = None, bias: Tensor | None = None
) -> Weight:
    """Round a matrix [N, K] to the nearest of symmetric levels. 16 bits: as it is.

    dtype: in what precision it will be multiplied; that of the matrix, unless given. bias: [N].
    """
    dtype = dtype or weight.dtype
    values, scales = _levels(weight, bits, dtype)
    held = values if scales is None else _dequantised(values, scales, bits)
    bias = None if bias is None else bias.to(dtype)
    return Weight(values, scales, held.sum(1, dtype=torch.float32), bias, bits, dtype)


def _levels(weight: Tensor, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Values and scales of a `Weight`."""
    if bits == 16:
        return weight.to(dtype).contiguous(), None
    if bits == 8:
        whole, scales = _rounded(weight.float(), LEVELS[8])
        return whole.to(torch.int8), scales
    if bits != 4:
        raise ValueError(f"a weight has 16, 8 or 4 bits, not {bits}")
    whole, scales = _rounded(weight.float().unflatten(1, (-1, group_of(weight.shape[1]))), LEVELS[4])
    low, high = (whole + 8).to(torch.uint8).chunk(2, 2)
    return (low | high << 4).flatten(1), scales


def _dequantised(values: Tensor, scales: Tensor, bits: int) -> Tensor:
    if bits == 8:
        return values.float() * scales.unsqueeze(1)
    halves = values.unflatten(1, (scales.shape[1], 1, -1))
    whole = torch.cat((halves & 15, halves >> 4), 2).flatten(2).float() - 8
    return (whole * scales.unsqueeze(2)).flatten(1)


def group_of(inputs: int) -> int:
    """The largest power of two up to `GROUP` that divides K."""
    group = min(GROUP, inputs & -inputs)
    if group < LEAST_GROUP:
        raise ValueError(f"four bits need a multiple of {LEAST_GROUP} inputs, not {inputs}")
    return group


def _rounded(weight: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Whole numbers in float32 and the scales of the last axis, without it."""
    scales = weight.abs().amax(-1).clamp_min(torch.finfo(torch.float32).tiny) / level
    return (weight / scales.unsqueeze(-1)).round().clamp(-level, level), scales


def linear(
    x: Tensor,
    weight: Weight,
    norm: bool = False,
    residual: Tensor | None = None,
    gelu: bool = False,
    out_dtype: torch.dtype | None = None,
    out: Tensor | None = None,
    impl: Impl = "auto",
    dependent: bool = False,
) -> Tensor:
    """x [M, K], each row normed if asked for, times the weight and plus its bias; then plus `residual`, or through GELU.

    x: float32 or half. The norm is float32 (epsilon 1e-5), without gamma and beta. What is multiplied is rounded to the weight's
    `dtype`, and products add up in float32. residual: float32 [M, N]; the answer is then float32, otherwise of `out_dtype`, or of
    x's. out: where the answer is written, [M, N]; `out=residual` adds in place.
    impl: "triton" and "library" leave the choice to the caller. dependent: the kernel may be part of a chain
    (`kernels.dependent`), before which the weight was there.

    With a norm, the kernel rounds x - p where the twin rounds (x - mean) / std. Rounding is relative, so that in half precision
    both err alike, as long as p is within a few deviations of the mean (`kernels.linear_triton.pivot_of`). In float16 a number
    that lies 65504 or more from p would overflow; one of a float16 residual stream could not lie there either.
    """
    _check(x, weight, residual, gelu, out)
    if not _takes_kernel(x, impl):
        return linear_plain(x, weight, norm, residual, gelu, out_dtype, out)
    from kernels import linear_triton

    if out is None:
        dtype = torch.float32 if residual is not None else out_dtype or x.dtype
        out = torch.empty(x.shape[0], weight.outputs, dtype=dtype, device=x.device)
    return linear_triton.linear(x, weight, norm, residual, gelu, out, dependent=dependent)


def linear_plain(
    x: Tensor,
    weight: Weight,
    norm: bool = False,
    residual: Tensor | None = None,
    gelu: bool = False,
    out_dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The twin of `linear` in plain PyTorch, for any M and any device."""
    out_dtype = out_dtype or x.dtype
    if norm:
        x = F.layer_norm(x.float(), x.shape[1:], eps=EPSILON)
    y = F.linear(x.to(weight.dtype), weight.dequantised().to(weight.dtype), weight.bias)
    if residual is not None:
        return torch.add(residual, y, out=out)
    if gelu:
        y = F.gelu(y)
    return y.to(out_dtype) if out is None else out.copy_(y)


def _takes_kernel(x: Tensor, impl: Impl) -> bool:
    if impl == "auto":
        return x.is_cuda and x.shape[0] <= MOST_ROWS
    if impl not in ("triton", "library"):
        raise ValueError(f"impl is auto, triton or library, not {impl!r}")
    return impl == "triton"


def _check(
    x: Tensor,
    weight: Weight,
    residual: Tensor | None,
    gelu: bool,
    out: Tensor | None,
) -> None:
    """What both ways rely on, and a kernel could not tell."""
    if x.dim() != 2 or x.shape[1] != weight.inputs or x.stride(1) != 1:
        raise ValueError(f"x is [M, {weight.inputs}] with its inputs side by side, not {_seen(x)}")
    if residual is not None and gelu:
        raise ValueError("an answer is added to a residual or goes through GELU, not both")
    shape = (x.shape[0], weight.outputs)
    if residual is not None and residual.dtype != torch.float32:
        raise ValueError(f"a residual is float32, not {residual.dtype}")
    for tensor in (residual, out):
        if tensor is not None and (tensor.shape != shape or tensor.stride(1) != 1):
            raise ValueError(
                f"residual and out are {list(shape)} with outputs side by side, not {_seen(tensor)}"
            )
    if out is not None and residual is not None and out.dtype != torch.float32:
        raise ValueError(f"what is added to a residual is float32, not {out.dtype}")
    if out is not None and out.data_ptr() == x.data_ptr():
        raise ValueError("out may be the residual, but not x, which other outputs still need")


def _seen(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} with strides {tensor.stride()}"
