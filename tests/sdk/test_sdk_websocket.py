"""The async and the sync client against a websocket on the loopback. The server gives as much as the credit allows, at once."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import pytest
import trustme
from fake_server import CREDIT, RATE, Line, Take, ramp
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from cuestream_client import (
    AsyncClient,
    Chunk,
    Client,
    ClientError,
    Closed,
    Next,
    Playout,
    Refused,
    Unreachable,
    Untrusted,
)
from cuestream_client import aio as aio_module
from cuestream_client import messages as m
from cuestream_client import session as session_module
from cuestream_client.aio import QUEUED_CHUNKS, address
from cuestream_client.closes import Patience
from cuestream_client.latest import Latest
from cuestream_client.pictures import Gate, Pictures, encode_jpeg
from server.protocol import SUBPROTOCOL
from server.protocol import messages as t
from server.protocol.control import encode

QUICK = Patience(first_s=0.001, most_s=0.002, attempts=3, stable_s=0.0)
FRAME = np.full((90, 160, 3), (255, 0, 0), np.uint8)


@dataclass
class Stage:
    """A server's state over its connections. break_at: the connections of these numbers break after so many messages.
    sees: it plays from the first picture on, as a server does."""

    takes: dict[str, Take] = field(default_factory=dict)
    break_at: dict[int, int] = field(default_factory=dict)
    refuse: dict[int, tuple[str, int]] = field(default_factory=dict)
    tokens: list[str | None] = field(default_factory=list)
    line: ServerConnection | None = None  # the newest
    ignores_credit: bool = False
    sees: bool = False

    async def __call__(self, line: ServerConnection) -> None:
        assert line.request is not None
        number = len(self.tokens)
        self.tokens.append(line.request.headers.get("Authorization"))
        self.line = line
        if number in self.refuse:
            code, close = self.refuse[number]
            await line.recv()
            await line.send(encode(t.ErrorMessage(code, "no", True)))
            await line.close(close, code)
            return
        inner, wrote = Line(self.takes, handle_every=1), 0
        async for raw in line:
            inner.feed(raw)
            take = inner.take
            plays = take.playing and (take.pictures or not self.sees)
            take.position = take.played + CREDIT if plays else take.position
            if self.ignores_credit and take.playing:
                take.position, take.played = QUEUED_CHUNKS * 2 * 640, 2**40
            for out in inner.due():
                await line.send(out)
                wrote += 1
                if self.break_at.get(number) == wrote:
                    line.transport.abort()
                    return
            if inner.close:
                await line.close(inner.close)


def url_of(server: object) -> str:
    (socket,) = server.sockets  # type: ignore[attr-defined]
    return f"ws://127.0.0.1:{socket.getsockname()[1]}"


def with_server(stage: Stage, work: Callable[[str], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serve(
            stage, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
        ) as s:
            async with asyncio.timeout(15):
                await work(url_of(s))

    asyncio.run(run())


@contextmanager
def serving(stage: Stage) -> Iterator[str]:
    """A server in a thread of its own, for the sync client."""
    started, done, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    urls: list[str] = []

    async def run() -> None:
        async with serve(
            stage, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
        ) as s:
            urls.append(url_of(s))
            started.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert started.wait(10)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()


def check_ramp(chunks: list[Chunk]) -> None:
    """Every sample is there once, and is the one that its index says."""
    assert [chunk.first_sample for chunk in chunks] == [0, *(chunk.end for chunk in chunks[:-1])]
    samples = np.concatenate([chunk.samples[:, 0] for chunk in chunks])
    np.testing.assert_array_equal(samples * 32_768, ramp(0, len(samples)))


def test_video_goes_up_and_music_comes_down() -> None:
    stage, chunks = Stage(), []

    async def work(url: str) -> None:
        async with AsyncClient(url, token="secret", config={"seed": 7}) as client:
            assert client.session.created is not None
            assert client.session.created.label == "a ramp, not music"
            await client.play()
            assert await client.push(FRAME, 0)
            assert not await client.push(FRAME, 1000)
            await client.update(gain_db=-6)
            async for chunk in client.audio():
                chunks.append(chunk)
                if chunk.end >= RATE * 2:
                    break

    with_server(stage, work)
    check_ramp(chunks)
    take = stage.takes["s0"]
    assert stage.tokens == ["Bearer secret"]
    assert (take.config.seed, take.config.gain_db, take.ended) == (7, -6.0, True)
    with av.open(io.BytesIO(take.pictures[0].payload)) as picture:
        (frame,) = picture.decode(video=0)
        red = frame.to_ndarray(format="rgb24").mean(axis=(0, 1))
    np.testing.assert_allclose(red, [254, 0, 0], atol=3)


def test_a_break_is_resumed_without_a_lost_or_doubled_sample() -> None:
    stage, chunks, followings = Stage(break_at={0: 15, 1: 40, 2: 9}), [], []

    async def work(url: str) -> None:
        async with AsyncClient(url, patience=QUICK) as client:
            await client.play()
            async for chunk in client.audio():
                chunks.append(chunk)
                if chunk.end >= RATE * 4:
                    break
        events = [event async for event in client.events()]
        followings.extend((event.then, event.code) for event in events if isinstance(event, Next))

    with_server(stage, work)
    check_ramp(chunks)
    assert len(stage.tokens) == 4
    assert list(stage.takes) == ["s0"]
    assert followings == [("resume", 1006)] * 3 + [("stop", 1000)]


def test_the_sync_client_does_the_same_in_a_thread() -> None:
    stage, chunks = Stage(break_at={0: 20}), []
    with serving(stage) as url, Client(url, patience=QUICK) as client:
        client.play()
        assert client.push(FRAME)
        client.update(duck={"enabled": True})
        for chunk in client.audio():
            chunks.append(chunk)
            if chunk.end >= RATE * 2:
                client.end()
                break
        chunks.extend(client.audio())
        stats = client.stats
        assert (stats.state, stats.sessions, stats.resumed, stats.sent_pictures) == ("over", 1, 1, 1)
        assert stats.received_through == chunks[-1].end
        assert (stats.skipped_samples, stats.skipped_pictures, stats.ignored) == (0, 0, {})
        assert stats.rtt_ms is not None
        with pytest.raises(Closed):
            client.play()
        with pytest.raises(Closed):
            client.show(FRAME, client.now_us)
    check_ramp(chunks)
    assert stage.takes["s0"].config.duck.enabled
    client.close()


def test_a_stalled_listener_costs_the_server_its_credit_and_no_more() -> None:
    stage = Stage()

    async def work(url: str) -> None:
        async with AsyncClient(url) as client:
            await client.play()
            first = await anext(client.audio())
            assert first.first_sample == 0
            assert client.session.music is not None
            while client.session.music.received_through < CREDIT:
                await asyncio.sleep(0.01)
            await client.update(gain_db=-6)  # an occasion to send more
            async for event in client.events():
                if isinstance(event, m.SessionUpdated):
                    break
            assert client.session.music.received_through == CREDIT

    with_server(stage, work)


def test_a_server_that_ignores_the_credit_fills_a_bounded_queue_whose_oldest_go() -> None:
    stage, ends = Stage(ignores_credit=True), []

    async def work(url: str) -> None:
        async with AsyncClient(url) as client:
            await client.play()
            while client.session.music and client.session.music.received_through < QUEUED_CHUNKS * 2 * 640:
                await asyncio.wait_for(client._events._changed.wait(), 5)
                await asyncio.sleep(0)
            assert len(client._chunks) == QUEUED_CHUNKS
            assert client.dropped["chunks"] == QUEUED_CHUNKS
            ends.append((await client.next_chunk()).first_sample)  # type: ignore[union-attr]

    with_server(stage, work)
    assert ends == [QUEUED_CHUNKS * 640]


def test_full_queues_drop_the_oldest_and_count_it() -> None:
    async def work() -> None:
        queue: Latest[int] = Latest(2)
        for item in range(5):
            queue.put(item)
        queue.close()
        assert [await queue.get() for _ in range(3)] == [3, 4, None]
        assert queue.dropped == 3

    asyncio.run(work())


def test_a_token_that_is_refused_is_said_and_not_tried_again() -> None:
    stage = Stage(refuse={0: ("unauthorized", 4401)})

    async def work(url: str) -> None:
        with pytest.raises(Refused, match="4401"):
            await AsyncClient(url).connect()

    with_server(stage, work)
    assert len(stage.tokens) == 1


def test_a_refusal_followed_by_a_close_never_hangs() -> None:
    """Each time the close races with the task that writes."""
    stage = Stage(refuse=dict.fromkeys(range(60), ("unauthorized", 4401)))

    async def work(url: str) -> None:
        for _ in range(60):
            async with asyncio.timeout(5):
                with pytest.raises(Refused, match="4401"):
                    await AsyncClient(url).connect()

    with_server(stage, work)


def test_a_greeting_that_is_refused_is_said_at_once() -> None:
    """The server goes on waiting for another greeting."""
    codes: list[int | None] = []

    async def refuse(line: ServerConnection) -> None:
        await line.recv()
        await line.send(encode(t.ErrorMessage("bad_request", "no room for that", False)))
        await line.wait_closed()
        codes.append(line.close_code)

    async def run() -> None:
        protocol = [Subprotocol(SUBPROTOCOL)]
        async with asyncio.timeout(2), serve(refuse, "127.0.0.1", 0, subprotocols=protocol) as server:
            with pytest.raises(Refused, match="bad_request: no room for that"):
                await AsyncClient(url_of(server)).connect()

    asyncio.run(run())
    assert codes == [1001]


@pytest.mark.parametrize("answers", [False, True])
def test_a_client_that_is_cancelled_while_it_connects_or_closes_is_gone(answers: bool) -> None:
    """The server answers the greeting or not, and never the goodbye."""
    waits, closed = asyncio.Event(), asyncio.Event()
    codes: list[int | None] = []

    async def slow(line: ServerConnection) -> None:
        inner = Line({})
        async for raw in line:
            if answers and "session.end" not in str(raw):
                inner.feed(raw)
                for out in inner.due():
                    await line.send(out)
            else:
                waits.set()
        codes.append(line.close_code)
        closed.set()

    async def run() -> None:
        protocol = [Subprotocol(SUBPROTOCOL)]
        async with asyncio.timeout(2), serve(slow, "127.0.0.1", 0, subprotocols=protocol) as server:
            client = AsyncClient(url_of(server))
            if answers:
                await client.connect()
            work = asyncio.create_task(client.aclose() if answers else client.connect())
            await waits.wait()
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert client.session.state == "over"
            await closed.wait()

    asyncio.run(run())
    assert codes == [1000]


@pytest.mark.parametrize("scheme", ["ws", "https"])
def test_the_token_is_not_taken_to_another_place_by_the_websocket(scheme: str) -> None:
    stage = Stage()

    async def work(url: str) -> None:
        def lead_away(line: ServerConnection, request: Request) -> Response:
            away = Headers({"Location": url.replace("ws", scheme), "Content-Length": "0"})
            return Response(302, "Found", away)

        async with serve(stage, "127.0.0.1", 0, process_request=lead_away) as server:
            with pytest.raises(Refused, match=f"leads to {scheme}"):
                await AsyncClient(url_of(server), token="secret").connect()

    with_server(stage, work)
    assert not stage.tokens


def test_a_session_outlives_a_line_that_breaks_in_its_handshake() -> None:
    stage, chunks, asked = Stage(break_at={0: 15}), list[Chunk](), list[int]()

    async def slam_the_second(line: ServerConnection, _: object) -> None:
        asked.append(1)
        if len(asked) == 2:
            line.transport.abort()

    async def run() -> None:
        protocol = [Subprotocol(SUBPROTOCOL)]
        async with (
            asyncio.timeout(15),
            serve(stage, "127.0.0.1", 0, subprotocols=protocol, process_request=slam_the_second) as server,
            AsyncClient(url_of(server), patience=QUICK) as client,
        ):
            await client.play()
            async for chunk in client.audio():
                chunks.append(chunk)
                if chunk.end >= RATE * 2:
                    break

    asyncio.run(run())
    check_ramp(chunks)
    assert len(asked) == 3
    assert list(stage.takes) == ["s0"]


def test_what_is_no_server_of_ours_is_said() -> None:
    async def other(line: ServerConnection) -> None:
        await line.wait_closed()

    async def run() -> None:
        async with serve(other, "127.0.0.1", 0) as server:
            with pytest.raises(Refused, match=SUBPROTOCOL):
                await AsyncClient(url_of(server)).connect()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            403,
            '{"error": {"code": "forbidden", "text": "this server is not called so"}}',
            r"403: this server is not called so$",
        ),
        (
            502,
            "<html>",
            r"ws://\S+/v1/stream answered HTTP 502 Bad Gateway, not in a .+ perhaps a proxy before it did$",
        ),
        (503, "no healthy upstream", r'answered HTTP 503 Service Unavailable, .+: "no healthy upstream"$'),
    ],
)
def test_who_refuses_the_upgrade_is_heard(status: int, body: str, said: str) -> None:
    async def run() -> None:
        def refuse(line: ServerConnection, _: Request) -> Response:
            return line.respond(status, body)

        async with serve(Stage(), "127.0.0.1", 0, process_request=refuse) as server:
            with pytest.raises((Refused, Unreachable), match=said):
                await AsyncClient(url_of(server), patience=QUICK).connect()

    asyncio.run(run())


@pytest.mark.parametrize(("status", "kind"), [(407, Refused), (502, Unreachable)])
def test_a_proxy_of_the_environment_that_refuses_is_said(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[ClientError]
) -> None:
    """One that has nobody behind it now is asked again, one that wants a password is not."""
    asked = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {status} Because\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            monkeypatch.setenv("http_proxy", f"http://{host}:{port}")
            monkeypatch.delenv("no_proxy", raising=False)
            with pytest.raises(
                kind, match=f"ws://music.example/v1/stream: .*proxy.* answered HTTP {status} Because"
            ):
                await AsyncClient("http://music.example", patience=QUICK).connect()

    asyncio.run(run())
    assert len(asked) == (1 if kind is Refused else QUICK.attempts)


def test_a_server_that_talks_and_begins_no_session_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ANSWER_S", 0.1)

    async def other(line: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await line.send(encode(t.WarningMessage("x", "still here")))
                await asyncio.sleep(0.01)

    async def run() -> None:
        async with serve(other, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
            with pytest.raises(
                Unreachable, match=r"3 attempts; .+ opened a connection, and no session on it"
            ):
                await asyncio.wait_for(AsyncClient(url_of(server), patience=QUICK).connect(), 10)

    asyncio.run(run())


def test_a_request_that_takes_too_long_is_given_up_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """That which makes a session with a name: a socket's own limit begins anew with every byte of the answer."""
    monkeypatch.setattr(aio_module, "CONNECT_S", 0.1)

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(Unreachable, match=r"gave up after 3 attempts; .+: no answer"):
                await AsyncClient(url, name="show", patience=QUICK).connect()

    asyncio.run(run())


