"""examples/several_servers.py in front of two servers: each takes its turn, none is asked that has no room, or is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from served import Serve, Served
from shell_client import Client, ask

from engine.synthetic import SyntheticPlayer

PROGRAM = Path(__file__).parents[2] / "examples" / "several_servers.py"
KEY = "a key for tests"


@contextmanager
def spread(*servers: str, key: str = KEY) -> Iterator[str]:
    """Where the program takes what it is asked."""
    started = [sys.executable, str(PROGRAM), "--port", "0", *servers]
    environment = os.environ | {"CUESTREAM_API_KEY": key}
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()


def asked(address: str) -> tuple[int, Any]:
    return ask("POST", address)


def opens(made: Any) -> Client:
    client = Client(made["urls"]["ws"], made["client_secret"]["value"])
    assert client.start()["session_id"] == made["session_id"]
    return client


def at(served: Served, made: Any) -> bool:
    return bool(made["urls"]["ws"] == served.ws)


def test_they_take_turns_until_none_has_room(serve: Serve) -> None:
    with (
        serve(player=SyntheticPlayer(), api_key=KEY, max_sessions=1) as one,
        serve(player=SyntheticPlayer(), api_key=KEY, max_sessions=1) as other,
        spread(one.http.removeprefix("http://"), f"{other.http}/") as address,
    ):
        (first_status, first), (second_status, second) = asked(address), asked(address)
        assert (first_status, second_status) == (201, 201)
        assert [at(one, first), at(other, second)] == [True, True]
        with opens(first), opens(second):
            status, said = asked(address)
            assert (status, said["error"]["code"]) == (503, "capacity")
        assert asked(address.replace("/session", "/other"))[0] == 404


def test_one_that_is_gone_or_full_is_passed_over(serve: Serve) -> None:
    with (
        serve(player=SyntheticPlayer(), api_key=KEY) as one,
        spread("http://127.0.0.1:9", one.http) as address,
    ):
        for _ in range(3):
            status, made = asked(address)
            assert (status, at(one, made)) == (201, True)
    with spread("http://127.0.0.1:9") as address:
        assert asked(address) == (503, {"error": {"code": "capacity", "text": "no server answers"}})


def test_what_no_other_server_would_answer_otherwise_is_handed_on(serve: Serve) -> None:
    with serve(player=SyntheticPlayer(), api_key=KEY) as one, spread(one.http, key="another") as address:
        status, said = asked(address)
        assert (status, said["error"]["code"]) == (401, "unauthorized")
