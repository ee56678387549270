"""`python -m benchmarks.chain`: where a lone stream's step goes on a CUDA device, and what other tilings would make of it.

The launches of a step overlap (`kernels.dependent`), so that no profile says what one of them costs: its time holds what it
waited for. What a part costs is how much shorter a step is without it, and a tiling is worth what a whole step gains; a chain
of one kernel alone, as `benchmarks.kernels` times it, says something else. Each way differs from what is set in one thing; one
launch behind another has the tiles of such launches.

`--compile` compiles what steps of up to 64 lanes launch, in processes beside each other, and ends: what comes next finds it in
Triton's cache.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from benchmarks import cuda, report
from benchmarks.asked import positive
from cuestream.gpu.setting import DTYPES, random_model
from cuestream.gpu.steps import StepRow, step_rows
from engine.backends.captured import lanes_up_to
from engine.backends.lanes import LaneDecoder
from engine.backends.lockstep import LockstepBackend
from engine.spec import DecoderSpec, ModelSpec
from export.random_model import spec_of
from kernels import attention_triton, dependent, linear_triton
from kernels.attention_triton import Tuning
from kernels.linear import Weight
from kernels.linear_triton import Tile

MOST_LANES = 64
TURNS = 3
"""Times that a step is measured; the least counts."""
CUTS = ((128, 4, 4), (128, 8, 8), (128, 16, 8), (256, 8, 8))
"""(block_k, slices, warps) of the tiles of a sweep."""
AHEAD_BYTES = (16 << 10, 96 << 10)
"""Of weights that a program of a sweep's tile reads ahead."""


@dataclass(frozen=True, slots=True)
class Way:
    """A step that differs from the one that is set. tiles: of matrices [N, K]."""

    label: str
    own: Tuning | None = None
    seen: Tuning | None = None
    tiles: Mapping[tuple[int, int], Tile] = field(default_factory=dict)
    hears: bool = True
    sees: bool = True
    overlaps: bool = True

    def applied(self) -> ExitStack:
        """Until the stack is closed, steps are as this says."""
        stack, choose = ExitStack(), linear_triton.choose

        def chosen(rows: int, weight: Weight, norm: bool, chained: bool = False) -> Tile:
            tile = self.tiles.get((weight.outputs, weight.inputs)) if chained else None
            return tile or choose(rows, weight, norm, chained)

        stack.enter_context(patch.object(linear_triton, "choose", chosen))
        for name, tuning in (("SELF", self.own), ("CROSS", self.seen)):
            if tuning is not None:
                held = replace(getattr(attention_triton, name), few=tuning)
                stack.enter_context(patch.object(attention_triton, name, held))
        if not self.hears:
            stack.enter_context(patch.object(LaneDecoder, "_hear", _first_third))
        if not self.sees:
            stack.enter_context(patch.object(LaneDecoder, "_see", lambda _, q, *__: q))
        if not self.overlaps:
            for module in (linear_triton, attention_triton, dependent):
                stack.enter_context(patch.object(module, "launches_dependently", lambda _: False))
        return stack


def _first_third(_: LaneDecoder, qkv: Tensor, *__: object) -> Tensor:
    """The queries, as if they were what attention found."""
    return qkv.view(len(qkv), 3, -1)[:, 0]


PARTS = (
    Way("as it is set"),
    Way("without self-attention", hears=False),
    Way("without cross-attention", sees=False),
    Way("without either", hears=False, sees=False),
    Way("one launch behind another", overlaps=False),
)


def ways_of(spec: ModelSpec) -> Iterator[Way]:
    """Other tilings of attention, then of each matrix."""
    for tile, warps, programs in ((64, 2, 20), (64, 1, 20), (128, 4, 20), (32, 1, 40), (128, 4, 6)):
        tuning = Tuning(tile=tile, warps=warps, programs=programs, dot=True)
        yield Way(f"self {tile} columns, {warps} warps, {programs} programs", own=tuning)
    for tile, warps, programs in ((64, 1, 8), (128, 4, 8), (32, 1, 20)):
        tuning = Tuning(tile=tile, warps=warps, programs=programs, dot=True)
        yield Way(f"cross {tile} columns, {warps} warps, {programs} programs", seen=tuning)
    for outputs, inputs in matrices_of(spec.decoder):
        for tile in tiles_of(inputs):
            yield Way(f"[{outputs}, {inputs}] {asdict(tile)}", tiles={(outputs, inputs): tile})