def test_raw_pictures_that_a_server_does_not_take_are_said_with_its_option() -> None:
    with pytest.raises(ValueError, match="not rgb24; raw pictures it takes with --raw-video"):
        Pictures("rgb24").prepare(FRAME, 0, None)


def test_who_did_not_connect_does_not_wait_for_music() -> None:
    client = Client("http://127.0.0.1:9")
    with pytest.raises(ClientError, match="connect first"):
        next(client.audio())
    client.close()


def test_what_a_player_raises_is_not_lost() -> None:
    def broken() -> Playout:
        raise RuntimeError("the player broke")

    async def work(url: str) -> None:
        async with AsyncClient(url) as client:
            client.follow(broken)
            with pytest.raises(RuntimeError, match="the player broke"):
                await client.next_chunk()

    with_server(Stage(), work)


def test_a_full_server_is_asked_again() -> None:
    stage = Stage(refuse={0: ("capacity", 1013), 1: ("capacity", 1013)})

    async def work(url: str) -> None:
        async with AsyncClient(url, patience=QUICK) as client:
            assert client.session.state == "open"

    with_server(stage, work)
    assert len(stage.tokens) == 3


def test_nobody_there_is_unreachable_after_bounded_attempts() -> None:
    with pytest.raises(Unreachable, match="gave up after 3"), Client("ws://127.0.0.1:9", patience=QUICK):
        pass


