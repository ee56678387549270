"""`cuestream` as a process of its own, for tests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str, program: str = "") -> subprocess.Popen[str]:
    started = ["-c", program] if program else ["-m", "cuestream"]
    return subprocess.Popen(
        [sys.executable, *started, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def serve_tiny(*arguments: str) -> subprocess.Popen[str]:
    return run("serve", "--model", "random-tiny", "--threads", "1", *arguments)


def plays_at(process: subprocess.Popen[str]) -> int:
    """The port, once the server says that it plays there."""
    assert process.stderr is not None
    said = next(line for line in process.stderr if "plays at" in line)
    found = re.search(r"https?://127\.0\.0\.1:(\d+)/", said)
    assert found
    return int(found[1])


def certified(folder: Path) -> tuple[str, ...]:
    """The options of a certificate that is in the folder."""
    return "--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")


def free_port() -> int:
    """Nobody listens there now."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        return int(line.getsockname()[1])


def is_gone(pid: int) -> bool:
    """Within ten seconds, and somebody asked for how it ended."""
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
