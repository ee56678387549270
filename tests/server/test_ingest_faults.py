"""Ingest when something breaks: dead workers, garbage, silence, what is too large, and every way in which one ends."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import struct
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.error import FFmpegError, err_check, tag_to_code
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, hears_both_tones, limits, says, state_of, web
from process import is_gone, run
from served import Serve, Served
from shell_client import PATIENCE_S, Client, ask, jpeg, soon

from server.ingest import feeding, rest
from server.ingest.outlet import Outlet
from server.ingest.pacing import Pace, Thin
from server.ingest.pipe import HEAD, Broken, Job, Kind, Note, Record, note, pack, read, read_note
from server.ingest.rest import Feed
from server.ingest.sources import Source
from server.ingest.standing import SESSION, News, stand
from server.ingest.words import words
from server.ingest.worker import Showing
from server.system.environment import APART


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_video(folder / "long.mp4", 60 * FPS)
    return folder


def worker_of(served: Served) -> int:
    (feeding,) = (each for each in served.app.state.feedings.running.values())
    assert feeding.pid is not None
    return int(feeding.pid)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), RuntimeError("can't start new thread")],
    ids=repr,
)
def test_a_worker_that_cannot_be_started_is_told_and_tried_again(
    serve: Serve, films: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """asyncio's own loop waits for a process in a thread."""
    start, tried = feeding._start, list[int]()

    async def lacking() -> Process:
        tried.append(1)
        if len(tried) == 1:
            raise error
        return await start()

    monkeypatch.setattr(feeding, "_start", lacking)
    with serve(SYNTHETIC, ingest=limits(files=films)) as served, Client(served.ws) as client:
        feed(served, "file:long.mp4", client.start()["session_id"])
        assert "cannot be started" in client.until("error", code="ingest_failed")["text"]
        client.send("playback", action="play")
        client.hear(1)
        os.kill(worker_of(served), 0)  # it is there


