"""`cuestream serve` as a process: it says where it plays, Ctrl-C ends it, and what cannot be is one line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from shell_client import Client, ask

ROOT = Path(__file__).parents[2]


def run(*arguments: str, program: str = "") -> subprocess.Popen[str]:
    started = ["-c", program] if program else ["-m", "cuestream"]
    return subprocess.Popen(
        [sys.executable, *started, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def test_it_says_where_it_plays_and_ctrl_c_drains() -> None:
    with run("serve", "--model", "random-tiny", "--port", "0", "--threads", "1") as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "plays at" in line)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        assert found
        assert ask("GET", found[0] + "readyz") == (200, {"status": "ready"})
        with Client(f"ws://127.0.0.1:{found[1]}/v1/stream") as client:
            client.start()
            process.send_signal(signal.SIGINT)
            assert client.until("go_away")["reason"] == "draining"
        assert process.wait(15) == 0
        assert process.stderr.read() == ""


def test_an_open_address_without_a_key_is_one_line() -> None:
    with run("serve", "--host", "0.0.0.0") as process:
        assert process.stderr is not None
        assert "--api-key" in process.stderr.read()
        assert process.wait(15) == 2


def test_without_the_extra_it_says_which_one_is_missing() -> None:
    program = """
import sys
sys.modules["uvicorn"] = None
sys.argv = ["cuestream", "serve"]
from cuestream.cli import main
main()
"""
    with run(program=program) as process:
        assert process.stderr is not None
        assert "cuestream[serve]" in process.stderr.read()
        assert process.wait(15) == 2


def test_a_chunk_of_another_length_is_one_line() -> None:
    with run("serve", "--chunk-ms", "30") as process:
        assert process.stderr is not None
        assert "20, 40, 60, 80, 100 ms, not 30" in process.stderr.read()
        assert process.wait(15) == 2
