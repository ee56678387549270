"""Laws of the control messages: round trips, ranges, what is unknown, what is too much."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_strategies import message

from server.protocol.config import Config, ConfigPatch, Duck, DuckPatch, changed, first_config, merge
from server.protocol.control import (
    Unknown,
    careful,
    decode_client,
    decode_server,
    encode,
    parse,
    plain,
    refusal,
)
from server.protocol.errors import CLOSES, FAULTS, MAX_NAME, MAX_TEXT, ErrorCode, ProtocolError
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.messages import CLIENT, HELD_CELLS, SERVER, MemoryCell, MemoryState, SessionUpdate
from server.protocol.values import SAFE_INTEGER

RANGES: dict[str, tuple[float, float]] = {
    "guidance": (0, 20),
    "temperature": (0, 10),
    "top_k": (0, 65_536),
    "top_p": (0, 1),
    "seed": (0, 2**53 - 1),
    "short_term_s": (0.5, 3600),
    "energy": (-1, 1),
    "gain_db": (-60, 12),
    "fade_ms": (0, 10_000),
    "duck.threshold_db": (-80, 0),
    "duck.depth_db": (0, 60),
    "duck.attack_ms": (1, 1_000),
    "duck.release_ms": (1, 10_000),
}
CONFIG = first_config(3.0, 1.0, 250, 0.0, 0, 10.0)


def refused(text: str | bytes, limits: Limits = DEFAULTS) -> ProtocolError:
    with pytest.raises(ProtocolError) as error:
        decode_client(text, limits)
    return error.value


def update(path: str, value: Any) -> str:
    """A session.update of one field, `duck.depth_db` being inside `duck`."""
    config: Any = value
    for name in reversed(path.split(".")):
        config = {name: config}
    return json.dumps({"type": "session.update", "config": config, "event_id": "e"})


PIECES = [
    '"type"',
    '"ping"',
    '"playout.report"',
    '"t_us"',
    '"played_through_sample"',
    '"buffer_ms"',
    '"event_id"',
]
PIECES += [
    '"underruns"',
    '"clock_ppm"',
    ":",
    ",",
    "{",
    "}",
    "[",
    "]",
    " ",
    '"a:b"',
    '"\\ud800"',
    '"\\u00e9"',
    '"x"',
]
PIECES += [
    "0",
    "-0",
    "7",
    "1.0",
    "1e2",
    "1e999",
    "NaN",
    "null",
    "true",
    "9007199254740993",
    "99999999999999999999",
]
REPORT = '{"type":"playout.report","played_through_sample":48000,"buffer_ms":61.5,"underruns":0}'


@given(st.data())
def test_what_is_read_at_once_is_what_careful_reading_finds(data: st.DataObject) -> None:
    """Of messages with something put in, left out or said twice; of every other one nothing is said."""
    parts = re.findall(
        r'"[^"]*"|[^",:{}]+|[,:{}]', data.draw(st.sampled_from([REPORT, '{"type":"ping","t_us":5}']))
    )
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(parts) - 1))
        some = st.lists(st.sampled_from([*PIECES, ',"t_us":6', ',"buffer_ms":1']), max_size=2)
        parts[at : at + data.draw(st.integers(0, 1))] = data.draw(some) or [""]
    text = "".join(parts)
    if (found := plain(text, CLIENT)) is not None:
        assert found == careful(text, CLIENT)


def test_a_report_is_read_at_once_and_what_is_not_plain_is_not() -> None:
    assert plain(REPORT, CLIENT) == careful(REPORT, CLIENT)
    assert plain(REPORT, CLIENT) is not None
    for text in (
        REPORT.replace("}", ',"buffer_ms":2}'),
        REPORT.replace("}", ',"sparkle":1}'),
        REPORT.replace("}", ',"event_id":"a:b"}'),
        REPORT.replace("48000", "9007199254740993"),
        REPORT.replace("61.5", "1e999"),
        REPORT[:-1],
        '{"type":"session.update","config":{"seed":5}}',
        "[]",
    ):
        assert plain(text, CLIENT) is None


@pytest.mark.parametrize("kind", CLIENT.values())
@given(data=st.data())
def test_client_messages_survive_the_wire(kind: Any, data: st.DataObject) -> None:
    sent = data.draw(message(kind))
    received = decode_client(encode(sent))
    assert received.message == sent
    assert received.ignored == ()
    assert decode_client(encode(sent).encode()) == received


@pytest.mark.parametrize("kind", SERVER.values())
@given(data=st.data())
def test_server_messages_survive_the_wire(kind: Any, data: st.DataObject) -> None:
    sent = data.draw(message(kind))
    assert decode_server(encode(sent)).message == sent


@pytest.mark.parametrize("path", RANGES)
def test_controls_hold_their_range_ends_and_nothing_beyond(path: str) -> None:
    low, high = RANGES[path]
    for value in (low, high):
        assert isinstance(decode_client(update(path, value)).message, SessionUpdate)
    for value in (low - 1, high + 1, high * 2 + 1):
        error = refused(update(path, value))
        if value <= SAFE_INTEGER:
            assert (error.code, error.param, error.event_id) == ("bad_request", f"config.{path}", "e")
        else:
            assert error.code == "invalid_json"


def test_an_empty_patch_changes_nothing() -> None:
    assert merge(CONFIG, ConfigPatch(duck=DuckPatch())) == merge(CONFIG, ConfigPatch()) == CONFIG


def test_a_patch_has_the_fields_of_what_it_patches_in_the_same_ranges() -> None:
    for whole, patch in ((Config, ConfigPatch), (Duck, DuckPatch)):
        full, partial = (msgspec.inspect.type_info(kind).fields for kind in (whole, patch))  # type: ignore[attr-defined]
        assert [f.name for f in full] == [f.name for f in partial]
        assert all(f.required for f in full)
        for one, other in zip(full, partial, strict=True):
            assert one.name == "duck" or one.type == other.type
            assert not other.required


@given(first=message(ConfigPatch), second=message(ConfigPatch))
def test_a_patch_changes_what_it_names_and_nothing_else(first: ConfigPatch, second: ConfigPatch) -> None:
    config = merge(CONFIG, first)
    after = merge(config, second)
    names = changed(second).keys() - {"duck"}
    assert all(getattr(after, name) == getattr(second, name) for name in names)
    assert all(
        getattr(after, n) == getattr(config, n) for n in Config.__struct_fields__ if n not in {*names, "duck"}
    )
    assert merge(after, second) == after
    duck = changed(second.duck) if isinstance(second.duck, DuckPatch) else {}
    assert after.duck == msgspec.structs.replace(config.duck, **duck)


def test_the_first_configuration_is_one_that_the_wire_takes() -> None:
    assert msgspec.convert(msgspec.to_builtins(CONFIG), Config) == CONFIG


@pytest.mark.parametrize("kind", sorted(CLIENT))
def test_the_server_side_does_not_know_its_own_messages(kind: str) -> None:
    assert decode_server(json.dumps({"type": kind})).message == Unknown(kind)


def test_unknown_types_are_values_with_their_event() -> None:
    assert decode_client('{"type":"dance","event_id":"e","x":[1]}').message == Unknown("dance", "e")
    for event_id in ("", "e" * 65, 5, None, []):
        text = json.dumps({"type": "dance", "event_id": event_id})
        assert decode_client(text).message == Unknown("dance")
    long = decode_client(json.dumps({"type": "d" * 5000})).message
    assert isinstance(long, Unknown)
    assert len(long.type) == MAX_NAME


def test_unknown_fields_are_named_by_path_and_ignored() -> None:
    text = '{"type":"session.update","a":1,"config":{"b":{"gain_db":2},"gain_db":3,"duck":{"c":[]}}}'
    received = decode_client(text)
    assert received.message == SessionUpdate(ConfigPatch(gain_db=3.0, duck=DuckPatch()))
    assert received.ignored == ("a", "config.b", "config.duck.c")


def test_many_unknown_fields_are_named_up_to_a_bound() -> None:
    fields = {f"x{i}" * 60: i for i in range(200)}
    received = decode_client(json.dumps({"type": "ping", "t_us": 1} | fields))
    assert len(received.ignored) == 64
    assert all(len(name) <= MAX_NAME for name in received.ignored)


def test_the_size_limit_counts_bytes() -> None:
    limits = replace(DEFAULTS, text_bytes=40)
    for letter, length in (("x", 1), ("ü", 2), ("♪", 3), ("🎵", 4)):
        head, tail = '{"type":"ping","t_us":1,"x":"', '"}'
        fits = head + letter * ((40 - len(head + tail)) // length) + tail
        assert decode_client(fits, limits).ignored == ("x",)
        for longer in (head + letter * ((40 - len(head + tail)) // length + 1) + tail, fits + " " * 40):
            assert refused(longer, limits).code == "message_too_large"
            assert refused(longer.encode(), limits).code == "message_too_large"


@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_the_depth_limit_counts_arrays_and_objects(pair: tuple[str, str]) -> None:
    each = sum(c in "[{" for c in pair[0])
    inside = (DEFAULTS.depth - 1) // each
    parse('{"x":' + pair[0] * inside + "1" + pair[1] * inside + "}")
    deeper = '{"x":' + pair[0] * (inside + 1) + "1" + pair[1] * (inside + 1) + "}"
    assert refused(deeper).code == "invalid_json"
    parse(json.dumps({"x": "[{" * 1000 + '"' + "[" * 1000 + "\\"}))


LEAVES = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-SAFE_INTEGER, SAFE_INTEGER)
    | st.text()
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(value=TREES, escaped=st.booleans())
def test_what_is_json_elsewhere_is_json_here(value: Any, escaped: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=escaped), replace(DEFAULTS, depth=100)) == value


def test_half_surrogates_are_refused_wherever_they_stand_and_pairs_are_not() -> None:
    for text in ('["\\ud83c"]', '{"\\udfb5":1}', '["\\udfb5\\ud83c"]', '"\\uD83C"'):
        with pytest.raises(ProtocolError):
            parse(text)
    assert parse('"\\ud83c\\udfb5"') == "🎵"
    assert parse('"\\\\ud83c"') == "\\ud83c"
    with pytest.raises(ProtocolError) as error:
        parse('"\ud83c"')
    assert error.value.code == "invalid_utf8"


def test_a_refusal_can_always_be_sent() -> None:
    error = ProtocolError(ErrorCode.BAD_REQUEST, "\ud83c" + "x" * 5000, "p", None)
    assert len(error.text) == MAX_TEXT
    told = decode_server(encode(refusal(error))).message
    assert told == refusal(error)
    assert not refusal(error).fatal
    assert refusal(ProtocolError(ErrorCode.INVALID_UTF8, "")).fatal


def test_every_error_code_has_a_fault_and_every_close_a_cause() -> None:
    """1000 is the end as asked, 1001 the end of a go_away; every other close follows an error."""
    assert FAULTS.keys() == set(ErrorCode)
    causes = {fault.close for fault in FAULTS.values()} - {None}
    assert causes == CLOSES.keys() - {1000, 1001}
    assert all(code in range(1000, 1016) or code in range(4000, 5000) for code in CLOSES)


def test_the_longest_list_of_moments_fits_a_message() -> None:
    full = MemoryState((MemoryCell(SAFE_INTEGER, SAFE_INTEGER, "recalled", 86_400_000),) * HELD_CELLS)
    assert len(encode(full)) < 32 * 1024
    assert decode_server(encode(full)).message == full
