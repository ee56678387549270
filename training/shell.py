"""What a user can mend is one line and exit code 2, of every command of training and of the benchmarks that say so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import CuestreamError


@contextmanager
def in_one_line() -> Iterator[None]:
    """Around a command's `main`."""
    try:
        yield
    except (CuestreamError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
