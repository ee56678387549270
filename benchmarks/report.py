"""What every benchmark says beside its figures: the machine, the commit, the command, and how busy others
kept it.

It owns the JSON file and the table; measuring itself is `cuestream.measuring`.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cuestream.measuring import Machine
from cuestream.provenance import origin
from engine.backends import native
from engine.backends.manifest import Manifest

RESULTS = Path(__file__).parent / "results"
"""Kept with the tree: runs that were given a name."""
UNNAMED = Path("out/results")
"""All others, below the folder that the benchmark is called from."""

Row = Mapping[str, Any]


def result_path(named: str | None, usual: str) -> Path:
    """Where a run's result goes: by the name that it was given, else by its usual one, where no kept result is written over."""
    return RESULTS / f"{named}.json" if named else UNNAMED / f"{usual}.json"


def write(path: Path, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """The rows, and how to get them again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": asdict(Machine.this())}
    report = {**provenance(), **machine, **facts, "rows": [dict(row) for row in rows]}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def result_name(kind: str, manifest: Manifest, *more: str) -> str:
    """A result by its model, by the precision where it is not the default one, and by more, where that is not empty."""
    made = manifest.label.removesuffix("gptq").rstrip().replace(" ", "-")
    apart = ("" if made == "fp32" else made, *more)
    return "-".join((kind, manifest.spec.name.removeprefix("random-"), *filter(None, apart)))


def provenance() -> dict[str, str]:
    """How a result came about, by what, and when."""
    return {"command": command(), **origin()}


def device() -> dict[str, Any]:
    """The GPU that played, as `cuestream bench gpu` describes it; nothing where PyTorch sees none."""
    import torch

    from cuestream.gpu.device import describe

    return {"device": asdict(describe(torch.device("cuda")))} if torch.cuda.is_available() else {}


def command() -> str:
    """The command line, as a shell takes it, behind what chooses how steps run; of an absolute path only the last part stays."""
    chosen = [f"{native.VARIABLE}={how}"] if (how := os.environ.get(native.VARIABLE)) else []
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
    return shlex.join((*chosen, "python", "-m", module, *map(_without_folders, sys.argv[1:])))


def _without_folders(argument: str) -> str:
    option, equals, value = argument.rpartition("=")
    return option + equals + (Path(value).name if Path(value).is_absolute() else value)


def print_table(title: str, columns: Mapping[str, str], rows: Sequence[Row]) -> None:
    """`columns` maps a row's key to its heading."""
    table = Table(title=title, title_justify="left")
    for key, heading in columns.items():
        numeric = any(isinstance(row.get(key), int | float) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in columns))
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
