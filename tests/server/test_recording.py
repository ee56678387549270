"""Recordings: the samples that were sent, what the timeline says of them, films, limits, and every way in which one ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import av
import numpy as np
import pytest
from av.error import FFmpegError
from full_disk import NO_MORE, no_file_larger_than
from served import Serve, Served
from shell_client import PATIENCE_S, Client, ask, jpeg, soon

from server.protocol.limits import Limits
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, StreamId
from server.recording.film import Canvas, Film
from server.recording.shelf import ID, RecordingLimits, Shelf, new_id
from server.recording.sound import Sound
from server.recording.tape import MOST_NOTES
from server.recording.writer import Heard, Pictured, Told, Writer
from server.system.written_file import Written

ROOT = Path(__file__).parents[2]
KEY = "a key for tests"
RATE = 48_000
MUSIC_BEFORE = 4_800


def video(codec: str, count: int, size: tuple[int, int] = (64, 48)) -> list[tuple[bytes, Flag]]:
    """Packets of an encoder as they travel, the first one a keyframe."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *size, "yuv420p", Fraction(1, 25)
    encoder.options = (
        {"tune": "zerolatency"} if codec == "libx264" else {"deadline": "realtime", "lag-in-frames": "0"}
    )
    packets = []
    for number in range(count):
        pixels = np.full((size[1], size[0], 3), 20 * number % 256, np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    return [(bytes(p), Flag.KEYFRAME if p.is_keyframe else NO_FLAGS) for p in packets]


def sound_of(path: Path) -> np.ndarray:
    """int16 [n, 2], or float32 of lossy files."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    if frames[0].shape[0] == 2:  # planar
        return np.concatenate(frames, axis=1).T
    return np.concatenate(frames, axis=1).reshape(-1, 2)


def pictures_in(path: Path) -> int:
    """0 while it is no film."""
    try:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0))
    except FFmpegError:
        return 0


def folder_of(root: Path) -> Path:
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    return folder


def timeline_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "timeline.jsonl").read_text().splitlines()]


def record(client: Client, seconds: float = 0.5, **fields: Any) -> dict[str, Any]:
    """Play, record so much, finish; the state at the end."""
    client.send("recording", action="start", event_id="begin", **fields)
    assert client.until("recording.state", event_id="begin")["state"] == "recording"
    client.hear(client.at + int(seconds * RATE))
    client.send("recording", action="stop", event_id="end")
    return client.until("recording.state", event_id="end")


def ended(served: Served, recording_id: str, key: str | None = None) -> dict[str, Any]:
    """What REST says of it once it is finished."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        status, about = ask("GET", f"{served.http}/v1/recordings/{recording_id}", key=key)
        if status == 200 and about["state"] != "recording":
            return dict(about)
    raise TimeoutError("the recording did not end")


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((64, 48), (0, 0, 64, 48)),
        ((33, 25), (0, 0, 64, 48)),
        ((30, 60), (20, 0, 24, 48)),
        ((100, 20), (0, 16, 64, 14)),
    ],
)
def test_a_picture_of_another_shape_stands_between_black_bars(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    canvas = Canvas(av.VideoFrame(64, 49, "yuv420p"))
    white = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 255, np.uint8), format="rgb24")
    painted = canvas.painted(white).to_ndarray(format="yuv420p")
    x, y, width, height = box
    wanted = np.full((48, 64), 16, np.uint8)
    wanted[y : y + height, x : x + width] = 235
    assert np.array_equal(painted[:48], wanted)
    assert np.all(painted[48:] == 128)


@pytest.mark.parametrize("form", ["flac", "wav"])
def test_a_recording_holds_the_samples_that_were_sent(serve: Serve, tmp_path: Path, form: str) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.hear(MUSIC_BEFORE)
        state = record(client, audio=form)
        client.hear(client.at + 4800)  # all of it has come, whatever the recording was ahead
        assert (state["state"], state["reason"]) == ("finished", "asked")
        folder = folder_of(tmp_path)
        recorded = sound_of(folder / f"music.{form}")
        head, *_, last = timeline_of(folder)
        assert len(recorded) == state["samples"] == round(last["duration_s"] * RATE) > 0.4 * RATE
        at = head["first_sample"] - client.first
        np.testing.assert_array_equal(recorded, client.pcm[at : at + len(recorded)])