def test_a_proxy_that_is_away_for_long_is_given_up_at_once_and_says_for_how_long() -> None:
    asked = []

    async def run() -> None:
        def refuse(line: ServerConnection, _: Request) -> Response:
            asked.append(1)
            answer = line.respond(503, "closed for today")
            answer.headers["Retry-After"] = "86400"
            return answer

        async with serve(Stage(), "127.0.0.1", 0, process_request=refuse) as server:
            with pytest.raises(Refused, match="it asks to come again in 86400 s") as caught:
                await AsyncClient(url_of(server)).connect()
        assert (len(asked), caught.value.retry_s) == (1, 86400.0)

    asyncio.run(run())


def test_a_client_that_leaves_its_session_is_followed_by_who_has_its_ticket() -> None:
    stage, chunks = Stage(), []
    with serving(stage) as url:
        with Client(url) as client:
            client.play()
            for chunk in client.audio():
                chunks.append(chunk)
                if chunk.end >= RATE and client.ticket:
                    break
            ticket = client.ticket
            client.detach()
            with pytest.raises(Closed):
                client.play()
        assert stage.line is not None
        assert stage.line.close_code == 1001
        with Client(url, ticket=ticket) as client:
            first = chunks[-1].end
            for chunk in client.audio():
                assert chunk.first_sample <= first  # what was not heard comes again, and nothing is left out
                np.testing.assert_array_equal(
                    chunk.samples[:, 0] * 32_768, ramp(chunk.first_sample, len(chunk.samples))
                )
                first = chunk.end
                if chunk.end >= RATE * 2:
                    break
        with pytest.raises(ValueError, match="no ticket"):
            Client(url, ticket="")
    assert list(stage.takes) == ["s0"]
    assert stage.takes["s0"].ended


