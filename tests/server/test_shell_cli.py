"""`cuestream serve` as a process: it says where it plays, Ctrl-C ends it, and what cannot be is one line."""

from __future__ import annotations

import re
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from process import plays_at, run, serve_tiny
from shell_client import Client, ask


def test_it_says_where_it_plays_and_ctrl_c_drains() -> None:
    with serve_tiny("--port", "0", "--session-hours", "0.5") as process:
        assert process.stderr is not None
        port = plays_at(process)
        assert ask("GET", f"http://127.0.0.1:{port}/readyz") == (200, {"status": "ready"})
        with Client(f"ws://127.0.0.1:{port}/v1/stream") as client:
            assert client.start()["limits"]["session_s"] == 1800
            process.send_signal(signal.SIGINT)
            assert client.until("go_away")["reason"] == "draining"
        assert process.wait(15) == 0
        assert process.stderr.read() == ""


FEW_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 512))
from cuestream.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is read in /proc")
def test_it_may_open_as_many_files_as_the_hard_limit_says() -> None:
    with run("serve", "--model", "synthetic", "--port", "0", program=FEW_FILES) as process:
        plays_at(process)
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="utf-8")
        process.terminate()
    assert re.search(r"^Max open files +512 +512 ", limits, re.MULTILINE)


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
from cuestream.__main__ import main
main()
"""
    with run(program=program) as process:
        assert process.stderr is not None
        assert "cuestream[serve]" in process.stderr.read()
        assert process.wait(15) == 2


@pytest.mark.parametrize(
    ("drain", "signals"),
    [
        ("0.3", [signal.SIGINT]),
        ("0.3", [signal.SIGTERM]),
        ("600", [signal.SIGINT, signal.SIGINT]),
        ("600", [signal.SIGINT, signal.SIGINT, signal.SIGINT]),
        ("600", [signal.SIGINT, signal.SIGTERM]),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(each.name for each in value),
)
def test_a_signal_ends_it_whoever_listens(drain: str, signals: list[signal.Signals]) -> None:
    """A client that stays, and endless sounds that never end by themselves; the second signal waits for nobody, a third one for
    nothing."""
    with serve_tiny("--port", "0", "--drain", drain) as process, ExitStack() as held:
        assert process.stderr is not None
        port = plays_at(process)
        client = held.enter_context(Client(f"ws://127.0.0.1:{port}/v1/stream"))
        path = f"/v1/sessions/{client.start()['session_id']}/audio"
        client.play()
        for ending in ("ogg", "wav"):
            line = held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            line.sendall(f"GET {path}.{ending} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            assert line.recv(12) == b"HTTP/1.1 200"
        process.send_signal(signals[0])
        client.until("go_away")
        for each in signals[1:]:
            process.send_signal(each)
        assert process.wait(15) == 0
        assert process.stderr.read() == ""


def test_ctrl_c_is_heard_while_the_model_loads_also_in_the_background_of_a_script() -> None:
    """Such a process begins with SIGINT ignored, and Python leaves it so."""
    program = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import cuestream.players
cuestream.players.find_player = lambda *_: os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["cuestream", "serve", "--port", "0"]
from cuestream.__main__ import main
main()
"""
    with run(program=program) as process:
        assert process.stderr is not None
        assert process.stderr.read().splitlines()[-1] == "cuestream: interrupted"
        assert process.wait(15) == 130


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--chunk-ms", "30"), "20, 40, 60, 80, 100, 200, 300, 400, 500 ms, not 30"),
        (("--lead-ms", "39"), "two chunks, 40 ms, to 2000 ms, not by 39 ms"),
        (("--lead-ms", "100", "--chunk-ms", "60"), "two chunks, 120 ms, to 2000 ms, not by 100 ms"),
        (("--video-fps", "61"), "at most 60 pictures a second, not 61"),
        (("--video-fps", "0"), "more than 0 and at most 60 pictures a second, not 0"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(options: tuple[str, ...], said: str) -> None:
    with run("serve", *options) as process:
        assert process.stderr is not None
        assert said in " ".join(process.stderr.read().split())
        assert process.wait(15) == 2
