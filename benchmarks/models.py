"""The models that benchmarks measure: exports of random weights, made once and kept, and what a step reads
of them.

Every layer has weights of its own: a runtime shares copies of one matrix, and then reads it from the
cache.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.asked import positive
from engine.backends.manifest import MANIFEST_FILE
from engine.library import find_model
from engine.model.decoder import Decoder
from engine.spec import ModelSpec
from export.onnx import Precision, Rounding, export, rounding_of
from export.random_model import published_spec, random_package, tiny_spec

SIZES = ("tiny", "small", "medium")
ROOT = Path(__file__).parent.parent
CACHE = Path("out/bench")
"""Exports of random weights, below the folder that the benchmark is called from."""
GRAPH_SOURCES = (
    "decoder.py",
    "long_short.py",
    "vision.py",
    "codec.py",
    "graphs.py",
    "grouped.py",
    "lstm.py",
    "weights_file.py",
    "onnx.py",
    "quantise.py",
    "calibrate.py",
    "gptq.py",
    "nearest.py",
    "step_tensors.py",
    "random_model.py",
)
"""An export that is older than one of these is made again."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, default="small", help="geometry of the random weights")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8", "int4"), default="fp32")
    parser.add_argument(
        "--rounding",
        choices=("gptq", "nearest"),
        help="how int4 is made: solved, or quickly, which takes as long a step",
    )
    parser.add_argument(
        "--model", help="measure an exported model, a name or a folder, and no random weights"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="where exports of random weights are kept")
    parser.add_argument("--threads", type=positive, default=os.cpu_count() or 1)


def add_effort_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--effort", choices=("full", "light"), default="full", help="see `StreamPolicy.at_effort`"
    )


def model_folder(options: argparse.Namespace) -> Path:
    """The export that the options name, made now if it is not there: small takes minutes and 2.3 GB."""
    if options.model:
        return find_model(options.model)
    return random_export(options.size, options.precision, options.cache, options.rounding)


def random_export(size: str, precision: Precision, cache: Path, rounding: Rounding | None = None) -> Path:
    """Raises PackageError where a rounding is asked of a precision that has none."""
    rounding = rounding_of(precision, rounding)
    folder = cache / f"random-{size}-{precision}{'-nearest' if rounding == 'nearest' else ''}"
    if not _is_fresh(folder):
        print(f"exporting random weights to {folder}", flush=True)
        package = random_package(spec_of(size))
        export(package, folder, precision, lambda graph: print(f"  {graph}", flush=True), rounding=rounding)
    return folder


def _is_fresh(folder: Path) -> bool:
    """Whether there is an export that is younger than the code that makes its graphs."""
    manifest = folder / MANIFEST_FILE
    sources = (ROOT / "engine" / "model").glob("*.py"), (ROOT / "export").glob("*.py")
    code = (path for folder in sources for path in folder if path.name in GRAPH_SOURCES)
    return manifest.is_file() and all(path.stat().st_mtime < manifest.stat().st_mtime for path in code)


def spec_of(size: str) -> ModelSpec:
    return tiny_spec() if size == "tiny" else published_spec(size)


def decoder_bytes(decoder: Decoder, guided: bool) -> int:
    """The same of the PyTorch decoder: without the embedding and without the projection of a condition."""

    def read() -> Iterator[int]:
        for name, weight in decoder.named_parameters():
            if not name.startswith("embedding") and "cross_kv" not in name:
                yield weight.nbytes
        for name, constant in decoder.named_buffers():
            if guided and "null_" in name:
                yield constant.nbytes

    return sum(read())
