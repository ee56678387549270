"""`--effort`: a light one plays by less, whoever plays, and what a user chooses besides still counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clips import Clip, make
from typer.testing import CliRunner

from cuestream.cli import app
from cuestream.players import at_effort, find_player, in_pieces


@pytest.mark.parametrize("command", [["score"], ["serve"], ["bench", "cpu"]])
def test_commands_that_play_take_an_effort(command: list[str]) -> None:
    answer = CliRunner().invoke(app, [*command, "--effort", "none"])
    assert answer.exit_code == 2
    assert "'light'" in answer.output


@pytest.mark.parametrize("name", ["synthetic", "random-tiny", "starter"])
def test_any_player_plays_lightly(name: str) -> None:
    player = find_player(name, 1)
    light = at_effort(player, "light")
    assert at_effort(player, "full").defaults == player.defaults
    assert light.defaults == player.defaults.at_effort("light") != player.defaults
    assert in_pieces(light, 2).defaults.chunk_steps == 2  # a server's pieces are its own affair


def test_a_score_is_light_and_keeps_what_was_chosen(tmp_path: Path) -> None:
    video, timeline = make(tmp_path / "clip.mp4", Clip()), tmp_path / "t.jsonl"
    options = [
        "--effort",
        "light",
        "--short-term",
        "8",
        "--model",
        "random-tiny",
        "--timeline",
        str(timeline),
    ]
    answer = CliRunner().invoke(app, ["score", str(video), "-o", str(tmp_path / "out.mp4"), *options])
    assert answer.exit_code == 0, answer.output
    policy = json.loads(timeline.read_text().splitlines()[0])["policy"]
    assert (policy["context_s"], policy["encode_every_steps"]) == (5.0, 25)
    assert policy["short_term_s"] == 8.0
