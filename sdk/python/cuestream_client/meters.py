"""The board as a table of rich, redrawn while the music plays."""

from __future__ import annotations

import math

from rich.console import Console
from rich.live import Live as Redrawn
from rich.table import Table
from rich.text import Text

from cuestream_client.live import Board

REDRAWS_PER_S = 8
CELLS = 30
FLOOR_DB = -60.0


class Meters:
    """What rich draws."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __rich__(self) -> Table:
        return render(self.board)

    def shown(self, console: Console) -> Redrawn:
        return Redrawn(self, console=console, refresh_per_second=REDRAWS_PER_S, transient=True)


def render(board: Board) -> Table:
    table = Table(title=board.model or None, caption=board.label or None, show_header=False, box=None)
    latency = board.latency
    rows: dict[str, str | Text] = {
        "line": board.line + (f", resumed {board.resumed} times" if board.resumed else ""),
        "music": f"{board.playback}, {board.health}, {board.music_s:.1f} s",
        "level": Text(
            bar((decibels(board.peak) - FLOOR_DB) / -FLOOR_DB) + f" {decibels(board.peak):5.1f} dB"
        ),
        "buffer": f"{board.buffer_ms:.0f} ms, clock {board.clock_ppm:+.0f} ppm",
        "underruns": str(board.underruns),
        "age": "-" if board.age_ms is None else f"{board.age_ms:.0f} ms from picture to sound",
        "latency": "-"
        if latency is None
        else f"{latency.p50_ms:.0f} ms, {latency.p95_ms:.0f} ms for one of twenty, x{latency.real_time_factor:.2f}",
        "pictures": f"{board.pictures}, {board.cuts} cuts",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    if board.said:
        table.add_row("server", Text(board.said))
    return table


def decibels(peak: float) -> float:
    return max(FLOOR_DB, 20 * math.log10(peak)) if peak > 0 else FLOOR_DB


def bar(part: float) -> str:
    full = round(max(0.0, min(1.0, part)) * CELLS)
    return "█" * full + "·" * (CELLS - full)
