"""`cuestream serve --limit NAME=NUMBER`: every limit that has no option of its own, and nothing else."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest
from process import plays_at, run, serve_tiny
from shell_client import ask

from server.core.playout import Limits as PlayoutLimits
from server.limits import OPTIONS, limited, limits_of
from server.settings import Settings


def test_each_can_be_named_and_changes_alone() -> None:
    before = limits_of(Settings())
    for name, value in before.items():
        changed = limits_of(limited(Settings(), [f"{name}={2 * value}"]))
        assert changed == before | {name: 2 * value}
        assert type(changed[name]) is type(value)


def test_none_is_left_out() -> None:
    """Of the settings' parts, all numbers but those of the lead, which `--lead-ms` says."""
    parts = [getattr(Settings(), each.name) for each in fields(Settings)]
    parts = [part for part in parts if is_dataclass(part) and not isinstance(part, PlayoutLimits)]
    numbers = [getattr(part, each.name) for part in parts for each in fields(part)]
    counted = [number for number in numbers if type(number) in (int, float)]
    assert len(counted) + 2 == len(limits_of(Settings())) + len(OPTIONS)


def test_several_are_taken_and_the_last_of_a_name_counts() -> None:
    settings = limited(
        Settings(),
        ["starts_per_min=1", "webrtc.lines=3", "max_parked=5", "starts_per_min=600", "door.reading=0.5"],
    )
    assert (settings.limits.starts_per_min, settings.peers.lines, settings.max_parked) == (600, 3, 5)
    assert settings.door.reading == 0.5


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("starts=3", "no such limit; is it starts_per_min?"),
        ("webrtc.line=3", "no such limit; is it webrtc.lines?"),
        ("q=3", "--limit q: no such limit$"),
        ("=3", "no such limit"),
        ("starts_per_min", "expected a whole number above 0"),
        ("starts_per_min=", "expected a whole number above 0"),
        ("starts_per_min=0", "expected a whole number above 0"),
        ("starts_per_min=1.5", "expected a whole number above 0"),
        ("door.request_s=-1", "expected a number above 0"),
        ("door.request_s=nan", "expected a number above 0"),
        ("door.request_s=inf", "expected a number above 0"),
        ("raw_video=1", "no such limit"),
        ("ingest.private=1", "no such limit"),
        ("session_s=60", "is --session-hours"),
        ("recording.folder_bytes=1", "is --recordings-gb"),
        ("fps=5", "at most 5 pictures a second"),
    ],
)
def test_what_is_none_is_said(said: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        limited(Settings(), [said])


def test_the_command_takes_them_and_says_what_it_does_not_know() -> None:
    with serve_tiny("--port", "0", "--limit", "resume_window_s=7", "--limit", "credit_ms=900") as process:
        made = ask("POST", f"http://127.0.0.1:{plays_at(process)}/v1/sessions")[1]
        assert (made["resume_window_s"], made["limits"]["credit_ms"]) == (7, 900)
        process.terminate()
    with run("serve", "--limit", "webrtc.line=3") as process:
        assert process.stderr is not None
        assert "is it webrtc.lines?" in process.stderr.read()
        assert process.wait(15) == 2
