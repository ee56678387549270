"""What the launches of a call compile to for a Hopper GPU (sm_90), or another one, on a machine that has none.

`compiled(call)` runs the call's own Python on tensors without data, so that every kernel gets the types, constants and alignments
it will have, and hands back the compiled kernels instead of launching them. It needs a process of its own: one that interprets
kernels cannot compile them.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction


def compiled(call: Callable[[], Any], capability: int = 90) -> list[Any]:
    """The kernels that a call on meta tensors would launch, in their order. capability: of the GPU, 86 for 8.6."""
    kernels: list[Any] = []

    def instead(kernel: JITFunction[Any], grid: Any) -> Callable[..., None]:
        def compile_only(*arguments: Any, **options: Any) -> None:
            kernels.append(kernel.run(*arguments, grid=grid, warmup=True, **options))

        return compile_only

    driver.set_active(  # type: ignore[arg-type]
        SimpleNamespace(
            get_current_device=lambda: 0,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: GPUTarget("cuda", capability, 32),
        )
    )
    with patch.object(JITFunction, "__getitem__", instead):
        call()
    return kernels


def chained(ptx: str) -> dict[str, Any]:
    """How often a kernel says that the next may begin and waits for the one before, as many times as it has branches; what it
    writes on any way to a wait; and wide reads between the last write of another branch and its last wait."""
    *before, _ = ptx.split("griddepcontrol.wait")
    return {
        "lets_begin": ptx.count("griddepcontrol.launch_dependents"),
        "waits": len(before),
        "early_writes": early_writes(ptx),
        "early_reads": WRITES.split(before[-1])[-1].count("ld.global.v4.b32") if before else 0,
    }


WRITES = re.compile(r"st\.global|atom\.|red\.global|cp\.async")
BRANCH = re.compile(r"(@!?%p\d+ )?bra(?:\.uni)?\s+(\$L__\w+)")


def early_writes(ptx: str) -> list[str]:
    """Instructions that write to global memory, or read it for later, and can be reached without a wait."""
    blocks: dict[str, list[str]] = {"entry": []}
    at = "entry"
    for line in map(str.strip, ptx[ptx.index("{", ptx.index(".entry")) :].splitlines()):
        if label := re.match(r"(\$L__\w+):", line):
            at = label[1]
            blocks[at] = []
        elif line and not line.startswith(("//", ".")):
            blocks[at].append(line)
            if BRANCH.match(line):
                at = f"behind {len(blocks)}"
                blocks[at] = []
    names = list(blocks)
    found, seen, ahead = list[str](), set[str](), ["entry"]
    while ahead:
        name = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        waited = False
        for line in blocks[name]:
            if "griddepcontrol.wait" in line:
                waited = True
                break
            found += [line] * bool(WRITES.search(line))
        branch = BRANCH.match(blocks[name][-1]) if blocks[name] else None
        ends = bool(blocks[name]) and blocks[name][-1].startswith("ret")
        if not waited:
            ahead += [branch[2]] if branch else []
            falls = not ends and (branch is None or branch[1] is not None)
            ahead += names[names.index(name) + 1 :][:1] if falls else []
    return found


def resources(kernel: Any) -> dict[str, int]:
    """Registers of a thread, bytes of its stack (what is spilled, too) and of the program's shared memory."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        said = subprocess.run(
            (knobs.nvidia.cuobjdump.path, "-res-usage", file.name), capture_output=True, text=True, check=True
        )
    numbers = dict(re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", said.stdout))
    return {
        "registers": int(numbers["REG"]),
        "stack": int(numbers["STACK"]) + int(numbers["LOCAL"]),
        "shared": kernel.metadata.shared,
    }
