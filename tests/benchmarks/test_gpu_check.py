"""`benchmarks/gpu_check.sh` calls what is there: a device's minutes are not for options that nobody knows any more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("websockets", reason="the benchmark needs cuestream[serve]")
pytest.importorskip("prometheus_client", reason="the benchmark needs cuestream[serve]")

from benchmarks import chain, kernels, precision
from benchmarks.latency import __main__ as latency
from cuestream.cli import app
from engine.errors import MissingRuntime
from training.eyes import __main__ as eyes

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"
PYTHON = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
"""


@pytest.fixture
def calls(tmp_path: Path) -> list[list[str]]:
    return called(tmp_path)


def called(folder: Path, *parts: str) -> list[list[str]]:
    """What the script asks of a python3 that does nothing: its arguments behind -m, but for wheels that lie in the tree."""
    for name, text in (("python3", PYTHON), ("nvidia-smi", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    places = {"CALLS": "calls", "OUT": "out", "TRITON_CACHE_DIR": "compiled"}
    told = {**os.environ, "PATH": path, **{name: str(folder / place) for name, place in places.items()}}
    subprocess.run(("bash", str(SCRIPT), *parts), env=told, check=True, capture_output=True)
    lines = (folder / "calls").read_text().splitlines()
    asked = [arguments[1:] for arguments in map(json.loads, lines) if arguments[0] == "-m"]
    return [arguments for arguments in asked if arguments[0] != "zipfile"]


def test_every_part_is_called_with_options_that_are_known(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("training.devices.keep_freed_memory", lambda: None)  # for good, in this process
    seen = [module for module, *_ in calls]
    assert seen.count("cuestream.gpu.command") == 4
    for module, *options in calls:
        monkeypatch.setattr(sys, "argv", [module, *options])
        if module == "cuestream.gpu.command":
            done = CliRunner().invoke(app, ["bench", "gpu", *options])
            assert isinstance(done.exception, MissingRuntime), done.output
        elif module == "benchmarks.latency":
            assert latency.arguments().provider == "torch"
        elif module == "benchmarks.precision":
            assert precision.arguments().device == "cuda"
        elif module == "benchmarks.kernels":
            assert kernels.arguments().quick
        elif module == "benchmarks.chain":
            assert not chain.arguments().sweep  # it takes minutes
        elif module == "training.eyes":
            with pytest.raises(SystemExit):
                eyes.main()
            assert "needs an NVIDIA GPU" in capsys.readouterr().err
        else:
            assert module == "pytest"
            assert all((ROOT / option).exists() for option in options if option.startswith("tests/"))


@pytest.mark.skipif(not shutil.which("xz"), reason="needs xz (Debian: xz-utils)")
def test_what_was_compiled_is_kept_without_the_texts_it_was_made_through(tmp_path: Path) -> None:
    (tmp_path / "compiled").mkdir()
    for name in ("kernel.cubin", "kernel.ptx"):
        (tmp_path / "compiled" / name).write_bytes(b"made")
    called(tmp_path, "compile")
    with tarfile.open(tmp_path / "out" / "compiled.txz") as kept:
        sizes = {member.name: member.size for member in kept if member.isfile()}
    assert sizes == {"./kernel.cubin": 4, "./kernel.ptx": 0}


def test_a_server_with_many_sessions_is_measured_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default lead, and nobody refused because the loop is busy: then some would not be heard at all."""
    ((module, *options),) = called(tmp_path, "loopback-many")
    monkeypatch.setattr(sys, "argv", [module, *options])
    asked = latency.arguments()
    assert (asked.provider, asked.sessions, asked.chunk_ms, asked.processes) == ("torch", 64, 100, 8)
    assert "--lead-ms" not in options
    assert asked.most_busy > 0.6
    assert asked.seconds + asked.warm_up < 30  # of 120, in which the server starts, too
    assert "save_package" in (tmp_path / "calls").read_text()  # the model that it serves


def test_parts_may_be_chosen(tmp_path: Path) -> None:
    assert [module for module, *_ in called(tmp_path, "kernels", "tests")] == ["pytest", "benchmarks.kernels"]
    out = (tmp_path / "out" / "log.txt").read_text()
    assert "== kernels: rc 0" in out
    assert "steps" not in out


def test_a_result_that_lay_there_before_is_not_taken_for_this_runs(tmp_path: Path) -> None:
    assert len(called(tmp_path, "loopback")) == 1
    assert (ROOT / "benchmarks" / "results" / "gpu-loopback.json").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["log.txt"]
