"""What attention and the draw compile to for a Hopper GPU, in the shapes of the released model; no device is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import compile_attention
import pytest

REGISTERS = 170
"""Of a thread; 3 programs of 128 threads fit a multiprocessor's 65536."""


@pytest.fixture(scope="module")
def kernels() -> dict[str, Any]:
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder.parents[1], folder)))}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        (sys.executable, "-m", "compile_attention"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return {kernel["name"]: kernel for kernel in json.loads(done.stdout)}


def test_each_call_is_one_launch(kernels: dict[str, Any]) -> None:
    assert list(kernels) == list(compile_attention.CASES)


def test_nothing_is_spilled(kernels: dict[str, Any]) -> None:
    assert {name: k["stack"] for name, k in kernels.items() if k["stack"]} == {}
    assert {name: k["registers"] for name, k in kernels.items() if k["registers"] > REGISTERS} == {}


def test_columns_are_read_16_bytes_at_a_time(kernels: dict[str, Any]) -> None:
    assert {name for name, k in kernels.items() if k["wide_reads"] < 2} == set()


def test_the_lone_stream_is_split_and_the_full_batch_is_not(kernels: dict[str, Any]) -> None:
    """The last program to arrive sees what the others left: the counter releases and acquires for the whole device."""
    split = {name for name, k in kernels.items() if k["atomics"]}
    assert split == {name for name in kernels if " 1 " in name}
    assert {atomic for k in kernels.values() for atomic in k["atomics"]} == {
        "atom.global.gpu.acq_rel.add.u32"
    }


def test_a_tile_is_read_at_once(kernels: dict[str, Any]) -> None:
    """Keys and values, 4 reads of a thread each, are on their way before either is looked at."""
    names = ("self 1 int8", "self 64 int8", "self 64 float8")
    assert {name: kernels[name]["reads_at_once"] for name in names} == dict.fromkeys(names, 8)


def test_a_chain_reads_its_columns_while_the_launch_before_runs_and_writes_nothing(
    kernels: dict[str, Any],
) -> None:
    """Split launches alone are part of a chain. Each branch of a program waits before it looks at its query."""
    chained = {name for name, k in kernels.items() if k["waits"]}
    assert chained == {name for name, k in kernels.items() if k["atomics"]}
    assert all(kernels[name]["lets_begin"] == 1 for name in chained)
    assert {name for name, k in kernels.items() if k["early_writes"]} == set(kernels) - chained
    assert kernels["self 1 int8"]["early_reads"] >= 8


def test_lone_streams_and_many_of_eight_bits_are_read_by_tensor_cores(kernels: dict[str, Any]) -> None:
    """Without a conversion of each number, which is what bound them."""
    by_dots = {
        "self 1 int8",
        "self 1 bfloat16",
        "cross 1 float8",
        "cross 1 bfloat16",
        "self 64 int8",
        "self 64 float8",
        "self 192 int8 whole",
        "self 64 float16 dots",
        "cross 64 int8",
    }
    assert {name for name, k in kernels.items() if k["products"]} == by_dots
    assert all(kernels[name]["converted"] < 16 for name in by_dots)  # of a program's few indices
    assert kernels["self 1 int8 plain"]["converted"] >= 64


def test_the_draw_rounds_guidance_twice(kernels: dict[str, Any]) -> None:
    assert kernels["self 1 bfloat16"]["fused_f32"] > 0
    assert kernels["draw"]["fused_f32"] == 0
