"""Models: `cuestream info`, `export`, `convert`, `random`, `tensorrt`, `verify` and `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.status import Status
from rich.table import Table

from cuestream.commands.options import (
    MOST_SEED,
    MOST_THREADS,
    ROUNDING_HELP,
    Operators,
    Precision,
    Rounding,
    err,
    need_export,
    out,
)
from engine.errors import PackageError

if TYPE_CHECKING:
    from export.checkpoint import Package


OfPrecision = Annotated[Precision, typer.Option(help="of matrices and caches")]
OfRounding = Annotated[Rounding | None, typer.Option(help=ROUNDING_HELP)]
OfOperators = Annotated[
    Operators,
    typer.Option(help="ONNX Runtime's own, fastest on a CPU; or standard ones alone, for NVIDIA GPUs"),
]


def info(
    model: Annotated[
        str,
        typer.Argument(
            help="an exported model: its folder, or the name of one that ships; or procedural, or synthetic"
        ),
    ],
) -> None:
    """Say what a model is: geometry, precision, graphs, sizes."""
    from cuestream.info import describe, describe_procedural, describe_synthetic
    from cuestream.players import PROCEDURAL, SYNTHETIC
    from engine.backends.manifest import Manifest
    from engine.library import find_model

    without_folder = {PROCEDURAL: describe_procedural, SYNTHETIC: describe_synthetic}
    known = without_folder.get(model)
    for title, rows in known() if known else describe(Manifest.read(find_model(model))):
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, value in rows:
            table.add_row(name, value)
        out.print(table)


def export(
    package: Annotated[str, typer.Argument(help="a published or converted package: a folder or a hub id")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    precision: OfPrecision = "fp32",
    rounding: OfRounding = None,
    operators: OfOperators = "onnxruntime",
    codec: Annotated[
        str | None, typer.Option(help="the codec's folder, file or hub id; none exports without audio")
    ] = None,
) -> None:
    """Write a package as ONNX graphs that the engine runs without PyTorch."""
    from export.folder import check_folder
    from export.sources import check_package

    check_folder(output)
    check_package(package, codec)
    need_export()
    from engine.library import carry
    from export.checkpoint import load_package

    loaded = load_package(package, codec)
    with err.status("loading") as status:
        _write(loaded, output, precision, rounding, operators, status)
    carry(Path(package), output)
    _say_exported(output)


def convert(
    package: Annotated[str, typer.Argument(help="a published package: a folder or a hub id")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    codec: Annotated[
        str | None, typer.Option(help="the codec's folder, file or hub id; none goes without")
    ] = None,
) -> None:
    """Write a published package as safetensors and a spec, without pickles."""
    from export.folder import check_folder
    from export.sources import check_package

    check_folder(output)
    check_package(package, codec)
    need_export()
    from engine.library import carry
    from export.checkpoint import load_package, save_package

    loaded = load_package(package, codec)
    save_package(loaded, output)
    carry(Path(package), output)
    out.print(f"{output}: {loaded.spec.name}, spec {loaded.spec.digest}", highlight=False, soft_wrap=True)


def random(
    size: Annotated[
        Literal["tiny", "small", "medium"], typer.Argument(help="tiny, or the geometry of a published model")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    precision: OfPrecision = "fp32",
    rounding: OfRounding = None,
    operators: OfOperators = "onnxruntime",
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="of the weights")] = 0,
) -> None:
    """Export a model with random weights, for tests and benchmarks; it plays noise."""
    from export.folder import check_folder

    check_folder(output)
    need_export()
    from export.random_model import random_package, spec_of

    with err.status("drawing weights") as status:
        package = random_package(spec_of(size), seed)
        _write(package, output, precision, rounding, operators, status)
    _say_exported(output)


def _write(
    package: Package,
    output: Path,
    precision: Precision,
    rounding: Rounding | None,
    operators: Operators,
    status: Status,
) -> None:
    from export.onnx import export as write

    write(
        package,
        output,
        precision,
        lambda name: status.update(f"exporting {name}"),
        operators=operators,
        rounding=rounding,
    )


def _say_exported(folder: Path) -> None:
    from engine.backends.manifest import Manifest

    made = Manifest.read(folder)
    out.print(
        f"{folder}: {made.spec.name} in {made.label}, spec {made.spec.digest}",
        highlight=False,
        soft_wrap=True,
    )


def tensorrt(
    model: Annotated[str, typer.Argument(help="a model that was exported with --operators standard")],
    positions: Annotated[
        int | None, typer.Option(help="columns of a cache; what the model was trained on if left out")
    ] = None,
    held: Annotated[
        int | None,
        typer.Option(
            help="tokens of a condition; if left out, those that serve has room for and those of the recommended window"
        ),
    ] = None,
    places: Annotated[int, typer.Option(min=1, help="streams that may share a step")] = 8,
    measure: Annotated[
        bool, typer.Option("--measure", help="run every engine and say how long it takes")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Build a model's TensorRT engines for the GPU that is here; they are played with --provider tensorrt-native."""
    from engine.library import find_model, recommended

    folder = find_model(model)
    need_export()
    from dataclasses import asdict

    from cuestream.players import ROOM_S, with_room
    from engine.backends.manifest import Manifest
    from engine.sight import window_slots
    from export.tensorrt import Sizes, build

    spec = Manifest.read(folder).spec
    own = recommended(folder, spec)
    served, alone = (window_slots(spec, p) * spec.vision.tokens for p in (with_room(own, ROOM_S), own))
    others = () if held or alone == served else (alone,)
    sizes = Sizes(positions or spec.trained_steps, held or served, places)
    with err.status("looking for TensorRT") as status:
        built = build(folder, sizes, measure, lambda name: status.update(f"building {name}"), others)
    if as_json:
        print(json.dumps([asdict(each) for each in built]))
        return
    table = Table("engine", "", "s", "layers", "plan MB", "device MB", "p50 ms", "p99 ms")
    for each in built:
        times = ("-" if ms is None else f"{ms:.3f}" for ms in (each.p50_ms, each.p99_ms))
        sizes_mb = (f"{size / 1e6:.1f}" for size in (each.plan_bytes, each.device_bytes))
        table.add_row(each.graph, each.how, f"{each.seconds:.1f}", str(each.layers), *sizes_mb, *times)
    out.print(table)


