"""How much of the machine others use: what a test asks before it judges whether music was in time. Linux."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Cores:
    """Counts from its making on. Processes of ours that end meanwhile count as others."""

    def __init__(self) -> None:
        self._begun = (time.monotonic(), _all_s(), _ours_s())

    def others(self) -> float:
        """Cores that were busy with what neither this process nor its children do, on average."""
        at_s, all_s, ours_s = self._begun
        busy_s = (_all_s() - all_s) - (_ours_s() - ours_s)
        return max(0.0, busy_s / (time.monotonic() - at_s))


def _all_s() -> float:
    """user nice system idle iowait irq softirq steal: all but idle and iowait."""
    times = [int(word) for word in Path("/proc/stat").read_text("utf-8").splitlines()[0].split()[1:9]]
    return (sum(times) - times[3] - times[4]) / TICKS_PER_S


def _ours_s() -> float:
    """Processor time of this process and all below it."""
    parents, spent = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it ended
        parents[int(folder.name)] = int(words[1])
        spent[int(folder.name)] = int(words[11]) + int(words[12])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(spent[pid] for pid in ours) / TICKS_PER_S
