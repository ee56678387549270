"""Golden vectors: what a message looks like on the wire, and what it means. Every client is tested against them.

Three tables. `control`: texts and their messages. `media`: bytes and their fields. `invalid`: what is refused, with the
error code. A vector that is valid and not `canonical` decodes, and encodes to something else.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec

from server.protocol.control import encode
from server.protocol.errors import ErrorCode
from server.protocol.golden.control import CONTROL, LOOSE
from server.protocol.golden.invalid import BAD_BYTES, BAD_BYTES_SMALL, BAD_TEXTS, SMALL
from server.protocol.golden.media import MEDIA, RAW, RAW_RGB, STRANGE
from server.protocol.media import Media, encode_media
from server.protocol.messages import CLIENT, Message, tag_of

Vector: TypeAlias = dict[str, Any]


def control_vectors() -> list[Vector]:
    """name, direction, text, value, ignored, canonical. A value of None: the type is unknown."""
    exact = [
        {"name": name, "direction": direction(message), "text": encode(message), "ignored": []}
        | {"value": built(message), "canonical": True}
        for name, message in CONTROL.items()
    ]
    loose = [
        {"name": name, "direction": way, "text": text, "ignored": ignored}
        | {"value": None if message is None else built(message), "canonical": False}
        for name, (way, text, message, ignored) in LOOSE.items()
    ]
    return exact + loose


def media_vectors() -> list[Vector]:
    """name, direction, hex, value, canonical, limits. A value of None: the kind or the stream is unknown."""
    exact = [_media(n, way, encode_media(media), media, canonical=True) for n, (way, media) in MEDIA.items()]
    raw = [
        _media(name, "client", encode_media(media), media, canonical=True) | {"limits": {"raw_video": True}}
        for name, media in (("raw_allowed", RAW), ("raw_rgb_allowed", RAW_RGB))
    ]
    strange = [_media(n, way, raw, media, canonical=False) for n, (way, raw, media) in STRANGE.items()]
    return [*exact, *raw, *strange]


def invalid_vectors() -> list[Vector]:
    """name, direction, text or hex (of binary messages) or text_hex (of texts that are not UTF-8), error, limits."""
    texts = [
        {"name": name, "direction": "client", **_shown(text), "error": str(code)}
        | {"limits": SMALL if code is ErrorCode.MESSAGE_TOO_LARGE else {}}
        for name, (text, code) in BAD_TEXTS.items()
    ]
    binary = [
        {"name": name, "direction": "any", "hex": raw.hex(), "error": str(code), "limits": limits}
        for table, limits in ((BAD_BYTES, {}), (BAD_BYTES_SMALL, SMALL))
        for name, (raw, code) in table.items()
    ]
    return texts + binary


def fields_of(media: Media) -> Vector:
    """A binary message as JSON: flags as words, the payload in hex."""
    return {
        "kind": media.kind.name.lower(),
        "flags": [str(flag.name).lower() for flag in media.flags],
        "stream": media.stream.name.lower(),
        "seq": media.seq,
        "ts": media.ts,
        "window": media.window,
        "dur": media.dur,
        "source": None if media.source is None else msgspec.to_builtins(media.source),
        "size": None if media.size is None else msgspec.to_builtins(media.size),
        "payload": media.payload.hex(),
    }


def direction(message: Message) -> str:
    """Who sends it."""
    return "client" if tag_of(type(message)) in CLIENT else "server"


def built(message: Message) -> Vector:
    """The message as JSON."""
    value: Vector = json.loads(encode(message))
    return value


def _media(name: str, way: str, raw: bytes, media: Media | None, canonical: bool) -> Vector:
    value = None if media is None else fields_of(media)
    return {
        "name": name,
        "direction": way,
        "hex": raw.hex(),
        "canonical": canonical,
        "limits": {},
        "value": value,
    }


def _shown(text: str | bytes) -> Vector:
    return {"text": text} if isinstance(text, str) else {"text_hex": text.hex()}
