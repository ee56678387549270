"""What is refused, with its error code."""

from __future__ import annotations

import struct

from server.protocol.errors import ErrorCode
from server.protocol.golden.media import RAW, RAW_RGB, extension, header
from server.protocol.media import EXTENSION, encode_media

SMALL = {"text_bytes": 32, "image_bytes": 32, "audio_bytes": 28, "ext_bytes": 8}
"""Limits of the vectors that show what is too much."""
BAD_TEXTS: dict[str, tuple[str | bytes, ErrorCode]] = {
    "empty": ("", ErrorCode.INVALID_JSON),
    "not_json": ("play", ErrorCode.INVALID_JSON),
    "two_values": ('{"type":"ping","t_us":1}{}', ErrorCode.INVALID_JSON),
    "cut_off": ('{"type":"ping","t_us":', ErrorCode.INVALID_JSON),
    "byte_order_mark": ('\ufeff{"type":"ping","t_us":1}', ErrorCode.INVALID_JSON),
    "nan": ('{"type":"session.update","config":{"gain_db":NaN}}', ErrorCode.INVALID_JSON),
    "infinity": ('{"type":"session.update","config":{"gain_db":-Infinity}}', ErrorCode.INVALID_JSON),
    "beyond_a_double": ('{"type":"session.update","config":{"gain_db":1e999}}', ErrorCode.INVALID_JSON),
    "beyond_a_safe_integer": ('{"type":"ping","t_us":9007199254740992}', ErrorCode.INVALID_JSON),
    "huge_integer": ('{"type":"ping","t_us":' + "9" * 400 + "}", ErrorCode.INVALID_JSON),
    "same_name_twice": ('{"type":"playback","action":"play","action":"stop"}', ErrorCode.INVALID_JSON),
    "too_deep": ('{"type":"ping","t_us":1,"x":' + "[" * 16 + "]" * 16 + "}", ErrorCode.INVALID_JSON),
    "half_a_surrogate_pair": (
        '{"type":"ping","t_us":1,"event_id":"\\ud83c"}',
        ErrorCode.INVALID_JSON,
    ),
    "not_utf8": (b'{"type":"ping","t_us":1,"event_id":"\xff"}', ErrorCode.INVALID_UTF8),
    "not_an_object": ('["ping"]', ErrorCode.BAD_REQUEST),
    "no_type": ('{"t_us":1}', ErrorCode.BAD_REQUEST),
    "type_is_a_number": ('{"type":7}', ErrorCode.BAD_REQUEST),
    "field_is_missing": ('{"type":"ping"}', ErrorCode.BAD_REQUEST),
    "null_is_nothing": ('{"type":"session.update","config":{"gain_db":null}}', ErrorCode.BAD_REQUEST),
    "number_as_text": ('{"type":"ping","t_us":"1"}', ErrorCode.BAD_REQUEST),
    "fraction_for_a_whole_number": (
        '{"type":"session.update","config":{"seed":1.5}}',
        ErrorCode.BAD_REQUEST,
    ),
    "negative_seed": ('{"type":"session.update","config":{"seed":-1}}', ErrorCode.BAD_REQUEST),
    "gain_too_high": ('{"type":"session.update","config":{"gain_db":12.1}}', ErrorCode.BAD_REQUEST),
    "gain_too_low": ('{"type":"session.update","config":{"gain_db":-60.1}}', ErrorCode.BAD_REQUEST),
    "guidance_too_high": ('{"type":"session.update","config":{"guidance":20.5}}', ErrorCode.BAD_REQUEST),
    "temperature_too_high": ('{"type":"session.update","config":{"temperature":11}}', ErrorCode.BAD_REQUEST),
    "window_too_short": ('{"type":"session.update","config":{"short_term_s":0.4}}', ErrorCode.BAD_REQUEST),
    "unknown_cut_response": (
        '{"type":"session.update","config":{"cut_response":"hit"}}',
        ErrorCode.BAD_REQUEST,
    ),
    "unknown_action": ('{"type":"playback","action":"dance"}', ErrorCode.BAD_REQUEST),
    "event_id_too_long": (
        '{"type":"ping","t_us":1,"event_id":"' + "e" * 65 + '"}',
        ErrorCode.BAD_REQUEST,
    ),
    "too_long": ('{"type":"ping","t_us":1,"x":"....."}', ErrorCode.MESSAGE_TOO_LARGE),
}
BAD_BYTES: dict[str, tuple[bytes, ErrorCode]] = {
    "nothing": (b"", ErrorCode.INVALID_MEDIA),
    "half_a_header": (header()[:23], ErrorCode.INVALID_MEDIA),
    "no_payload": (header(), ErrorCode.INVALID_MEDIA),
    "sound_on_the_video_stream": (header(kind=0x11) + b"\xfc", ErrorCode.INVALID_MEDIA),
    "picture_on_the_music_stream": (header(stream=2) + b"\xff", ErrorCode.INVALID_MEDIA),
    "ts_beyond_a_safe_integer": (header(ts=2**53) + b"\xff", ErrorCode.INVALID_MEDIA),
    "flag_without_extension": (header(flags=33) + b"\xff", ErrorCode.INVALID_MEDIA),
    "extension_without_flag": (header(ext_len=4) + extension(9, b"") + b"\xff", ErrorCode.INVALID_MEDIA),
    "extension_longer_than_the_message": (header(flags=33, ext_len=8) + b"\0\0\0\0", ErrorCode.INVALID_MEDIA),
    "extensions_not_aligned": (header(flags=33, ext_len=6) + b"\0" * 7, ErrorCode.INVALID_MEDIA),
    "extension_longer_than_its_block": (
        header(flags=33, ext_len=4) + EXTENSION.pack(9, 4) + b"\xff" * 5,
        ErrorCode.INVALID_MEDIA,
    ),
    "extension_twice": (
        header(flags=33, ext_len=8) + extension(9, b"") * 2 + b"\xff",
        ErrorCode.INVALID_MEDIA,
    ),
    "source_too_short": (
        header(kind=0x11, flags=32, stream=2, ext_len=32) + extension(1, b"\0" * 28) + b"\xfc",
        ErrorCode.INVALID_MEDIA,
    ),
    "seed_beyond_a_safe_integer": (
        header(kind=0x11, flags=32, stream=2, ext_len=36)
        + extension(1, struct.pack("<QIIQII", 0, 0, 0, 2**53, 0, 0))
        + b"\xfc",
        ErrorCode.INVALID_MEDIA,
    ),
    "half_a_sample": (header(kind=0x10, stream=2, dur=1) + b"\0\0\0", ErrorCode.INVALID_MEDIA),
    "three_channels": (header(kind=0x10, stream=2, dur=1) + b"\0" * 6, ErrorCode.INVALID_MEDIA),
    "raw_picture_not_allowed": (encode_media(RAW), ErrorCode.UNSUPPORTED_CODEC),
    "raw_rgb_not_allowed": (encode_media(RAW_RGB), ErrorCode.UNSUPPORTED_CODEC),
}
BAD_BYTES_SMALL: dict[str, tuple[bytes, ErrorCode]] = {
    "picture_too_long": (header() + b"\xff" * 9, ErrorCode.MESSAGE_TOO_LARGE),
    "sound_too_long": (header(kind=0x11, stream=2) + b"\xfc" * 5, ErrorCode.MESSAGE_TOO_LARGE),
    "extensions_too_long": (header(flags=33, ext_len=12)[:24] + b"\0" * 8, ErrorCode.INVALID_MEDIA),
}
