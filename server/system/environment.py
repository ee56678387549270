"""A process of our own: how it is started, and what it needs of our environment. Keys stand in the rest of that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "TZ",
)
ROOT = Path(__file__).parents[2]


def of_a_process() -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}


def command_of(module: str) -> tuple[str, ...]:
    """Runs a module of ours, and none of the folder that the server was started in (-P)."""
    return (sys.executable, "-P", "-m", module)


def end_with_the_input() -> None:
    """For a process that ends when its input does: what is sent to all of the server's processes is the server's to answer."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def piped(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """What is told by its input and answers by its output. Raises OSError."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=of_a_process(),
        start_new_session=True,  # Ctrl-C is for the server, which finishes it
    )
