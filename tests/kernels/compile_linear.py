"""A program: compiles the linear kernel for sm_90 without a device and prints what came of it, a line of JSON a case; cases that
are named may be of `CONSUMER`, for sm_86.

It runs in a process of its own, since a process that interprets kernels cannot compile them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import hopper
import torch
from torch import Tensor

from kernels import linear_triton
from kernels.linear import Weight, quantise
from kernels.linear_triton import Tile, choose, fitting, linear, shared_of


@dataclass(frozen=True, slots=True)
class Case:
    """A layer, as `benchmarks.kernels` names them too."""

    rows: int
    outputs: int
    inputs: int
    bits: int
    norm: bool = False
    residual: bool = False
    gelu: bool = False
    dtype: torch.dtype = torch.bfloat16


CASES = {
    "medium qkv": Case(4, 4608, 1536, 16, norm=True),
    "medium qkv, 16 rows": Case(16, 4608, 1536, 16, norm=True),
    "medium out": Case(4, 1536, 1536, 8, residual=True),
    "medium ffn_in, 4 bits": Case(4, 6144, 1536, 4, norm=True, gelu=True),
    "medium ffn_out": Case(4, 1536, 6144, 16, residual=True),
    "small logits": Case(2, 8192, 1024, 8, norm=True, dtype=torch.float16),
    "small ffn_in, 16 rows": Case(16, 4096, 1024, 8, norm=True, gelu=True, dtype=torch.float16),
    "starter qkv": Case(4, 576, 192, 16, norm=True, dtype=torch.float16),
}

CONSUMER = {
    "medium ffn_in, 16 rows, 4 bits": Case(16, 6144, 1536, 4, norm=True, gelu=True, dtype=torch.float16),
    "medium ffn_in, 16 rows": Case(16, 6144, 1536, 16, norm=True, gelu=True, dtype=torch.float16),
    "medium logits, float32": Case(4, 8192, 1536, 16, norm=True, dtype=torch.float32),
    "small qkv, 16 rows, 4 bits": Case(16, 3072, 1024, 4, norm=True, dtype=torch.float16),
}
"""Those that take most, and one of a matrix that is one tile wide."""
SHARED_BYTES = 99 << 10
"""Of a program on compute capability 8.6, 8.9 and 12.0."""


def main() -> None:
    for name in sys.argv[1:] or CASES:
        if name in CASES:
            print(json.dumps({"name": name, **compiled(CASES[name])}), flush=True)
            continue
        with patch.multiple(
            linear_triton, shared_bytes=lambda _: SHARED_BYTES, launches_dependently=lambda _: False
        ):
            case = CONSUMER[name]
            print(json.dumps({"name": name, **compiled(case, capability=86), **expected(case)}), flush=True)


def compiled(case: Case, tile: Tile | None = None, capability: int = 90) -> dict[str, Any]:
    (kernel,) = hopper.compiled(partial(call, case, tile), capability)
    ptx = kernel.asm["ptx"]
    return {"ptx": ptx, "early_writes": hopper.early_writes(ptx), **hopper.resources(kernel)}


def expected(case: Case) -> dict[str, int]:
    """Tiles that are in flight, and what they are said to take."""
    x = empty(case.rows, case.inputs, dtype=torch.float32 if case.norm else case.dtype)
    weight = empty_weight(case)
    tile = fitting(choose(case.rows, weight, case.norm), x, weight, case.norm)
    return {"stages": tile.stages, "said": shared_of(tile, x, weight, case.norm)}


def call(case: Case, tile: Tile | None) -> Tensor:
    """On tensors without data."""
    weight = empty_weight(case)
    wide = case.norm or case.residual
    x = empty(case.rows, case.inputs, dtype=torch.float32 if case.norm else case.dtype)
    out = empty(case.rows, case.outputs, dtype=torch.float32 if wide and not case.norm else case.dtype)
    residual = out if case.residual else None
    return linear(x, weight, case.norm, residual, case.gelu, out, tile, dependent=True)


def empty_weight(case: Case) -> Weight:
    """Shapes without numbers."""
    matrix = empty(case.outputs, case.inputs, dtype=case.dtype)
    return quantise(matrix, case.bits, bias=empty(case.outputs, dtype=case.dtype) if case.norm else None)


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


if __name__ == "__main__":
    main()
