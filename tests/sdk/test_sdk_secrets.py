"""A secret is planted wherever one comes in, and looked for in all that comes out."""

from __future__ import annotations

import asyncio
import json
import traceback

import pytest
from test_sdk_websocket import QUICK, Stage, url_of, with_server
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from cuestream_client import AsyncClient, ClientError, ProtocolError, Refused, Unreachable, rest
from cuestream_client import messages as m
from cuestream_client.live import LiveJob
from cuestream_client.obs.places import Place, find_place
from cuestream_client.secrets import without_secrets
from cuestream_client.session import Session
from cuestream_client.sources import Source
from server.protocol import messages as t
from server.protocol.control import encode

SECRET = "cs_Planted-0.9~x"
SIGNED = f"http://me:{SECRET}@127.0.0.1:9/v1/whep/show?token={SECRET}"


def all_of(error: BaseException) -> str:
    """What a log has of an error, with those behind it."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"http://here/v1/whep/show?token={SECRET}: no answer", "http://here/v1/whep/show?…: no answer"),
        (f"https://me:{SECRET}@here:8443/live leads away", "https://…@here:8443/live leads away"),
        (f"wss://{SECRET}@here", "wss://…@here"),
        (f'see "http://here/obs?session=show#token={SECRET}".', 'see "http://here/obs?…".'),
        (f"no route for /v1/whep/show?a=1&token={SECRET}", "no route for /v1/whep/show?a=…&token=…"),
        (f"srt://here:9000?passphrase={SECRET}, refused", "srt://here:9000?…, refused"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer …"),
        (f"The subprotocol 'cuestream.token.{SECRET}' is no", "The subprotocol 'cuestream.token.…' is no"),
        (
            "is it http://here:8765/v1/sessions? yes: a@b, 1/2 = 0.5",
            "is it http://here:8765/v1/sessions? yes: a@b, 1/2 = 0.5",
        ),
    ],
)
def test_of_a_text_the_secret_is_left_out(text: str, shown: str) -> None:
    """The same ones as sdk/js/test/secrets.test.ts."""
    assert without_secrets(text) == without_secrets(shown) == shown


@pytest.mark.parametrize(
    "error",
    [ClientError(SIGNED), Refused(503, SIGNED), Unreachable(SIGNED), ProtocolError("bad_request", SIGNED)],
)
def test_no_error_of_any_kind_has_one(error: ClientError) -> None:
    assert SECRET not in all_of(error)
    assert "127.0.0.1:9/v1/whep/show" in all_of(error)


@pytest.mark.parametrize("url", [f"ftp://me:{SECRET}@here", f"http://me:{SECRET}@[here", f"http://{SECRET}@"])
def test_what_is_no_address_is_said_without_it(url: str) -> None:
    for take in (AsyncClient, rest.base):
        with pytest.raises(ValueError, match="was expected") as caught:
            take(url)
        assert SECRET not in all_of(caught.value)
    with pytest.raises(ValueError, match=r"was expected|Invalid") as caught:
        find_place(url, None)
    assert SECRET not in all_of(caught.value)


@pytest.mark.parametrize("token", [f"{SECRET}\n", f" {SECRET}", f"{SECRET}\r\nx: y", f"{SECRET}é"])
def test_what_is_no_token_is_said_without_it_and_at_once(token: str) -> None:
    for ask in (
        lambda: AsyncClient("http://127.0.0.1:9", token=token),
        lambda: rest.invitation("http://127.0.0.1:9", "show", token),
    ):
        with pytest.raises(ValueError, match="a token is ASCII") as caught:
            ask()
        assert SECRET not in all_of(caught.value)
    assert rest.bearing("a key of words") == {"Authorization": "Bearer a key of words"}


def test_what_becomes_of_a_connection_is_said_without_it() -> None:
    """Nobody there; an answer that quotes its request; one in the server's own words."""
    bodies = iter(
        [f"no host for /v1/stream?token={SECRET}", json.dumps({"error": {"text": f"not {SIGNED}"}})]
    )

    async def run() -> None:
        def refuse(line: ServerConnection, request: Request) -> Response:
            return line.respond(403, next(bodies))

        async with serve(Stage(), "127.0.0.1", 0, process_request=refuse) as server:
            there = url_of(server).replace("//", f"//me:{SECRET}@") + f"/v1/stream?token={SECRET}"
            for url in (there, there, f"ws://me:{SECRET}@127.0.0.1:9/v1/stream?token={SECRET}"):
                client = AsyncClient(url, token=SECRET, patience=QUICK)
                with pytest.raises(ClientError) as caught:
                    await client.connect()
                said = [repr(event) async for event in client.events()]
                assert said
                assert SECRET not in all_of(caught.value) + "".join(said)

    asyncio.run(run())


def test_a_proxy_of_the_environment_that_is_none_is_said_at_once_and_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", f"gopher://me:{SECRET}@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    async def run() -> None:
        client = AsyncClient("http://music.example", patience=QUICK)
        with pytest.raises(Unreachable, match="the proxy on the way") as caught:
            await client.connect()
        said = [event async for event in client.events()]
        assert len(said) == 1
        assert SECRET not in all_of(caught.value) + repr(said)

    asyncio.run(run())


def test_why_a_line_was_lost_is_said_without_it() -> None:
    session = Session(SIGNED)
    said = [session.refused(None, f"{SIGNED}: no answer")]
    session.opened()
    said.append(session.lost())
    session.opened()
    session.receive(encode(t.ErrorMessage("forbidden", f"not with Bearer {SECRET}", True)))
    said.append(session.lost(4403))
    assert "not with Bearer …" in said[-1].why
    assert SECRET not in repr(said)


def test_events_and_jobs_are_printed_without_it() -> None:
    printed: list[str] = []

    async def work(url: str) -> None:
        async with AsyncClient(url, token=SECRET) as client:
            async for event in client.events():
                printed.append(repr(event))
                if isinstance(event, m.ResumeHandle):
                    break

    with_server(Stage(), work)
    assert "ResumeHandle(handle=…" in printed[-1]
    job = LiveJob("http://here", Source("file", "clip.mp4"), token=SECRET)
    assert SECRET not in repr([job, Place("ws://127.0.0.1:4455", SECRET)])
