"""A server whose GPU does nothing plays as one with a GPU does, and its threads are told apart."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the benchmark needs cuestream[serve]")
pytest.importorskip("prometheus_client", reason="the benchmark needs cuestream[serve]")

from benchmarks.latency import host_only
from benchmarks.latency.limits import physical_limits
from benchmarks.latency.served import DECODERS, HOST_ONLY, HOST_PACED, LOOP, Seen, Spent, parts
from cuestream import players
from engine.batcher import advance_all
from engine.player import ModelPlayer
from engine.spec import StreamPolicy
from export.random_model import tiny_spec


@pytest.mark.parametrize(("name", "naps"), [(HOST_ONLY, 0), (HOST_PACED, 1)])
def test_sessions_play_on_a_gpu_that_does_nothing(
    name: str, naps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of two sessions are one call; paced, it sleeps for as long as they take together."""
    monkeypatch.setattr(host_only, "spec", tiny_spec)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)

    def play() -> None:
        found = players.find_player(name, 1, "torch", 2)
        assert isinstance(found, ModelPlayer)
        streams = [found.open(StreamPolicy(context_s=0.5)) for _ in range(2)]
        for stream in streams:
            stream.push(np.zeros((found.side, found.side, 3), np.uint8))
        assert advance_all([(stream, 3) for stream in streams]) == [None, None]
        assert [stream.now for stream in streams] == [3, 3]

    monkeypatch.setattr(host_only, "app", play)
    host_only.main()
    assert slept == pytest.approx([3 * (host_only.STEP_S + 2 * host_only.STREAM_S)] * naps)


def test_its_limits_are_those_of_the_published_size() -> None:
    limits = physical_limits(HOST_ONLY, 340, 100)
    assert (limits["piece_ms"], limits["structural_delay_ms"]) == (100, 140)


def test_the_engine_is_the_busiest_thread_beside_the_loop() -> None:
    before = Seen(1.0, 0, 0, {}, {LOOP: Spent(1, 1), "7": Spent(1, 0), DECODERS: Spent()})
    after = {LOOP: Spent(3, 2), "7": Spent(2, 1), "8": Spent(0.5, 0), DECODERS: Spent(0.2, 0)}
    since = Seen(3.0, 0, 0, {}, after).since(before)
    assert since.by_part() == {
        LOOP: {"cores": 1, "waited": 0.5},
        "engine": {"cores": 0.5, "waited": 0.5},
        DECODERS: {"cores": 0.1, "waited": 0},
    }


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="the system does not say")
def test_a_process_says_what_its_threads_used() -> None:
    found = parts(os.getpid())
    assert found[LOOP].cpu_s > 0
    assert found[DECODERS] == Spent()


def test_where_the_system_does_not_say_there_are_no_parts() -> None:
    assert Seen(1.0, 0, 0).by_part() == {}
