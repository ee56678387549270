"""The commands of training: a mistake is one line, and what was made from something else is not gone on with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.errors import PackageError
from engine.library import find_model
from training import curves, ship
from training.codec import __main__ as codec
from training.decoder import __main__ as decoder
from training.decoder.clips import Recipe, make_all
from training.origin import ORIGIN_FILE, claim, digest


@pytest.mark.parametrize(
    ("main", "arguments", "told"),
    [
        (decoder.main, ["--package", "nosuch"], "nosuch: no such folder"),
        (decoder.main, ["--pairs", "videos"], "--pairs needs --package"),
        (decoder.main, ["--columns", "760"], "multiple of 25, not 760"),
        (decoder.main, ["--columns", "3000"], "drawn videos have 3000 steps"),
        (codec.main, ["--device", "nosuch"], "--device nosuch: expected cpu"),
        (ship.main, ["--codec", "nosuch"], "nosuch/codec/codec.pt"),
        (curves.main, ["nosuch", "-o", "curves.png"], "nosuch/log.jsonl"),
    ],
)
def test_a_mistake_is_one_line(
    main: Callable[[], None],
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    monkeypatch.setattr("training.devices.keep_freed_memory", lambda: None)  # for good, in this process
    with pytest.raises(SystemExit) as stopped:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert line.startswith("error: ")
    assert told in line


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("training.codec", "torch"),
        ("training.eyes", "torch"),
        ("training.decoder", "torch"),
        ("training.ship", "torch"),
        ("training.curves", "matplotlib"),
    ],
)
def test_what_is_not_installed_is_one_line(module: str, missing: str) -> None:
    code = f"import runpy, sys; sys.modules[{missing!r}] = None; runpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"error: training needs {missing}")
    assert line.endswith("pip install 'cuestream[cpu,export,plot]'")


def test_a_folder_is_gone_on_with_by_what_began_it_alone(tmp_path: Path) -> None:
    mine = {"--seed": 0, "--signatures": (0, 2)}
    claim(tmp_path, "*.pt", mine | {"--seed": 7})
    claim(tmp_path, "*.pt", mine)  # nothing was made yet
    (tmp_path / "checkpoint.pt").touch()
    claim(tmp_path, "*.pt", mine)
    with pytest.raises(
        PackageError, match="from another --seed and another --signatures; choose another --out"
    ):
        claim(tmp_path, "*.pt", {"--seed": 1, "--signatures": (0,)})
    (tmp_path / ORIGIN_FILE).unlink()
    with pytest.raises(PackageError, match="does not say what it was made from; choose another --out"):
        claim(tmp_path, "*.pt", mine)


def test_a_digest_is_of_names_and_numbers() -> None:
    numbers = torch.arange(4.0)
    same = digest({"a": numbers, "b": numbers[0]})
    assert same == digest({"b": numbers[0].clone(), "a": numbers.reshape(2, 2)})
    assert len({same, digest({"a": numbers}), digest({"a": numbers, "b": numbers[1]})}) == 3


def test_clips_of_another_recipe_are_not_learned_from(tmp_path: Path) -> None:
    starter = find_model("starter")
    mine = Recipe(starter, Path("nosuch"), pieces=1)
    claim(tmp_path, "*.npz", mine.origin())
    (tmp_path / "0.npz").touch()
    with pytest.raises(PackageError, match="made from another --pieces and another --signatures"):
        make_all(Recipe(starter, Path("nosuch"), 2, (3,)), tmp_path, videos=1, workers=1)
