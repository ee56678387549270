"""`python -m benchmarks.latency.host_only serve ...`: `cuestream serve`, whose GPU has done its work before it is asked for.

What is left is the host's: the event loop, the engine's thread with streams and arrays, and the processes that decode pictures.
As `host-paced` each step sleeps for as long as it would take on a GPU. So as many sessions take theirs together as would there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import torch

from benchmarks.host import HostBackend, narrow_spec
from benchmarks.latency.served import HOST_PACED
from cuestream import players
from cuestream.cli import app
from engine.backends.base import I64, DrawCall
from engine.backends.places import Caches, Condition
from engine.player import ModelPlayer
from engine.spec import CodecSpec, ModelSpec

STEP_S, STREAM_S = 0.8e-3, 0.08e-3
"""A step of small on an H200, and more of it for each stream: 0.88 ms for one, 5.8 for 64 (docs/gpu.md)."""
FILTERS = 4


class PacedBackend(HostBackend):
    """Its caller sleeps, as one who waits for a GPU."""

    def draw_all(self, calls: Sequence[DrawCall[Caches, Condition]]) -> list[I64]:
        drawn = super().draw_all(calls)
        time.sleep(len(drawn[0]) * (STEP_S + len(calls) * STREAM_S))
        return drawn


def spec() -> ModelSpec:
    """Whose codec is narrow, too: its work is done once for each number of sessions before the server listens."""
    narrow = narrow_spec()
    assert isinstance(narrow.codec, CodecSpec)
    return replace(narrow, codec=replace(narrow.codec, filters=FILTERS))


def player(name: str, threads: int, provider: str, places: int) -> ModelPlayer:
    """As `cuestream.players.find_player`."""
    backend = PacedBackend if name == HOST_PACED else HostBackend
    return ModelPlayer(backend(spec(), places))


def main() -> None:
    torch.set_num_threads(1)
    with patch.multiple(players, find_player=player, threads_beside=lambda _: 1):
        app()


if __name__ == "__main__":
    main()
