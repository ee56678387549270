"""The client is published on its own: it knows nothing of the server, and optional libraries only when they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SDK = Path(__file__).parents[2] / "sdk" / "python"
LAZY = ("av", "sounddevice", "rich", "typer")
OURS = ("server", "engine", "cuestream", "export", "training", "kernels")


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("cuestream_client", LAZY + OURS),
        ("cuestream_client.live", LAZY + OURS),
        ("cuestream_client.command", OURS),
    ],
)
def test_importing_brings_only_what_it_says(module: str, foreign: tuple[str, ...], tmp_path: Path) -> None:
    code = f"import sys, {module}; print(*[name for name in {foreign} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SDK)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