def test_who_is_invited_is_invited_again_for_each_session_and_for_no_break() -> None:
    stage, made = Stage(break_at={0: 15}, refuse={2: ("session_expired", 4404)}), []

    async def work(url: str) -> None:
        async def invite() -> dict[str, Any]:  # of an asyncio program; a plain function does, too
            made.append(f"cs_{len(made)}")
            urls = {"ws": url, "audio": {"ogg": "http://there/ogg"}}
            return {"session_id": "s", "client_secret": {"value": made[-1], "expires_s": 60}, "urls": urls}

        async with AsyncClient(invite=invite, patience=QUICK) as client:
            assert client.urls["audio"]["ogg"] == "http://there/ogg"
            await client.play()
            async for chunk in client.audio():
                if len(stage.tokens) == 2 and chunk.end >= RATE:
                    stage.line.transport.abort()
                if chunk.session == 2:
                    break

    with_server(stage, work)
    assert stage.tokens == ["Bearer cs_0", None, None, "Bearer cs_1"]


@pytest.mark.parametrize(
    ("answer", "error", "times", "said"),
    [
        (
            json.JSONDecodeError("no JSON", "<html>", 0),
            ClientError,
            1,
            "answer of POST /v1/sessions: no JSON",
        ),
        ({}, ClientError, 1, "answer of POST /v1/sessions"),
        (None, ClientError, 1, "answer of POST /v1/sessions"),
        ({"urls": {"ws": "x"}, "client_secret": {"value": "s"}}, ClientError, 1, "answer of POST"),
        (Refused(403, "not you"), Refused, 1, "not you"),
        (
            OSError("no route"),
            Unreachable,
            3,
            "gave up after 3 attempts; no invitation came: OSError: no route",
        ),
    ],
)
def test_what_is_no_invitation_ends_it_and_what_may_pass_is_asked_again(
    answer: Any, error: type[Exception], times: int, said: str
) -> None:
    asked = []

    def invite() -> dict[str, Any]:
        asked.append(1)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    with pytest.raises(error, match=said) as caught, Client(invite=invite, patience=QUICK):
        pass
    assert (type(caught.value), len(asked)) == (error, times)


