"""Paced streams of several processes on one device: each has an interpreter and weights of its own, as several servers would."""

from __future__ import annotations

import multiprocessing as mp
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError

from cuestream.gpu.setting import Setting, model_of
from cuestream.gpu.streams import CHUNK_S, Run, StreamsRow, listen, row
from engine.spec import StreamPolicy

READY_S = 300.0
"""How long one waits for all others to be ready."""

_others: Barrier | None = None


def paced_by(
    processes: int, setting: Setting, device: str, count: int, seconds: float, policy: StreamPolicy
) -> StreamsRow:
    """So many listeners for so long, shared out evenly. Their ticks are spread evenly too, as those of servers that know nothing
    of each other are on average. Raises what one of them raised."""
    spawned = mp.get_context("spawn")
    barrier = spawned.Barrier(processes)
    with ProcessPoolExecutor(processes, spawned, initializer=_meet, initargs=(barrier,)) as pool:
        parts = [range(first, count, processes) for first in range(processes)]
        runs = [
            pool.submit(_listen, setting, device, part, seconds, policy, CHUNK_S * at / processes)
            for at, part in enumerate(parts)
        ]
        errors = [error for run in runs if (error := run.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
            raise error
        return row([run.result() for run in runs], policy)


def _meet(barrier: Barrier) -> None:
    global _others
    _others = barrier


def _listen(
    setting: Setting,
    device: str,
    keys: Sequence[int],
    seconds: float,
    policy: StreamPolicy,
    behind_s: float,
) -> Run:
    """behind_s: how much later than the first one. Where one fails, the others do not wait for it."""
    assert _others is not None
    others = _others

    def ready() -> None:
        others.wait(READY_S)
        time.sleep(behind_s)

    try:
        backend = setting.backend(model_of(setting.size, device), device, len(keys))
        return listen(backend, keys, seconds, policy, ready=ready)
    except Exception:
        others.abort()
        raise
