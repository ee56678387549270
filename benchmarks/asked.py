"""What benchmarks' command lines have in common: numbers, and what they say in the name of a result. It needs nothing."""

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


def add_name_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="name of the result, which is kept in benchmarks/results")


def add_patience_option(parser: argparse.ArgumentParser, usual_s: float = 10) -> None:
    parser.add_argument("--patience", type=float, default=usual_s, help="seconds to wait for a quiet machine")


def lasting(given_s: float, usual_s: float) -> str:
    """What sets a shorter or longer run apart, empty for the usual one."""
    return "" if given_s == usual_s else f"{given_s:g}s"
