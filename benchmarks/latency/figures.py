"""From what listeners noted to figures. Percentiles are numpy's, over all chunks or pictures of all listeners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency.listener import Heard

F64 = NDArray[np.float64]
LATE_MS = (40, 50, 100, 200)
CAME, LATE, HEARD, NEWEST = range(4)


def spread(name: str, values_s: F64) -> dict[str, Any]:
    """Milliseconds."""
    if not len(values_s):
        return {"figure": name, "count": 0}
    p50, p95, p99 = np.percentile(values_s * 1e3, (50, 95, 99))
    return {
        "figure": name,
        "count": len(values_s),
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "p99_ms": round(float(p99), 2),
        "max_ms": round(float(values_s.max() * 1e3), 2),
    }


def after(heard: Heard, warm_up_s: float) -> F64:
    """The rows behind the warm-up."""
    rows = heard.rows
    return rows[rows[:, CAME] >= rows[0, CAME] + warm_up_s] if len(rows) else rows


def first_audio(heard: Sequence[Heard]) -> F64:
    return np.array([each.first_s - each.hello_s for each in heard if each.first_s is not None])


def answer_delays(heard: Heard, rows: F64) -> F64:
    """From a picture that was sent to the first chunk that knew it; of pictures that some chunk names as its newest."""
    newest, places = np.unique(rows[:, NEWEST], return_index=True)
    return (rows[places, CAME] - newest / 1e6)[1:]


def ages(rows: F64) -> F64:
    """How old the newest picture is when a chunk is heard."""
    return rows[:, HEARD] - rows[:, NEWEST] / 1e6


def jitter(rows: F64, lengths: F64) -> F64:
    """How much sooner or later a chunk came than the one before it says."""
    return np.abs(np.diff(rows[:, CAME]) - lengths)


def sound_lengths(rows: F64) -> F64:
    """Seconds from each chunk's first sample to the next one's: due times hold no jitter."""
    return np.diff(rows[:, CAME] - rows[:, LATE])


def clicks(heard: Heard, most_s: float = 1.9) -> F64:
    """From a picture with which the scene turned to the sound that clicks for it."""
    turned = heard.pictures[heard.pictures[:, 1] > 0, 0]
    loud = np.array(heard.loud_s)
    places = np.searchsorted(loud, turned)
    known = places < len(loud)
    found = loud[places[known]] - turned[known]
    return found[found < most_s]


def summary(heard: Sequence[Heard], warm_up_s: float) -> list[dict[str, Any]]:
    """The figures of a paced run."""
    kept = [(each, rows) for each in heard if len(rows := after(each, warm_up_s)) > 1]
    none = np.zeros(0)

    def joined(parts: list[F64]) -> F64:
        return np.concatenate([none, *parts])

    made = [
        spread("first audio", first_audio(heard)),
        spread("picture sent, first chunk that knew it", joined([answer_delays(e, r) for e, r in kept])),
        spread("lateness of a chunk", joined([rows[:, LATE] for _, rows in kept])),
        spread("jitter of arrival", joined([jitter(rows, sound_lengths(rows)) for _, rows in kept])),
        spread("visual age when heard", joined([ages(rows) for _, rows in kept])),
    ]
    clicked = joined([clicks(each) for each in heard])
    return [*made, *([spread("picture sent, its click in hand", clicked)] if len(clicked) else [])]


def shares(heard: Sequence[Heard], warm_up_s: float) -> dict[str, Any]:
    """C50 and its like: the share of chunks that came not later; and of listeners none of whose chunks did."""
    late = [after(each, warm_up_s)[:, LATE] * 1e3 for each in heard]
    late = [each for each in late if len(each)]
    every = np.concatenate([np.zeros(0), *late])
    worst = np.array([each.max() for each in late])
    found: dict[str, Any] = {}
    for bound in LATE_MS:
        found[f"C{bound}"] = round(float((every <= bound).mean()), 6) if len(every) else None
        found[f"listeners_C{bound}"] = round(float((worst <= bound).mean()), 4) if len(worst) else None
        found[f"later_than_{bound}_ms"] = int((every > bound).sum())
    return found | {
        "chunks": len(every),
        "listeners": len(late),
        "heard_nothing": sum(each.first_s is None for each in heard),
        "underruns": sum(each.underruns for each in heard),
        "gaps": sum(each.gaps for each in heard),
        "concealed_chunks": sum(each.concealed for each in heard),
        "degraded_chunks": sum(each.degraded for each in heard),
        "errors": sorted({each.error for each in heard if each.error}),
    }
