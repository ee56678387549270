"""Whatever arrives is a message or a ProtocolError: 100 000 damaged messages, no other exception, nothing kept."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from protocol_mutations import BINARY, TEXT, binaries, mutated, texts

from server.protocol.control import Unknown, decode_client, decode_server, encode, refusal
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import HEADER, Kind, Media, StreamId, UnknownKind, decode_media, encode_media
from server.protocol.reader import Reader

TEXTS, BINARIES = 60_000, 40_000
SECONDS = 20.0
"""Observed: 5 s on one core of a busy machine."""
KEPT_BYTES = 64 * 1024
"""Observed: 704 bytes after 10 000 messages."""
LIMITS = Limits(raw_video=True)


def outcome(decode: Callable[[], str]) -> str:
    """What became of an input. Anything but a ProtocolError goes on to the test."""
    try:
        return decode()
    except ProtocolError as error:
        told = decode_server(encode(refusal(error))).message
        assert not isinstance(told, Unknown)
        return error.code


def read_text(raw: bytes) -> str:
    """Both sides read it; what one accepts it would also send."""
    outcome(lambda: read_once(raw, decode_server))
    return read_once(raw, decode_client)


def read_once(raw: bytes, decode: Any) -> str:
    received = decode(raw)
    if isinstance(received.message, Unknown):
        return "unknown"
    assert decode(encode(received.message)).message == received.message
    return "accepted"


def read_binary(raw: bytes) -> str:
    media = decode_media(raw, LIMITS)
    if isinstance(media, UnknownKind):
        return "unknown"
    assert decode_media(encode_media(media), LIMITS) == media
    return "accepted"


def tally(inputs: Iterator[bytes], read: Callable[[bytes], str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for raw in inputs:
        result = outcome(lambda: read(raw))  # noqa: B023
        counts[result] = counts.get(result, 0) + 1
    return counts


def test_damaged_messages_are_messages_or_protocol_errors() -> None:
    started = time.process_time()
    control = tally(mutated(2026, TEXTS, texts(), TEXT), read_text)
    media = tally(mutated(2026, BINARIES, binaries(), BINARY), read_binary)
    seconds = time.process_time() - started
    print(f"\n{TEXTS + BINARIES} inputs in {seconds:.1f} s of one core\ntexts {control}\nbinary {media}")
    assert sum(control.values()) + sum(media.values()) == TEXTS + BINARIES >= 100_000
    assert control.keys() == {
        "accepted", "unknown", ErrorCode.INVALID_JSON, ErrorCode.INVALID_UTF8, ErrorCode.BAD_REQUEST,
        ErrorCode.MESSAGE_TOO_LARGE,
    }  # fmt: skip
    assert media.keys() == {"accepted", "unknown", ErrorCode.INVALID_MEDIA}
    assert seconds < SECONDS


def test_nothing_is_kept_of_damaged_messages() -> None:
    """One reader for a whole connection, as a server has it."""
    reader = Reader()
    inputs = [*mutated(1, 5_000, texts(), TEXT), *mutated(1, 5_000, binaries(), BINARY)]
    feed(reader, inputs)
    tracemalloc.start()
    try:
        feed(reader, inputs[:500])
        before, _ = tracemalloc.get_traced_memory()
        feed(reader, inputs)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"\n{after - before} bytes kept after {len(inputs)} messages")
    assert after - before < KEPT_BYTES


def feed(reader: Reader, inputs: list[bytes]) -> None:
    for i, raw in enumerate(inputs):
        outcome(lambda: str(reader.control(raw) if i < len(inputs) // 2 else reader.media(raw)))  # noqa: B023


def test_hostile_texts_take_linear_time() -> None:
    """Quotes, escapes and brackets in runs: twice the length is not four times the time, within a wide bound."""
    full = Limits().text_bytes
    for unit in ('"', '\\"', '"\\', '\\\\"', "[", '{"":', "1", "-", "0.", "\\ud83c"):
        text = (unit * full)[:full]
        started = time.process_time()
        for wrapped in (text, f'"{text[2:]}"', '{"type":"' + text[12:] + '"}'):
            outcome(lambda: read_once(wrapped.encode(), decode_client))  # noqa: B023
        assert time.process_time() - started < 0.5, unit


def test_media_of_a_mebibyte_is_read_in_one_pass() -> None:
    media = Media(Kind.JPEG, StreamId.VIDEO, 0, 0, bytes(Limits().image_bytes - HEADER.size))
    started = time.process_time()
    for _ in range(20):
        assert decode_media(encode_media(media)) == media
    assert time.process_time() - started < 1.0
