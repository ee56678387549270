"""The Python client and the server mean the same bytes: the golden vectors hold for it as they do for the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cuestream_client import closes, messages
from cuestream_client.control import decode_client, decode_server, encode
from cuestream_client.errors import ProtocolError
from cuestream_client.media import Flag, Media, MediaLimits, decode_media, encode_media
from server.protocol import PROTOCOL_MINOR, SUBPROTOCOL
from server.protocol import messages as theirs
from server.protocol.errors import CLOSES

ROOT = Path(__file__).parents[2]
DECODE = {"client": decode_client, "server": decode_server}


def vectors(name: str) -> list[Any]:
    text = (ROOT / "docs" / "golden" / f"{name}.json").read_text(encoding="utf-8")
    return [pytest.param(vector, id=vector["name"]) for vector in json.loads(text)]


@pytest.mark.parametrize("vector", vectors("control"))
def test_control_messages_mean_the_same(vector: dict[str, Any]) -> None:
    message = DECODE[vector["direction"]](vector["text"])
    if vector["value"] is None:
        assert message is None
        return
    assert message is not None
    again = json.loads(encode(message))
    report = {"underruns": 0, "clock_ppm": 0.0} if again["type"] == "playout.report" else {}
    assert report | again == vector["value"]
    if vector["canonical"]:
        assert encode(message) == vector["text"]


def fields_of(media: Media) -> dict[str, Any]:
    return {
        "kind": media.kind.name.lower(),
        "flags": [flag.name.lower() for flag in Flag if flag in media.flags and flag.name],
        "stream": media.stream.name.lower(),
        "seq": media.seq,
        "ts": media.ts,
        "window": media.window,
        "dur": media.dur,
        "source": None
        if media.source is None
        else {name: getattr(media.source, name) for name in media.source.__slots__},
        "size": None
        if media.size is None
        else {name: getattr(media.size, name) for name in media.size.__slots__},
        "payload": media.payload.hex(),
    }


@pytest.mark.parametrize("vector", vectors("media"))
def test_media_mean_the_same(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    media = decode_media(raw, MediaLimits(**vector["limits"]))
    if vector["value"] is None:
        assert media is None
        return
    assert media is not None
    assert fields_of(media) == vector["value"]
    assert (encode_media(media) == raw) == vector["canonical"]


@pytest.mark.parametrize("vector", vectors("invalid"))
def test_what_breaks_the_protocol_is_refused_with_the_same_code(vector: dict[str, Any]) -> None:
    limits = dict(vector["limits"])
    text_bytes = limits.pop("text_bytes", 64 * 1024)
    raw = (
        vector["text"] if "text" in vector else bytes.fromhex(vector.get("hex") or vector.get("text_hex", ""))
    )
    decode: Callable[..., Any] = decode_media if "hex" in vector else decode_client
    with pytest.raises(ProtocolError) as refused:
        decode(raw, MediaLimits(**limits) if "hex" in vector else text_bytes)
    assert refused.value.code == vector["error"]


def test_messages_have_the_fields_and_ranges_of_the_server() -> None:
    def schema(union: Any) -> Any:
        (root,), defs = msgspec.json.schema_components((union,))
        bare = {name: {k: v for k, v in body.items() if k != "description"} for name, body in defs.items()}
        return json.loads(
            json.dumps([root, bare]), object_hook=lambda o: {k: o[k] for k in o if k != "description"}
        )

    assert schema(messages.ClientMessage) == schema(theirs.ClientMessage)
    assert schema(messages.ServerMessage) == schema(theirs.ServerMessage)


def test_close_codes_and_version_are_those_of_the_server() -> None:
    assert {code: close.action for code, close in CLOSES.items()} == closes.CLOSES
    assert (messages.SUBPROTOCOL, messages.PROTOCOL_MINOR) == (SUBPROTOCOL, PROTOCOL_MINOR)
