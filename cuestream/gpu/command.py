"""The command `cuestream bench gpu`: its options. What needs PyTorch is loaded when it is called."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from cuestream.provenance import origin
from engine.backends.manifest import Manifest
from engine.errors import CuestreamError, MissingRuntime
from engine.library import find_package

RANDOM = ("nano", "tiny", "small", "medium")
"""Sizes of random weights; every other name is a package's."""
ON_CPU = "--device cpu --size nano --counts 1,2 --listeners 2 --seconds 3 --steps 1600"
"""Shows that everything works, in a minute."""
TAKES_HOURS = ("small", "medium")
"""On a CPU."""


def _numbers(text: str) -> list[int]:
    parts = [part for part in text.split(",") if part]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise CuestreamError(f"expected whole numbers above 0 with commas between, found {text!r}")
    return [int(part) for part in parts]


def _command() -> str:
    """As it was called; of an absolute path only the last part stays."""
    options = sys.argv[3:] if sys.argv[1:3] == ["bench", "gpu"] else sys.argv[1:]
    told = (Path(option).name if Path(option).is_absolute() else option for option in options)
    return shlex.join(("cuestream", "bench", "gpu", *told))


def run(
    size: Annotated[
        list[str],
        typer.Option(help=f"{', '.join(RANDOM)}: random weights; else a model that ships or a package"),
    ] = ["small", "medium"],  # noqa: B006  # typer reads it as the default
    dtype: Annotated[
        Literal["fp16", "bf16", "fp32"], typer.Option(help="of weights and arithmetic")
    ] = "fp16",
    bits: Annotated[
        str, typer.Option(help="of the decoder's weights: 16, 8 or 4, or several of them")
    ] = "16",
    kept: Annotated[Literal["half", "int8", "fp8"], typer.Option(help="caches")] = "int8",
    counts: Annotated[str, typer.Option(help="numbers of streams whose steps are timed")] = "1,8,32,64",
    listeners: Annotated[str, typer.Option(help="numbers of paced streams, tried in this order")] = "64",
    seconds: Annotated[float, typer.Option(min=0.1, help="of each paced run")] = 20.0,
    steps: Annotated[
        int, typer.Option(min=0, help="of the stream that plays alone; 3200 cross two hand-overs")
    ] = 3200,
    peer: Annotated[bool, typer.Option(help="time transformers MusicGen too")] = True,
    profile: Annotated[bool, typer.Option(help="say which kernels the time goes to")] = False,
    compared: Annotated[
        int, typer.Option(min=0, help="steps that are compared with the plain model in float32")
    ] = 0,
    processes: Annotated[
        int, typer.Option(min=1, help="that share the paced streams, as several servers would")
    ] = 1,
    context_s: Annotated[
        float,
        typer.Option(
            help="of the paced streams: music that a following segment has heard when it takes over"
        ),
    ] = 15.0,
    device: Annotated[
        str, typer.Option(help="cuda or cpu; of several GPUs CUDA_VISIBLE_DEVICES chooses one")
    ] = "cuda",
    export: Annotated[
        Path | None, typer.Option(help="an exported model, to be played by each of --providers")
    ] = None,
    providers: Annotated[
        str, typer.Option(help="cpu, cuda, tensorrt, tensorrt-rtx, tensorrt-native, or several of them")
    ] = "cuda",
    json_path: Annotated[Path | None, typer.Option("--json", help="write everything there")] = None,
    markdown_path: Annotated[Path | None, typer.Option("--markdown", help="write the tables there")] = None,
    plot_path: Annotated[
        Path | None, typer.Option("--plot", help="draw steps and ticks by number of streams")
    ] = None,
) -> None:
    """Measure a GPU: steps by number of streams, one stream alone, streams in real time, and transformers MusicGen."""
    _check_paths(size, export, (json_path, markdown_path, plot_path))
    try:
        import torch
    except ImportError as error:
        raise MissingRuntime(
            "measuring a GPU needs PyTorch for CUDA and Triton: install it, and pip install 'cuestream[export]'"
        ) from error
    from cuestream.gpu.bench import Plan, measure
    from cuestream.gpu.device import describe
    from cuestream.gpu.providers import provider_rows
    from cuestream.gpu.report import Report, as_json, as_markdown, plot, tables
    from cuestream.gpu.setting import Setting
    from cuestream.plot import check_plot
    from engine.backends.gpus import check_gpu

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise MissingRuntime(
            "no CUDA device is here, its driver is too old, or this PyTorch was built without CUDA; "
            f"without one, {ON_CPU} shows that everything works, and nothing of a GPU"
        )
    if profile and not device.startswith("cuda"):
        raise CuestreamError(f"--profile needs a CUDA device, not --device {device}")
    if export and not steps:
        raise CuestreamError(
            "--export is played for so many --steps by each of --providers: expected some, found 0"
        )
    if plot_path:
        check_plot(plot_path)
    if device == "cpu" and not set(size).isdisjoint(TAKES_HOURS):
        typer.secho(f"on a CPU this takes hours; {ON_CPU} takes a minute", fg="yellow", err=True)
    heard, timed, widths = (_numbers(text) for text in (listeners, counts, bits))
    if device.startswith("cuda"):
        check_gpu(device, kept)
    try:
        found = describe(torch.device(device))
    except RuntimeError as error:
        raise CuestreamError(f"--device {device}: {str(error).splitlines()[0]}") from None
    typer.echo(f"{found}")
    plan = Plan(device, timed, heard, seconds, steps, profile, compared, processes, context_s)
    reports = list[Report]()
    about = {"command": _command(), **origin()}

    def keep(report: Report) -> None:
        if not any(report is known for known in reports):
            reports.append(report)
        if json_path:
            json_path.write_text(as_json(found, reports, about), encoding="utf-8")

    for name in size:
        for at, width in enumerate(widths):
            setting = Setting(name, dtype, width, kept)
            measure(setting, plan, found.copy_gb_s, peer and not at, keep)
    if export:
        rows = provider_rows(export, [name for name in providers.split(",") if name], steps)
        keep(Report(export.name, f"{export.name} as it was exported", providers=list(rows)))
    for table in tables(reports):
        Console(width=220).print(table, highlight=False, soft_wrap=isinstance(table, str))
    if markdown_path:
        markdown_path.write_text(as_markdown(found, reports, about), encoding="utf-8")
    if plot_path:
        plot(plot_path, found, reports)


def _check_paths(size: Sequence[str], export: Path | None, results: Sequence[Path | None]) -> None:
    """Before PyTorch is loaded, which takes seconds. Raises CuestreamError where one leads nowhere."""
    for name in set(size).difference(RANDOM):
        find_package(name)
    if export:
        Manifest.read(export)
    for path in filter(None, results):
        if not path.parent.is_dir():
            raise CuestreamError(f"{path}: there is no such folder")


if __name__ == "__main__":
    typer.run(run)
