"""`cuestream tune`: what it finds for a model on a machine is used where no number of threads is named."""

from __future__ import annotations

import json
import os
import pwd
import resource
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from typer.testing import CliRunner

from cuestream import tuning
from cuestream.cli import app
from cuestream.players import SYNTHETIC, threads_beside
from cuestream.tuning import Tried, ranked, ways
from engine.backends.manifest import Manifest
from engine.backends.native import obstacle, on_cpu
from engine.backends.onnxruntime import OnnxBackend
from engine.errors import MissingRuntime
from engine.library import find_model
from engine.threads import FILE, Threads, allowance, cache_folder, cores, keep, tuned


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUESTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def starter() -> Path:
    return find_model("starter")


def threads_of(folder: Path, asked: int = 0) -> int:
    return OnnxBackend(folder, asked).threads


def test_the_command_tries_every_way_and_keeps_the_best(
    cache: Path, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs what playing needs: no PyTorch."""
    for missing in ("torch", "transformers", "onnx_ir"):
        monkeypatch.setitem(sys.modules, missing, None)
    answer = CliRunner().invoke(app, ["tune", "starter", "--seconds", "4", "--rounds", "1"])
    assert answer.exit_code == 0, answer.output
    kept = tuned(Manifest.read(starter).spec.digest)
    assert kept in list(ways())
    assert str(cache / FILE) in answer.output
    assert threads_of(starter) == kept.count
    assert threads_of(starter, 1) == 1  # who names a number has it


@pytest.mark.parametrize("command", ["tune", "bench cpu"])
def test_who_steps_by_the_graph_needs_onnx_and_is_told_at_once(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUESTREAM_STEP", "graph")
    monkeypatch.setitem(sys.modules, "onnx", None)
    answer = CliRunner().invoke(app, command.split())
    assert isinstance(answer.exception, MissingRuntime)
    assert "pip install onnx" in str(answer.exception)


@pytest.mark.parametrize("threads", [2, len(cores()) + 1])
def test_a_pinned_model_plays_what_another_plays(starter: Path, threads: int) -> None:
    """On any number of cores: what cannot be pinned is not."""
    pinned, free = (OnnxBackend(starter, Threads(threads, pinned=pin)) for pin in (True, False))
    eyes = free.spec.vision
    pictures = np.full((1, eyes.image_size, eyes.image_size, eyes.planes), 7, np.uint8)
    assert np.array_equal(pinned.encode_frames(pictures), free.encode_frames(pictures))


def test_what_was_kept_is_the_models_own_and_a_damaged_file_is_none(cache: Path, starter: Path) -> None:
    digest = Manifest.read(starter).spec.digest
    assert tuned(digest) is None
    keep("another", Threads(7))
    keep(digest, Threads(1))
    assert (tuned(digest), tuned("another")) == (Threads(1), Threads(7))
    assert len(json.loads((cache / FILE).read_text())) == 2
    (cache / FILE).write_text("{")
    assert tuned(digest) is None
    keep(digest, Threads(1))
    assert tuned(digest) == Threads(1)


def test_a_full_disk_takes_nothing_of_what_was_kept(cache: Path) -> None:
    keep("one", Threads(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            keep("another", Threads(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert tuned("one") == Threads(2)
    assert [path.name for path in cache.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "written", ["[1]", '"x"', '{"%s": {"count": "two"}}', '{"%s": {"count": -1}}', '{"%s": 3}']
)
def test_what_is_no_number_of_threads_is_none(cache: Path, starter: Path, written: str) -> None:
    digest = Manifest.read(starter).spec.digest
    keep(digest, Threads(1))
    key = next(iter(json.loads((cache / FILE).read_text())))
    (cache / FILE).write_text(written.replace("%s", key))
    assert tuned(digest) is None
    keep(digest, Threads(1))
    assert tuned(digest) == Threads(1)


def test_a_user_without_a_home_plays_and_keeps_nothing(
    starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: int) -> NoReturn:
        raise KeyError

    for variable in ("CUESTREAM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    backend = on_cpu(starter, 1)
    assert type(backend) is OnnxBackend
    assert obstacle(backend.manifest) == "this user has no home folder to keep the native step in: ~"
    assert tuned(backend.spec.digest) is None
    with pytest.raises(FileNotFoundError, match="no home folder"):
        keep(backend.spec.digest, Threads(1))
    monkeypatch.setenv("CUESTREAM_CACHE", "kept")
    assert cache_folder() == Path("kept")


def test_a_server_keeps_a_core(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuestream.players.cores", lambda: list(range(8)))
    digest = Manifest.read(starter).spec.digest
    assert threads_beside("starter") == threads_beside(SYNTHETIC) == 7
    for count, expected in ((4, 4), (8, 7)):
        keep(digest, Threads(count))
        assert threads_beside("starter") == expected


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({}, None),
        ({"": "max 100000", "a": "max 100000", "a/b": "max 100000"}, None),
        ({"a": "250000 100000", "a/b": "max 100000"}, 2),
        ({"a": "400000 100000", "a/b": "50000 100000"}, 1),
        ({"": "100000 100000"}, 1),
        ({"a/b/c": "100000 100000"}, None),
    ],
)
def test_a_container_takes_no_more_cores_than_it_is_given_time_on(
    limits: dict[str, str], allowed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text("1:cpu:/elsewhere\n0::/a/b\n")
    for group, limit in limits.items():
        (tmp_path / "groups" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / group / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr("engine.threads.GROUPS", tmp_path / "groups")
    monkeypatch.setattr("engine.threads.OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert allowance() == allowed
    assert len(cores()) == (allowed or 8)


def test_ways_are_powers_of_two_and_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "cores", lambda: list(range(6)))
    assert [str(way) for way in ways()] == ["1", "2", "2, pinned", "4", "4, pinned", "6", "6, pinned"]
    assert len(cores()) == len(set(cores())) > 0


def test_of_ways_as_fast_the_steadiest_is_the_best() -> None:
    tried = [Tried(Threads(1), 0.30, 1.1), Tried(Threads(2), 0.20, 1.6), Tried(Threads(4), 0.205, 1.2)]
    assert [one.threads.count for one in ranked(tried)] == [4, 2, 1]
