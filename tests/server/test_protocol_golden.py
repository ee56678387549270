"""The golden vectors hold: what is on disk decodes, encodes to the same bytes and is what the protocol says today."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.http.openapi import description
from server.protocol import generate
from server.protocol.asyncapi import asyncapi
from server.protocol.control import Unknown, decode_client, decode_server, encode
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.golden import built, fields_of
from server.protocol.limits import Limits
from server.protocol.media import Kind, Media, UnknownKind, decode_media, encode_media
from server.protocol.messages import CLIENT, SERVER
from server.protocol.typescript import protocol_schema

ROOT = Path(__file__).parents[2]
DECODE: dict[str, Callable[..., Any]] = {"client": decode_client, "server": decode_server}


def vectors(name: str) -> list[Any]:
    """The vectors of a file on disk, as test parameters."""
    text = (ROOT / "docs" / "golden" / f"{name}.json").read_text(encoding="utf-8")
    return [pytest.param(vector, id=vector["name"]) for vector in json.loads(text)]


@pytest.mark.parametrize("vector", vectors("control"))
def test_control_vectors_decode_to_their_value(vector: dict[str, Any]) -> None:
    received = DECODE[vector["direction"]](vector["text"])
    assert list(received.ignored) == vector["ignored"]
    if vector["value"] is None:
        assert isinstance(received.message, Unknown)
        return
    assert built(received.message) == vector["value"]
    assert (encode(received.message) == vector["text"]) == vector["canonical"]


@pytest.mark.parametrize("vector", vectors("media"))
def test_media_vectors_decode_to_their_value(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    media = decode_media(raw, Limits(**vector["limits"]))
    if vector["value"] is None:
        assert isinstance(media, UnknownKind)
        return
    assert isinstance(media, Media)
    assert fields_of(media) == vector["value"]
    assert (encode_media(media) == raw) == vector["canonical"]


@pytest.mark.parametrize("vector", vectors("invalid"))
def test_invalid_vectors_are_refused_with_their_code(vector: dict[str, Any]) -> None:
    limits = Limits(**vector["limits"])
    decode: Callable[..., Any] = decode_media if "hex" in vector else decode_client
    raw = (
        vector["text"] if "text" in vector else bytes.fromhex(vector.get("hex") or vector.get("text_hex", ""))
    )
    with pytest.raises(ProtocolError) as refused:
        decode(raw, limits)
    assert refused.value.code == vector["error"]


def test_every_message_and_kind_has_a_vector_and_names_are_unique() -> None:
    control, media, invalid = ([p.values[0] for p in vectors(n)] for n in ("control", "media", "invalid"))
    shown = {v["value"]["type"] for v in control if v["value"]}
    assert shown == CLIENT.keys() | SERVER.keys()
    assert {v["value"]["kind"] for v in media if v["value"]} == {kind.name.lower() for kind in Kind}
    assert {v["error"] for v in invalid} == {
        ErrorCode.BAD_REQUEST, ErrorCode.INVALID_JSON, ErrorCode.INVALID_UTF8, ErrorCode.INVALID_MEDIA,
        ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.UNSUPPORTED_CODEC,
    }  # fmt: skip
    for table in (control, media, invalid):
        assert len({v["name"] for v in table}) == len(table)


def test_generated_files_are_up_to_date() -> None:
    assert generate.stale() == []


def test_a_description_is_one_line() -> None:
    """Python 3.13 takes the indentation out of docstrings; what is made from them is the same on all Pythons."""
    schemas = [
        asyncapi()["components"]["schemas"],
        protocol_schema()["$defs"],
        description()["components"]["schemas"],
    ]
    told = [
        schema["description"] for named in schemas for schema in named.values() if "description" in schema
    ]
    assert [text for text in told if "\n" in text or "  " in text] == []


def test_check_tells_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.write(tmp_path)
    assert generate.main(["--check", "--root", str(tmp_path)]) == 0
    path = tmp_path / "sdk/js/src/protocol.ts"
    path.write_text(path.read_text() + "\n")
    (tmp_path / "docs/protocol.schema.json").unlink()
    assert generate.main(["--check", "--root", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.count("protocol.ts") == told.count("protocol.schema.json") == 1
    assert generate.main(["--root", str(tmp_path)]) == 0
    assert generate.stale(tmp_path) == []


def test_the_same_source_gives_the_same_bytes() -> None:
    assert generate.artifacts() == generate.artifacts()
