"""`python -m benchmarks.step`: decoder steps a second, ours beside MusicGen's, and the roof that memory
sets.

A step reads every weight and every cache once, so steps a second cannot exceed bandwidth over bytes.
Real time needs `code_rate` steps a second (50). Steps are timed without sampling, one after another,
behind `length` columns.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.asked import add_name_option, add_patience_option, positive
from benchmarks.elsewhere import OnOpenVino, make_dynamic_int8
from benchmarks.models import add_model_options, decoder_bytes, model_folder
from cuestream import measuring
from cuestream.bench import weight_bytes
from cuestream.cases import Case, cache_numbers, condition_numbers, self_numbers
from cuestream.gpu.musicgen import Advance, Musicgen
from engine.backends.base import Backend
from engine.backends.manifest import Manifest
from engine.backends.native import NativeBackend
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from engine.errors import CuestreamError
from engine.model.decoder import Decoder
from engine.model.vidmuse import VidMuse
from engine.spec import ModelSpec
from export.checkpoint import load_model
from export.random_model import random_package
from kernels.native import Unavailable
from training.shell import in_one_line

PROBE_STEPS = 4
"""Steps that each of a contender's ways is given before its best one is measured."""
BASE = "musicgen fp32"

COLUMNS = {
    "case": "columns/frames/segments",
    "contender": "decoder",
    "way": "way",
    "steps_s": "steps/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99",
    "best_ms": "best",
    "real_time_factor": "RTF",
    "mb_a_step": "MB/step",
    "read_gb_s": "GB/s",
    "probe_gb_s": "probe",
    "of_roof": "of roof",
    "times_musicgen": "x MusicGen",
    "times_musicgen_best": "of best",
    "times_musicgen_bf16": "x bf16",
    "others_cores": "others",
}


B = TypeVar("B", bound=Backend[Any, Any])


class Contender(Protocol):
    """A decoder that is measured. It is made when its turn comes, and dropped after it."""

    def ways(self) -> Sequence[str]: ...

    def plays(self, case: Case) -> bool: ...

    def steps(self, case: Case, way: str, room: int) -> Advance:
        """A function that reads column number i, for i below `room`."""
        ...

    def bytes_a_step(self, case: Case) -> int: ...


class Ours(Generic[B]):
    """Steps of one of our backends."""

    def __init__(self, backend: B) -> None:
        self.backend = backend

    def ways(self) -> Sequence[str]:
        return ("",)

    def plays(self, case: Case) -> bool:
        return True

    def steps(self, case: Case, way: str, room: int) -> Advance:
        return engine_steps(self.backend, case, room)


class OursOnOnnx(Ours[OnnxBackend]):
    def bytes_a_step(self, case: Case) -> int:
        manifest = self.backend.manifest
        weights = weight_bytes(self.backend, case.guided)
        kept, seen = np.dtype(manifest.cache_dtype).itemsize, np.dtype(manifest.condition_dtype).itemsize
        spec = manifest.spec
        return weights + self_numbers(spec, case) * kept + condition_numbers(spec, case) * seen


class OursOnTorch(Ours[TorchBackend]):
    """bits: of the decoder's matrices, 32 or 8."""

    def __init__(self, spec: ModelSpec, bits: int) -> None:
        super().__init__(TorchBackend(load_model(random_package(spec))))
        self.bits = bits
        if bits == 8:
            make_dynamic_int8(self.backend.model)

    def bytes_a_step(self, case: Case) -> int:
        spec = self.backend.spec
        numbers = decoder_bytes(load_shape(spec), case.guided) / 4
        return round(numbers * self.bits / 8) + cache_numbers(spec, case) * self.backend.dtype.itemsize


def load_shape(spec: ModelSpec) -> Decoder:
    """The decoder without its numbers."""
    with torch.device("meta"):
        return VidMuse(spec).decoder


@dataclass(frozen=True, slots=True)
class Theirs:
    musicgen: Musicgen

    def ways(self) -> Sequence[str]:
        return tuple(" ".join(way) for way in self.musicgen.ways())

    def plays(self, case: Case) -> bool:
        """It has nothing like a second segment."""
        return case.segments == 1

    def steps(self, case: Case, way: str, room: int) -> Advance:
        attention, cache = way.split()
        return self.musicgen.steps(case, (attention, cache), room)

    def bytes_a_step(self, case: Case) -> int:
        return self.musicgen.bytes_a_step(case)


