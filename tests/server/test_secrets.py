"""Secrets are planted at a server, and looked for in all that it says and writes."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import pytest
from ingest_rig import SYNTHETIC, limits
from served import Serve
from shell_client import Client, ask, soon
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

KEY = "the-operators-Planted-key"
SECRET = "Planted-0.9"
AWAY = 9  # a port where nobody is


def test_what_is_refused_and_what_fails_is_said_and_logged_without_the_secret(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a caller whose token is wrong, of an address that is read or pushed to, and of a message that breaks."""
    caplog.set_level(logging.INFO)
    said: list[object] = []
    with serve(
        player=SYNTHETIC,
        api_key=KEY,
        ingest=limits(attempts=1),
        push_hosts=("127.0.0.1",),
        recordings=tmp_path / "recordings",
        checkpoints=tmp_path / "checkpoints",
    ) as served:
        v1 = f"{served.http}/v1"
        for path in ("sessions/show/audio.ogg", "recordings/none/music.flac", "whep/show", "none"):
            said += [ask("GET", f"{v1}/{path}?token={SECRET}"), ask("POST", f"{v1}/{path}", {}, SECRET)]
        with (
            suppress(ConnectionClosed),
            connect(
                served.ws,
                subprotocols=[Subprotocol("cuestream.v1"), Subprotocol(f"cuestream.token.{SECRET}")],
            ) as line,
        ):
            line.send("{" + SECRET)
            line.send('{"type":"session.resume","protocol_minor":0,"handle":"' + SECRET + '"}')
            line.send('{"type":"session.start","protocol_minor":0}')
            said.extend(line)
        with Client(served.ws, authorization=f"Bearer {KEY}") as client:
            one = f"{v1}/sessions/{client.start()['session_id']}"
            client.play()
            client.send("recording", action="start")
            client.until("recording.state")
            addresses = [
                f"rtsp://me:{SECRET}@127.0.0.1:{AWAY}/live?auth={SECRET}",
                f"ftp://me:{SECRET}@127.0.0.1/x",
            ]
            for url in addresses:
                said.append(ask("POST", f"{one}/ingest", {"url": url}, KEY))
                soon(
                    lambda: (
                        ask("GET", f"{one}/ingest", key=KEY)[1].get("state") not in ("connecting", "waiting")
                    )
                )
                said += [ask("GET", f"{one}/ingest", key=KEY), ask("DELETE", f"{one}/ingest", key=KEY)]
            push = f"rtmp://me:{SECRET}@127.0.0.1:{AWAY}/live/{SECRET}"
            said += [ask("POST", f"{one}/output", {"url": push}, KEY), ask("GET", f"{one}/output", key=KEY)]
            said += [ask("GET", one, key=KEY), ask("GET", f"{v1}/sessions", key=KEY)]
            said += [ask("GET", f"{served.http}/metrics", key=KEY), client.messages]
    assert caplog.text.count("the ingest of") == 1
    written = [file.read_text("utf-8", "replace") for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    everything = f"{said}{caplog.text}{written}"
    assert "Planted" not in everything