def test_an_invitation_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_module, "CONNECT_S", 0.02)

    async def run() -> None:
        client = AsyncClient(invite=lambda: asyncio.sleep(60, {}), patience=QUICK)
        with pytest.raises(Unreachable, match=r"gave up after 3 attempts; no invitation came within 0\.02 s"):
            await client.connect()

    asyncio.run(run())


def test_an_invitation_says_where_and_who() -> None:
    with pytest.raises(ValueError, match="give it alone"):
        AsyncClient("http://127.0.0.1:9", invite=dict)
    with pytest.raises(ValueError, match="an address such as"):
        AsyncClient()


def test_a_refusal_has_the_servers_own_word() -> None:
    async def run() -> None:
        def refuse(line: ServerConnection, _: Request) -> Response:
            answer = line.respond(
                401, '{"error": {"code": "unauthorized", "text": "this server asks for its key"}}'
            )
            for name in ("Retry-After", "Date"):  # of a proxy, beside the server's
                answer.headers[name] = "Sun, 06 Nov 1994 08:49:37 GMT"
            return answer

        async with serve(Stage(), "127.0.0.1", 0, process_request=refuse) as server:
            with pytest.raises(Refused, match="refused with 401: this server asks for its key") as caught:
                await AsyncClient(url_of(server)).connect()
        assert (caught.value.code, caught.value.word) == (401, "unauthorized")

    asyncio.run(run())