def engine_steps(backend: Backend[Any, Any], case: Case, room: int) -> Advance:
    """Steps of any backend behind caches and a condition of noise."""
    spec, random = backend.spec, np.random.default_rng(0)
    decoder, head = spec.decoder, spec.decoder.head_dim
    condition = backend.new_condition(case.frames)
    blocks = (decoder.layers, 2, case.frames, decoder.width * spec.vision.tokens)
    noise = random.random(blocks, np.float32)
    backend.write_held_condition(condition, noise * _loudness(backend.read_condition(condition, 1)))
    caches = backend.new_caches(case.segments, case.guided, case.length + room)
    held = random.random((decoder.layers, 2, 1 + case.guided, decoder.heads, case.length, head), np.float32)
    held *= _loudness(backend.read_caches(caches, 0, 1))
    for segment in range(case.segments):
        backend.write_caches(caches, segment, held)
    tokens = random.integers(0, decoder.card, (case.segments, 1, decoder.codebooks))

    def advance(column: int) -> None:
        last = spec.max_positions - 1  # behind it, the last column is read again
        position = np.full(case.segments, min(case.length + column, last))
        backend.step(caches, 0, condition, case.frames, tokens, position)

    return advance


def _loudness(array: NDArray[Any]) -> float:
    """What noise below 1 is multiplied by, so that it is noise in eight bits too."""
    return 100.0 if array.dtype == np.int8 else 1.0


Makers = dict[str, Callable[[], Contender]]
NAMES = (
    "cuestream native",
    "cuestream onnxruntime",
    "musicgen fp32",
    "musicgen bf16",
    "torch fp32",
    "torch int8",
    "openvino int8",
    "openvino int4",
)
"""Of contenders; the first one is there where an export has what it reads."""


def contenders(folder: Path, threads: int) -> Makers:
    manifest = Manifest.read(folder)
    spec = manifest.spec
    native = {"cuestream native": lambda: OursOnOnnx(NativeBackend(folder, threads))}
    return {
        **(native if manifest.step else {}),
        "cuestream onnxruntime": lambda: OursOnOnnx(OnnxBackend(folder, threads)),
        "musicgen fp32": lambda: Theirs(Musicgen(spec)),
        "musicgen bf16": lambda: Theirs(Musicgen(spec, torch.bfloat16)),
        "torch fp32": lambda: OursOnTorch(spec, 32),
        "torch int8": lambda: OursOnTorch(spec, 8),
        "openvino int8": lambda: OnOpenVino(spec, 8, threads),
        "openvino int4": lambda: OnOpenVino(spec, 4, threads),
    }


def cases(options: argparse.Namespace) -> list[Case]:
    guided = {"both": (True, False), "on": (True,), "off": (False,)}[options.guidance]
    return [Case(*x) for x in product(guided, options.lengths, options.frames, options.segments)]


def measure(
    contender: Contender, case: Case, repeats: int, patience_s: float
) -> tuple[str, measuring.Timing]:
    """The best way of a contender, and its timing."""
    ways, room = contender.ways(), measuring.WARM_UP + repeats
    probes = {}
    if len(ways) > 1:
        for way in ways:
            probe = measuring.measure(contender.steps(case, way, PROBE_STEPS + 2), PROBE_STEPS, 2)
            probes[way] = min(probe.seconds)
            gc.collect()
    best = min(probes, key=lambda way: probes[way]) if probes else ways[0]

    def attempt() -> measuring.Timing:
        return measuring.measure(contender.steps(case, best, room), repeats)

    return best, measuring.measure_quietly(attempt, patience_s)


def rows(makers: Makers, options: argparse.Namespace, rate: int) -> Iterator[dict[str, Any]]:
    for name, make in makers.items():
        try:
            contender = make()
        except Unavailable as error:
            print(f"{name}: left out, {error}", flush=True)
            continue
        except ImportError as error:
            print(f"{name}: left out, {error}: pip install openvino nncf", flush=True)
            continue
        for case in (case for case in cases(options) if contender.plays(case)):
            probe = measuring.read_bandwidth(options.threads, repeats=4)
            way, timing = measure(contender, case, options.repeats, options.patience)
            steps_s = 1 / timing.median_s
            print(
                f"{name} {way}: {case}: {steps_s:.1f} steps/s, others {timing.others:.2f} cores", flush=True
            )
            yield {
                **case.facts(),
                "case": str(case),
                "contender": name,
                "way": way,
                "steps_s": round(steps_s, 2),
                **timing.row(),
                "real_time_factor": round(rate * timing.median_s, 3),
                "probe_gb_s": probe.best_gb_s,
                "mb_a_step": round(contender.bytes_a_step(case) / 1e6, 1),
            }
            gc.collect()
        del contender
        gc.collect()


