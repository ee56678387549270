"""Senders: what waits is bounded, what hangs is ended, what is lost is counted; addresses are shown without their keys."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from output_rig import RATE, job_of, music_of, picture
from shell_client import PATIENCE_S, soon

from engine.media import reserved
from server.core.errors import SessionError
from server.output.child import COMMAND, Broken, Child
from server.output.limits import OutputLimits
from server.output.sender import Sender, Told
from server.output.targets import Allowed, Target, target_of
from server.output.wire import Heard, Job, Pictured, Report
from server.protocol.media import Kind, Media, StreamId
from server.system.environment import piped
from server.system.records import packed

BLOCK = 960
SILENCE = np.zeros(BLOCK, np.float32).tobytes()
ROOT = Path(__file__).parents[2]


def sender_of(target: Target, told: list[Told], limits: OutputLimits, delay: int | None = None) -> Sender:
    job = job_of("file:never.mkv", "mixed", Allowed(folder=Path("/nowhere")))
    return Sender(msgspec.structs.replace(job, target=target, delay=delay), limits, None, told.append)


@contextmanager
def fifo(folder: Path, opened: bool) -> Iterator[Target]:
    """A place where nobody reads; opened: it can be written to until it is full."""
    path = folder / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if opened else None
    yield Target(str(path), "fifo", "wav", "pcm_s16le", 0, {}, stays=False)
    if reader is not None:
        os.close(reader)


@pytest.mark.parametrize(
    ("opened", "limits", "said"),
    [
        (False, OutputLimits(connect_s=0.2), "did not answer"),
        (True, OutputLimits(stall_s=2.0), "took nothing"),
    ],
)
def test_a_target_that_hangs_is_ended(tmp_path: Path, opened: bool, limits: OutputLimits, said: str) -> None:
    told: list[Told] = []
    with fifo(tmp_path, opened) as target:
        sender = sender_of(target, told, limits)
        for number in range(400):
            sender.put(Heard(number * BLOCK, SILENCE))
        sender.start()
        assert sender.join(PATIENCE_S)
    assert (told[-1].state, told[-1].reason) == ("failed", "failed")
    assert said in told[-1].error


def test_a_connection_that_was_there_is_tried_again_however_long_ago_it_was_made(tmp_path: Path) -> None:
    told: list[Told] = []
    limits = OutputLimits(
        give_up_s=0.1, retry_s=PATIENCE_S
    )  # a process alone takes longer to start than that
    with fifo(tmp_path, True) as target:
        sender = sender_of(msgspec.structs.replace(target, stays=True), told, limits)
        sender.put(Heard(0, SILENCE))
        sender.start()
        soon(lambda: sender.told.state == "sending")
    sender.put(Heard(BLOCK, SILENCE))  # nobody reads any more
    soon(lambda: sender.told.state == "waiting")
    sender.finish("asked")
    assert sender.join(PATIENCE_S)
    assert (told[-1].state, told[-1].reason, told[-1].reconnects) == ("finished", "asked", 0)


def test_a_target_that_breaks_as_soon_as_it_is_open_is_not_opened_every_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(_: Sender, pause_s: float, error: str) -> str | None:
        pauses.append(pause_s)
        return "asked" if len(pauses) == 4 else None

    opens = msgspec.json.encode(Report("open")).decode()
    monkeypatch.setattr(Sender, "_pause", pause)
    monkeypatch.setattr("server.output.child.COMMAND", ("sh", "-c", f"head -c 4 >/dev/null; echo '{opens}'"))
    told: list[Told] = []
    with fifo(tmp_path, False) as target:
        limits = OutputLimits(retry_s=60, retry_most_s=200)
        sender_of(msgspec.structs.replace(target, stays=True), told, limits)._run()
    assert pauses == [60, 120, 200, 200]


@pytest.mark.parametrize("lacking", ["process", "first thread", "second thread"])
def test_what_cannot_be_started_is_said_and_tried_again_or_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def start(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        if lacking == "process":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        begun.append(piped(command))
        return begun[-1]

    class Threads(threading.Thread):
        def start(self) -> None:
            if lacking == "first thread" or self._target.__name__ == "_listen":  # type: ignore[attr-defined]
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr("server.output.child.piped", start)
    monkeypatch.setattr("server.output.child.Thread", Threads)
    told: list[Told] = []
    with fifo(tmp_path, False) as target:
        sender_of(target, told, OutputLimits())._run()
        staying = sender_of(msgspec.structs.replace(target, stays=True), told, OutputLimits())
        staying.start()
        soon(lambda: staying.told.state == "waiting")
        staying.finish("asked")
        assert staying.join(PATIENCE_S)
    assert [(each.state, each.reason) for each in told] == [("failed", "failed"), ("finished", "asked")]
    assert re.match("its process cannot be (started|listened to): .*(unavailable|new thread)$", told[0].error)
    assert all(process.poll() is not None for process in begun)


def test_the_end_is_not_waited_for_without_an_end(tmp_path: Path) -> None:
    told: list[Told] = []
    with fifo(tmp_path, True) as target:
        sender = sender_of(target, told, OutputLimits(finish_s=1.0))
        for number in range(400):
            sender.put(Heard(number * BLOCK, SILENCE))
        sender.start()
        sender.finish("asked")
        assert sender.join(PATIENCE_S)
    assert "not finished" in told[-1].error


def test_music_that_waits_for_too_long_is_a_failure_and_pictures_make_room(tmp_path: Path) -> None:
    told: list[Told] = []
    path = tmp_path / "a.wav"
    target = Target(str(path), "a", "wav", "pcm_s16le", 0, {}, stays=False)
    sender = sender_of(target, told, OutputLimits(waiting_pictures=3), delay=0)
    newest = [picture(number, 16) for number in range(5)]
    for media in newest:
        sender.put(Pictured(0, media))
    assert [item.media.seq for item in sender._waiting if isinstance(item, Pictured)] == [2, 3, 4]
    size = len(newest[0].payload)
    heavy = sender_of(target, told, OutputLimits(waiting_picture_bytes=2 * size + 1), delay=0)
    for media in newest:
        heavy.put(Pictured(0, media))
    assert [item.media.seq for item in heavy._waiting if isinstance(item, Pictured)] == [3, 4]
    assert heavy._past.left_out == 3
    slow = sender_of(target, told, OutputLimits(waiting_s=1.0))
    for number in range(60):
        slow.put(Heard(number * BLOCK, SILENCE))
    slow.start()
    assert slow.join(PATIENCE_S)
    assert (told[-1].state, told[-1].samples) == ("failed", 0)
    assert "behind the music" in told[-1].error


def test_what_nobody_was_there_for_is_counted() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"rtmp://127.0.0.1:{bound.getsockname()[1]}/live/x"
        told: list[Told] = []
        target = target_of(address, "music", Allowed(("127.0.0.1",)))
        sender = sender_of(target, told, OutputLimits(give_up_s=0.0))
        for number in range(20):
            sender.put(Heard(number * BLOCK, SILENCE))
        sender.start()
        assert sender.join(PATIENCE_S)
    assert told[-1].state == "failed"
    assert told[-1].samples + told[-1].lost_samples == 20 * BLOCK


def test_a_child_that_is_gone_is_noticed(tmp_path: Path) -> None:
    limits = OutputLimits()
    child = Child(job_of("file:a.wav", "music", Allowed(folder=tmp_path)), limits, lambda: float("inf"))
    child.end()
    with pytest.raises((Broken, OSError)):
        child.send(Heard(0, SILENCE))


def is_open(child: Child) -> bool:
    child.look()
    return child.opened


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of others are read in /proc")
def test_a_process_is_held_to_its_limits(tmp_path: Path) -> None:
    job = job_of("file:a.wav", "music", Allowed(folder=tmp_path), memory_bytes=2**29)
    child = Child(job, OutputLimits(), lambda: float("inf"))
    try:
        child.send(Heard(0, SILENCE))
        soon(lambda: is_open(child))
        lines = Path(f"/proc/{child._process.pid}/limits").read_text(encoding="utf-8").splitlines()
        limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
        assert limits["Max address space"] == [str(2**29)] * 2
        assert limits["Max core file size"] == ["0", "0"]
        assert limits["Max open files"] == ["64", "64"]
        child.finish()
    finally:
        child.end()
    assert len(music_of(tmp_path / "a.wav")[1]) == BLOCK


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold a process to its memory")
def test_a_process_that_takes_too_much_says_so(tmp_path: Path) -> None:
    job = job_of("file:a.wav", "music", Allowed(folder=tmp_path), memory_bytes=2**20)
    child = Child(job, OutputLimits(), lambda: float("inf"))
    try:
        with pytest.raises(Broken, match="more than 1 MiB"):
            child.send(Heard(0, bytes(2**26)))
    finally:
        child.end()


def test_a_process_whose_server_is_gone_finishes_the_file(tmp_path: Path) -> None:
    job = job_of("file:a.mkv", "mixed", Allowed(folder=tmp_path))
    sent = packed(job) + packed(Pictured(0, picture(0, 16)))
    sent += b"".join(packed(Heard(number * BLOCK, SILENCE)) for number in range(50))
    done = subprocess.run(COMMAND, input=sent, cwd=ROOT, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0
    assert len(music_of(tmp_path / "a.mkv")[1]) == pytest.approx(RATE, abs=2048)


def writing(job: Job) -> subprocess.CompletedProcess[bytes]:
    """A process that is to write a little music, at its end."""
    sent = packed(job) + packed(Heard(0, SILENCE))
    return subprocess.run(COMMAND, input=sent, cwd=ROOT, capture_output=True, timeout=PATIENCE_S)


def last_of(done: subprocess.CompletedProcess[bytes]) -> Report:
    """What it said last."""
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Report)


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_what_came_after_it_was_asked_for_is_not_written_over(tmp_path: Path, there: str) -> None:
    job = job_of("hls:a" if there == "folder" else "file:a.wav", "music", Allowed(folder=tmp_path))
    before = tmp_path / "before"
    before.write_bytes(b"of somebody else")
    match there:
        case "file":
            before.rename(before := tmp_path / "a.wav")
        case "link":
            (tmp_path / "a.wav").symlink_to(before)
        case "folder":
            (tmp_path / "a").mkdir()
    report = last_of(writing(job))
    assert (report.state, report.error) == ("error", "File exists")
    assert before.read_bytes() == b"of somebody else"
    assert there != "folder" or not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize("url", ["file:a.wav", "hls:a"])
def test_what_could_not_be_begun_leaves_nothing_behind(tmp_path: Path, url: str) -> None:
    job = job_of(url, "music", Allowed(folder=tmp_path))
    broken = msgspec.structs.replace(job.target, codec="no_codec")
    assert last_of(writing(msgspec.structs.replace(job, target=broken))).state == "error"
    assert not list(tmp_path.iterdir())


def test_a_process_does_not_say_the_key() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        job = job_of(f"rtmp://127.0.0.1:{bound.getsockname()[1]}/live/secret", "music", Allowed(("*",)))
        done = writing(job)
    last = last_of(done)
    assert (done.returncode, last.state) == (1, "error")
    assert "refused" in last.error
    assert b"secret" not in done.stdout


def test_addresses_are_shown_without_keys() -> None:
    target = target_of("rtmps://user:secret@live.example:443/app/secret?k=secret", "music", Allowed(("*",)))
    assert target.shown == "rtmps://live.example:443/..."


def test_an_srt_address_is_put_together_again() -> None:
    query = "streamid=%23!::r=secret&passphrase=secret+secret%26x"
    target = target_of(f"srt://[::1]:9000/?{query}", "music", Allowed(("*",)))
    assert (target.address, target.shown) == ("srt://[::1]:9000", "srt://[::1]:9000/...")
    assert target.srt == {"streamid": "#!::r=secret", "passphrase": "secret secret&x"}


@pytest.mark.parametrize("url", ["file:con.wav", "file:NUL.flac", "hls:aux"])
def test_a_device_of_windows_is_no_output_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    target_of(url, "music", Allowed(folder=tmp_path))
    monkeypatch.setattr(reserved, "ON_WINDOWS", True)
    with pytest.raises(SessionError, match="on Windows; choose another name"):
        target_of(url, "music", Allowed(folder=tmp_path))


def test_a_picture_goes_through_the_pipe_as_it_is() -> None:
    media = Media(Kind.JPEG, StreamId.VIDEO, 7, 9, b"\x00\xff")
    sent = packed(Pictured(5, media))
    assert msgspec.msgpack.decode(sent[4:], type=Pictured) == Pictured(5, media)