def test_a_worker_that_dies_is_told_and_begins_again(
    serve: Serve, films: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(SYNTHETIC, ingest=limits(files=films)) as served, Client(served.ws) as client:
        session_id = client.start()["session_id"]
        status, one, _ = feed(served, "file:long.mp4", session_id)
        assert status == 201
        client.send("playback", action="play")
        client.hear(1)
        before = worker_of(served)
        os.kill(before, signal.SIGKILL)
        error = client.until("error")
        assert (error["code"], error["fatal"]) == ("ingest_failed", False)
        assert f"session {session_id}: the ingest of file:long.mp4: its worker was killed" in caplog.text
        assert client.until("warning")["code"] == "ingest_reconnected"
        assert worker_of(served) != before
        assert feed(served, "file:long.mp4", session_id)[0] == 409
        status, about = ask("DELETE", f"{one}/ingest")
        assert (status, about["state"]) == (200, "stopped")
        assert is_gone(worker_of(served))
        client.hear(client.at + 4800)  # the music goes on
        assert feed(served, "file:long.mp4", session_id)[0] == 201
        client.send("session.end")
        assert client.closed() == 1000
        assert is_gone(worker_of(served))


TOILS = """
import sys, time
from server.ingest import worker

picture = worker.Showing._picture

def slowly(*about):
    end_s = time.process_time() + float(sys.argv[1])
    while time.process_time() < end_s:
        pass
    return picture(*about)

worker.Showing._picture = slowly
worker.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows nothing of the kind")
def test_a_worker_may_take_so_long_of_a_processor_for_each_picture(
    serve: Serve, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for all of them: a stream of hours takes hours."""
    toil_s = "0.3"
    monkeypatch.setattr(feeding, "command_of", lambda _: (sys.executable, "-P", "-c", TOILS, toil_s))
    with serve(SYNTHETIC, ingest=limits(files=films, cpu_s=4)) as served:
        one = feed(served, "file:long.mp4")[1]
        soon(lambda: ask("GET", f"{one}/ingest")[1]["pictures"] >= 20, 60)
        page = ask("GET", f"{served.http}/metrics")[1]
        assert 'cuestream_ingest_attempts_total{result="failed"} 0.0' in page
        toil_s = "100"
        assert ask("DELETE", f"{one}/ingest")[0] == 200
        assert feed(served, "file:long.mp4")[0] == 201
        failed = 'cuestream_ingest_attempts_total{result="failed"} 1.0'
        soon(lambda: failed in ask("GET", f"{served.http}/metrics")[1], 60)


def silent(handler: BaseHTTPRequestHandler) -> None:
    """The head of an answer, and then nothing until the other side goes."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.flush()
    with suppress(OSError):
        handler.connection.recv(1)


NOISE = np.random.default_rng(0).bytes(300_000)
BROKEN = {
    "garbage": (says(NOISE), {}, ""),
    "a broken MPEG-TS": (
        says(b"".join(b"G" + NOISE[at : at + 187] for at in range(0, 187_000, 187))),
        {},
        "",
    ),
    "an empty answer": (says(b""), {}, ""),
    "no such file": (lambda handler: handler.send_error(404), {}, "404"),
    "silence": (silent, {"silence_s": 0.5, "connect_s": 0.5}, ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_given_up(serve: Serve, name: str) -> None:
    answer, changes, said = BROKEN[name]
    with web(answers={"/x.ts": answer}) as (base, asked):
        with serve(SYNTHETIC, ingest=limits(attempts=2, **changes)) as served, Client(served.ws) as client:
            one = feed(served, f"{base}/x.ts", client.start()["session_id"])[1]
            assert "tried again" in client.until("error", code="ingest_failed")["text"]
            assert "given up" in client.until("error", code="ingest_failed")["text"]
            about = state_of(one, "failed")
            assert (about["failures"], about["pictures"]) == (2, 0)
            assert said in about["text"]
            page = ask("GET", f"{served.http}/metrics")[1]
            assert 'cuestream_ingest_attempts_total{result="failed"} 2.0' in page
            assert "cuestream_ingests 0.0" in page
        assert 2 <= len(asked) <= 6


def test_a_file_that_cannot_be_played_is_tried_once_and_told_plainly(
    serve: Serve, films: Path, tmp_path: Path
) -> None:
    write_sound(tmp_path / "sound.mp4")
    film, no_video = (films / "long.mp4").read_bytes(), "this is no video that can be read"
    said = {
        "junk.mkv": (NOISE, no_video),
        "empty.mp4": (b"", no_video),
        "cut.mp4": (film[: len(film) // 2], no_video),
        "a.png": (jpeg(0, "png"), "this is a still picture or a GIF, not a video"),
        "sound.mp4": ((tmp_path / "sound.mp4").read_bytes(), "it has no moving picture that can be read"),
        "large.mp4": (film, "its pictures, 64 x 48, are larger than 3000 pixels"),
    }
    for name, (data, _) in said.items():
        (tmp_path / name).write_bytes(data)
    with serve(SYNTHETIC, ingest=limits(files=tmp_path, at_once=9), image_pixels=3000) as served:
        ones = {name: feed(served, f"file:{name}")[1] for name in said}
        for name, (_, text) in said.items():
            about = state_of(ones[name], "failed")
            assert (about["text"], about["failures"], about["pictures"]) == (text, 1, 0)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def test_errors_of_a_line_are_told_plainly() -> None:
    def told(code: int, listen: bool = False, url: str = "rtmp://host/live/key") -> str:
        with pytest.raises(FFmpegError) as raised:
            err_check(-code)
        return words(raised.value, job_of(url, listen))

    assert told(errno.EIO) == "it broke off"
    assert told(errno.EIO, listen=True) == "the publisher left"
    assert told(tag_to_code(b"INDA")) == "this is no video that can be read"
    assert told(tag_to_code(b"EXIT")) == "nothing came for too long"
    assert told(errno.EINVAL, url="https://host/a.JPG?b=c") == "this is a still picture or a GIF, not a video"
    assert told(errno.ECONNREFUSED) == "Connection refused"


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each attempt, all of which fail at once."""
    attempts = list[int]()

    async def lacking() -> Process:
        attempts.append(1)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(feeding, "_start", lacking)
    return attempts


def test_a_listener_is_there_again_soon_however_many_attempts_fail(serve: Serve, tried: list[int]) -> None:
    waits = limits(ports=frozenset({1935}), backoff_s=0.02, most_backoff_s=60)
    with serve(SYNTHETIC, ingest=waits) as served:
        feed(served, "rtmp://127.0.0.1:1935/live/key", listen=True)
        soon(lambda: len(tried) == 12)  # twice as long after each would take 41 s


def test_a_camera_that_was_off_for_days_is_asked_again(serve: Serve, tried: list[int]) -> None:
    """The pause has grown twice as often as a float holds."""
    waits = limits(private=True, attempts=10_000, backoff_s=1e-6, most_backoff_s=1e-4)
    with serve(SYNTHETIC, ingest=waits) as served:
        feed(served, "rtsp://127.0.0.1/camera")
        soon(lambda: len(tried) > 1100)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """That would be made between attempts, and are not."""
    asked, real = list[float](), feeding.Feeding._pause_s

    def pause_s(one: feeding.Feeding, played_s: float) -> float:
        asked.append(real(one, played_s))
        return 0.0

    monkeypatch.setattr(feeding.Feeding, "_pause_s", pause_s)
    return asked


def begins(monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
    """Another program in the worker's place."""

    async def start() -> Process:
        return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, **APART)

    monkeypatch.setattr(feeding, "_start", start)


def test_what_breaks_as_soon_as_it_has_pictures_is_not_begun_every_second(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    shown = Record(Kind.PICTURE, 2, 2, 0, bytes(12))
    (tmp_path / "said").write_bytes(pack(shown) + pack(note(Note("failed", "it broke off"))))
    begins(monkeypatch, "cat", str(tmp_path / "said"))
    with serve(SYNTHETIC, ingest=limits(backoff_s=60, most_backoff_s=200)) as served:
        one = feed(served, "rtsp://127.0.0.1/camera")[1]
        soon(lambda: len(pauses) >= 4)
        assert ask("DELETE", f"{one}/ingest")[0] == 200
    assert pauses[:4] == [60, 120, 200, 200]


def test_a_worker_that_begins_slowly_is_there_in_the_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """One that was killed before it was heard leaves the next ones twice as long."""
    monkeypatch.setattr(feeding, "START_S", 0.01)
    monkeypatch.setattr(feeding, "MOST_START_S", 0.03)
    begins(monkeypatch, "sleep", "60")
    with serve(SYNTHETIC, ingest=limits(attempts=3, connect_s=0.01)) as served:
        about = state_of(feed(served, "rtsp://127.0.0.1/camera")[1], "failed")
    assert about["text"] == "given up after 3 attempts: no picture for 0.04 s"


def test_pictures_have_the_shape_in_which_they_are_displayed(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        container.mux([*stream.encode(av.VideoFrame(320, 180)), *stream.encode(None)])
    with av.open(str(path)) as container, (tmp_path / "records").open("wb") as records:
        outlet = Outlet(records.fileno(), lambda: None)
        Showing(Source(container, lives=True, ends=True), job_of("file:wide.mp4"), outlet).run()
        outlet.tell(Record(Kind.ALIVE, 0, 0, 0, b""))
    data = (tmp_path / "records").read_bytes()
    opened = received(data)
    assert opened is not None
    shown = received(data[len(pack(opened)) :])
    assert shown is not None
    assert (shown.kind, shown.width, shown.height) == (Kind.PICTURE, 320, 90)


def job_of(url: str, listen: bool = False) -> Job:
    return Job(url, listen, 320, 8.0, False, None, 10**6, 10**6, 10.0, 10.0, 2**30, 60)


@pytest.mark.parametrize("bound", [{"memory_bytes": 96 * 1024**2}, {"packet_bytes": 10}])
def test_what_takes_too_much_is_stopped(serve: Serve, films: Path, bound: dict[str, int]) -> None:
    with serve(SYNTHETIC, ingest=limits(files=films, attempts=1, **bound)) as served:
        assert state_of(feed(served, "file:long.mp4")[1], "failed")["pictures"] == 0


def test_no_more_than_may_are_fed_at_once(serve: Serve, films: Path) -> None:
    with serve(SYNTHETIC, ingest=limits(files=films, at_once=1)) as served:
        status, one, _ = feed(served, "file:long.mp4")
        assert status == 201
        status, _, answer = feed(served, "file:long.mp4")
        assert (status, answer["error"]["code"]) == (503, "capacity")
        assert len(served.host.sessions) == 1  # the other one was not opened
        assert feed(served, "http://169.254.169.254/x")[0] == 503  # nor is its address looked at
        assert ask("DELETE", one)[0] == 204


def test_what_fed_a_session_is_forgotten_with_it(serve: Serve, films: Path) -> None:
    """Not when the next one begins: it holds all that the session held."""
    with serve(SYNTHETIC, ingest=limits(files=films)) as served:
        status, one, _ = feed(served, "file:long.mp4")
        assert (status, len(served.app.state.feedings.running)) == (201, 1)
        assert ask("DELETE", one)[0] == 204
        soon(lambda: gc.collect() >= 0 and not served.app.state.feedings.running)


def test_a_name_server_that_does_not_answer_holds_up_nobody_else(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound is encoded in the threads that all share, here a single one; the server ends while names are still asked for."""
    look_up, answered = socket.getaddrinfo, Event()

    def slow(host: Any, *about: Any, **more: Any) -> Any:
        if host == "slow.example":
            answered.wait()
            raise socket.gaierror(socket.EAI_AGAIN)
        return look_up(host, *about, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(rest, "RESOLVE_S", 0.1)
    try:
        with serve(SYNTHETIC, ingest=limits()) as served, Client(served.ws) as client:
            served.on_loop(lambda: asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1)))
            session_id = client.start()["session_id"]
            for _ in range(3):
                status, one, answer = feed(served, "http://slow.example/x", session_id)
                assert (status, answer["error"]["code"]) == (422, "ingest_failed")
            with urllib.request.urlopen(f"{one}/audio.wav", timeout=PATIENCE_S) as sound:
                assert len(sound.read(10_000)) == 10_000
    finally:
        answered.set()


def test_a_worker_does_not_outlive_its_server(films: Path) -> None:
    process = run(
        "serve",
        "--model",
        "synthetic",
        "--port",
        "0",
        "--ingest-files",
        str(films),
        "--ingest",
        "file:long.mp4",
    )
    try:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "is played at" in line)
        one = said.split()[-1].removesuffix("/audio.ogg")
        assert hears_both_tones(one)
        children = (
            Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        )
        assert len(children) == 2  # one that reads the video, one that decodes pictures
    finally:
        process.kill()
        process.communicate()
    assert all(is_gone(int(child)) for child in children)


def test_an_address_is_taken_from_the_environment_and_the_log_has_no_token(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments are seen by everybody on a machine. A process of its own, which takes its seconds to start, has a log."""
    monkeypatch.setenv("CUESTREAM_INGEST", "file:long.mp4")
    monkeypatch.setenv("CUESTREAM_API_KEY", "a-key-of-mine")
    process = run("serve", "--model", "synthetic", "--port", "0", "--ingest-files", str(films))
    try:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "is played at" in line)
        assert said.rstrip().endswith("/v1/sessions/ingest/audio.ogg?…")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "file:none", "udp://example.org:1"])
def test_an_address_that_is_not_read_is_said_at_the_start(url: str) -> None:
    with run("serve", "--model", "synthetic", "--port", "0", "--ingest", url) as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"--ingest {url}: " in said


def test_a_standing_ingest_is_not_given_up(serve: Serve, films: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with serve(SYNTHETIC, ingest=limits(attempts=1)) as served, web(tmp_path) as (base, _):
        wanted = Feed(f"{base}/late.mp4")
        feedings = served.app.state.feedings
        task = served.on_loop(lambda: asyncio.ensure_future(stand(feedings, wanted, told.append)))
        one = f"{served.http}/v1/sessions/{SESSION}"
        try:
            soon(lambda: any(text.startswith("failed") and "404" in text for text in told), 20)
            (tmp_path / "late.mp4").write_bytes((films / "long.mp4").read_bytes())
            soon(lambda: any(text.startswith("playing") for text in told), 20)
            assert ask("DELETE", one)[0] == 204
            soon(lambda: ask("GET", one)[0] == 404, 20)
            assert hears_both_tones_once_open(one)
        finally:
            served.on_loop(task.cancel)


def test_what_a_standing_ingest_fails_by_is_said_once_until_it_plays(
    serve: Serve, films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    with serve(SYNTHETIC, ingest=limits(attempts=2)) as served, web(tmp_path) as (base, asked):
        wanted = Feed(f"{base}/late.mp4")
        feedings = served.app.state.feedings
        task = served.on_loop(lambda: asyncio.ensure_future(stand(feedings, wanted, told.append)))
        try:
            soon(lambda: len(asked) >= 8, 60)
            assert [text for text in told if "404" in text] == told[1:]
            assert len(told) == 2, "connecting, and why it fails"
            assert len([record for record in caplog.records if "404" in record.message]) == 2
            (tmp_path / "late.mp4").write_bytes((films / "long.mp4").read_bytes())
            soon(lambda: told[-1].startswith("playing"), 20)
            (tmp_path / "late.mp4").unlink()
            os.kill(worker_of(served), signal.SIGKILL)
            soon(lambda: "404" in told[-1], 20)
            assert len([record for record in caplog.records if "killed" in record.message]) == 1
        finally:
            served.on_loop(task.cancel)


def test_that_the_next_publisher_is_listened_for_is_said_after_each_that_played() -> None:
    told: list[str] = []
    news = News(told.append)
    for state, failure in (
        ("listening", ""),
        *(("waiting", "another key"), ("listening", "another key")) * 3,
        ("playing", ""),
        ("playing", ""),
        *(("waiting", "the publisher left"), ("listening", "the publisher left")) * 2,
        ("playing", ""),
    ):
        stands: Any = SimpleNamespace(state=state, failure=failure, text=failure)
        news.hear(stands)
    assert told == [
        "listening",
        "waiting another key",
        "playing",
        "waiting the publisher left",
        "listening the publisher left",
        "playing",
    ]


def hears_both_tones_once_open(one: str) -> bool:
    soon(lambda: ask("GET", one)[0] == 200, 20)
    return hears_both_tones(one)


# --- the pipe


def received(data: bytes, edge: int = 320) -> Record | None:
    async def feed_and_read() -> Record | None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read(reader, edge)

    return asyncio.run(feed_and_read())


def test_records_survive_the_pipe_and_what_is_none_is_refused() -> None:
    picture = Record(Kind.PICTURE, 4, 2, 7, bytes(24))
    assert received(pack(picture)) == picture
    sound = Record(Kind.SOUND, 2, 1, 7, bytes(8))
    assert received(pack(sound)) == sound
    opened = received(pack(note(Note("opened", "x" * 1000))))
    assert opened is not None
    assert len(read_note(opened.payload).text) == 240
    assert received(b"") is None
    for data in (
        pack(picture)[:-1],
        HEAD.pack(Kind.PICTURE, 400, 2, 2400, 0),
        HEAD.pack(Kind.PICTURE, 4, 2, 25, 0),
        HEAD.pack(Kind.NOTE, 0, 0, 5000, 0),
        HEAD.pack(9, 0, 0, 0, 0),
        HEAD.pack(Kind.SOUND, 2, 0, 4_000_000_000, 0),
        HEAD.pack(Kind.SOUND, 0, 0, 4, 0) + bytes(4),
        HEAD.pack(Kind.SOUND, 2, 2, 4, 0) + bytes(4),
        HEAD.pack(Kind.SOUND, 2, 1, 6, 0) + bytes(6),
        HEAD.pack(Kind.SOUND, 2, 1, 0, 0),
        struct.pack("<B", 1),
    ):
        with pytest.raises(Broken):
            received(data)
    with pytest.raises(Broken):
        read_note(b'{"what": "dance"}')


def test_a_file_is_shown_in_its_own_time_and_begins_anew_after_a_gap() -> None:
    pace = Pace(lives=False)
    assert [pace.wait_s(time_s, 100.0) for time_s in (5.0, 5.1, 6.0)] == pytest.approx([0.0, 0.1, 1.0])
    assert pace.wait_s(6.1, 101.6) == 0.0
    assert pace.behind_s == pytest.approx(0.5)
    assert pace.wait_s(6.2, 110.0) == 0.0  # it begins anew
    assert pace.wait_s(6.3, 110.0) == pytest.approx(0.1)
    assert pace.wait_s(900.0, 110.0) == 0.0  # another clock
    live = Pace(lives=True)
    assert [live.wait_s(time_s, 50.0) for time_s in (1.0, 2.0, 9.0)] == [0.0, 0.0, 0.0]
    live.wait_s(9.5, 53.0)
    assert live.behind_s == pytest.approx(2.5)


@pytest.mark.parametrize("ppm", [-200, 0, 200])
def test_a_camera_whose_clock_is_off_is_not_behind_after_a_day(ppm: int) -> None:
    """Each of its pictures comes up to 30 ms late. One that is behind is seen at keyframes alone, and its sound elsewhere."""
    live, late_s, begins_s, apart_s = Pace(lives=True), 0.0, 1000.0, 0.5
    for number in range(2 * 24 * 3600):
        came_s = begins_s + apart_s * number * (1 + ppm / 1e6) + 0.01 * (number % 4)
        live.wait_s(apart_s * number, came_s)
        late_s = max(late_s, live.behind_s)
    assert late_s < 0.05
    assert live.zero_s is not None
    assert abs(live.zero_s + apart_s * number - came_s) < 0.05


def test_a_camera_whose_clock_went_back_is_behind_for_a_minute_at_most() -> None:
    live, behind_s = Pace(lives=True), list[float]()
    for second in range(200):
        live.wait_s(second if second < 100 else second - 7, second)
        behind_s.append(live.behind_s)
    assert (set(behind_s[:100]), behind_s[100], set(behind_s[161:])) == ({0}, 7, {0})


def test_no_more_pictures_pass_than_are_looked_at() -> None:
    thin = Thin(8)
    assert sum(thin.wants(10 + at / 30) for at in range(300)) in range(79, 83)
