"""What fewer bits change of a model on PyTorch, beside the plain model in float32: logits, likeliest tokens, draws.

    python -m benchmarks.precision [--device cuda]

On a CPU the kernels' plain twins do the arithmetic. See `cuestream.gpu.fidelity`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from benchmarks import report
from benchmarks.asked import add_name_option, positive
from cuestream.gpu.device import describe
from cuestream.gpu.fidelity import fidelity
from cuestream.gpu.setting import Setting, model_of
from engine.backends.gpus import check_gpu
from engine.backends.lockstep import Caching
from engine.backends.torch import TorchBackend
from engine.errors import PackageError
from training.shell import in_one_line

HELD: tuple[tuple[str, int, Caching], ...] = (
    ("fp32", 16, "half"),
    ("fp32", 16, "int8"),
    ("fp16", 16, "int8"),
    ("bf16", 16, "int8"),
    ("fp16", 16, "fp8"),
    ("fp16", 8, "int8"),
    ("fp16", 4, "int8"),
)
"""Arithmetic; bits of the decoder's weights, of which 16 stand for as many as the arithmetic has; caches, "half" likewise."""
COLUMNS = {
    "setting": "",
    "steps": "steps",
    "logits": "logits",
    "greedy": "likeliest the same",
    "drawn": "drawn the same",
    "alike": "columns alike",
    "played": "of",
}
SHARES = ("logits", "greedy", "drawn")


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    plain = TorchBackend(model_of(options.size, options.device).to(options.device))
    for dtype, bits, kept in HELD:
        setting = Setting(options.size, dtype, bits, kept)
        try:
            if options.device != "cpu":
                check_gpu(options.device, kept)
        except PackageError as error:
            print(f"left out: {setting}: {error}")
            continue
        ours = setting.backend(model_of(options.size, options.device), options.device, 1)
        yield asdict(fidelity(str(setting), plain, ours, options.steps))


@in_one_line()
def main() -> None:
    options = arguments()
    if options.device != "cpu":
        check_gpu(options.device, "half")
    found, table = describe(torch.device(options.device)), []
    path = report.result_path(options.name, f"precision-{options.size}-{options.device}")
    for row in rows(options):
        print(row, flush=True)
        table.append(row)
        report.write(path, table, {"device": asdict(found)})
    shown = [row | {share: f"{row[share]:.2%}" for share in SHARES} for row in table]
    report.print_table(f"Beside float32: {options.size} on {found.name}", COLUMNS, shown)
    print(f"wrote {path}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument(
        "--size", default="starter", help="a model that ships, a package, or small or medium at random"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=positive, default=1500, help="50 are a second of music")
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