def test_the_timeline_says_of_each_chunk_what_its_message_said(serve: Serve, tmp_path: Path) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start(config={"seed": 11})
        client.play()
        client.send("recording", action="start")
        client.until("recording.state", state="recording")
        client.hear(client.at + 9600)
        client.send("session.update", config={"gain_db": -3, "seed": 12})
        client.send("scene.change")
        client.until("scene.cut")
        client.hear(client.at + 24000)
        client.send("recording", action="stop")
        client.until("recording.state", state="finished")
        client.hear(client.at + 4800)
    head, *lines, last = timeline_of(folder_of(tmp_path))
    assert (head["mode"], head["sample_rate"], head["model"], last["end"]) == (
        "recording",
        RATE,
        served.host.player.name,
        "asked",
    )
    chunks = [line for line in lines if "first_sample" in line]
    sent = client.media  # the resampler holds a few samples, so a message begins a little before its chunk
    ends = [chunk["first_sample"] + round(chunk["duration_s"] * RATE) for chunk in chunks]
    assert ends[:-1] == [chunk["first_sample"] for chunk in chunks[1:]]
    assert {chunk["seed"] for chunk in chunks} == {11, 12}
    for chunk in chunks:
        message = max((media for media in sent if media.ts <= chunk["first_sample"]), key=lambda m: m.ts)
        assert message.source is not None
        for name in ("newest_us", "newest_step", "seed", "revision"):
            assert chunk[name] == getattr(message.source, name), name
        assert chunk["segment"] == message.window
        assert chunk["concealed"] == (Flag.CONCEALED in message.flags)
    assert any(line.get("config") == {"gain_db": -3.0, "seed": 12} for line in lines)
    assert any("cut_us" in line for line in lines)


def test_opus_can_be_played(serve: Serve, tmp_path: Path) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        state = record(client, audio="opus")
        assert len(sound_of(folder_of(tmp_path) / "music.opus")) == pytest.approx(state["samples"], abs=2000)


@pytest.mark.parametrize(
    ("codec", "kind", "name"), [("libx264", Kind.H264, "film.mp4"), ("libvpx", Kind.VP8, "film.webm")]
)
def test_a_film_copies_video_from_its_first_keyframe_on(
    tmp_path: Path, codec: str, kind: Kind, name: str
) -> None:
    packets = video(codec, 25)
    film = Film(tmp_path, Limits())
    late = [(b"\0\0\1\x41", NO_FLAGS), *packets]
    for number, (data, flags) in enumerate(late):
        film.picture(1920 * number, Media(kind, StreamId.VIDEO, number, 0, data, flags))
        film.sound(1920 * number, np.full(1920, 0.1, np.float32))
    film.close()
    assert (film.name, film.left_out) == (name, 1)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        held = [packet for packet in container.demux(stream) if packet.size]
        assert len(held) == 25
        assert float(held[-1].pts * stream.time_base) == pytest.approx(
            24 / 25, abs=0.025
        )  # AAC's first 1024 samples come before it
        container.seek(0)
        assert sum(1 for _ in container.decode(stream)) == 25
        container.seek(0)
        sound = sum(frame.samples for frame in container.decode(audio=0))
        assert sound == pytest.approx(25 * 1920, abs=2048)
    with av.open(str(tmp_path / name)) as container:
        grey = [frame.to_ndarray(format="gray")[0, 0] for frame in container.decode(video=0)]
    assert grey[1] > grey[0]


