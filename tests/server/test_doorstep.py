"""Clients that take their time: none of them keeps a connection, and none keeps others out."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import Any

import pytest
from served import Serve, Served
from shell_client import Client, ask, soon

from server.http.connections import DoorLimits
from server.http.websocket import Direct

PATIENCE_S = 15.0
HEAD = "PATCH /v1/sessions/{id} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5000\r\n\r\n"


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), PATIENCE_S)


def drip(line: socket.socket, data: bytes) -> bytes:
    """Send a byte each 50 ms until the server hangs up; what it said."""
    line.settimeout(0.05)
    said, end_s = b"", time.monotonic() + PATIENCE_S
    for at in range(10_000):
        try:
            part = line.recv(4096)
        except TimeoutError:
            assert time.monotonic() < end_s, "the server still waits"
            line.sendall(data[at : at + 1])
            continue
        except ConnectionResetError:
            return said
        if not part:
            return said
        said += part
    raise AssertionError


def counted(served: Served, reason: str) -> float:
    name = "cuestream_connections_dropped_total"
    return served.host.metrics.registry.get_sample_value(name, {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    "sent",
    ["", "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n" + "x-slow: yes\r\n" * 900, "body", "GET /v1/stream"],
    ids=["silent", "headers", "body", "upgrade"],
)
def test_a_request_that_is_not_whole_in_time_is_let_go(serve: Serve, sent: str) -> None:
    with (
        serve(door=DoorLimits(request_s=0.5)) as served,
        Client(served.ws) as client,
        connect(served) as line,
    ):
        session_id = client.start()["session_id"]
        if sent == "body":
            line.sendall(HEAD.format(id=session_id).encode())
            sent = "{" + " " * 4999
        said = drip(line, sent.encode())
        assert said.startswith(b"HTTP/1.1 408 ")
        assert counted(served, "slow") == 1
        client.play()  # a websocket is not a request


def test_the_second_request_of_a_connection_has_its_time_too(serve: Serve) -> None:
    with serve(door=DoorLimits(request_s=0.5)) as served, connect(served) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert line.recv(4096).startswith(b"HTTP/1.1 200 ")
        drip(line, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"x-slow: yes\r\n" * 900)
        assert counted(served, "slow") == 1


def test_those_who_are_slow_keep_nobody_out(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.http.connections.YOUNG_S", 0.2)
    with serve(door=DoorLimits(half_open=4)) as served, ExitStack() as held:
        lines = [held.enter_context(connect(served)) for _ in range(12)]
        for line in lines[:8]:
            assert line.recv(100).startswith(b"HTTP/1.1 408 "), "the oldest go"
        assert counted(served, "half_open") == 8
        assert ask("GET", f"{served.http}/healthz")[0] == 200
        with Client(served.ws) as client:
            client.start()
        for line in lines[10:]:
            line.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 200 ")


def test_those_who_come_together_have_time_to_ask(serve: Serve) -> None:
    with serve(door=DoorLimits(half_open=2)) as served, ExitStack() as held:
        keeper: Any = served._server.config.http
        lines = [held.enter_context(connect(served)) for _ in range(12)]
        soon(lambda: len(keeper._half_open) == 12)
        loop = served._loop
        served.on_loop(lambda: keeper._thin_out(loop))
        for line in lines:
            line.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 200 ")
        assert counted(served, "half_open") == 0


def test_where_there_is_no_room_those_go_first_who_asked_for_nothing(serve: Serve) -> None:
    with serve(door=DoorLimits(connections=4)) as served, Client(served.ws) as client, ExitStack() as held:
        client.start()
        silent = [held.enter_context(connect(served)) for _ in range(3)]
        for line in silent:  # the oldest first
            held.enter_context(Client(served.ws)).start()
            assert line.recv(100).startswith(b"HTTP/1.1 503 ")
        assert counted(served, "connections") == 3
        client.play()


def test_connections_are_bounded(serve: Serve) -> None:
    with serve(door=DoorLimits(connections=3)) as served, ExitStack() as held:
        for _ in range(3):
            held.enter_context(Client(served.ws)).start()
        with connect(served) as line:
            assert line.recv(100).startswith(b"HTTP/1.1 503 ")
        assert counted(served, "connections") == 1


def test_a_body_that_does_not_say_how_long_it_is_is_bounded(served: Served) -> None:
    with Client(served.ws) as client, connect(served) as line:
        path = f"/v1/sessions/{client.start()['session_id']}"
        line.sendall(
            f"PATCH {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        said = _until_answered(line, b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        assert said.startswith(b"HTTP/1.1 413 ")


def _until_answered(line: socket.socket, part: bytes) -> bytes:
    line.settimeout(0.05)
    for _ in range(1000):
        line.sendall(part)
        try:
            return line.recv(4096)
        except TimeoutError:
            continue
    raise AssertionError("it takes everything")


def test_a_connection_that_is_gone_is_forgotten(serve: Serve) -> None:
    with serve() as served:
        keeper: Any = served._server.config.http
        with Client(served.ws) as client:
            client.start()
            with connect(served):
                client.wait_for(lambda: len(keeper._half_open) == 1)
            client.wait_for(lambda: not keeper._half_open)


def test_who_sends_too_much_is_heard_later_and_the_loop_goes_on(serve: Serve) -> None:
    """The shortest messages there are, as many as the transport reads at once."""
    count = 20_000
    flood = (
        b"\x82\x80\0\0\0\0" * count
    )  # binary, masked, without a payload: each is refused or, once the line closes, left alone
    with serve(errors_per_min=10**6) as served, Client(served.ws) as client:
        client.start()
        direct = next(each for each in served._server.server_state.connections if isinstance(each, Direct))
        loop: Any = direct.loop
        still = Still(loop)

        def come() -> list[int]:
            direct.loop = still  # it hears no more because this machine was busy meanwhile
            direct.data_received(flood)
            left = [len(direct._unheard)]
            direct._rest.cancel()
            still.now_s = direct._due_s
            direct._go_on()
            direct.loop = loop
            return [*left, len(direct._unheard)]

        first, second = served.on_loop(come)
        assert 0 < second < first < len(flood)
        assert put_off(served) == 2
        soon(lambda: not direct._unheard)
        client.play()


def test_those_who_send_too_much_together_wait_for_their_turns(serve: Serve) -> None:
    """They need no session for it: 20 of them left another one 13 chunks of music in ten seconds."""
    flood = b"\x8a\x80\0\0\0\0" * 6000  # pongs that nobody asked for
    with serve(door=DoorLimits(reading=0.05, reading_all=0.1)) as served, ExitStack() as held:
        for _ in range(3):
            held.enter_context(Client(served.ws))
        directs = [each for each in served._server.server_state.connections if isinstance(each, Direct)]

        def come() -> tuple[list[int], float]:
            still: Any = Still(directs[0].loop)
            for each in directs:
                each.loop = still
                each.data_received(flood)
                each.loop = still.loop
            still.now_s = None
            return [len(each._unheard) for each in directs], put_off(served)

        (first, _, third), times = served.on_loop(come)
        assert first < third == len(flood)
        assert times == 3
        soon(lambda: len(directs[2]._unheard) < len(flood))


class Still:
    """A loop whose clock stands still, until `now_s` is None."""

    def __init__(self, loop: Any) -> None:
        self.loop, self.call_at = loop, loop.call_at
        self.now_s: float | None = loop.time()

    def time(self) -> float:
        return self.loop.time() if self.now_s is None else self.now_s


def put_off(served: Served) -> float:
    return served.host.metrics.registry.get_sample_value("cuestream_websocket_reads_put_off_total") or 0.0


def test_requests_that_are_whole_are_answered_however_many_come_at_once(serve: Serve) -> None:
    with serve(door=DoorLimits(half_open=2)) as served, ExitStack() as held:
        lines: list[socket.socket] = []

        def come() -> None:
            """While the loop has no time for them."""
            for _ in range(12):
                lines.append(held.enter_context(connect(served)))
                lines[-1].sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")

        served.on_loop(come)
        for line in lines:
            assert line.recv(100).startswith(b"HTTP/1.1 200 ")
        assert counted(served, "half_open") == 0


def stubborn(served: Served, path: str, *more: str) -> socket.socket:
    """A client that asks for something and reads nothing of it."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", served.port))
    line.sendall("\r\n".join((f"GET {path} HTTP/1.1", "host: 127.0.0.1", *more, "", "")).encode())
    return line


