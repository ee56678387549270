"""`cuestream` as a process of its own, for tests."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
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
