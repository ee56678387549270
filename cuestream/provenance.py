"""Which tree a figure was measured on."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from cuestream import __version__

ROOT = Path(__file__).parents[1]
COMMIT = "CUESTREAM_COMMIT"
"""Names the commit where a tree was brought without its repository."""
MEASURED = (
    "engine",
    "export",
    "kernels",
    "cuestream",
    "server",
    "training",
    "benchmarks",
    ":!benchmarks/results",
)
"""What a result depends on; of other results none does."""


def origin() -> dict[str, str]:
    """Which Cuestream measured, and when."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return {"cuestream": __version__, "commit": commit(), "date": today}


def commit() -> str:
    """Of the clone that this is, with a plus sign when files that are measured differ from it.

    Without git, or where this was installed as a package, it is what the environment names, else unknown.
    """
    program = shutil.which("git")

    def git(*arguments: str) -> str:
        if program is None:
            return ""
        done = subprocess.run(
            (program, *arguments), cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8"
        )
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")  # of somebody else's repository, where a package lies in it
    if top and Path(top) == ROOT.resolve() and (name := git("rev-parse", "--short", "HEAD")):
        return name + "+" * bool(git("status", "--porcelain", "--", *MEASURED))
    return os.environ.get(COMMIT, "unknown")
