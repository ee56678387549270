"""Ctrl-C at any moment ends the command line without a traceback, also while its parts are still being loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SLOW = "import time; print('loading', flush=True); time.sleep(60)"
ROOT = Path(__file__).parents[2]
SDK = ROOT / "sdk" / "python"

DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "


def installed(before: str = "", name: str = "cuestream", folder: Path = ROOT) -> list[str]:
    """What the script does that pip makes."""
    scripts = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    module, function = scripts[name].split(":")
    return ["-c", f"{before}import sys; from {module} import {function}; sys.exit({function}())"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process alone")
@pytest.mark.parametrize(
    "way",
    [
        installed(),
        installed(DEAF),
        ["-m", "cuestream"],
        installed(name="cuestream-client", folder=SDK),
        installed(DEAF, "cuestream-client", SDK),
    ],
    ids=[
        "cuestream",
        "in the background of a script",
        "python -m cuestream",
        "cuestream-client",
        "it, in the background of a script",
    ],
)
def test_ctrl_c_while_it_loads_is_no_traceback(tmp_path: Path, way: list[str]) -> None:
    (tmp_path / "typer.py").write_text(SLOW)
    path = os.pathsep.join((str(tmp_path), str(ROOT), str(SDK)))
    begun = subprocess.Popen(
        [sys.executable, *way, "info", "starter"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with begun:
        assert begun.stdout is not None
        assert begun.stdout.readline() == "loading\n"
        begun.send_signal(signal.SIGINT)
        said = begun.communicate(timeout=30)
    assert (begun.returncode, *said) == (130, "", "")
