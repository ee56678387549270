"""`python -m benchmarks.host`: listeners play beside a device that does nothing, and the host's time is that of its parts."""

from __future__ import annotations

import pytest

from benchmarks import host
from benchmarks.host import PARTS, Crowd, Spans
from export.random_model import tiny_spec


def test_listeners_hear_chunks_of_a_device_that_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each tick, once they began; and what is noted is noted of all parts."""
    monkeypatch.setattr(host, "JOINING_TICKS", 2)
    crowd, spans = Crowd(tiny_spec(), 3, context_s=0.5), Spans()
    with spans.noted():
        assert len(list(crowd.ticks(8))) == 8
    assert [each.heard.chunks for each in crowd.audience.listeners.values()] == [7, 7, 6]
    assert set(spans.seconds) == set(PARTS)


def test_time_belongs_to_the_innermost_part(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((0.0, 1.0, 4.0, 6.0))
    monkeypatch.setattr("time.thread_time", lambda: next(moments))
    spans = Spans()
    inner = spans.of("ask", lambda: None)
    spans.of("rest", inner)()
    assert spans.seconds == {"ask": 3.0, "rest": 3.0}
