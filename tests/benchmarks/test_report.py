"""What a result says of itself: the commit, and whether what was measured was it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import report
from benchmarks.latency import __main__ as latency
from cuestream import provenance
from cuestream.gpu import device
from cuestream.measuring import Machine

FOLDERS = ("engine", "export", "kernels", "cuestream", "server", "training", "benchmarks")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a file in each folder that is measured, and one that is not."""
    if shutil.which("git") is None:
        pytest.skip("no git: apt-get install git")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for name in (*FOLDERS, "benchmarks/results", "docs"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("as it was")
    named = ("-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("add", "."), (*named, "commit", "-qm", "all")):
        subprocess.run(("git", *arguments), cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_tree_that_was_changed_is_not_its_commit(tree: Path, folder: str) -> None:
    clean = provenance.commit()
    assert len(clean) >= 7
    assert not clean.endswith("+")
    (tree / folder / "more").write_text("new")
    assert provenance.commit() == clean + "+"


def test_results_and_documents_are_not_what_is_measured(tree: Path) -> None:
    (tree / "docs" / "file").write_text("changed")
    (tree / "benchmarks" / "results" / "file").write_text("changed")
    assert not provenance.commit().endswith("+")


def test_a_tree_without_its_repository_is_told_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv(provenance.COMMIT, raising=False)
    assert provenance.commit() == "unknown"
    monkeypatch.setenv(provenance.COMMIT, "0c7949e")
    assert provenance.commit() == "0c7949e"


def test_so_is_one_where_no_git_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv(provenance.COMMIT, "0c7949e")
    assert provenance.commit() == "0c7949e"


def test_a_package_in_somebody_elses_repository_is_not_of_its_commit(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tree / "engine")
    monkeypatch.delenv(provenance.COMMIT, raising=False)
    assert provenance.commit() == "unknown"


def test_a_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a package, whose module is `__main__`, and with spaces in its arguments."""
    spec = SimpleNamespace(name="benchmarks.latency.__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    monkeypatch.delenv("CUESTREAM_STEP", raising=False)
    monkeypatch.setattr(sys, "argv", ["", "--only", "musicgen fp32", "--model", "/somewhere/small"])
    typed = "python -m benchmarks.latency --only 'musicgen fp32' --model small"
    assert report.command() == typed
    monkeypatch.setenv("CUESTREAM_STEP", "graph")
    assert report.command() == f"CUESTREAM_STEP=graph {typed}"


def test_what_sends_and_receives_stands_beside_a_figure() -> None:
    assert {"numpy", "uvicorn", "websockets"} <= Machine.this().packages.keys()


def test_a_result_of_a_gpu_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one of a CPU names no GPU that is there, too."""
    torch = pytest.importorskip("torch", reason="a GPU is described by PyTorch")
    found = device.Device("NVIDIA X", "9.0", 150.1, "580.1", "13.0", 4180.0, {"torch": "2.11.0"})
    monkeypatch.setattr(device, "describe", lambda of: found if of.type == "cuda" else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert latency.played_by("torch") == {"device": asdict(found)}
    assert latency.played_by("cpu") == {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert latency.played_by("torch") == {}
