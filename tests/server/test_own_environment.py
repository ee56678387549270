"""The processes that read and write what strangers send have of our surroundings what they need, and no more."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, limits, state_of
from output_rig import job_of, music_of
from served import Serve
from shell_client import PATIENCE_S

from server.output.child import Child
from server.output.limits import OutputLimits
from server.output.targets import Allowed
from server.output.wire import Heard
from server.system.environment import PASSED_ON

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the environment of others is read in /proc")
SECRETS = {"CUESTREAM_API_KEY": "a-key-of-ours", "AWS_SECRET_ACCESS_KEY": "another", "FFREPORT": "file=x.log"}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def names_of(pid: int) -> set[str]:
    """It has none for a moment after its program was put in place."""
    end_s = time.monotonic() + PATIENCE_S
    while not (environ := Path(f"/proc/{pid}/environ").read_bytes()):
        assert time.monotonic() < end_s
    lines = environ.split(b"\0")
    return {line.partition(b"=")[0].decode() for line in lines if line}


ALLOWED = {*PASSED_ON, "PYTHONPATH", "OPENBLAS_NUM_THREADS"}


def test_of_an_output(tmp_path: Path) -> None:
    job = job_of("file:a.wav", "music", Allowed(folder=tmp_path))
    child = Child(job, OutputLimits(), lambda: float("inf"))
    try:
        assert {"PATH", "PYTHONPATH"} <= names_of(child._process.pid) <= ALLOWED
    finally:
        child.end()


def test_of_an_ingest(serve: Serve, tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", 10 * FPS)
    with serve(SYNTHETIC, ingest=limits(files=tmp_path)) as served:
        one = feed(served, "file:film.mp4")[1]
        state_of(one, "playing")
        (feeding,) = served.app.state.feedings.running.values()
        assert feeding.pid is not None
        assert {"PATH", "PYTHONPATH"} <= names_of(feeding.pid) <= ALLOWED


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with modules that are called like ours, in which the server runs."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("server", "av"):
        (folder / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(folder)


@pytest.mark.usefixtures("shadowed")
def test_an_output_runs_no_code_of_the_folder_it_was_started_in(tmp_path: Path) -> None:
    job = job_of("file:a.wav", "music", Allowed(folder=tmp_path))
    child = Child(job, OutputLimits(), lambda: float("inf"))
    try:
        child.send(Heard(0, bytes(4 * 4800)))
        child.finish()
    finally:
        child.end()
    assert len(music_of(tmp_path / "a.wav")[1]) == 4800


@pytest.mark.usefixtures("shadowed")
def test_an_ingest_runs_no_code_of_the_folder_it_was_started_in(serve: Serve, tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", 10 * FPS)
    with serve(SYNTHETIC, ingest=limits(files=tmp_path, attempts=1)) as served:
        state_of(feed(served, "file:film.mp4")[1], "playing")
