"""A program: compiles the linear kernel for sm_90 without a device and prints what came of it, a line of JSON a case.

It runs in a process of its own, since a process that interprets kernels cannot compile them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.linear import Weight, quantise
from kernels.linear_triton import choose, constants, linear_kernel

HOPPER = GPUTarget("cuda", 90, 32)
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
TYPES = {torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int8: "*i8", torch.uint8: "*u8"}


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
    "medium ffn_in": Case(4, 6144, 1536, 4, norm=True, gelu=True),
    "medium ffn_out": Case(4, 1536, 6144, 16, residual=True),
    "small logits": Case(2, 8192, 1024, 8, norm=True, dtype=torch.float16),
    "small ffn_out, 64 rows": Case(64, 1024, 4096, 16, residual=True, dtype=torch.float16),
    "starter qkv": Case(4, 576, 192, 16, norm=True, dtype=torch.float16),
}


def main() -> None:
    for name, case in CASES.items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            print(json.dumps({"name": name, **compiled(case)}), flush=True)


def compiled(case: Case) -> dict[str, Any]:
    weight = empty_weight(case)
    tile = choose(case.rows, weight, case.norm)
    made_for = constants(case.rows, weight, tile, case.norm, case.residual, case.gelu, pdl=True)
    pointers = dict.fromkeys(("x", "scales", "gamma", "beta", "residual", "out"), "*fp32")
    pointers["w"] = TYPES[weight.values.dtype]
    numbers = dict.fromkeys(("m", "x_row", "out_row", "residual_row"), "i32")
    names = linear_kernel.arg_names
    aligned = {
        (names.index(name),): [["tt.divisibility", 16]] for name in [*pointers, *numbers] if name != "m"
    }
    signature = {**pointers, **numbers, **dict.fromkeys(made_for, "constexpr")}
    source = ASTSource(linear_kernel, {name: signature[name] for name in names}, made_for, aligned)
    options = {"num_warps": tile.warps, "num_stages": tile.stages, "launch_pdl": True}
    kernel = triton.compile(source, target=HOPPER, options=options)
    return {"shared": kernel.metadata.shared, "ptx": kernel.asm["ptx"], **usage(kernel.asm["cubin"])}


def empty_weight(case: Case) -> Weight:
    """Shapes without numbers."""
    return quantise(torch.empty(case.outputs, case.inputs, dtype=case.dtype, device="meta"), case.bits)


def usage(cubin: bytes) -> dict[str, int]:
    """Registers of a thread, and bytes of its stack, which is where spilled registers go; empty without the tool."""
    if not CUOBJDUMP.exists():
        return {}
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        asked = [CUOBJDUMP, "-res-usage", file.name]
        text = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return {key.lower(): int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}


if __name__ == "__main__":
    main()
