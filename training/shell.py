"""What commands say: what a user can mend in one line, with exit code 2, of every one of training and of some benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import CuestreamError, MissingRuntime


def say(line: str) -> None:
    """For whoever watches, at once."""
    print(line, flush=True)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Around a command's `main`."""
    try:
        yield
    except (CuestreamError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def extras() -> Iterator[None]:
    """Around a command's first imports of what the extras bring."""
    with in_one_line():
        try:
            yield
        except ImportError as error:
            raise MissingRuntime(
                f"training needs {error.name}; install the extras: pip install 'cuestream[cpu,export,plot]'"
            ) from error
