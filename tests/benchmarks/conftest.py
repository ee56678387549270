"""What the quality benchmark listens with, compiled once for all processes of a run."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def librosa_compiled(made_once: Callable[[str, Callable[[Path], object]], Path]) -> None:
    """librosa compiles for 20 s of a core when it is first used. Each process has a cache of its own (see `tests/conftest.py`),
    which begins as a copy of what the first one compiled."""
    own = Path(os.environ["NUMBA_CACHE_DIR"])

    def compiled(folder: Path) -> None:
        for part in ("feature", "onset"):
            importlib.import_module(f"librosa.{part}")
        shutil.copytree(own, folder)

    shutil.copytree(made_once("numba", compiled), own, dirs_exist_ok=True)
