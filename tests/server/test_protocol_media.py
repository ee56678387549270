"""Laws of the binary messages and of a connection's reader."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from protocol_strategies import media

from server.protocol import messages
from server.protocol.control import decode_server, encode
from server.protocol.errors import ProtocolError
from server.protocol.golden.media import RAW, RAW_RGB, header
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.media import (
    FIELDS,
    FIRST_AUDIO,
    HEADER,
    KNOWN_FLAGS,
    SIZE,
    SOURCE,
    Flag,
    Kind,
    Media,
    Size,
    Source,
    StreamId,
    UnknownKind,
    decode_media,
    encode_media,
    newer,
)
from server.protocol.messages import Ping, WarningMessage
from server.protocol.reader import Reader
from server.protocol.typescript import SIZE_FIELDS, SOURCE_FIELDS, header_offsets
from server.protocol.values import AudioCodec, VideoCodec

JPEG = Media(Kind.JPEG, StreamId.VIDEO, 0, 0, b"\xff")


def refused(raw: bytes, limits: Limits = DEFAULTS) -> str:
    with pytest.raises(ProtocolError) as error:
        decode_media(raw, limits)
    return error.value.code


@given(media())
def test_media_survives_the_wire(sent: Media) -> None:
    raw = encode_media(sent)
    assert decode_media(raw) == sent
    assert (len(raw) - len(sent.payload)) % 4 == 0  # payloads are aligned
    assert decode_media(memoryview(raw)) == sent  # type: ignore[arg-type]


@given(media(), st.data())
def test_no_prefix_of_a_source_is_a_message(sent: Media, data: st.DataObject) -> None:
    """Cut inside its header or extensions, a message is refused, not misread."""
    raw = encode_media(structs.replace(sent, source=Source(1, 2, 3, 4, 5)))
    at = data.draw(st.integers(0, HEADER.size + 35))
    assert refused(raw[:at]) == "invalid_media"


def test_the_header_is_the_one_of_the_documentation() -> None:
    assert HEADER.format == "<BBHIQIHH"
    assert HEADER.size == 24
    assert header_offsets() == dict(zip(FIELDS, (0, 1, 2, 4, 8, 16, 20, 22), strict=True))
    raw = HEADER.pack(0x11, 0x22, 0x4433, 0x77665544, 0x8877665544332211, 0x44332211, 0x6655, 0x8877)
    assert raw.hex() == "11223344445566771122334455667788112233445566" + "7788"
    assert Flag(sum(Flag)) == KNOWN_FLAGS


def test_offsets_for_typescript_are_those_of_the_structs() -> None:
    source = SOURCE.pack(1, 2, 3, 4, 5)
    letters = {"newest_us": "Q", "newest_step": "I", "age_steps": "I", "seed": "Q", "revision": "I"}
    read = [struct.unpack_from("<" + letters[name], source, at)[0] for name, at in SOURCE_FIELDS.items()]
    assert read == [1, 2, 3, 4, 5]
    assert source[28:] == b"\0\0\0\0"
    assert [struct.unpack_from("<H", SIZE.pack(6, 7), at)[0] for at in SIZE_FIELDS.values()] == [6, 7]


def test_codecs_are_named_alike_in_both_kinds_of_messages() -> None:
    names = {kind.name.lower(): kind for kind in Kind}
    assert {n for n, kind in names.items() if kind < FIRST_AUDIO} == set(get_args(VideoCodec))
    assert {n for n, kind in names.items() if kind >= FIRST_AUDIO} == set(get_args(AudioCodec))


@pytest.mark.parametrize("kind", [k for k in range(256) if k not in set(Kind)])
def test_unknown_kinds_are_values(kind: int) -> None:
    assert decode_media(header(kind=kind, flags=255, ts=2**64 - 1, ext_len=7)) == UnknownKind(kind, 0)


@pytest.mark.parametrize(
    ("field", "raw", "code"),
    [
        ("image_bytes", encode_media(structs.replace(JPEG, payload=b"\xff" * 77)), "message_too_large"),
        (
            "audio_bytes",
            encode_media(Media(Kind.OPUS, StreamId.MUSIC, 0, 0, b"x" * 77)),
            "message_too_large",
        ),
        ("ext_bytes", header(flags=33, ext_len=104) + bytes(104) + b"x", "invalid_media"),
    ],
)
def test_each_size_has_its_limit(field: str, raw: bytes, code: str) -> None:
    assert refused(raw, replace(DEFAULTS, **{field: 100})) == code
    if field != "ext_bytes":
        assert isinstance(decode_media(raw, replace(DEFAULTS, **{field: 101})), Media)


@pytest.mark.parametrize("raw", [RAW, RAW_RGB])
def test_raw_pictures_need_the_permission_and_the_size(raw: Media) -> None:
    allowed = replace(DEFAULTS, raw_video=True)
    assert refused(encode_media(raw)) == "unsupported_codec"
    assert decode_media(encode_media(raw), allowed) == raw
    assert raw.size is not None
    wrong = [
        structs.replace(raw, size=None),
        structs.replace(raw, payload=raw.payload[:-1]),
        structs.replace(raw, payload=raw.payload + b"x"),
        structs.replace(raw, size=Size(raw.size.width + 1, raw.size.height)),
        structs.replace(raw, size=Size(0, raw.size.height)),
        structs.replace(raw, size=Size(65535, 65535)),
    ]
    for each in wrong:
        assert refused(encode_media(each), allowed) == "invalid_media", each
    odd = Media(Kind.I420, StreamId.VIDEO, 0, 0, bytes(6), size=Size(1, 4))
    assert refused(encode_media(odd), allowed) == "invalid_media"


def test_sequence_numbers_wrap() -> None:
    assert newer(1, 0)
    assert newer(0, 2**32 - 1)
    assert not newer(0, 0)
    assert not newer(2**32 - 1, 0)
    assert not newer(2**31, 0)


def test_a_reader_warns_once_of_each_unknown_name() -> None:
    reader = Reader()
    text = '{"type":"ping","t_us":1,"sparkle":2}'
    message, warnings = reader.control(text)
    assert message == Ping(1)
    assert warnings == [WarningMessage("unknown_field", "unknown field ignored: sparkle", param="sparkle")]
    assert decode_server(encode(warnings[0])).message == warnings[0]
    assert reader.control(text) == (Ping(1), [])
    assert [len(reader.control('{"type":"dance"}')[1]) for _ in range(3)] == [1, 0, 0]


def test_a_reader_remembers_a_bounded_number_of_names() -> None:
    reader = Reader(replace(DEFAULTS, reported_fields=3))
    warned = [len(reader.control(f'{{"type":"t{i}"}}')[1]) for i in range(10)]
    assert warned == [1, 1, 1] + [0] * 7


def test_a_reader_drops_what_is_late() -> None:
    reader = Reader()
    seqs = [2**32 - 2, 2**32 - 1, 1, 1, 0, 2]
    taken = [reader.media(encode_media(structs.replace(JPEG, seq=seq))) is not None for seq in seqs]
    assert taken == [True, True, True, False, False, True]


def test_a_reader_passes_over_unknown_kinds_and_refuses_streams_of_the_other_way() -> None:
    reader = Reader()
    assert reader.media(header(kind=200)) is None
    with pytest.raises(ProtocolError, match="stream 2 goes the other way"):
        reader.media(encode_media(Media(Kind.OPUS, StreamId.MUSIC, 0, 0, b"x")))


def test_the_defaults_leave_room_for_what_is_sent() -> None:
    """100 ms of 48 kHz stereo in either format, with its source."""
    for kind, width in ((Kind.PCM_S16, 2), (Kind.PCM_F32, 4)):
        chunk = Media(
            kind, StreamId.MUSIC, 0, 0, bytes(4800 * 2 * width), dur=4800, source=Source(0, 0, 0, 0, 0)
        )
        assert decode_media(encode_media(chunk)) == chunk


def test_messages_are_frozen() -> None:
    ping = messages.Ping(1)
    with pytest.raises(AttributeError):
        ping.t_us = 2  # type: ignore[misc]
