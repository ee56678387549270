"""`cuestream serve` as a process: it says where it plays, Ctrl-C ends it, and what cannot be is one line."""

from __future__ import annotations

import signal

from process import plays_at, run, serve_tiny
from shell_client import Client, ask


def test_it_says_where_it_plays_and_ctrl_c_drains() -> None:
    with serve_tiny("--port", "0") as process:
        assert process.stderr is not None
        port = plays_at(process)
        assert ask("GET", f"http://127.0.0.1:{port}/readyz") == (200, {"status": "ready"})
        with Client(f"ws://127.0.0.1:{port}/v1/stream") as client:
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
