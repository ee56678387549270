"""docs/protocol.md says what the code does: messages and their fields, ranges, codes, limits, the bytes of its example."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from engine.spec import KEYS
from server.protocol.config import Config
from server.protocol.errors import CLOSES, FAULTS
from server.protocol.golden.media import MEDIA
from server.protocol.limits import Limits
from server.protocol.media import Flag, Kind, encode_media
from server.protocol.messages import CLIENT, SERVER, SessionLimits

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
WORDS = ("ignore", "gentle", "follow", "seed", "free", *KEYS)


def rows(title: str) -> list[list[str]]:
    """The rows of the first table below a heading, as cells."""
    below = PAGE.split(f"# {title}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert lines is not None
    return [[c.strip() for c in line.strip("| ").split(" | ")] for line in lines[0].splitlines()[2:]]


@pytest.mark.parametrize(("title", "messages"), [("From the client", CLIENT), ("From the server", SERVER)])
def test_each_message_is_described_with_its_fields(title: str, messages: dict[str, Any]) -> None:
    described = {row[0].strip("`"): row[1] for row in rows(title)}
    assert described.keys() == messages.keys()
    for name, kind in messages.items():
        told = re.findall(r"`([a-z0-9_]+\??)`(?:: (?:`[a-z_]+`(?:, )?)*)?", described[name])
        known = [f for f in msgspec.structs.fields(kind) if f.name != "event_id"]
        assert told == [f.name if f.required else f"{f.name}?" for f in known], name


def test_the_limits_that_a_session_is_told_are_named() -> None:
    named = PAGE.split("**`limits`** ", 1)[1].partition("\n\n")[0]
    told = [field.name for field in msgspec.structs.fields(SessionLimits)]
    assert re.findall(r"`([a-z_]+)`", named) == told


def test_each_control_is_described_with_its_range() -> None:
    described = {row[0].strip("`"): row[1] for row in rows("The configuration")}
    assert described == dict(controls(inspect.type_info(Config)))


def controls(info: Any, path: str = "") -> list[tuple[str, str]]:
    """Path of each field of a struct and its range as the page writes it."""
    found = []
    for field in info.fields:
        if isinstance(field.type, inspect.StructType):
            found += controls(field.type, f"{field.name}.")
        else:
            found.append((path + field.name, span(field.type)))
    return found


def span(info: Any) -> str:
    if isinstance(info, inspect.Metadata):
        return span(info.type)
    if isinstance(info, inspect.BoolType):
        return "true, false"
    if isinstance(info, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in WORDS if value in info.values)
    return f"{info.ge:g} to " + ("2^53 - 1" if info.le == 2**53 - 1 else f"{info.le:.10g}")


def test_each_error_and_close_code_is_described() -> None:
    assert rows("Errors") == [
        [f"`{code}`", str(fault.close or "lives on"), fault.meaning] for code, fault in FAULTS.items()
    ]
    assert rows("Close codes") == [
        [str(code), f"`{close.name}`", close.action, close.meaning] for code, close in CLOSES.items()
    ]


def test_each_limit_is_described_with_its_default() -> None:
    assert [row[:2] for row in rows("Limits")] == [[f"`{f.name}`", str(f.default)] for f in fields(Limits)]


def test_each_kind_and_flag_is_described() -> None:
    for kind in Kind:
        assert f"0x{kind.value:02x} `{kind.name.lower()}`" in PAGE
    for flag in Flag:
        assert f"| {flag.value.bit_length() - 1} | `{str(flag.name).lower()}` |" in PAGE


def test_the_bytes_of_the_example_are_a_golden_vector() -> None:
    example = PAGE.split("`music_with_source`):", 1)[1].split("```")[1]
    shown = "".join(re.match(r"((?:[0-9a-f]{2} ?)+)", line)[1] for line in example.split("\n") if line)  # type: ignore[index]
    assert bytes.fromhex(shown) == encode_media(MEDIA["music_with_source"][1])
