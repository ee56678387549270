"""`cuestream serve`: what keeps it from serving is said before the model loads."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cuestream.cli import app
from server.http.serving import RefusedAddress
from server.settings import Settings
from server.system.disk import NoFolder


def test_a_port_that_is_taken_is_said_before_the_model_is_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["serve", "--model", "nonesuch", "--port", port])
    assert isinstance(done.exception, RefusedAddress)
    assert str(done.exception) == f"127.0.0.1 port {port} cannot be listened to: Address already in use"


@pytest.mark.parametrize(
    ("host", "said"), [("no..such", "no host that is known"), ("192.0.2.1", "no address of this machine")]
)
def test_a_host_that_is_not_here_is_said(host: str, said: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--model", "nonesuch", "--host", host, "--insecure"])
    assert isinstance(done.exception, RefusedAddress)
    assert said in str(done.exception)


def test_a_site_that_is_none_is_said() -> None:
    done = CliRunner().invoke(
        app, ["serve", "--model", "nonesuch", "--port", "0", "--origin", "game.example"]
    )
    assert "--origin takes a site such as https://" in str(done.exception)


def test_files_are_read_of_a_folder(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["serve", "--model", "nonesuch", "--ingest-files", str(tmp_path / "nodir")]
    )
    assert done.exit_code == 2
    assert "--ingest-files" in done.output
    assert "does not exist" in done.output


@pytest.mark.parametrize("what", ["recordings", "outputs", "checkpoints"])
def test_a_folder_that_cannot_be_written_is_said_before_the_model_is_looked_for(
    tmp_path: Path, what: str
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "below"
    done = CliRunner().invoke(app, ["serve", "--model", "nonesuch", "--port", "0", f"--{what}", str(folder)])
    assert isinstance(done.exception, NoFolder)
    assert str(done.exception) == f"{what} cannot be written to {folder}: Not a directory"


def test_what_is_kept_of_sessions_is_for_nobody_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # it goes no further
        port = str(taken.getsockname()[1])
        CliRunner().invoke(app, ["serve", "--port", port, "--checkpoints", str(tmp_path / "kept")])
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("options", "recording", "output"),
    [((), 12, 12), (("--session-hours", "24"), 24, 24), (("--recording-hours", "1.5"), 1.5, 12)],
)
def test_recordings_and_outputs_last_as_long_as_their_session_or_as_is_said(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], recording: float, output: float
) -> None:
    found = list[Settings]()
    monkeypatch.setattr("server.app.make_app", lambda _, settings, *more: found.append(settings))
    monkeypatch.setattr("server.http.serving.make_server", lambda *_: SimpleNamespace(run=close))
    done = CliRunner().invoke(app, ["serve", "--model", "random-tiny", "--port", "0", *options])
    assert done.exit_code == 0, done.output
    assert found[0].recording.length_s == 3600 * recording
    assert found[0].output.length_s == 3600 * output


def close(lines: list[socket.socket]) -> None:
    for line in lines:
        line.close()


def test_what_one_would_copy_is_never_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal is: the command that installs what is missing, and where the server is."""
    without = f"{'words ' * 20}pip install 'cuestream[webrtc]'"
    monkeypatch.setattr("cuestream.commands.serving.err", Console(stderr=True, markup=False, width=20))
    monkeypatch.setattr("server.webrtc.routes.missing", lambda: without)
    monkeypatch.setattr("server.app.make_app", lambda *_: None)
    monkeypatch.setattr(
        "server.http.serving.make_server",
        lambda _app, _host, _port, _drain, ready, _certificate: ready(1) or SimpleNamespace(run=close),
    )
    done = CliRunner().invoke(app, ["serve", "--model", "random-tiny", "--port", "0"])
    lines = done.output.splitlines()
    assert f"all but WebRTC is served; {without}" in lines
    assert "model random-tiny: random weights, so this is noise and not music" in lines
    assert "random-tiny plays at http://127.0.0.1:1/ (Ctrl-C ends it)" in lines