def test_an_answer_that_nobody_reads_is_given_up(serve: Serve) -> None:
    with serve(door=DoorLimits(unread_s=0.3)) as served, stubborn(served, "/static/cuestream.js") as line:
        line.sendall(
            b"GET /static/cuestream.js HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 200
        )  # 17 MB of answers
        soon(lambda: counted(served, "unread") == 1)
        soon(lambda: not served._server.server_state.connections)


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: cuestream.v1",
)


def test_answers_to_pings_do_not_pile_up_where_nobody_reads(served: Served) -> None:
    pings = (b"\x89\xfd\0\0\0\0" + bytes(125)) * 50
    with stubborn(served, "/v1/stream", *UPGRADE) as line:
        assert line.recv(12) == b"HTTP/1.1 101"

        def waiting() -> tuple[int, int]:
            """Bytes, before the pings come and after."""
            direct: Any = next(iter(served._server.server_state.connections))
            direct.transport.write(bytes(8_000_000))  # more than the kernel takes
            before = direct.transport.get_write_buffer_size()
            direct.data_received(pings)
            return before, direct.transport.get_write_buffer_size()

        before, after = served.on_loop(waiting)
        assert 0 < before == after


def test_a_websocket_that_nobody_reads_is_gone_soon_after_its_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.http.websocket.GONE_S", 0.2)
    with serve(heartbeat_s=0.3) as served, stubborn(served, "/v1/stream", *UPGRADE) as line:
        assert line.recv(12) == b"HTTP/1.1 101"
        direct = served.on_loop(lambda: next(iter(served._server.server_state.connections)))
        served.on_loop(lambda: direct.transport.write(bytes(8_000_000)))  # more than the kernel takes
        soon(lambda: not served._server.server_state.connections)
