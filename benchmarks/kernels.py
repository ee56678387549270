"""`python -m benchmarks.kernels`: the linear layers of a decode step on a CUDA device, our kernel beside the library.

Each layer with what surrounds it (norm, residual, GELU) is timed in a CUDA graph of many calls, each with a matrix of its
own, and so are all layers of a step behind one another ("chain"). A call reads its weights once, so GB/s is bytes of
weights over time, and `of copy` its share of what a large copy reaches. At 8 and 4 bits the library has no row: its twin
would make the matrix anew at every call.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from benchmarks import cuda, report
from benchmarks.asked import positive
from engine.spec import DecoderSpec
from kernels.linear import Weight, linear_plain, quantise

if TYPE_CHECKING:
    from kernels.linear_triton import Tile

SIZES = ("small", "medium")
ROWS = (2, 4, 8, 16)
WAYS = ("library", "triton", "dependent")
"""The library; our kernel, launched behind what was before it; and while that still runs (`kernels.dependent`)."""
STREAM_ROWS = 4
"""Rows of one stream: two segments, with guidance. The chains are compared at it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A matrix [N, K] and what surrounds it."""

    size: str
    name: str
    outputs: int
    inputs: int
    norm: bool = False
    residual: bool = False
    gelu: bool = False


def decoder_of(size: str) -> DecoderSpec:
    from export.random_model import published_spec  # not where kernels are only compiled: it takes seconds

    return published_spec(size).decoder


def layers_of(size: str, spec: DecoderSpec) -> list[Layer]:
    """The matrices that a decoder layer reads in a step, and the logits'. cross_out is of self_out's kind."""
    width = spec.width
    return [
        Layer(size, "qkv", 3 * width, width, norm=True),
        Layer(size, "out", width, width, residual=True),
        Layer(size, "cross_q", width, width, norm=True),
        Layer(size, "ffn_in", spec.ffn_width, width, norm=True, gelu=True),
        Layer(size, "ffn_out", width, spec.ffn_width, residual=True),
        Layer(size, "logits", spec.codebooks * spec.card, width, norm=True),
    ]


CUTS = ((128, 4, 4), (128, 8, 4), (256, 4, 4), (128, 8, 8), (128, 16, 8), (256, 8, 8))
"""(block_k, slices, warps) of the tiles of a sweep."""
IN_A_LAYER = ("qkv", "out", "cross_q", "out", "ffn_in", "ffn_out")
"""In the order of a step."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kernel: a layer, how it is held and how it is launched. tile: the fields of a `Tile`, or the chosen one."""

    layer: Layer
    bits: int
    rows: int
    way: str
    tile: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a layer is given besides its weight."""

    x: Tensor
    residual: Tensor | None
    out: Tensor

    @classmethod
    def of(cls, layer: Layer, rows: int, dtype: torch.dtype) -> Inputs:
        """Noise. The residual stream is float32; what comes from attention or GELU has half precision."""
        x = torch.randn(rows, layer.inputs, device="cuda", dtype=torch.float32 if layer.norm else dtype)
        kept = layer.residual or layer.name == "logits"
        out = torch.empty(rows, layer.outputs, device="cuda", dtype=torch.float32 if kept else dtype)
        residual = torch.randn(rows, layer.outputs, device="cuda") if layer.residual else None
        return cls(x, residual, out)


def call(job: Job, weight: Weight, given: Inputs) -> Tensor:
    return run(job, weight, given.x, given.residual, given.out)


def run(job: Job, weight: Weight, x: Tensor, residual: Tensor | None, out: Tensor) -> Tensor:
    """The layer in the job's way."""
    from kernels import linear_triton

    norm, gelu = job.layer.norm, job.layer.gelu
    if job.way == "library":
        return linear_plain(x, weight, norm, residual, gelu, out.dtype, out if residual is not None else None)
    tile = linear_triton.Tile(*job.tile) if job.tile else None
    return linear_triton.linear(x, weight, norm, residual, gelu, out, tile, job.way == "dependent")


def weights_of(layer: Layer, bits: int, count: int, dtype: torch.dtype) -> list[Weight]:
    """Matrices of noise, each its own; with a bias where a norm was folded into them."""

    def draw() -> Tensor:
        return torch.randn(layer.outputs, layer.inputs, device="cuda", dtype=dtype) * layer.inputs**-0.5

    bias = torch.randn(layer.outputs, device="cuda", dtype=dtype) if layer.norm else None
    return [quantise(draw(), bits, bias=bias) for _ in range(count)]


