"""`python -m benchmarks.kernels_attention`: attention and the draw on a CUDA device, in graphs, beside the library's own.

A graph holds a launch for each layer, over caches of its own, as a step does: a lone stream's caches of one layer fit the L2 of a
large device, and would flatter. A row says the median of its replays, divided by the launches; the bytes are those of
the columns that count (keys, values, their scales), over the time, beside what a copy moves on this device.
The library's row is `scaled_dot_product_attention` over the whole padded float16 caches under a mask, without the write of the
new column, or for the draw its plain twin.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks import cuda, report
from benchmarks.asked import positive
from cuestream.gpu.steps import APART
from kernels import sampling
from kernels.store import LARGEST, Store

HEADS = {"medium": 24, "small": 16}
LAYERS = {"medium": 48, "small": 24}
SEGMENTS, ROWS, WIDTH, POSITIONS = 2, 2, 64, 1503
STEPS = 1500
CONTEXTS = (750, 250)
"""Columns that a following segment has heard when it takes over: the recommended ones, and those of the paced streams."""
TOKENS, FRAME, ROOM = 1000, 50, 1000
CARD, CODEBOOKS = 2048, 4
KINDS = {"float16": torch.float16, "int8": torch.int8, "float8": torch.float8_e4m3fn}
REPLAYS = 15
CHAIN_BYTES = 1 << 30
"""A chain reads this much or is a whole model's layers: many times any L2."""

COLUMNS = {
    "case": "case",
    "us": "us",
    "gb_s": "GB/s",
    "of_copy": "of copy",
    "library_us": "library us",
    "times_library": "x library",
    "tuning": "tuning",
}
SWEPT = {1: ("medium", "small"), 32: ("medium",), 64: ("medium", "small"), 192: ("small",)}
"""Sizes by lanes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel in a shape, over int8."""

    kernel: str
    size: str
    lanes: int
    context: int = CONTEXTS[0]

    def chain(self) -> Chain:
        if self.kernel == "cross":
            return cross_chain(self.size, self.lanes, "int8")
        return self_chain(self.size, self.lanes, "int8", self.context)

    def tunings(self) -> list[Any]:
        """None, which is what is set, then what a sweep tries: tile, warps, stages, programs."""
        from kernels.attention_triton import Tuning

        tried = FEW if self.lanes == 1 else MANY
        return [None, *(Tuning(*cut, dot=dot) for dot, cuts in tried.items() for cut in cuts)]


WHOLE = 100
"""Programs of a processor that no head is split for; for a lone stream, as many as the room has tiles."""
FEW = {
    False: ((64, 4, 1, 4),),
    True: (
        (64, 2, 1, 8),
        (64, 2, 1, WHOLE),
        (64, 1, 1, WHOLE),
        (64, 4, 1, WHOLE),
        (32, 1, 1, WHOLE),
        (128, 2, 1, WHOLE),
        (128, 4, 1, WHOLE),
        (128, 8, 1, WHOLE),
        (256, 8, 1, WHOLE),
    ),
}
MANY = {
    False: ((64, 4, 1, 4),),
    True: (
        (32, 1, 1, 4),
        (64, 1, 1, 4),
        (64, 2, 1, 4),
        (64, 1, 2, 4),
        (64, 2, 3, 4),
        (128, 4, 1, 4),
        (128, 2, 1, 4),
        (128, 4, 2, 4),
        (128, 4, 3, 4),
    ),
}
"""By whether tensor cores multiply."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A case: one launch for each layer."""

    name: str
    calls: Callable[[Any], list[Callable[[], Any]]]
    """From a tuning, or None for the one that is set, to the launches."""
    library: list[Callable[[], Any]]
    bytes_read: int
    """Of one launch."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the rows are written to as well")
    parser.add_argument("--sweep", action="store_true", help="look for the fastest tuning of int8 instead")
    parser.add_argument(
        "--lanes", type=positive, nargs="+", choices=SWEPT, default=list(SWEPT), help="of a sweep"
    )
    parser.add_argument(
        "--processes", type=positive, default=min(12, os.cpu_count() or 1), help="that compile"
    )
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("benchmarks.kernels_attention needs a CUDA device; PyTorch sees none", file=sys.stderr)
        return 1
    torch.manual_seed(0)
    started = time.monotonic()
    if options.sweep:
        compile_all(options.lanes, options.processes)
    device = cuda.Device.this()
    copy = device.copy_gb_s * 1e9
    rows = list(swept(options.lanes, copy) if options.sweep else measured(copy))
    seconds = round(time.monotonic() - started, 1)
    facts = {**report.provenance(), "device": asdict(device), "seconds": seconds}
    report.print_table(f"{device.name}, copy {device.copy_gb_s} GB/s, {seconds} s", COLUMNS, rows)
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(copy: float) -> Iterator[dict[str, Any]]:
    for chain in chains():
        yield row(chain, copy, None, library=True)
    for lanes in (1, 64, 192):
        arguments = draws(lanes)
        seconds = timed([lambda a=arguments: sampling.draw(*a)] * 8)
        twin = timed([lambda a=arguments: sampling.draw_plain(*a)])
        yield {
            "case": f"draw x{lanes}",
            "us": seconds * 1e6,
            "library_us": twin * 1e6,
            "times_library": twin / seconds,
        }


def swept(lanes: list[int], copy: float) -> Iterator[dict[str, Any]]:
    """The fastest tuning of each case; all of them are printed on the way, the one that is set first."""
    for case in cases(lanes):
        chain = case.chain()
        tried = [row(chain, copy, tuning) for tuning in case.tunings()]
        for each in tried:
            print(
                f"{each['case']}: {each['us']:.2f} us, {each['gb_s']:.0f} GB/s, {each['tuning']}", flush=True
            )
        yield min(tried, key=lambda each: float(each["us"]))


def cases(lanes: list[int]) -> list[Case]:
    return [
        Case(kernel, size, count, context)
        for count in lanes
        for size in SWEPT[count]
        for kernel, contexts in (("self", CONTEXTS), ("cross", CONTEXTS[:1]))
        for context in contexts
    ]


def compile_all(lanes: list[int], processes: int) -> None:
    """Every kernel of a sweep, in processes beside each other; Triton's cache on disk hands them to this one."""
    alike = {(c.kernel, c.size, c.lanes == 1): c for c in cases(lanes)}.values()
    work = [(case, tuning) for case in alike for tuning in case.tunings()]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        list(pool.map(compile_one, *zip(*work, strict=True)))