def compared(measured: Sequence[dict[str, Any]], bandwidth_gb_s: float) -> list[dict[str, Any]]:
    """Rows case by case, each with its share of the roof and its ratio to MusicGen in the same case."""

    def times(row: dict[str, Any], base: str, figure: str = "p50_ms") -> float | None:
        other = next((r for r in measured if r["contender"] == base and r["case"] == row["case"]), None)
        return round(other[figure] / row[figure], 2) if other else None

    order = list(dict.fromkeys(row["case"] for row in measured))
    return [
        {
            **row,
            "roof_steps_s": round(bandwidth_gb_s * 1e3 / row["mb_a_step"], 1),
            "read_gb_s": round(row["steps_s"] * row["mb_a_step"] / 1e3, 1),
            "of_roof": round(row["steps_s"] * row["mb_a_step"] / bandwidth_gb_s / 1e3, 2),
            "times_musicgen": times(row, BASE),
            "times_musicgen_best": times(row, BASE, "best_ms"),
            "times_musicgen_bf16": times(row, "musicgen bf16"),
        }
        for row in sorted(measured, key=lambda r: order.index(r["case"]))
    ]


def plot(table: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Bars of steps a second for each case; the tick above a bar is what memory allows it."""
    from matplotlib.figure import Figure

    order = list(dict.fromkeys(row["case"] for row in table))
    names = list(dict.fromkeys(row["contender"] for row in table))
    figure = Figure(figsize=(2.5 + 1.3 * len(order), 4.5), layout="constrained")
    axes = figure.subplots()
    wide = 0.8 / len(names)
    for n, name in enumerate(names):
        mine = [row for row in table if row["contender"] == name]
        x = [order.index(row["case"]) + (n - (len(names) - 1) / 2) * wide for row in mine]
        axes.bar(x, [row["steps_s"] for row in mine], wide * 0.9, label=name)
        roofs = [row["roof_steps_s"] for row in mine]
        axes.hlines(roofs, [at - wide / 2 for at in x], [at + wide / 2 for at in x], "black", linewidth=1)
    axes.axhline(50, color="grey", linestyle="--", linewidth=1, label="real time")
    axes.set_xticks(range(len(order)), [case.replace(" ", "\n") for case in order], fontsize=8)
    axes.set(ylabel="steps/s (ticks: memory bandwidth)", title=title)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


@in_one_line()
def main() -> None:
    options = arguments()
    only = chosen(options.only)
    torch.set_num_threads(options.threads)
    folder = model_folder(options)
    makers = {name: make for name, make in contenders(folder, options.threads).items() if name in only}
    manifest = Manifest.read(folder)
    spec, path = manifest.spec, report.result_path(options.name, report.result_name("step", manifest))
    measured: list[dict[str, Any]] = []
    for row in rows(makers, options, spec.code_rate):  # written row by row: a long run may be stopped
        measured.append(row)
        title, table = publish(path, spec, options.threads, measured)
    if not measured:
        raise CuestreamError(f"nothing was measured: {', '.join(only)} cannot run here")
    report.print_table(title, COLUMNS, table)
    with suppress(ImportError):  # the picture needs the extra `plot`
        plot(table, title, path.with_suffix(".png"))
    print(f"wrote {path}")


def chosen(parts: Sequence[str] | None) -> list[str]:
    """The names that have one of these parts, all without any. Raises CuestreamError for a part that none has."""
    if unknown := [part for part in parts or () if not any(part in name for name in NAMES)]:
        raise CuestreamError(f"--only takes parts of the names {', '.join(NAMES)}, not {unknown[0]!r}")
    return [name for name in NAMES if not parts or any(part in name for part in parts)]


def publish(
    path: Path, spec: ModelSpec, threads: int, measured: Sequence[dict[str, Any]]
) -> tuple[str, list[dict[str, Any]]]:
    """Write what is measured so far; returns its title and the compared rows."""
    roof = max(row["probe_gb_s"] for row in measured)
    table = compared(measured, roof)
    facts = {
        "model": spec.name,
        "threads": threads,
        "roof_gb_s": roof,
        "roof": "the best probe of the run; " + str(measuring.Bandwidth.__doc__),
        "real_time_factor": f"{spec.code_rate} x median seconds of a step",
    }
    report.write(path, table, facts)
    return f"Decoder step: {spec.name}, {threads} threads, roof of {roof} GB/s", table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--guidance", choices=("both", "on", "off"), default="both")
    parser.add_argument("--lengths", type=positive, nargs="+", default=[500, 1500])
    parser.add_argument("--frames", type=positive, nargs="+", default=[20, 60])
    parser.add_argument("--segments", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument("--repeats", type=positive, default=30)
    add_patience_option(parser)
    parser.add_argument("--only", nargs="+", help="parts of the names of those to measure")
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