@pytest.mark.parametrize("name", [None, "show"])
def test_a_certificate_that_is_not_trusted_is_said_at_once(name: str | None) -> None:
    """Also where a session with a name is asked for first."""
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(shown)
    asked = []

    async def ask(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(ask, "127.0.0.1", 0, ssl=shown) as server:
            port = server.sockets[0].getsockname()[1]
            client = AsyncClient(f"https://127.0.0.1:{port}", name=name, patience=QUICK)
            with pytest.raises(Untrusted, match="certificate verify failed"):
                await client.connect()
            said = [event async for event in client.events()]
            assert [event.then for event in said if isinstance(event, Next)] == ["stop"]

    asyncio.run(run())


def test_a_client_that_is_closed_before_it_began_to_connect_keeps_nobody_waiting() -> None:
    async def run() -> None:
        client = AsyncClient("ws://127.0.0.1:9", patience=QUICK)
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0)  # it has made the task that is to connect, and that has not begun
        await client.aclose()
        async with asyncio.timeout(1):
            with pytest.raises(Closed):
                await connecting
            assert [chunk async for chunk in client.audio()] == []

    asyncio.run(run())


def test_a_client_that_is_closed_before_it_connects_begins_nothing() -> None:
    stage = Stage()

    async def work(url: str) -> None:
        client = AsyncClient(url)
        await client.aclose()
        with pytest.raises(Closed):
            await client.connect()
        assert [event async for event in client.events()] == []

    with_server(stage, work)
    assert stage.tokens == []


