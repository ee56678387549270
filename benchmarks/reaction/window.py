"""A browser whose fake camera flashes, and what its page noted of it.

camera took the flash ─► page has it ─► told that the music turned ─► click in hand ─► click out of the player
                                                                      (websocket)
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reaction.browser import Browser

F64 = NDArray[np.float64]
PAGE = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
WAYS = ("websocket", "webrtc")
QUIET_PAGE = "/v1/version"
"""Of the server's own address, without anything that draws."""
PLAYS = "reaction.notes.clicks.length > 1 && reaction.notes.turns.length > 1"


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one run: the moments of the page, milliseconds, and what could be said of the way before and after."""

    way: str
    notes: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    output_ms: float

    @property
    def turns(self) -> F64:
        """When the camera took a picture that turned. [n]"""
        return np.array([turn["captured"] for turn in self.notes["turns"]])

    def shown(self) -> F64:
        """From there until the page had it. [n]"""
        return np.array([turn["shown"] for turn in self.notes["turns"]]) - self.turns

    def until(self, what: str, within_ms: float) -> F64:
        """From there to the first of `told`, `hands` or `clicks`; NaN where none came in time. [n]"""
        return delays(self.turns, self.notes[what], within_ms)

    def mean_ms(self, total: str, count: str) -> float | None:
        """Of sums in seconds that the browser keeps, for each of what it counts; None when nothing was counted."""
        many = self.after.get(count, 0) - self.before.get(count, 0)
        return 1000 * (self.after[total] - self.before[total]) / many if many else None


def delays(turns: F64, events: Sequence[float], within_ms: float) -> F64:
    """From each turn to the first event after it; NaN where none came in time. [n]"""
    sorted_events = np.append(np.sort(np.array(events, np.float64)), np.inf)
    found = sorted_events[np.searchsorted(sorted_events, turns, side="right")] - turns
    return np.where(found < within_ms, found, np.nan)


def begin(browser: Browser, address: str, way: str, page: str = QUIET_PAGE, **options: Any) -> None:
    """Let a page of this server play. options: `comfort`, `bufferMs`, `config`, `again`."""
    browser.open(f"{address.rstrip('/')}{page}")
    go_on(browser, way, **options)


def go_on(browser: Browser, way: str, **options: Any) -> None:
    """The same where the page is open."""
    browser.run(PAGE)
    browser.run(f"begin({json.dumps(way)}, {json.dumps(options)})")


def react(browser: Browser, way: str, turns: int, within_s: float) -> Seen:
    """Until the picture has turned so often; what plays is given a moment before, and the last answer one after."""
    browser.until(PLAYS)
    browser.run("Object.values(reaction.notes).forEach((list) => (list.length = 0))")
    before = browser.run("reaction.figures()")
    browser.until(f"reaction.notes.turns.length >= {turns}", within_s)
    time.sleep(1)  # nothing to wait for: an answer may be missing
    after, output_ms = browser.run("reaction.figures()"), browser.run("reaction.outputMs()")
    notes = browser.run("reaction.notes")
    notes["turns"] = notes["turns"][:turns]  # a later one may still wait for its answer
    return Seen(way, notes, before, after, output_ms)


def leave(browser: Browser) -> None:
    browser.run("reaction.client.close()")