def measured(jobs: Sequence[Job], device: cuda.Device, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """A row for each job. Jobs of one layer and bits stand together and share their matrices."""
    held: tuple[Layer, int] | None = None
    weights: list[Weight] = []
    for job in jobs:
        if held != (job.layer, job.bits):
            weights.clear()
            first = weights_of(job.layer, job.bits, 1, dtype)
            weights = first + weights_of(job.layer, job.bits, cuda.copies(first[0].nbytes) - 1, dtype)
            held = (job.layer, job.bits)
        given = Inputs.of(job.layer, job.rows, dtype)
        us = unless_too_large(partial(cuda.timed, [partial(call, job, weight, given) for weight in weights]))
        if us is not None:
            yield row(job, us, weights[0].nbytes, device)


Answer = TypeVar("Answer")


def unless_too_large(compute: Callable[[], Answer]) -> Answer | None:
    """None where a kernel asks for more shared memory than there is, as a tile of a sweep may."""
    from triton.runtime.errors import OutOfResources

    try:
        return compute()
    except OutOfResources:
        return None


def row(job: Job, us: float, nbytes: int, device: cuda.Device) -> dict[str, Any]:
    gb_s = nbytes / us / 1e3
    return {
        "size": job.layer.size,
        "layer": job.layer.name,
        "bits": job.bits,
        "rows": job.rows,
        "way": job.way,
        "tile": job.tile,
        "us": round(us, 3),
        "gb_s": round(gb_s, 1),
        "of_copy": round(gb_s / device.copy_gb_s, 3),
    }


def same_work(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("size", "layer", "bits", "rows"))


def grouped(rows: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """(size, layer, bits, M) to its rows, the fastest first."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["us"]):
        groups.setdefault(same_work(row), []).append(row)
    return {same_work(row): groups[same_work(row)] for row in rows}


def chain(
    size: str, spec: DecoderSpec, bits: int, ways: Sequence[str], dtype: torch.dtype
) -> dict[str, float]:
    """Microseconds of all linear layers of a step, way by way; every layer reads what the one before it wrote."""
    kinds = {layer.name: layer for layer in layers_of(size, spec)}
    names = (*IN_A_LAYER * spec.layers, "logits")
    weights = [weights_of(kinds[name], bits, 1, dtype)[0] for name in names]
    stream = torch.randn(STREAM_ROWS, spec.width, device="cuda")

    def step(way: str) -> Callable[[], Tensor]:
        def run_all() -> Tensor:
            x, branch = stream, stream
            for name, weight in zip(names, weights, strict=True):
                layer = kinds[name]
                kept = torch.float32 if layer.residual or name == "logits" else dtype
                out = torch.empty(STREAM_ROWS, layer.outputs, device="cuda", dtype=kept)
                job = Job(layer, bits, STREAM_ROWS, way)
                read = x if layer.norm else branch[:, : layer.inputs]
                branch = run(job, weight, read, x if layer.residual else None, out)
                x = branch if layer.residual else x
            return branch

        return run_all

    return {way: cuda.timed([step(way)]) for way in ways}


def chains(options: argparse.Namespace, device: cuda.Device, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    for size, bits in product(options.sizes, options.bits):
        spec = decoder_of(size)
        ways = WAYS if bits == 16 else WAYS[1:]
        kinds = {layer.name: layer for layer in layers_of(size, spec)}
        one = {name: weights_of(layer, bits, 1, dtype)[0].nbytes for name, layer in kinds.items()}
        nbytes = spec.layers * sum(one[name] for name in IN_A_LAYER) + one["logits"]
        everything = Layer(size, "chain", 0, 0)
        for way, us in chain(size, spec, bits, ways, dtype).items():
            yield row(Job(everything, bits, STREAM_ROWS, way), us, nbytes, device)


def jobs(options: argparse.Namespace) -> list[Job]:
    """Kernel and library at every M."""
    return [
        Job(layer, bits, rows, way)
        for size in options.sizes
        for layer, bits, rows in product(layers_of(size, decoder_of(size)), options.bits, options.rows)
        for way in WAYS
        if bits == 16 or way != "library"
    ]


def sweep_jobs(options: argparse.Namespace) -> list[Job]:
    """Tiles for every layer and M that was asked for: none, the first one, or all of them read ahead, which chains alone do."""
    return [
        Job(layer, bits, rows, "dependent" if tile.ahead else "triton", astuple(tile))
        for size in options.sizes
        for layer, bits, rows in product(layers_of(size, decoder_of(size)), options.bits, options.rows)
        for tile in tiles_of(layer.inputs)
    ]


def tiles_of(inputs: int) -> Iterator[Tile]:
    from kernels.linear_triton import MOST_AHEAD, Tile

    for block_n, (block_k, slices, warps) in product((8, 16, 32), CUTS):
        if block_k * slices < 2 * inputs:
            ahead = (
                Tile.of_chain(inputs, block_n, block_k, slices, warps, most) for most in (0, 1, MOST_AHEAD)
            )
            yield from dict.fromkeys(ahead)  # where all are one, once


def compile_all(work: Sequence[Job], dtype: torch.dtype, processes: int) -> None:
    """Compile every kernel once, in processes beside each other; Triton's cache on disk hands them to this one."""
    kernels = [job for job in work if job.way != "library"]
    if processes < 2 or len(kernels) < 8:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        for _ in pool.map(_compile, kernels, [dtype] * len(kernels), chunksize=2):
            pass


def _compile(job: Job, dtype: torch.dtype) -> None:
    weight = weights_of(job.layer, job.bits, 1, dtype)[0]
    given = Inputs.of(job.layer, job.rows, dtype)
    unless_too_large(partial(call, job, weight, given))


def print_best(rows: Sequence[dict[str, Any]]) -> None:
    """The fastest tile of each shape, as lines of `kernels.linear_triton.TILES`, and how far the next ones are. One that reads
    ahead is a chain's, whose tiles `linear_triton` finds by a rule."""
    for (size, name, bits, m), (best, *others) in grouped(rows).items():
        kinds = {layer.name: layer for layer in layers_of(size, decoder_of(size))}
        key, tile = (
            (m, kinds[name].outputs, kinds[name].inputs, bits, kinds[name].norm),
            ", ".join(map(str, best["tile"])),
        )
        behind = ", ".join(f"{row['us']:.2f} {row['tile']}" for row in others[:2])
        print(f"    {key}: Tile({tile}),  # {size} {name}: {best['us']:.2f} µs; {behind}")


def print_ways(rows: Sequence[dict[str, Any]]) -> None:
    """At the rows of one stream: every way, the fastest one and what it reads."""
    table = []
    for (size, name, bits, m), group in grouped(rows).items():
        if m == STREAM_ROWS:
            ways, best = {row["way"]: row["us"] for row in group}, group[0]
            named = {"size": size, "layer": name, "bits": bits, **ways, "winner": best["way"]}
            table.append({**named, "gb_s": best["gb_s"], "of_copy": best["of_copy"]})
    keys = ("size", "layer", "bits", *WAYS, "winner", "gb_s", "of_copy")
    report.print_table(
        f"µs of a call at M = {STREAM_ROWS}", {key: key.replace("_", " ") for key in keys}, table
    )


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Kernel / library over M."""
    table: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (size, name, bits, m), group in grouped(rows).items():
        ways = {row["way"]: row["us"] for row in group}
        line = table.setdefault((size, name, bits), {"size": size, "layer": name, "bits": bits})
        line[str(m)] = " / ".join(f"{ways[way]:.2f}" for way in ("triton", "library") if way in ways)
    numbers = sorted({row["rows"] for row in rows})
    columns = {key: key for key in ("size", "layer", "bits", *map(str, numbers))}
    report.print_table("µs of a call over M, kernel / library", columns, list(table.values()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--json", type=Path, help="where the rows are written")
    parser.add_argument("--quick", action="store_true", help="medium, 16 bits, the rows of one stream")
    parser.add_argument("--sweep", action="store_true", help="try tiles and print the best of each shape")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--bits", nargs="+", type=int, choices=(16, 8, 4))
    parser.add_argument("--rows", nargs="+", type=positive)
    parser.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    parser.add_argument(
        "--processes", type=positive, default=min(12, os.cpu_count() or 1), help="that compile"
    )
    options = parser.parse_args()
    if options.quick:
        options.sizes = ["medium"]
    one = options.quick or options.sweep
    options.rows = options.rows or ([STREAM_ROWS] if one else list(ROWS))
    options.bits = options.bits or ([16] if one else [16, 8, 4])
    return options


def main() -> None:
    options = arguments()
    cuda.require()
    dtype = getattr(torch, options.dtype)
    work = sweep_jobs(options) if options.sweep else jobs(options)
    compile_all(work, dtype, options.processes)
    device = cuda.Device.this()
    print(f"{device.name}: a copy moves {device.copy_gb_s} GB/s", flush=True)
    rows = list(measured(work, device, dtype))
    if options.sweep:
        print_best(rows)
    else:
        print_rows(rows)
        rows += chains(options, device, dtype)
        print_ways(rows)
    if options.json:
        facts = {**report.provenance(), "device": asdict(device), "dtype": options.dtype}
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
