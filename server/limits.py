"""Limits by name, as `cuestream serve --limit NAME=NUMBER` takes them.

Those of the protocol and of the server itself go by their names (`starts_per_min`), others by their part's, too (`webrtc.lines`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, replace
from difflib import get_close_matches

from server.settings import Settings

PARTS = {
    "door": "door",
    "decoders": "decoders",
    "ingest": "ingest",
    "output": "output",
    "recording": "recording",
    "webrtc": "peers",
}
"""What a part is called here, and in the settings."""
OWN = ("max_parked", "checkpoint_bytes")
OPTIONS = {
    "session_s": "session-hours",
    "decoders.count": "decoders",
    "output.length_s": "session-hours",
    "output.folder_bytes": "outputs-gb",
    "recording.length_s": "recording-hours",
    "recording.folder_bytes": "recordings-gb",
}
"""Limits that have an option of their own, and it."""


def limits_of(settings: Settings) -> dict[str, int | float]:
    """Every limit that can be named, and what it is."""
    found: dict[str, int | float] = {name: getattr(settings, name) for name in OWN}
    for part, attribute in (("", "limits"), *PARTS.items()):
        limits = getattr(settings, attribute)
        for each in fields(limits):
            value = getattr(limits, each.name)
            if type(value) in (int, float):
                found[f"{part}.{each.name}" if part else each.name] = value
    return {name: value for name, value in found.items() if name not in OPTIONS}


def limited(settings: Settings, said: Iterable[str]) -> Settings:
    """The settings with these limits, `NAME=NUMBER` each; of a name that is said twice the last counts.

    Raises ValueError for what is no limit, and for no number above 0; whole numbers stay whole.
    """
    known, changes = limits_of(settings), dict[str, dict[str, int | float]]()
    for text in said:
        name, _, number = text.partition("=")
        if name in OPTIONS:
            raise ValueError(f"--limit {name} is --{OPTIONS[name]}")
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise ValueError(f"--limit {name}: no such limit{f'; is it {near[0]}?' if near else ''}")
        part, _, field = name.rpartition(".")
        attribute = PARTS[part] if part else "" if name in OWN else "limits"
        changes.setdefault(attribute, {})[field] = _number(text, number, type(known[name]))
    own: dict[str, int | float] = changes.pop("", {})
    parts = {attribute: replace(getattr(settings, attribute), **each) for attribute, each in changes.items()}
    return replace(settings, **own, **parts)  # type: ignore[arg-type]  # of the fields' own types


def _number(text: str, number: str, kind: type[int | float]) -> int | float:
    try:
        value = kind(number)
    except ValueError:
        value = kind(0)
    if not 0 < value < math.inf:
        raise ValueError(f"--limit {text}: expected a{' whole' if kind is int else ''} number above 0")
    return value
