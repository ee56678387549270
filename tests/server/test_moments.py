"""A histogram of ours is on the page what prometheus_client's own would be."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from server.histogram import Moments

BOUNDS = (0.001, 0.25, 1.0, 5)


def test_the_page_is_that_of_the_librarys_histogram() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    moments = Moments("cuestream_wait_seconds", "How long", BOUNDS, ours)
    histogram = Histogram("cuestream_wait_seconds", "How long", buckets=BOUNDS, registry=theirs)
    for value in (0.0, 0.001, 0.0011, 0.3, 1.0, 4.9, 5, 70.0, -1.0):
        moments.observe(value)
        histogram.observe(value)
    expected = [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
    assert generate_latest(ours).decode().splitlines() == expected