def matrices_of(decoder: DecoderSpec) -> Iterator[tuple[int, int]]:
    """[N, K] of those that a layer reads."""
    width, inner = decoder.width, decoder.ffn_width
    yield from ((3 * width, width), (width, width), (inner, width), (width, inner))


def tiles_of(inputs: int) -> Iterator[Tile]:
    """Those that read as much ahead as a processor has room for beside others, and enough to be worth it."""
    for block_n, (block_k, slices, warps) in product((8, 16, 32), CUTS):
        step, tile = block_k * slices, Tile.of_chain(inputs, block_n, block_k, slices, warps)
        if step < 2 * inputs and AHEAD_BYTES[0] <= 2 * block_n * step * tile.ahead <= AHEAD_BYTES[1]:
            yield tile


def backend_of(spec: ModelSpec, places: int, graphs: bool = True) -> LockstepBackend:
    return LockstepBackend(
        random_model(spec, "cuda"), "cuda", DTYPES["fp16"], 16, "int8", places, graphs=graphs
    )


def stepped(backend: LockstepBackend, lanes: int, copy_gb_s: float = 1.0, guided: bool = True) -> StepRow:
    """Steps of so many lanes, over caches of their own and graphs that are made for them."""
    (row,) = step_rows(backend, [lanes], copy_gb_s, guided=guided)
    backend.forget()
    return row


Job = tuple[str, int, bool, Way]
"""A size, lanes, whether they are guided, and how they step."""


@cache
def one_layer(size: str, lanes: int) -> LockstepBackend:
    """It launches what the whole decoder does, for this number of lanes alone: a graph is made for all of them."""
    spec = spec_of(size)
    return backend_of(replace(spec, decoder=replace(spec.decoder, layers=1)), lanes, graphs=False)


def compiled(job: Job) -> None:
    """What steps of so many lanes launch; in a process beside others."""
    size, lanes, guided, way = job
    with way.applied():
        stepped(one_layer(size, lanes), lanes, guided=guided)


def beside(jobs: list[Job], processes: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        for _ in pool.map(compiled, jobs):
            pass


def measured(size: str, ways: list[Way], copy_gb_s: float, say: Callable[[dict[str, Any]], None]) -> None:
    backend = backend_of(spec_of(size), 1)
    for way in ways:
        with way.applied():
            rows = [stepped(backend, 1, copy_gb_s) for _ in range(TURNS)]
        best = min(rows, key=lambda row: row.ms)
        say({"size": size, "way": way.label, "ms": round(best.ms, 4), "of_copy": round(best.of_copy, 3)})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=("small", "medium"), default=["medium", "small"])
    parser.add_argument("--sweep", action="store_true", help="try other tilings too")
    parser.add_argument("--compile", action="store_true", help="compile what 1 to 64 lanes launch, no more")
    parser.add_argument("--json", type=Path, help="where the rows are written, as they come")
    parser.add_argument(
        "--processes", type=positive, default=min(12, os.cpu_count() or 1), help="that compile"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    cuda.require()
    if options.compile:
        alike = product(lanes_up_to(MOST_LANES), (True, False), options.sizes)
        beside([(size, lanes, guided, PARTS[0]) for lanes, guided, size in alike], options.processes)
        return
    device = cuda.Device.this()
    rows = list[dict[str, Any]]()

    def say(row: dict[str, Any]) -> None:
        print(
            f"{row['size']:7s} {row['ms']:8.4f} ms  {row['of_copy']:5.1%} of a copy  {row['way']}", flush=True
        )
        rows.append(row)
        if options.json:
            facts = {**report.provenance(), "device": asdict(device)}
            options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")

    for kind in (parts, others) if options.sweep else (parts,):
        beside([(size, 1, True, way) for size in options.sizes for way in kind(size)], options.processes)
        for size in options.sizes:
            measured(size, kind(size), device.copy_gb_s, say)


def parts(_: str) -> list[Way]:
    return list(PARTS)


def others(size: str) -> list[Way]:
    return list(ways_of(spec_of(size)))


if __name__ == "__main__":
    main()
