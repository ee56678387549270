"""A progress bar that says how fast the music comes: the real-time factor, compute for a second of music."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def scoring(console: Console, name: str) -> Iterator[Callable[[float, float], None]]:
    """Gives the function that takes (seconds of music made, seconds to make)."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.1f} s"),
        TextColumn("{task.fields[factor]}"),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal  # elsewhere it would leave an empty line
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(name, total=1.0, factor="")
        began = time.monotonic()

        def made(seconds: float, total: float) -> None:
            factor = (time.monotonic() - began) / seconds if seconds else 0.0
            said = f"real-time factor {factor:.2f}" if seconds < total else "mixing and writing"
            progress.update(task, completed=min(seconds, total), total=total, factor=said)

        yield made
