"""A disk that is full, for tests: the operating system takes a part of what is written, and then no more."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

NO_MORE = "File too large"
"""What it says then."""


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """In this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