def test_an_operator_who_sends_clients_elsewhere_is_followed() -> None:
    first, second, chunks = Stage(), Stage(), []

    async def work(url: str) -> None:
        async with serve(
            second, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
        ) as s:
            second.takes = first.takes
            async with AsyncClient(url, patience=QUICK) as client:
                await client.play()
                async for chunk in client.audio():
                    chunks.append(chunk)
                    if chunk.end == CREDIT:
                        client.session.receive(_text(t.GoAway(0, "draining", reconnect_url=url_of(s))))
                    if chunk.end >= RATE * 2:
                        break

    with_server(first, work)
    check_ramp(chunks)
    assert (len(first.tokens), len(second.tokens)) == (1, 1)


def _text(message: t.ServerMessage) -> str:
    from server.protocol.control import encode

    return encode(message)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://host:8000", "ws://host:8000/v1/stream"),
        ("https://host/", "wss://host/v1/stream"),
        ("ws://host/other", "ws://host/other"),
        ("https://host/music", "wss://host/music/v1/stream"),
        ("https://host/music/v1/stream", "wss://host/music/v1/stream"),
    ],
)
def test_addresses(given: str, meant: str) -> None:
    assert address(given) == meant


@pytest.mark.parametrize("url", ["ftp://host", "host", "ws://host:99999", "ws://host:x", "ws://"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(ValueError, match=f"http://host:8765 was expected, found '{url}'"):
        address(url)


def test_a_field_that_is_wrong_is_named_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="gain_db"):
        m.patch({"gain_db": 99})
    with pytest.raises(ValueError, match=r"loudness; there are guidance, .*gain_db"):
        m.patch({"loudness": 1})


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda client: client.record("mp3"), "audio"),
        (lambda client: client.record(video="yes"), "video"),
        (lambda client: client.credit(1), "credit_ms"),
        (lambda client: client.end(-1), "fade_ms"),
        (lambda client: client.scene_change("now"), "at_us"),
    ],
)
def test_what_the_protocol_has_no_place_for_is_said_and_not_sent(
    ask: Callable[[Client], None], said: str
) -> None:
    with closing(Client("http://127.0.0.1:1")) as client:
        with pytest.raises(ValueError, match=said):
            ask(client)
        assert not client.session.outbox.waits


@pytest.mark.parametrize("config", [7, "seed", [], {7: 1}])
def test_what_is_no_configuration_is_said_at_once(config: Any) -> None:
    with pytest.raises(ValueError, match="configuration"):
        Client("http://127.0.0.1:1", config=config)


@pytest.mark.parametrize("form", ["jpeg", "rgb24", "i420"])
@pytest.mark.parametrize("frame", ["film.jpg", None, [[0]], bytearray(b"\xff\xd8\xff")])
def test_what_is_no_picture_is_said(frame: Any, form: Any) -> None:
    wanted = m.VideoFormat(("jpeg", "rgb24", "i420"), 4.0, 448)
    with pytest.raises(ValueError, match=f"bytes of a JPEG.* this one is a {type(frame).__name__}"):
        Pictures(form).prepare(frame, 0, wanted)


def test_the_gate_keeps_the_average_exact() -> None:
    gate = Gate()
    passed = sum(gate.passes(int(i * 1e6 / 30), 4.0) for i in range(30 * 60))
    assert passed == 240


@pytest.mark.parametrize(
    ("shape", "fits"), [((1080, 1920), (448, 252)), ((1920, 1080), (252, 448)), ((90, 160), (160, 90))]
)
def test_pictures_fit_into_their_edge(shape: tuple[int, int], fits: tuple[int, int]) -> None:
    data = encode_jpeg(np.zeros((*shape, 3), np.uint8))
    with av.open(io.BytesIO(data)) as picture:
        stream = picture.streams.video[0]
        assert (stream.width, stream.height) == fits


def test_what_is_no_frame_is_said() -> None:
    with pytest.raises(ValueError, match="float64"):
        encode_jpeg(np.zeros((4, 4, 3)))
    assert aio_module.QUEUED_EVENTS > 0


def test_a_form_of_pictures_that_there_is_not_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"jpeg, rgb24, i420; this one is 'bad'"):
        Client("http://127.0.0.1:1", pictures="bad")  # type: ignore[arg-type]
