"""`cuestream serve` as a process, for tests of its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.reaction.chromium import Chromium

ROOT = Path(__file__).parents[2]
MODEL = os.environ.get("CUESTREAM_PAGE_MODEL", "random-tiny")


@contextmanager
def page(recordings: Path) -> Iterator[str]:
    """Its address. recordings: a folder for them."""
    command = [
        sys.executable,
        "-m",
        "cuestream",
        "serve",
        "--model",
        MODEL,
        "--port",
        "0",
        "--drain",
        "0",
        "--recordings",
        str(recordings),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "plays at" in line)
        yield re.search(r"http://\S+/", said)[0]  # type: ignore[index]
        process.terminate()


def keep(browser: Chromium, measured: dict[str, Any] | None) -> None:
    """A picture of the page, and what was measured, if somebody asked for them."""
    if folder := os.environ.get("CUESTREAM_PAGE_OUT"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(folder) / ("page.png" if measured else "recording.png"))
        if measured:
            (Path(folder) / "page.json").write_text(json.dumps(measured, indent=1) + "\n")