def verify(
    package: Annotated[str, typer.Argument(help="a published or converted package: a folder or a hub id")],
    against: Annotated[Path, typer.Option(help="a fixture: an .npz of arrays, with its .json beside it")],
    codec: Annotated[str | None, typer.Option(help="the codec's folder, file or hub id")] = None,
    tolerance: Annotated[
        float, typer.Option(help="largest absolute difference of embeddings and logits")
    ] = 2e-5,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> int:
    """Compare PyTorch and the exported graphs with the arrays of a fixture. Exit code 1 when they differ."""
    from export.sources import check_source

    if not against.is_file():
        raise PackageError(f"{against}: no such file")
    for source in filter(None, (package, codec)):
        check_source(source)
    need_export()
    from export.verify import verify as compare

    with err.status("exporting and comparing"):
        report = compare(package, against, codec, tolerance)
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        _print_report(report)
    return 0 if report.ok else 1


def _print_report(report: Any) -> None:
    table = Table("array", "torch", "onnx", "allowed")
    for name, sides in report.arrays.items():
        cells = ("-" if sides[s] is None else f"{sides[s]:.2e}" for s in ("torch", "onnx"))
        table.add_row(name, *cells, f"{report.tolerances[name]:.0e}")
    for name, sides in report.tokens.items():
        table.add_row(name, *("equal" if sides[s] else "NOT EQUAL" for s in ("torch", "onnx")), "equal")
    out.print(table)
    for name, reason in report.skipped.items():
        out.print(f"skipped {name}: {reason}", highlight=False, soft_wrap=True)
    out.print("ok" if report.ok else "NOT ok", style="green" if report.ok else "red")


def compare(
    first: Annotated[
        str, typer.Argument(help="an exported model: its folder, or the name of one that ships")
    ],
    second: Annotated[str, typer.Argument(help="another export of the same model")],
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="of music that the first one plays")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="of the video")] = 0,
    threads: Annotated[int, typer.Option(min=0, max=MOST_THREADS, help="cores to use; 0 takes all")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say how far an export is from another one of the same model, on the same music."""
    from engine.library import find_model
    from export.compare import compare as measure

    try:
        with err.status("playing"):
            found = measure(find_model(first), find_model(second), seconds, seed, threads)
    except ValueError as error:
        raise PackageError(str(error)) from None
    if as_json:
        print(json.dumps(found.as_json()))
        return
    table = Table("of the same music", found.first, found.second)
    table.add_row(
        "cross-entropy, nats", f"{found.cross_entropy_first:.4f}", f"{found.cross_entropy_second:.4f}"
    )
    table.add_row("its change", "", f"{100 * found.cross_entropy_change:+.2f} %")
    table.add_row("logits, relative error", "", f"{100 * found.logit_error:.2f} %")
    table.add_row("likeliest token the same", "", f"{100 * found.top1_agreement:.1f} %")
    table.add_row("features, relative error", "", f"{100 * found.feature_error:.2f} %")
    table.add_row("audio of the same codes, relative error", "", f"{100 * found.audio_error:.2f} %")
    out.print(table)
