"""The websocket as an AsyncAPI 3 document, from the same structs that read and write its messages."""

from __future__ import annotations

from typing import Any, get_args

from server.protocol import PROTOCOL_MINOR, SUBPROTOCOL
from server.protocol.errors import CLOSES
from server.protocol.messages import ClientMessage, ServerMessage, tag_of
from server.protocol.schemas import schemas_of

REF = "#/components/schemas/{name}"
CHANNEL = "stream"
PICTURES, MUSIC = "media.up", "media.down"
MEDIA = {
    PICTURES: "A picture or a stretch of original sound: a header of 24 bytes, extensions, a payload",
    MUSIC: "A stretch of music: the same header, extensions, a payload",
}


def asyncapi() -> dict[str, Any]:
    """The application is the server: it receives what clients send, and sends what they receive."""
    unions = {"receive": get_args(ClientMessage), "send": get_args(ServerMessage)}
    kinds = [kind for union in unions.values() for kind in union]
    _, schemas = schemas_of(kinds, REF)
    media = {"receive": PICTURES, "send": MUSIC}
    names = {way: [*map(tag_of, union), media[way]] for way, union in unions.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Cuestream {SUBPROTOCOL}",
            "version": f"1.{PROTOCOL_MINOR}",
            "description": "Video goes up, music comes down. docs/protocol.md says what a schema cannot.",
        },
        "defaultContentType": "application/json",
        "channels": {CHANNEL: _channel([name for each in names.values() for name in each])},
        "operations": {way: _operation(way, each) for way, each in names.items()},
        "components": {
            "messages": {tag_of(kind): _message(kind, schemas) for kind in kinds}
            | {name: _binary(name, text) for name, text in MEDIA.items()},
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _channel(names: list[str]) -> dict[str, Any]:
    closes = "; ".join(f"{code} {close.name} ({close.action})" for code, close in CLOSES.items())
    return {
        "address": "/v1/stream",
        "title": "One session's connection",
        "description": f"Subprotocol {SUBPROTOCOL}. Close codes and what a client may do then: {closes}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"ws": {"method": "GET"}},
    }


def _operation(way: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": way,
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{name}"} for name in names],
    }


def _message(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    return {
        "name": tag_of(kind),
        "summary": schemas[name]["description"],
        "contentType": "application/json",
        "payload": {"$ref": REF.format(name=name)},
    }


def _binary(name: str, text: str) -> dict[str, Any]:
    payload = {"type": "string", "format": "binary"}
    return {"name": name, "summary": text, "contentType": "application/octet-stream", "payload": payload}
