"""What was measured of a device, and how it is told: tables, Markdown, JSON and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cuestream.gpu.device import Device
from cuestream.gpu.fidelity import FidelityRow
from cuestream.gpu.peers import PeerRow
from cuestream.gpu.profile import KernelRow
from cuestream.gpu.providers import ProviderRow
from cuestream.gpu.steps import Alone, Profiled, StepRow
from cuestream.gpu.streams import CHUNK_S, StreamsRow
from cuestream.plot import ACCENT, INK, QUIET, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP_MS = 20.0
COLOURS = (INK, ACCENT, "#2a9d8f", QUIET)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not measured, since it does not fit the device's memory."""

    part: str
    why: str


@dataclass(slots=True)
class Report:
    """Of one model in one setting."""

    model: str
    setting: str
    steps: list[StepRow] = field(default_factory=list)
    kernels: Profiled = field(default_factory=dict)
    """Of a step, by number of streams: the longest, and the microseconds by the clock."""
    playing: tuple[list[KernelRow], float] | None = None
    """Of a second of one whole stream."""
    ticks: Profiled = field(default_factory=dict)
    """Of a tick of paced streams, by their number."""
    alone: Alone | None = None
    fidelity: FidelityRow | None = None
    streams: list[StreamsRow] = field(default_factory=list)
    providers: list[ProviderRow] = field(default_factory=list)
    peers: list[PeerRow] = field(default_factory=list)
    times_peer: float | None = None
    """Our step beside the quickest of the peer's ways."""
    left_out: list[LeftOut] = field(default_factory=list)


def sections(reports: Sequence[Report]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Titles and rows, of those that have any."""
    kinds: tuple[tuple[str, Any], ...] = (
        ("Steps of streams that share them", lambda r: r.steps),
        ("One stream alone", lambda r: [r.alone] if r.alone else []),
        ("Beside float32", lambda r: [r.fidelity] if r.fidelity else []),
        ("Paced streams", lambda r: r.streams),
        ("Exported graphs", lambda r: r.providers),
        ("transformers MusicGen", lambda r: r.peers),
        ("Not measured", lambda r: r.left_out),
    )
    for title, rows in kinds:
        for report in reports:
            if found := rows(report):
                yield f"{title}: {report.setting}", found
    for report in reports:
        ticks = ((f"a tick of {count}", kernels) for count, kernels in report.ticks.items())
        for what, kernels in (*report.kernels.items(), ("a second of one stream", report.playing), *ticks):
            if kernels is not None:
                yield f"Kernels, {what}: {report.setting}; {kernels[1]:.0f} us by the clock", kernels[0]


def tables(reports: Sequence[Report]) -> Iterator[Table]:
    for title, rows in sections(reports):
        table = Table(title=title, title_justify="left")
        for name in _names(rows):
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*_cells(row))
        yield table


def as_markdown(device: Device, reports: Sequence[Report], about: dict[str, str]) -> str:
    facts = {**asdict(device), **about}
    parts = ["\n".join(f"* {name.replace('_', ' ')}: {value}" for name, value in facts.items())]
    for title, rows in sections(reports):
        lines = [_names(rows), ["---:"] * len(_names(rows)), *map(_cells, rows)]
        parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "# A GPU, measured by cuestream bench gpu\n\n" + "\n\n".join(parts) + "\n"


def _names(rows: Sequence[Any]) -> list[str]:
    return [name.replace("_", " ") for name in asdict(rows[0])]


def _cells(row: Any) -> list[str]:
    return [_cell(value) for value in asdict(row).values()]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def as_json(device: Device, reports: Sequence[Report], about: dict[str, str]) -> str:
    """What is not a finite number is null."""
    told = {"device": asdict(device), **about, "reports": [asdict(r) for r in reports]}
    return json.dumps(_finite(told), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot(path: Path, device: Device, reports: Sequence[Report]) -> None:
    """Steps and ticks by number of streams, each beside the time that it may take. Raises MissingRuntime without matplotlib, and
    MediaError when it cannot be written."""
    figure = new_figure(10, 4.5)
    steps, ticks = figure.subplots(1, 2)
    measured = [report for report in reports if report.steps or report.streams]
    for colour, report in zip(cycle(COLOURS), measured, strict=False):
        counts, took_ms = [row.streams for row in report.steps], [row.ms for row in report.steps]
        steps.plot(counts, took_ms, "o-", color=colour, label=report.setting)
        for row in report.streams:
            late = "" if row.c100 >= 0.995 else f", C100 {row.c100:.0%}"
            ticks.plot([row.streams] * 2, [row.tick_p50_ms, row.tick_p99_ms], "o-", color=colour)
            said = f" {row.processes} process{'es' * (row.processes > 1)}{late}"
            ticks.annotate(said, (row.streams, row.tick_p50_ms), fontsize=8)
    _bounded(steps, "a step of so many streams", STEP_MS)
    _bounded(ticks, "a tick of paced streams, p50 to p99", CHUNK_S * 1e3)
    steps.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{device.name}, {device.copy_gb_s:.0f} GB/s copied", color=INK)
    save(figure, path)


def _bounded(axes: Axes, title: str, most_ms: float) -> None:
    """With a line at what real time leaves."""
    axes.axhline(most_ms, color=QUIET, linestyle="--", linewidth=1)
    axes.set_title(title, color=INK, fontsize=10)
    axes.set_xlabel("streams")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
