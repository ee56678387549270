"""Numbers that a benchmark's command line is given, and what they say in the name of its result. It needs nothing."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """For argparse, which makes one line of it."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def duration(text: str) -> float:
    """The same of seconds, at most a day."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, found {text!r}")
    return found


def lasting(given_s: float, usual_s: float) -> str:
    """What sets a shorter or longer run apart, empty for the usual one."""
    return "" if given_s == usual_s else f"{given_s:g}s"
