"""What Windows and macOS do otherwise, as far as it can be told without them."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import re
import socket
import sys
from pathlib import Path
from typing import NoReturn
from urllib.request import urlopen

import msgspec
import pytest
from av.error import FFmpegError
from output_rig import job_of
from served import Serve

from engine.media.source import IN_USE, reason
from server.http.serving import RefusedAddress, listen
from server.ingest import checking
from server.ingest.address import Forbidden
from server.ingest.limits import IngestLimits
from server.ingest.srt import BROKEN, Received
from server.output.process import Process
from server.output.targets import Allowed
from server.output.wire import Heard
from server.recording.shelf import About, RecordingLimits, Shelf, new_id
from server.system import replacing
from server.system.records import packed
from server.system.windows import ExtendedLimits, limits_of

ROOT = Path(__file__).parents[2]


def test_a_job_of_windows_is_told_its_limits_where_it_reads_them() -> None:
    """Offsets of JOBOBJECT_EXTENDED_LIMIT_INFORMATION on 64 bits, as winnt.h lays it out."""
    limits = bytes(limits_of(2**30))
    assert len(limits) == ctypes.sizeof(ExtendedLimits) == 144
    assert int.from_bytes(limits[16:20], "little") == 0x2000 | 0x400 | 0x100
    assert int.from_bytes(limits[112:120], "little") == 2**30


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/app.js", "text/javascript; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
    ],
)
def test_a_browser_is_told_what_a_file_of_the_page_is_whatever_the_system_takes_it_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    """Windows asks its registry, where programs write text/plain for scripts; a browser runs none of those."""
    monkeypatch.setattr("starlette.responses.guess_type", lambda _: ("text/plain", None))
    with serve() as served, urlopen(served.http + path, timeout=10) as answer:
        assert answer.headers["content-type"] == kind


def test_an_address_that_windows_refuses_is_said_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], family: int) -> NoReturn:
        raise OSError(10013, f"An attempt was forbidden (while attempting to bind on address {address})")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(RefusedAddress) as told:
        listen("127.0.0.1", 8765)
    assert str(told.value) == "127.0.0.1 port 8765 cannot be listened to: An attempt was forbidden"


def test_what_is_known_of_a_recording_is_replaced_while_somebody_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses it as long as the file is open."""
    shelf, one = Shelf(tmp_path, RecordingLimits()), new_id()
    shelf.place(one).mkdir()
    shelf.keep(About(recording_id=one))
    readers, moved = list("abc"), os.replace

    def refuse(old: Path, new: Path) -> None:
        if readers:
            raise PermissionError(errno.EACCES, "Access is denied")
        moved(old, new)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(replacing, "sleep", lambda _: readers.pop())
    shelf.keep(About(recording_id=one, state="finished"))
    about = shelf.about(one)
    assert about is not None
    assert about.state == "finished"
    readers += 99 * ["stays"]
    with pytest.raises(PermissionError):
        shelf.keep(About(recording_id=one))
    assert [path.name for path in shelf.place(one).iterdir()] == ["about.json"]


@pytest.mark.parametrize("url", ["rtsp://192.0.2.1/cam", "rtmps://192.0.2.1/live/x"])
def test_where_nothing_holds_ffmpeg_to_one_address_it_is_not_given_any(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(Forbidden, match="is not read on Windows"):
        checking.check(url, listen=False, limits=IngestLimits())


def test_errors_that_ffmpeg_has_numbers_for_alone_are_said_in_words() -> None:
    assert reason(FFmpegError(138, "Error number -138 occurred")) == "Connection timed out"
    assert (
        reason(FFmpegError(10048, "Error number -10048 occurred")) == IN_USE == os.strerror(errno.EADDRINUSE)
    )
    assert reason(FFmpegError(138, "what it has words for")) == "what it has words for"


@pytest.mark.skipif(sys.platform != "linux", reason="open files are found in /proc")
def test_a_file_that_stays_empty_is_closed_before_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows removes none that is open."""

    def unlink(path: Path) -> None:
        assert not [each for each in Path("/proc/self/fd").iterdir() if each.resolve() == path]
        os.unlink(path)

    job = job_of("file:a.wav", "music", Allowed(folder=tmp_path))
    process = Process(msgspec.structs.replace(job, target=msgspec.structs.replace(job.target, codec="no")))
    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(ValueError, match="no"):
        process.run(io.BytesIO(packed(Heard(0, bytes(3840)))))
    assert not list(tmp_path.iterdir())


def received(program: str, first_s: float | None, silence_s: float) -> Received:
    return Received([sys.executable, "-c", program], first_s, silence_s)


def test_what_a_program_gives_is_read_to_its_end_and_the_end_stays() -> None:
    one = received("import os; os.write(1, b'abcde')", None, 10)
    assert [one.read(3), one.read(3), one.read(3), one.read(3)] == [b"abc", b"de", b"", b""]


def test_a_program_that_gives_nothing_is_not_waited_for_without_an_end() -> None:
    with pytest.raises(OSError, match="SRT connection") as told:
        received("", None, 10).read(1)
    assert str(told.value) == BROKEN
    silent = received("import sys; sys.stdin.read(); import time; time.sleep(60)", 0.01, 10)
    with pytest.raises(OSError, match="nothing came by SRT for"):
        silent.read(1)
    silent.close()


def test_what_asks_for_its_system_is_checked_for_all_of_them() -> None:
    """`make lint` has mypy look at the rest for Linux alone, since it takes minutes for each."""
    (differs,) = re.findall(r"^DIFFERS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    checked = tuple(name.replace(".", "/") for name in re.findall(r"-[pm] (\S+)", differs))
    asks = re.compile(
        r"\bsys\.platform\b|\bos\.name\b|^\s*(import|from) (fcntl|resource|termios|pwd|grp|msvcrt|winreg)\b",
        re.M,
    )
    packages = [ROOT / name for name in ("cuestream", "engine", "export", "kernels", "server", "training")]
    paths = [
        path
        for package in (*packages, ROOT / "sdk/python/cuestream_client")
        for path in package.rglob("*.py")
    ]
    found = [
        name
        for path in paths
        if asks.search(path.read_text("utf-8"))
        and not (name := str(path.relative_to(ROOT)).removeprefix("sdk/python/")).startswith(checked)
    ]
    assert found == []
