"""A film is made in a process of its own, and whatever becomes of that the music is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from full_disk import no_file_larger_than
from output_rig import beeps_from, shown_in, video
from process import is_gone
from served import Serve
from shell_client import PATIENCE_S, Client, ask, jpeg, soon

from server.protocol.limits import Limits
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, Size, StreamId
from server.recording import filming as under_test
from server.recording.film import APART, MOST_LATE, Film, placed
from server.recording.filming import COMMAND, Filming
from server.recording.shelf import RecordingLimits, Shelf, new_id
from server.recording.wire import End, Job, Music, Picture, Report, read, report_of
from server.recording.writer import Heard, Pictured, Told, Writer
from server.system.environment import PASSED_ON, of_a_process
from server.system.records import packed

TENTH = np.zeros(4800, np.float32)
TONE = (0.5 * np.sin(np.pi * np.arange(4800) / 24)).astype(np.float32)


def still(number: int, payload: bytes | None = None, kind: Kind = Kind.JPEG) -> Media:
    return Media(kind, StreamId.VIDEO, number, 0, jpeg(number) if payload is None else payload)


def filming(folder: Path, **limits: Any) -> Filming:
    return Filming(folder, Limits(), RecordingLimits(**limits))


def show(film: Filming, count: int) -> None:
    for number in range(count):
        film.picture(4800 * number, still(number))
        film.sound(4800 * number, TENTH)


def pictures_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def pid_of(film: Filming) -> int:
    assert film.pid is not None
    return film.pid


def test_the_server_looks_at_no_picture_for_a_film(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("in the server")

    monkeypatch.setattr(Film, "picture", refuse)
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("recording", action="start", video=True)
        client.until("recording.state", state="recording")
        for _ in range(4):
            client.show()
            client.hear(client.at + 4800)
        client.send("recording", action="stop")
        state = client.until("recording.state", state="finished")
    assert state["text"] == ""
    (path,) = tmp_path.glob("*/film.mp4")
    assert pictures_in(path) == 4


@pytest.mark.parametrize("kind", [Kind.H264, Kind.VP8])
def test_copied_video_that_changes_its_size_goes_on(tmp_path: Path, kind: Kind) -> None:
    film = Film(tmp_path, Limits())
    packets = [*video(kind, [16] * 10), *video(kind, [240] * 10, (128, 96)), *video(kind, [16] * 10)]
    for seq, media in enumerate(packets):
        film.picture(1920 * seq, msgspec.structs.replace(media, seq=seq))
        film.sound(1920 * seq, np.zeros(1920, np.float32))
    film.close()
    assert (film.left_out, film.name) == (0, "film.mp4" if kind is Kind.H264 else "film.webm")
    with av.open(str(tmp_path / film.name)) as container:
        seen = [(frame.width, round((frame.time or 0) * 25)) for frame in container.decode(video=0)]
    assert [width for width, _ in seen] == [64] * 10 + [128] * 10 + [64] * 10
    assert [at - seen[0][1] for _, at in seen] == pytest.approx(range(30), abs=1)


def test_pictures_and_sound_of_a_film_lie_where_they_came(tmp_path: Path) -> None:
    """AAC begins 1024 samples before the first one, which no reader is to hear as a delay."""
    film = Film(tmp_path, Limits())
    for number in range(20):
        film.picture(4800 * number, still(number))
        film.sound(4800 * number, TONE if number == 10 else TENTH)
    film.close()
    shown = [time_s for time_s, _ in shown_in(tmp_path / "film.mp4")]
    assert shown == pytest.approx([number / 10 for number in range(20)], abs=0.001)
    assert beeps_from(tmp_path / "film.mp4") == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("kind", [Kind.H264, Kind.VP8, Kind.JPEG])
def test_pictures_that_come_at_once_follow_each_other_and_the_film_catches_up(
    tmp_path: Path, kind: Kind
) -> None:
    """After a second without the network: 25 of them, then again one each 40 ms."""
    film = Film(tmp_path, Limits())
    made = [still(seq) for seq in range(60)] if kind is Kind.JPEG else video(kind, [16] * 60)
    for block in range(60):
        came = {0: [0], 25: range(1, 26)}.get(block, [block] if block > 25 else [])
        for seq in came:
            film.picture(1920 * block, msgspec.structs.replace(made[seq], seq=seq))
        film.sound(1920 * block, np.zeros(1920, np.float32))
    film.close()
    assert film.name
    with av.open(str(tmp_path / film.name)) as container:
        at = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None]
    assert at[:2] == pytest.approx([0, 1], abs=0.001)
    assert min(np.diff(at)) > 0.006
    assert np.diff(at[-10:]) == pytest.approx(0.04, abs=0.002)
    assert at[-1] - at[1] == pytest.approx(34 / 25, abs=0.002)


def test_without_pictures_the_sound_of_a_film_that_ffmpeg_would_keep_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.recording.film.MOST_KEPT", 48_000)
    film = Film(tmp_path, Limits())
    first, second = video(Kind.VP8, [16] * 2)
    for tenth in range(50):
        if tenth in (0, 40):
            film.picture(4800 * tenth, second if tenth else first)
        film.sound(4800 * tenth, TENTH)
    film.close()
    with av.open(str(tmp_path / "film.webm")) as container:
        at = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
    before, after = [time_s for time_s in at if time_s < 2.5], [time_s for time_s in at if time_s >= 2.5]
    assert before[-1] == pytest.approx(1.1, abs=0.05)
    assert (after[0], after[-1]) == pytest.approx((4, 5), abs=0.05)


def test_a_picture_lies_where_it_came_or_just_behind_the_one_before() -> None:
    assert placed(4800, 0) == 4800
    assert placed(4800, 4800) == placed(4700, 4800) == 4800 + APART
    behind = 4800 + MOST_LATE
    assert placed(4800, behind - 1) == behind  # too many come for any film: no later than that
    assert placed(4800, behind + 7) == behind + 8


def test_pictures_that_come_before_a_late_tick_lie_where_the_music_goes_on(
    serve: Serve, tmp_path: Path
) -> None:
    """A loop that slept for two seconds hears the websocket first, and then lets its clock go on where it stopped."""
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        session_id = client.start()["session_id"]
        client.play()
        client.send("recording", action="start", video=True)
        client.until("recording.state", state="recording")
        client.show()
        client.hear(client.at + 4800)
        hosted = served.host.sessions[session_id]
        served.on_loop(lambda: hosted.picture(served.host.monotonic() + 2, still(1)))
        client.hear(client.at + 4800)
        client.send("recording", action="stop")
        state = client.until("recording.state", state="finished")
    (path,) = tmp_path.glob("*/film.mp4")
    with av.open(str(path)) as container:
        at = [frame.time for frame in container.decode(video=0)]
    assert len(at) == 2
    assert at[-1] < state["samples"] / 48_000


def test_a_film_that_breaks_is_said_and_the_music_goes_on(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "COMMAND", (sys.executable, "-c", "import sys; sys.stdin.buffer.read(1)"))
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("recording", action="start", audio="wav", video=True)
        client.until("recording.state", state="recording")
        client.show()
        said = "the film ended early: its process broke"
        client.until("recording.state", state="recording", text=said)
        client.show()
        client.hear(client.at + 24_000)
        client.send("recording", action="stop", event_id="end")
        state = client.until("recording.state", event_id="end")
        client.hear(client.at + 4800)
        metrics = ask("GET", f"{served.http}/metrics")[1]
        assert 'cuestream_recording_films_broken_total{reason="broke"} 1.0' in metrics
        about = served.host.recorder.shelf
        assert about is not None
        told = about.about(state["recording_id"])
    assert (state["state"], state["reason"], state["text"]) == ("finished", "asked", said)
    assert [path.rpartition("/")[2] for path in state["paths"]] == ["music.wav", "timeline.jsonl"]
    assert told is not None
    assert (told.text, told.left_out_pictures) == (said, 2)
    with av.open(str(next(tmp_path.glob("*/music.wav")))) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == state["samples"] > 24_000


def test_a_process_that_is_killed_leaves_what_can_be_played(tmp_path: Path) -> None:
    film = filming(tmp_path)
    show(film, 40)
    soon(lambda: film.left_out == 0)
    os.kill(pid_of(film), signal.SIGKILL)
    soon(lambda: film.error)
    show(film, 1)
    film.close()
    assert (film.error, film.broke) == ("the film ended early: its process broke", "broke")
    assert film.left_out == 1
    assert pictures_in(tmp_path / "film.mp4") > 20
    assert is_gone(pid_of(film))


def test_a_process_that_hangs_is_killed_when_the_music_is_too_far_ahead(tmp_path: Path) -> None:
    film = filming(tmp_path, waiting_s=1.0)
    film.picture(0, still(0))
    os.kill(pid_of(film), signal.SIGSTOP)
    for second in range(20):
        film.sound(48_000 * second, np.zeros(48_000, np.float32))
    assert (film.error, film.broke) == ("the film ended early: it fell too far behind the music", "behind")
    film.close()
    assert is_gone(pid_of(film))


def test_a_process_that_does_not_finish_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "STALL_S", 0.2)
    film = filming(tmp_path)
    film.picture(0, still(0))
    os.kill(pid_of(film), signal.SIGSTOP)
    film.close()
    assert (film.error, film.broke) == ("the film ended early: it did not move for 0.2 s", "hung")
    assert is_gone(pid_of(film))


def test_pictures_that_find_no_room_are_left_out(tmp_path: Path) -> None:
    film = filming(tmp_path, waiting_pictures=3)
    film.picture(0, still(0))
    os.kill(pid_of(film), signal.SIGSTOP)
    raw = Media(Kind.RGB24, StreamId.VIDEO, 1, 0, bytes(3 * 640 * 480), size=Size(640, 480))
    for _ in range(9):  # the pipe holds less than one of them, and one is on its way
        film.picture(0, raw)
    os.kill(pid_of(film), signal.SIGCONT)
    film.close()
    assert not film.error
    assert film.broke is None
    assert 10 - film.left_out == pictures_in(tmp_path / "film.mp4")
    assert 5 <= film.left_out <= 7
    heavy = filming(tmp_path, waiting_picture_bytes=3 * 640 * 480 - 1)
    heavy.picture(0, raw)
    heavy.close()
    assert heavy.left_out == 1


def test_a_picture_that_takes_too_much_memory_is_in_no_film(tmp_path: Path) -> None:
    large = still(0, jpeg(8, "png", (4000, 2300)), Kind.PNG)
    for name, limits, left_out in (("small", {"film_memory_bytes": 1}, 1), ("whole", {}, 0)):
        (tmp_path / name).mkdir()
        film = filming(tmp_path / name, **limits)
        film.picture(0, large)
        film.close()
        assert film.left_out == left_out


def test_there_is_no_process_before_the_first_picture(tmp_path: Path) -> None:
    film = filming(tmp_path)
    film.sound(0, TENTH)
    film.close()
    assert film.pid is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "said", "broke"),
    [
        (("/nowhere/python",), "its process cannot be started: No such file or directory", "not_started"),
        ((sys.executable, "-c", "print('hello', flush=True); input()"), "its process broke", "broke"),
    ],
)
def test_one_that_cannot_be_started_or_says_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], said: str, broke: str
) -> None:
    monkeypatch.setattr(under_test, "COMMAND", command)
    film = filming(tmp_path)
    film.picture(0, still(0))
    soon(lambda: film.error)
    film.close()
    assert (film.error, film.broke, film.left_out) == (f"the film ended early: {said}", broke, 1)


def test_what_the_disk_refuses_is_said_without_its_place(tmp_path: Path) -> None:
    film = filming(tmp_path / "gone")
    film.picture(0, still(0))
    film.close()
    assert (film.error, film.broke) == ("the film ended early: No such file or directory", "failed")


def test_a_recording_that_fails_says_what_its_film_left_out_and_why_it_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "COMMAND", ("/nowhere/python",))
    told: list[Told] = []
    taken = Writer(
        Shelf(tmp_path, RecordingLimits()), new_id(), "wav", Limits(), {"session": "s-1"}, told.append
    )
    taken.start()
    soon(lambda: told)
    taken.put(Pictured(0, still(0)))
    with no_file_larger_than(100_000):
        taken.put(Heard(0, np.zeros(48_000, np.float32), ()))
        assert taken.join(PATIENCE_S)
    assert (told[-1].state, told[-1].left_out, told[-1].broke) == ("failed", 1, "not_started")


def test_a_film_yields_to_the_music(tmp_path: Path) -> None:
    film = filming(tmp_path)
    show(film, 1)
    soon(lambda: film.left_out == 0)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid_of(film)) == min(19, ours + 10)
    film.close()


def test_a_signal_to_all_of_the_servers_processes_ends_no_film(tmp_path: Path) -> None:
    film = filming(tmp_path)
    show(film, 2)
    soon(lambda: film.left_out == 0)
    os.kill(pid_of(film), signal.SIGTERM)
    film.picture(9600, still(2))
    film.close()
    assert (film.error, film.left_out) == ("", 0)
    assert pictures_in(tmp_path / "film.mp4") == 3


def test_it_ends_with_the_server_and_finishes_the_film(tmp_path: Path) -> None:
    records = [Picture(0, still(0)), Music(0, TENTH.tobytes()), Picture(4800, still(1))]
    cut = packed(Picture(9600, still(2)))[:-1]
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=of_a_process()
    ) as process:
        job = Job(str(tmp_path), 10_000, 1 << 31)
        out, _ = process.communicate(b"".join(map(packed, [job, *records])) + cut, timeout=60)
    assert process.returncode == 0
    told = [report_of(line) for line in out.splitlines()]
    assert told == [Report(1), Report(2), Report(2, done=True)]
    assert pictures_in(tmp_path / "film.mp4") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="what a process is held to is read in /proc")
def test_its_process_is_held_to_its_memory_and_knows_no_key_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUESTREAM_API_KEY", "a-key-of-ours")
    film = filming(tmp_path)
    film.picture(0, still(0))
    soon(lambda: film.left_out == 0)
    proc = Path(f"/proc/{film.pid}")
    names = {
        line.partition(b"=")[0].decode() for line in (proc / "environ").read_bytes().split(b"\0") if line
    }
    assert names <= {*PASSED_ON, "PYTHONPATH", "OPENBLAS_NUM_THREADS"}
    limits = {line[:26].strip(): line[26:].split()[0] for line in (proc / "limits").read_text().splitlines()}
    assert (limits["Max address space"], limits["Max core file size"]) == (str(2 * 1024**3), "0")
    film.close()
    assert not film.error


def test_what_goes_over_the_pipe_comes_as_it_was(tmp_path: Path) -> None:
    both = Flag.KEYFRAME | Flag.DISCONTINUITY
    for flags, size in ((NO_FLAGS, None), (both, Size(2, 1))):
        media = Media(Kind.RGB24, StreamId.VIDEO, 2**32 - 1, 0, b"picture", flags, size=size)
        (tmp_path / "pipe").write_bytes(packed(Picture(7, media)))
        with (tmp_path / "pipe").open("rb") as pipe:
            record = read(pipe)
            assert isinstance(record, Picture)
            assert (record.sample, record.media) == (7, media)
            assert read(pipe) == End()


def test_a_film_whose_threads_cannot_be_started_is_told_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoMore:
        def __init__(self, **_: object) -> None: ...

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(under_test, "Thread", NoMore)
    film = filming(tmp_path)
    show(film, 2)
    film.close()
    assert film.broke == "not_started"
    assert is_gone(pid_of(film))
