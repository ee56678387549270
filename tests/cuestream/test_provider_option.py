"""`--provider`, `--operators` and `cuestream tensorrt`: what the command line offers is there, and errors are one line."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from cuestream.cli import app
from cuestream.commands.options import Operators, Precision, Rounding
from cuestream.players import find_player
from engine.backends.providers import CPU, PROVIDERS, TORCH
from engine.errors import PackageError
from engine.library import DEFAULT_MODEL
from export import onnx, standard


def test_what_an_export_may_be_is_what_the_command_line_offers() -> None:
    assert Operators == standard.Operators
    assert (Precision, Rounding) == (onnx.Precision, onnx.Rounding)


@pytest.mark.parametrize("command", ["score", "serve"])
def test_commands_that_play_take_a_provider(command: str) -> None:
    answer = CliRunner().invoke(app, [command, "--provider", "rocm"])
    assert answer.exit_code == 2
    assert "'tensorrt-rtx'" in answer.output


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name not in (CPU, TORCH)])
def test_a_model_for_the_cpu_is_refused_by_a_gpus_providers(provider: str) -> None:
    with pytest.raises(PackageError, match=r"--operators standard --precision fp16") as caught:
        find_player("random-tiny", 1, provider)
    assert "\n" not in str(caught.value)


def test_torch_says_that_it_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(PackageError, match="no CUDA device is here"):
        find_player(DEFAULT_MODEL, 1, TORCH)


def test_torch_says_that_a_model_is_too_large_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("engine.backends.lockstep.LockstepBackend", full)
    with pytest.raises(PackageError, match="starter do not fit the memory of the GPU"):
        find_player(DEFAULT_MODEL, 1, TORCH)


def test_no_engine_is_built_of_a_model_for_the_cpu() -> None:
    answer = CliRunner().invoke(app, ["tensorrt", "random-tiny"])
    assert isinstance(answer.exception, PackageError)
    assert "cuestream export PACKAGE -o FOLDER --operators standard" in str(answer.exception)
