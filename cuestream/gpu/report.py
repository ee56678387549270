"""What was measured of a device, and how it is told: tables, Markdown, JSON and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from cuestream.gpu.device import Device
from cuestream.gpu.fidelity import FidelityRow
from cuestream.gpu.legends import legend
from cuestream.gpu.peers import PeerRow
from cuestream.gpu.profile import KernelRow
from cuestream.gpu.providers import ProviderRow
from cuestream.gpu.steps import Alone, Profiled, StepRow
from cuestream.gpu.streams import CHUNK_S, StreamsRow
from cuestream.plot import ACCENT, INK, QUIET, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP_MS = 20.0
BESIDE: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "center", "fontsize": 8}
"""Where a point is named: left of it, for the last one is at the edge."""
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
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Section:
    """A table. rows: each by the names of its columns."""

    title: str
    legend: str
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, title: str, found: Sequence[Any], report: Report) -> Section:
        """Of rows of one kind. A column in which nothing stands is left out."""
        rows = [_told(row, report) for row in found]
        columns = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
        return cls(
            title, legend(type(found[0]), {*columns}), [{name: row[name] for name in columns} for row in rows]
        )

    @property
    def heads(self) -> list[str]:
        return [_head(name) for name in self.rows[0]]

    @property
    def cells(self) -> list[list[str]]:
        return [[_cell(value) for value in row.values()] for row in self.rows]


def sections(reports: Sequence[Report]) -> Iterator[Section]:
    """Of what was measured."""
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
                yield Section.of(f"{title}: {report.setting}", found, report)
    for report in reports:
        ticks = ((f"a tick of {count}", kernels) for count, kernels in report.ticks.items())
        for what, kernels in (*report.kernels.items(), ("a second of one stream", report.playing), *ticks):
            if kernels is not None and kernels[0]:
                title = f"Kernels, {what}: {report.setting}; {kernels[1]:.0f} us by the clock"
                yield Section.of(title, kernels[0], report)


def _told(row: Any, report: Report) -> dict[str, Any]:
    """The peer's beside ours."""
    told = asdict(row)
    if isinstance(row, PeerRow):
        times = row.p50_ms / report.alone.step_p50_ms if row.p50_ms and report.alone else None
        told |= {"times_ours": times, "failed": told.pop("failed")}
    return told


def tables(reports: Sequence[Report]) -> Iterator[Table | str]:
    """Each with its legend behind it."""
    for section in sections(reports):
        table = Table(title=section.title, title_justify="left")
        for head in section.heads:
            table.add_column(head, justify="right")
        for cells in section.cells:
            table.add_row(*map(escape, cells))
        yield table
        yield f"{section.legend}\n"


def as_markdown(device: Device, reports: Sequence[Report], about: dict[str, str]) -> str:
    facts = ((_head(name), _fact(value)) for name, value in {**asdict(device), **about}.items())
    parts = ["\n".join(f"* {name}: {fact}" for name, fact in facts if fact)]
    for section in sections(reports):
        lines = [section.heads, ["---:"] * len(section.heads), *section.cells]
        rows = (" | ".join(cell.replace("|", r"\|") for cell in cells) for cells in lines)
        table = "\n".join(f"| {row} |" for row in rows)
        parts += [f"## {section.title}", table, *filter(None, [section.legend])]
    return "\n\n".join(["# A GPU, measured by cuestream bench gpu", *parts]) + "\n"


def line(row: Any) -> str:
    """A row while others are measured."""
    told = ((_head(name), _cell(value)) for name, value in asdict(row).items())
    return ", ".join(f"{head} {cell}" for head, cell in told if cell)


def _head(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _fact(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else _cell(value)


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
        steps.plot(counts, [row.roof_ms for row in report.steps], ":", color=colour)
        for row in report.streams:
            late = "" if row.c100 >= 0.995 else f", C100 {row.c100:.0%}"
            ticks.plot([row.streams] * 2, [row.tick_p50_ms, row.tick_p99_ms], "o-", color=colour)
            said = f"{row.processes} process{'es' * (row.processes > 1)}{late}"
            ticks.annotate(said, (row.streams, row.tick_p50_ms), (-8, 0), **BESIDE)
    _bounded(steps, "a step of so many streams, and its roof (dotted)", STEP_MS)
    _bounded(ticks, "a tick of paced streams, p50 to p99", CHUNK_S * 1e3)
    steps.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{device.name}, {device.copy_gb_s:.0f} GB/s copied", color=INK)
    save(figure, path)


def _bounded(axes: Axes, title: str, most_ms: float) -> None:
    """With a line at what real time leaves."""
    axes.axhline(most_ms, color=QUIET, linestyle="--", linewidth=1)
    axes.text(0.01, most_ms, "real time", transform=axes.get_yaxis_transform(), va="bottom", fontsize=8)
    axes.set_title(title, color=INK, fontsize=10)
    axes.set_xlabel("streams")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", integer=True)
