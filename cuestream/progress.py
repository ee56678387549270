"""A progress bar that says how fast the music comes: the real-time factor, compute for a second of music. It runs once more for
each pass over the whole of it that follows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from cuestream.score import Progress, Stage

SAID = {"measuring": "measuring the loudness", "mixing": "mixing and writing"}


@contextmanager
def scoring(console: Console, name: str) -> Iterator[Progress]:
    """Gives the function that is told."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.1f} s"),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal  # elsewhere it would leave an empty line
    with Bar(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(name, total=1.0, said="")
        before: Stage = "making"
        began = time.monotonic()

        def tell(stage: Stage, seconds: float, total: float) -> None:
            nonlocal before
            if stage != before:
                bar.reset(task, total=total)  # the time that is left is counted anew
                before = stage
            factor = (time.monotonic() - began) / seconds if seconds else 0.0
            said = SAID.get(stage, f"real-time factor {factor:.2f}")
            bar.update(task, completed=min(seconds, total), total=total, said=said)

        yield tell