def compile_one(case: Case, tuning: Any) -> None:
    """A launch that reads nothing: nobody plays, no token counts."""
    from kernels import attention_triton

    heads, lanes = HEADS[case.size], case.lanes
    index = torch.zeros(lanes, dtype=torch.int32, device="cuda")
    qkv = torch.zeros(lanes, SEGMENTS, ROWS, 3, heads, WIDTH, device="cuda", dtype=torch.float16)
    if case.kernel == "self":
        held = [store(torch.int8, 1, SEGMENTS, ROWS, heads, POSITIONS, WIDTH) for _ in "kv"]
        nobody = torch.full((lanes, SEGMENTS), -1, dtype=torch.int32, device="cuda")
        attention_triton.self_attention(qkv, *held, index, nobody, tuning)
    else:
        held = [store(torch.int8, 1, heads, ROOM, WIDTH) for _ in "kv"]
        null = [torch.zeros(heads, FRAME, WIDTH, device="cuda", dtype=torch.float16) for _ in "kv"]
        q = qkv[:, :, :, 0].contiguous()
        attention_triton.cross_attention(q, *held, index, index, *null, tuning)
    torch.cuda.synchronize()


def row(chain: Chain, copy: float, tuning: Any, library: bool = False) -> dict[str, Any]:
    seconds = timed(chain.calls(tuning))
    found: dict[str, Any] = {
        "case": chain.name,
        "us": seconds * 1e6,
        "gb_s": chain.bytes_read / seconds / 1e9,
        "of_copy": chain.bytes_read / seconds / copy,
    }
    found["tuning"] = json.dumps(asdict(tuning)).replace('"', "") if tuning else "as set"
    if library and chain.library:
        theirs = timed(chain.library)
        found |= {"library_us": theirs * 1e6, "times_library": theirs / seconds}
    return found