@pytest.mark.parametrize("kind", [Kind.H264, Kind.VP8])
def test_a_film_leaves_out_what_is_no_video(tmp_path: Path, kind: Kind) -> None:
    good = video("libx264" if kind is Kind.H264 else "libvpx", 3)
    film = Film(tmp_path, Limits())
    broken = [b"", b"x", b"\0\0\1\x65" + bytes(90), np.random.default_rng(0).bytes(400)]
    for number, data in enumerate(broken):
        film.picture(0, Media(kind, StreamId.VIDEO, number, 0, data, Flag.KEYFRAME))
    assert (film.name, film.left_out) == (None, len(broken))
    for number, (data, flags) in enumerate(good, len(broken)):
        film.picture(1920 * number, Media(kind, StreamId.VIDEO, number, 0, data, flags))
    film.close()
    assert film.name is not None
    with av.open(str(tmp_path / film.name)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


@pytest.mark.parametrize("broken", [b"j", b"junk", b"\0\0\0\1", b"\0\0\0\4\x41abc"])
def test_a_message_that_is_no_h264_spoils_no_film(tmp_path: Path, broken: bytes) -> None:
    packets = video("libx264", 5)
    packets.insert(3, (broken, NO_FLAGS))
    film = Film(tmp_path, Limits())
    for number, (data, flags) in enumerate(packets):
        film.picture(1920 * number, Media(Kind.H264, StreamId.VIDEO, number, 0, data, flags))
        film.sound(1920 * number, np.full(1920, 0.1, np.float32))
    film.close()
    assert film.left_out == 1
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


def put(part: Film | Sound, number: int) -> None:
    """A twenty-fifth of a second of noise, with a picture where it is a film."""
    music = np.random.default_rng(number).uniform(-0.2, 0.2, 1920).astype(np.float32)
    if isinstance(part, Film):
        part.picture(1920 * number, Media(Kind.JPEG, StreamId.VIDEO, number, 0, jpeg(number)))
        part.sound(1920 * number, music)
    else:
        part.write(music)


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("kept", ["film", "flac", "opus"])
def test_a_disk_that_is_full_at_the_end_is_told(tmp_path: Path, kept: Any, more: int) -> None:
    part = Film(tmp_path, Limits()) if kept == "film" else Sound(tmp_path / "music", kept)
    for number in range(5):
        put(part, number)
    (path,) = tmp_path.iterdir()
    with no_file_larger_than(path.stat().st_size + more), pytest.raises(OSError, match=NO_MORE):
        part.close()


@pytest.mark.parametrize("kept", ["film", "flac", "wav", "opus"])
def test_what_a_full_disk_cuts_off_ends_with_what_can_be_played(tmp_path: Path, kept: Any) -> None:
    part = Film(tmp_path, Limits()) if kept == "film" else Sound(tmp_path / "music", kept)

    def fill() -> None:
        for number in range(500):
            put(part, number)

    with no_file_larger_than(40_000), pytest.raises(OSError, match=NO_MORE):
        fill()
    (path,) = tmp_path.iterdir()
    assert 20_000 < path.stat().st_size < 40_000
    if isinstance(part, Sound):
        part.close()
    else:
        assert pictures_in(path) > 20
    assert len(sound_of(path)) >= 5 * 1920


@pytest.mark.parametrize(("width", "height"), [(20_000, 2), (2, 20_000)])
def test_a_film_leaves_out_what_its_encoder_would_not_take(tmp_path: Path, width: int, height: int) -> None:
    film = Film(tmp_path, Limits())
    film.picture(0, Media(Kind.PNG, StreamId.VIDEO, 0, 0, jpeg(0, "png", (width, height))))
    assert (film.name, film.left_out) == (None, 1)
    film.picture(0, Media(Kind.PNG, StreamId.VIDEO, 1, 0, jpeg(1, "png", (32, 16))))
    film.close()
    assert (film.name, film.left_out) == ("film.mp4", 1)


@pytest.mark.parametrize(("codec", "kind"), [("libx264", Kind.H264), ("libvpx", Kind.VP8)])
def test_a_film_takes_no_larger_pictures_than_the_session(tmp_path: Path, codec: str, kind: Kind) -> None:
    film = Film(tmp_path, Limits(image_pixels=64 * 48 - 1))
    film.picture(0, Media(kind, StreamId.VIDEO, 0, 0, *video(codec, 1)[0]))
    film.picture(0, Media(Kind.JPEG, StreamId.VIDEO, 1, 0, jpeg(1)))
    assert (film.name, film.left_out) == (None, 2)


def test_after_a_lost_packet_a_film_waits_for_a_keyframe(tmp_path: Path) -> None:
    packets = video("libx264", 5)
    film = Film(tmp_path, Limits())
    for number, (data, flags) in enumerate(packets):
        if number != 2:
            film.picture(1920 * number, Media(Kind.H264, StreamId.VIDEO, number, 0, data, flags))
    film.picture(1920 * 9, Media(Kind.H264, StreamId.VIDEO, 9, 0, *packets[0]))
    film.close()
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert len([packet for packet in container.demux(video=0) if packet.size]) == 3
    assert film.left_out == 2


@pytest.mark.parametrize("shown", [b"", b"no picture"], ids=["none", "broken"])
def test_a_recording_that_has_no_film_says_why(serve: Serve, tmp_path: Path, shown: bytes) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("recording", action="start", video=True)
        client.until("recording.state", state="recording")
        if shown:
            client.show(shown)
            client.until("error", code="decode_failed")
        client.hear(client.at + 9600)
        client.send("recording", action="stop")
        state = client.until("recording.state", state="finished")
        assert [path.rpartition("/")[2] for path in state["paths"]] == ["music.flac", "timeline.jsonl"]
        said = "no picture could be used" if shown else "no picture came"
        assert state["text"] == f"there is no film: {said}"
        about = ended(served, state["recording_id"])
        assert (about["text"], about["left_out_pictures"]) == (state["text"], 1 if shown else 0)
        assert 'films_broken_total{reason="failed"} 0.0' in ask("GET", f"{served.http}/metrics")[1]


def test_a_film_of_pictures_is_encoded_and_one_that_is_broken_is_left_out(
    serve: Serve, tmp_path: Path
) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("recording", action="start", video=True)
        client.until("recording.state", state="recording")
        for number in range(5):
            client.show(jpeg(number))
            client.hear(client.at + 4800)
        client.show(b"no picture")
        client.until("error", code="decode_failed")
        client.send("recording", action="stop")
        state = client.until("recording.state", state="finished")
        assert [path.rpartition("/")[2] for path in state["paths"]] == [
            "music.flac",
            "film.mp4",
            "timeline.jsonl",
        ]
        about = ended(served, state["recording_id"])
        assert about["left_out_pictures"] == 1
        with av.open(str(folder_of(tmp_path) / "film.mp4")) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            frames = list(container.decode(video=0))
            assert len(frames) == 5
            gaps = np.diff([float(frame.time) for frame in frames])
            assert (gaps > 0).all()


def test_a_server_without_a_folder_says_so(served: Served) -> None:
    with Client(served.ws) as client:
        one = f"{served.http}/v1/sessions/{client.start()['session_id']}"
        client.send("recording", action="start", event_id="e")
        error = client.until("error", event_id="e")
        assert (error["code"], error["fatal"]) == ("recording_off", False)
        assert "--recordings" in error["text"]
        status, answer = ask("POST", f"{one}/recording", {})
        assert (status, answer["error"]["code"]) == (409, "recording_off")
        client.send("recording", action="stop", event_id="f")
        assert client.until("error", event_id="f")["code"] == "bad_request"
        for address in ("", f"/{new_id()}"):
            status, answer = ask("GET", f"{served.http}/v1/recordings{address}")
            assert (status, answer["error"]["code"]) == (404, "recording_off")


def test_limits_are_kept(serve: Serve, tmp_path: Path) -> None:
    limits = RecordingLimits(at_once=1, length_s=0.25)
    with (
        serve(recordings=tmp_path, recording=limits) as served,
        Client(served.ws) as one,
        Client(served.ws) as two,
    ):
        one.start()
        two.start()
        one.send("recording", action="start")
        one.until("recording.state", state="recording")
        for client in (one, two):
            client.send("recording", action="start", event_id="no")
            assert client.until("error", event_id="no")["code"] == "recording_refused"
        one.play()
        state = one.until("recording.state", state="finished")
        assert (state["reason"], state["samples"]) == ("length", 12_000)
        metrics = ask("GET", f"{served.http}/metrics")[1]
        assert 'cuestream_recordings_ended_total{reason="length"} 1.0' in metrics
        assert 'cuestream_recordings_refused_total{reason="at_once"} 1.0' in metrics
        assert "cuestream_recordings 0.0" in metrics


def test_one_that_has_no_thread_is_refused_and_takes_no_place(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = RecordingLimits(at_once=1)
    with serve(recordings=tmp_path, recording=limits) as served, Client(served.ws) as client:
        client.start()
        with monkeypatch.context() as full:
            full.setattr(Writer, "start", no_thread)
            client.send("recording", action="start", event_id="no")
            error = client.until("error", event_id="no")
        assert (error["code"], error["fatal"]) == ("recording_refused", False)
        assert "cannot be started: can't start new thread" in error["text"]
        refused = 'cuestream_recordings_refused_total{reason="not_started"} 1.0'
        assert refused in ask("GET", f"{served.http}/metrics")[1]
        client.send("recording", action="start")
        client.until("recording.state", state="recording")


def no_thread(_: Any) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("limits", [RecordingLimits(folder_bytes=1), RecordingLimits(free_bytes=2**62)])
def test_a_full_folder_or_disk_is_said(serve: Serve, tmp_path: Path, limits: RecordingLimits) -> None:
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "music.wav").write_bytes(b"12")
    with serve(recordings=tmp_path, recording=limits) as served, Client(served.ws) as client:
        one = f"{served.http}/v1/sessions/{client.start()['session_id']}"
        status, answer = ask("POST", f"{one}/recording", {"audio": "wav"})
        assert (status, answer["error"]["code"]) == (507, "recording_refused")
        assert "disk" in answer["error"]["text"] or "full" in answer["error"]["text"]


def test_a_folder_that_fills_up_finishes_what_runs(serve: Serve, tmp_path: Path) -> None:
    with serve(recordings=tmp_path, recording=RecordingLimits(folder_bytes=200_000)) as served:
        with Client(served.ws) as client:
            client.start()
            client.play()
            client.send("recording", action="start", audio="wav")
            assert client.until("recording.state", state="finished")["reason"] == "quota"
        assert len(sound_of(folder_of(tmp_path) / "music.wav")) > RATE


def test_rest_begins_ends_and_gives_the_files_to_who_may_have_them(serve: Serve, tmp_path: Path) -> None:
    with serve(recordings=tmp_path, api_key=KEY) as served:
        made = ask("POST", f"{served.http}/v1/sessions", key=KEY)[1]
        one = f"{served.http}/v1/sessions/{made['session_id']}"
        with Client(served.ws, made["client_secret"]["value"]) as client:
            client.start()
            client.play()
            assert ask("POST", f"{one}/recording", {})[0] == 401
            assert ask("POST", f"{one}/recording", {"audio": "midi"}, KEY)[0] == 400
            status, begun = ask("POST", f"{one}/recording", {}, KEY)
            assert (status, begun["state"]) == (201, "recording")
            assert ask("GET", one, key=KEY)[1]["recording"] == begun["recording_id"]
            running = f"{served.http}/v1/recordings/{begun['recording_id']}"
            assert ask("GET", f"{running}/music.flac", key=KEY)[0] == 409
            client.hear(client.at + 9600)
            status, done = ask("DELETE", f"{one}/recording", key=KEY)
            assert (status, done["state"]) == (200, "finished")
            assert (begun["paths"], begun["left_out_pictures"], begun["text"]) == ([], None, "")
            assert ask("GET", running, key=KEY)[1] == done
            assert begun.keys() == done.keys()
            assert done["files"].keys() == {"music.flac", "timeline.jsonl"}
            assert (done["reason"], done["left_out_pictures"], done["text"]) == ("asked", 0, "")
            assert ask("DELETE", f"{one}/recording", key=KEY)[0] == 409
        with_token = served.http + done["paths"][0]
        without = with_token.partition("?")[0]
        assert ask("GET", without)[0] == ask("GET", f"{without}?token=x")[0] == 401
        assert ask("GET", f"{running}/about.json", key=KEY)[0] == 404
        assert ask("GET", f"{served.http}/v1/recordings/..%2f..%2fetc/music.flac", key=KEY)[0] == 404
        assert ask("GET", f"{served.http}/v1/recordings/{new_id()}", key=KEY)[0] == 404
        held = (folder_of(tmp_path) / "music.flac").read_bytes()
        for address, headers in ((with_token, {}), (without, {"authorization": f"Bearer {KEY}"})):
            with urllib.request.urlopen(
                urllib.request.Request(address, headers=headers), timeout=10
            ) as answer:
                assert answer.headers["content-type"] == "audio/flac"
                assert answer.read() == held


WHOLE = b"0123456789"
RANGES = {
    "bytes=2-4": (206, b"234"),
    "bytes=7-": (206, b"789"),
    "bytes=-2": (206, b"89"),
    "bytes=9-99": (206, b"9"),
    "bytes=4-2": (200, WHOLE),
    "bytes=-": (200, WHOLE),
    "bytes=-0": (200, WHOLE),
    "bytes=0-1,3-4": (200, WHOLE),
    "lines=1-2": (200, WHOLE),
    "x": (200, WHOLE),
}


def test_a_file_is_fetched_in_ranges(serve: Serve, tmp_path: Path) -> None:
    recording_id = new_id()
    (tmp_path / recording_id).mkdir()
    (tmp_path / recording_id / "music.wav").write_bytes(WHOLE)

    def fetch(asked: str) -> tuple[int, bytes, str | None]:
        line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        line.request("GET", f"/v1/recordings/{recording_id}/music.wav", headers={"range": asked})
        with closing(line), closing(line.getresponse()) as answer:
            return answer.status, answer.read(), answer.headers["content-range"]

    with serve(recordings=tmp_path) as served:
        assert {asked: fetch(asked)[:2] for asked in RANGES} == RANGES
        status, said, where = fetch("bytes=10-")
    assert (status, json.loads(said)["error"]["code"], where) == (416, "range_beyond", "bytes */10")


def test_a_recording_that_is_ended_before_its_files_are_open_is_answered_when_it_is_finished(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now = Event()
    monkeypatch.setattr(Shelf, "check_room", lambda shelf: open_now.wait(PATIENCE_S))
    with serve(recordings=tmp_path) as served, Client(served.ws) as client, ThreadPoolExecutor() as threads:
        hosted = served.host.sessions[client.start()["session_id"]]
        address = f"{served.http}/v1/sessions/{hosted.id}/recording"
        begun = threads.submit(ask, "POST", address, {})
        soon(lambda: hosted.tape)
        done = threads.submit(ask, "DELETE", address)
        soon(lambda: hosted.tape is None)
        open_now.set()
        assert begun.result()[0] == 201
        status, state = done.result()
        assert (status, state["state"]) == (200, "finished")


def begun_and_ended(client: Client, open_now: Event) -> list[tuple[str, str]]:
    """What both are told, of a recording that is ended before its files are open."""
    client.send("recording", action="start", event_id="begin")
    client.send("recording", action="stop", event_id="end")
    client.send("ping", t_us=0, event_id="both were seen")
    client.until("pong", event_id="both were seen")
    open_now.set()
    states = [client.until("recording.state") for _ in range(2)]
    return [(state["event_id"], state["state"]) for state in states]


def test_who_began_a_recording_and_who_ended_it_are_answered_each_also_before_its_files_are_open(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now = Event()
    monkeypatch.setattr(Shelf, "check_room", lambda shelf: open_now.wait(PATIENCE_S))
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        assert begun_and_ended(client, open_now) == [
            ("begin", "recording"),
            ("end", "finished"),
        ]


def test_a_recording_that_could_not_begin_says_so_to_everybody_who_asked(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now = Event()

    def full(shelf: Shelf) -> None:
        open_now.wait(PATIENCE_S)
        raise OSError("no disk")

    monkeypatch.setattr(Shelf, "check_room", full)
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        assert begun_and_ended(client, open_now) == [
            ("begin", "failed"),
            ("end", "failed"),
        ]


def test_a_recording_whose_disk_answers_after_the_server_stopped_ends(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now = Event()
    monkeypatch.setattr(Shelf, "check_room", lambda shelf: open_now.wait(PATIENCE_S))
    monkeypatch.setattr("server.recording.tape.STOP_S", 0.1)
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.send("recording", action="start")
        soon(lambda: served.host.recorder.tapes)
        (tape,) = served.host.recorder.tapes.values()
    open_now.set()
    assert tape.join(PATIENCE_S)
    assert json.loads((folder_of(tmp_path) / "about.json").read_text())["state"] == "finished"


def listed(served: Served, query: str = "", key: str | None = None) -> list[dict[str, Any]]:
    status, answer = ask("GET", f"{served.http}/v1/recordings{query}", key=key)
    assert status == 200
    return list(answer["recordings"])


def test_recordings_are_listed_newest_first_each_as_it_is_answered_alone(
    serve: Serve, tmp_path: Path
) -> None:
    with (
        serve(recordings=tmp_path, api_key="k") as served,
        Client(served.ws, "k") as one,
        Client(served.ws, "k") as two,
    ):
        assert listed(served, key="k") == []
        ids, sessions = [], []
        for client in (one, two):
            sessions.append(client.start()["session_id"])
            client.play()
            ids.append(record(client)["recording_id"])
        two.send("recording", action="start", event_id="more")
        ids.append(two.until("recording.state", event_id="more")["recording_id"])
        about = [ask("GET", f"{served.http}/v1/recordings/{each}", key="k")[1] for each in ids]
        found = {each["recording_id"]: each for each in listed(served, key="k")}
        assert about[2].pop("samples") <= found[ids[2]].pop("samples")
        assert list(found) == sorted(ids, reverse=True)
        assert found == dict(zip(ids, about, strict=True))
        assert [each["state"] for each in about] == ["finished", "finished", "recording"]
        assert [each["session_id"] for each in about] == [sessions[0], sessions[1], sessions[1]]
        of_one = listed(served, f"?session={sessions[0]}", "k")
        assert [each["recording_id"] for each in of_one] == ids[:1]
        assert listed(served, "?session=nobody", "k") == []
        assert ask("GET", f"{served.http}/v1/recordings")[0] == 401
        token = about[0]["paths"][0].partition("?")[2]
        assert ask("GET", f"{served.http}/v1/recordings?{token}")[0] == 401


def test_a_list_of_recordings_is_bounded_and_goes_on_before_one(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.recording.rest.MOST_LISTED", 2)
    ids = sorted((f"2026112{day}-194515-{'x' * 16}" for day in range(5)), reverse=True)
    for each in ids:
        (tmp_path / each).mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / ids[0] / "about.json").write_text('["no", "words"]')
    (tmp_path / ids[1] / "about.json").write_text(
        '{"recording_id": "", "session_id": "s-1", "state": "recording"}'
    )
    with serve(recordings=tmp_path) as served:
        assert [each["recording_id"] for each in listed(served)] == ids[:2]
        assert {(each["state"], each["samples"], each["text"]) for each in listed(served)} == {
            ("interrupted", None, "")
        }
        assert [each["recording_id"] for each in listed(served, f"?before={ids[1]}")] == ids[2:4]
        assert [each["recording_id"] for each in listed(served, f"?before={ids[3]}")] == ids[4:]
        assert [each["recording_id"] for each in listed(served, "?session=s-1")] == ids[1:2]
        assert ask("GET", f"{served.http}/v1/recordings?before=x")[0] == 400
        described = ask("GET", f"{served.http}/openapi.json")[1]["paths"]["/v1/recordings"]
        assert {each["name"] for each in described["parameters"]} == {"session", "before"}
        shutil.rmtree(tmp_path)
        assert listed(served) == []


def test_a_session_that_ends_finishes_its_recording(serve: Serve, tmp_path: Path) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("recording", action="start")
        recording_id = client.until("recording.state")["recording_id"]
        client.hear(client.at + 9600)
        client.send("session.end", fade_ms=0)
        samples = client.until("session.ended")["samples"]
        about = ended(served, recording_id)
        assert about["reason"] == "session_ended"
        head = timeline_of(folder_of(tmp_path))[0]
        assert head["first_sample"] + about["samples"] == samples
        assert len(sound_of(folder_of(tmp_path) / "music.flac")) == about["samples"]


@pytest.mark.parametrize("audio", ["flac", "wav", "opus"])
def test_a_session_that_ends_before_it_played_finishes_its_recording(
    serve: Serve, tmp_path: Path, audio: str
) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.send("recording", action="start", audio=audio)
        recording_id = client.until("recording.state")["recording_id"]
        client.send("session.end", fade_ms=0)
        client.until("session.ended")
        about = ended(served, recording_id)
        assert (about["state"], about["samples"]) == ("finished", 0)
        assert served.host.recorder.tapes == {}


def test_a_session_that_is_lost_finishes_its_recording_and_one_that_comes_back_goes_on(
    serve: Serve, tmp_path: Path
) -> None:
    with serve(recordings=tmp_path, resume_window_s=1) as served:
        client = Client(served.ws)
        client.start()
        client.play()
        client.send("recording", action="start")
        begun = client.until("recording.state")
        handle = client.until("resume.handle")["handle"]
        client.drop()
        with Client(served.ws) as again:
            again.resume(handle, client.at)
            assert again.until("recording.state")["recording_id"] == begun["recording_id"]
            again.drop()
        assert ended(served, begun["recording_id"])["reason"] == "session_ended"


def test_a_server_that_stops_finishes_its_recordings(serve: Serve, tmp_path: Path) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("recording", action="start")
        client.until("recording.state")
        client.hear(client.at + 9600)
    folder = folder_of(tmp_path)
    about = json.loads((folder / "about.json").read_text())
    assert (about["state"], about["reason"]) == ("finished", "session_ended")
    assert len(sound_of(folder / "music.flac")) == about["samples"] >= 9600


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_or_killed_leaves_what_can_be_played(
    tmp_path: Path, sent: signal.Signals
) -> None:
    command = [sys.executable, "-m", "cuestream", "serve", "--model", "random-tiny", "--port", "0"]
    command += ["--threads", "1", "--drain", "0", "--recordings", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "plays at" in line)
        found = re.search(r":(\d+)/", said)
        assert found
        try:
            client = Client(f"ws://127.0.0.1:{found[1]}/v1/stream")
            client.start()
            client.play()
            client.send("recording", action="start", video=True)
            client.until("recording.state")
            for _ in range(40):
                client.show()
                client.hear(client.at + 2400)
            process.send_signal(sent)
            process.wait(20)
            client.drop()
        finally:
            process.kill()
    folder = folder_of(tmp_path)
    assert len(sound_of(folder / "music.flac")) > RATE
    soon(lambda: pictures_in(folder / "film.mp4") > 5)  # where the server was killed, its process finishes it
    assert len(timeline_of(folder)) > 40
    told = Shelf(tmp_path, RecordingLimits()).about(folder.name)
    assert told is not None
    assert told.state == ("finished" if sent is signal.SIGTERM else "interrupted")
    assert told.session_id == timeline_of(folder)[0]["session"]
    assert told.files["music.flac"] > 0


@pytest.mark.parametrize("form", ["flac", "wav", "opus"])
def test_a_file_that_nobody_finished_can_be_played(tmp_path: Path, form: Any) -> None:
    path, copy = tmp_path / f"music.{form}", tmp_path / f"copy.{form}"
    sound = Sound(path, form)
    for _ in range(100):
        sound.write(np.full(960, 0.5, np.float32))
    shutil.copy(path, copy)
    assert len(sound_of(copy)) > 1.5 * RATE
    sound.close()
    assert len(sound_of(path)) >= 2 * RATE


class Holed(Written):
    """Silence is not written but left out, so that a file takes no room for it."""

    def write(self, data: Any) -> int:
        if bytes(data) != bytes(len(data)):
            return super().write(data)
        self.seek(len(data), os.SEEK_CUR)
        return len(data)


def test_a_wav_of_more_than_4_gib_can_be_played_to_its_end_finished_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six hours and a quarter."""
    monkeypatch.setattr("server.recording.sound.Written", Holed)
    path = tmp_path / "music.wav"
    sound = Sound(path, "wav")
    silence = av.Packet(bytes(2**28))
    silence.stream, silence.time_base = sound._stream, Fraction(1, RATE)
    for number in range(16):
        silence.pts = silence.dts = number * 2**26
        sound._container.mux(silence)
    sound.samples = 2**30
    sound.write(np.full(RATE, 0.5, np.float32))
    for _ in range(2):
        assert path.stat().st_size > 2**32
        with av.open(str(path)) as container:
            container.seek(2**30 // RATE * av.time_base)
            heard = [frame.samples for frame in container.decode(audio=0) if frame.to_ndarray().any()]
        assert sum(heard) >= RATE
        sound.close()
    with path.open("rb") as file:
        head = struct.unpack("<4s4x4s4s4xQQQ", file.read(44))
    size = path.stat().st_size - 8
    assert head == (b"RF64", b"WAVE", b"ds64", size, 2**32 + 4 * RATE, 2**30 + RATE)


def writer(folder: Path, limits: RecordingLimits, told: list[Told]) -> Writer:
    return Writer(Shelf(folder, limits), new_id(), "flac", Limits(), {"session": "s-1"}, told.append)


def test_what_waits_for_a_slow_disk_is_bounded(tmp_path: Path) -> None:
    told: list[Told] = []
    slow = writer(tmp_path, RecordingLimits(waiting_s=1.0, waiting_pictures=3), told)
    for number in range(5):
        slow.put(Pictured(0, Media(Kind.JPEG, StreamId.VIDEO, number, 0, jpeg(number))))
    for second in range(4):
        slow.put(Heard(second * RATE, np.zeros(RATE, np.float32), ()))
    slow.start()
    assert slow.join(PATIENCE_S)
    assert [(each.state, each.reason) for each in told] == [("recording", None), ("failed", "failed")]
    assert "slow" in told[-1].text
    assert (told[-1].samples, told[-1].left_out) == (2 * RATE, 2)


def test_pictures_that_wait_for_a_slow_disk_are_bounded_in_bytes(tmp_path: Path) -> None:
    told: list[Told] = []
    size = len(jpeg(0))
    slow = writer(tmp_path, RecordingLimits(waiting_picture_bytes=2 * size + 1), told)
    for number in range(5):
        slow.put(Pictured(0, Media(Kind.JPEG, StreamId.VIDEO, number, 0, bytes(size))))
    slow.start()
    slow.finish("asked")
    assert slow.join(PATIENCE_S)
    assert slow._left_out == 3


def test_a_timeline_that_a_full_disk_cuts_off_has_whole_lines(tmp_path: Path) -> None:
    told: list[Told] = []
    taken = writer(tmp_path, RecordingLimits(), told)
    taken.start()
    soon(lambda: told)
    with no_file_larger_than(10_000):
        taken.put(Heard(0, np.zeros(960, np.float32), tuple({"n": number} for number in range(5000))))
        assert taken.join(PATIENCE_S)
    assert (told[-1].state, told[-1].text) == ("failed", NO_MORE)
    lines = timeline_of(folder_of(tmp_path))
    assert [line["n"] for line in lines[1:]] == list(range(len(lines) - 1))
    assert len(lines) > 500


def test_what_happens_while_nothing_sounds_is_bounded_and_comes_with_the_next_music(
    serve: Serve, tmp_path: Path
) -> None:
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        hosted = served.host.sessions[client.start()["session_id"]]
        client.send("recording", action="start")
        client.until("recording.state")
        tape = hosted.tape
        assert tape is not None
        served.on_loop(lambda: [tape.note({"n": number}) for number in range(1000)])
        client.play()
        client.send("recording", action="stop")
        client.until("recording.state", state="finished")
    noted = [line["n"] for line in timeline_of(folder_of(tmp_path)) if "n" in line]
    assert noted == list(range(1000 - MOST_NOTES + 1, 1000))  # and the verb that began the music


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    told: list[Told] = []
    gone = writer(tmp_path / "gone", RecordingLimits(), told)
    (tmp_path / "gone").rmdir()
    (tmp_path / "gone").touch()
    gone.start()
    assert gone.join(PATIENCE_S)
    assert (told[0].state, told[0].text) == ("failed", "File exists")


def test_a_folder_that_went_away_is_made_again_and_what_goes_with_it_has_failed(tmp_path: Path) -> None:
    told: list[Told] = []
    for _ in range(2):
        taken = writer(tmp_path / "gone", RecordingLimits(), told)
        shutil.rmtree(tmp_path / "gone")
        taken.start()
        soon(lambda: told and told[-1].state == "recording")
        if len(told) > 1:
            shutil.rmtree(tmp_path / "gone")
        taken.finish("asked")
        assert taken.join(PATIENCE_S)
    assert [each.state for each in told] == ["recording", "finished", "recording", "failed"]
    assert told[-1].text
    assert str(tmp_path) not in told[-1].text


def test_a_folder_that_went_away_ends_what_goes_on(tmp_path: Path) -> None:
    told: list[Told] = []
    taken = writer(tmp_path / "gone", RecordingLimits(), told)
    taken.start()
    soon(lambda: told)
    shutil.rmtree(tmp_path / "gone")
    for first in range(0, 2 * RATE, RATE // 2):
        taken.put(Heard(first, np.zeros(RATE // 2, np.float32), ()))
    assert taken.join(PATIENCE_S)
    assert (told[-1].state, told[-1].text) == ("failed", "its folder went away")


def test_what_cannot_be_kept_of_a_recording_is_told_and_what_was_kept_stays(tmp_path: Path) -> None:
    told: list[Told] = []
    taken = writer(tmp_path, RecordingLimits(), told)
    taken.start()
    soon(lambda: told)
    folder = folder_of(tmp_path)
    before = (folder / "about.json").read_bytes()
    (folder / "about.json.new").mkdir()
    taken.finish("asked")
    assert taken.join(PATIENCE_S)
    assert (told[-1].state, told[-1].reason, told[-1].text) == ("failed", "failed", "Is a directory")
    assert told[-1].files
    assert (folder / "about.json").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    command = [sys.executable, "-m", "cuestream", "serve", "--model", "random-tiny", "--port", "0"]
    done = subprocess.run(
        [*command, "--recordings", str(tmp_path / "file")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "recordings cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_are_only_those_of_recordings(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, RecordingLimits())
    (tmp_path / "music.flac").write_bytes(b"secret")
    assert (
        shelf.file("..", "music.flac")
        is shelf.file(".", "music.flac")
        is shelf.file("", "music.flac")
        is None
    )
    assert shelf.about("..") is shelf.about("20261125-194515-/../../../../x") is None


def test_recordings_of_one_second_are_named_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that lists them, the newest first, knows nothing else."""
    moments = [second + part / 100 for second in (1_764_000_000, 1_764_000_001) for part in range(100)]
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", iter(moments).__next__)
        names = [new_id() for _ in moments]
    assert names == sorted(names)
    assert all(ID.fullmatch(name) for name in names)


def test_a_recording_says_what_a_full_disk_said(tmp_path: Path) -> None:
    told: list[Told] = []
    taken = writer(tmp_path, RecordingLimits(), told)
    taken.start()
    soon(lambda: told)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    with no_file_larger_than(100_000):
        taken.put(Heard(0, noise, ()))
        taken.put(Heard(RATE, noise, ()))
        assert taken.join(PATIENCE_S)
    assert (told[-1].state, told[-1].text) == ("failed", NO_MORE)


def test_a_recording_ends_whatever_happens_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Sound, "write", full)
    told: list[Told] = []
    taken = writer(tmp_path, RecordingLimits(), told)
    taken.put(Heard(0, np.zeros(960, np.float32), ()))
    taken.start()
    assert taken.join(PATIENCE_S)
    assert [each.state for each in told] == ["recording", "failed"]