def timed(calls: Sequence[Callable[[], Any]]) -> float:
    """Seconds of one call: the median of the replays of a graph of all of them, after warming up."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        calls[0]()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            kept = [call() for call in calls]
        graph.replay()
        events = [torch.cuda.Event(enable_timing=True) for _ in range(REPLAYS + 1)]
        for event in events:
            event.record()
            graph.replay()
        stream.synchronize()
    del kept
    return median(a.elapsed_time(b) for a, b in pairwise(events)) / 1e3 / len(calls)


def chains() -> Iterator[Chain]:
    for size in HEADS:
        for lanes in (1, 8, 64):
            for kind in KINDS:
                yield self_chain(size, lanes, kind)
    for lanes in (1, 64):
        for kind in KINDS:
            yield cross_chain("medium", lanes, kind)
    yield cross_chain("small", 192, "int8")
    yield self_chain("small", 192, "int8")


def self_chain(size: str, lanes: int, kind: str, context: int = CONTEXTS[0]) -> Chain:
    from kernels import attention_triton

    heads, dtype = HEADS[size], KINDS[kind]
    position = positions(lanes, context)
    read = bytes_of(int((position + 1).sum()) * ROWS * heads, dtype)
    held = [
        [store(dtype, lanes, SEGMENTS, ROWS, heads, POSITIONS, WIDTH) for _ in "kv"]
        for _ in range(layers(read, size))
    ]
    qkv = torch.randn(lanes, SEGMENTS, ROWS, 3, heads, WIDTH, device="cuda", dtype=torch.float16)
    place = torch.arange(lanes, device="cuda", dtype=torch.int32)
    mask = torch.arange(POSITIONS, device="cuda") <= position.view(-1, 1, 1, 1).repeat_interleave(ROWS, 0)

    def calls(tuning: Any) -> list[Callable[[], Any]]:
        return [
            lambda kv=kv: attention_triton.self_attention(qkv, *kv, place, position, tuning) for kv in held
        ]

    q = qkv[:, :, :, 0].flatten(0, 2)[:, :, None]

    def library(kv: list[Store]) -> Tensor:
        k, v = (each.values.flatten(0, 2) for each in kv)
        return scaled_dot_product_attention(q, k, v, mask)

    theirs = [lambda kv=kv: library(kv) for kv in held] if dtype.itemsize == 2 else []
    behind = "" if context == CONTEXTS[0] else f" context {context}"
    return Chain(f"self {size} x{lanes} {kind}{behind}", calls, theirs, read)


def positions(lanes: int, context: int) -> Tensor:
    """Where segments are of streams that are spread over what a segment plays; -1 for one that does not play yet. [lanes, S]."""
    plays = STEPS - context
    played = (
        torch.arange(lanes, device="cuda") * APART % plays
        if lanes > 1
        else torch.tensor([plays // 2], device="cuda")
    )
    following = context + played - plays
    return torch.stack((context + played, torch.where(following < 0, -1, following)), 1).int()


def cross_chain(size: str, lanes: int, kind: str) -> Chain:
    from kernels import attention_triton

    heads, dtype = HEADS[size], KINDS[kind]
    read = bytes_of(lanes * heads * TOKENS, dtype) + bytes_of(heads * FRAME, torch.float16)
    held = [[store(dtype, lanes, heads, ROOM, WIDTH) for _ in "kv"] for _ in range(layers(read, size))]
    null = [torch.randn(heads, FRAME, WIDTH, device="cuda", dtype=torch.float16) for _ in "kv"]
    q = torch.randn(lanes, SEGMENTS, ROWS, heads, WIDTH, device="cuda", dtype=torch.float16)
    place = torch.arange(lanes, device="cuda", dtype=torch.int32)
    tokens = torch.full((lanes,), TOKENS, device="cuda", dtype=torch.int32)
    mask = (torch.arange(ROOM, device="cuda") < tokens[:, None])[:, None, None]

    def calls(tuning: Any) -> list[Callable[[], Any]]:
        return [
            lambda kv=kv: attention_triton.cross_attention(q, *kv, place, tokens, *null, tuning)
            for kv in held
        ]

    asked = q.permute(2, 0, 3, 1, 4)

    def library(kv: list[Store]) -> Tensor:
        seen = scaled_dot_product_attention(asked[0], kv[0].values, kv[1].values, mask, scale=1.0)
        spread = [each.expand(lanes, -1, -1, -1) for each in null]
        return torch.stack((seen, scaled_dot_product_attention(asked[1], *spread, scale=1.0)))

    theirs = [lambda kv=kv: library(kv) for kv in held] if dtype.itemsize == 2 else []
    return Chain(f"cross {size} x{lanes} {kind}", calls, theirs, read)


def layers(bytes_read: int, size: str) -> int:
    return min(LAYERS[size], max(1, CHAIN_BYTES // bytes_read))


def bytes_of(columns: int, dtype: torch.dtype) -> int:
    """Keys and values of so many columns of a head, with their scales in float16."""
    return 2 * columns * (WIDTH * dtype.itemsize + (2 if dtype in LARGEST else 0))


def store(dtype: torch.dtype, *shape: int) -> Store:
    """Noise, about as loud in every type."""
    if dtype not in LARGEST:
        return Store(torch.empty(shape, dtype=dtype, device="cuda").normal_())
    loud = torch.empty(shape, dtype=torch.float16, device="cuda").normal_(std=30).clamp_(-120, 120)
    scales = torch.empty(shape[:-1], dtype=torch.float16, device="cuda").uniform_(0.02, 0.04)
    return Store(loud.to(dtype), scales)


def draws(lanes: int) -> tuple[Tensor, ...]:
    each = torch.ones(lanes, device="cuda")
    return (
        torch.randn(lanes, SEGMENTS, ROWS, CODEBOOKS, CARD, device="cuda"),
        torch.zeros(lanes, dtype=torch.int32, device="cuda"),
        3 * each,
        each,
        torch.full((lanes,), 250, dtype=torch.int32, device="cuda"),
        0 * each,
        torch.rand(lanes, CODEBOOKS, device="cuda", dtype=torch.float64),
        torch.ones(lanes, CODEBOOKS, CARD, dtype=torch.bool, device="cuda"),
    )


if __name__ == "__main__":
    sys.exit(main())
