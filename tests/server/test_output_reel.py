"""Reels: what is seen is what was shown, later by exactly the delay; what is heard is what was given."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from full_disk import NO_MORE, no_file_larger_than
from output_rig import F32, RATE, beeps_from, job_of, jump_of, music_of, picture, raw, shown_in, video
from shell_client import jpeg

from server.output.process import Process
from server.output.reel import Reel
from server.output.targets import Allowed, What
from server.output.wire import End, Heard, Job, Pictured, Report
from server.pictures.imaging import CHAINED
from server.protocol.media import Kind, Media, StreamId
from server.system.records import packed

BLOCK = 960
DELAY = 21_600
CLICK_S = 1.5


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """What the process would have said."""
    told: list[Report] = []
    monkeypatch.setattr("server.output.process.tell", told.append)
    return told


def reel_of(job: Job) -> Reel:
    return Process(job)._reel


def click(seconds: float) -> F32:
    """Silence with a tone from CLICK_S on."""
    at = np.arange(int(seconds * RATE))
    return (0.5 * np.sin(2 * np.pi * 1000 * at / RATE) * (at >= CLICK_S * RATE)).astype(np.float32)


def run(reel: Reel, music: F32, pictures: dict[int, Media]) -> None:
    """pictures: by the block before which each came."""
    for number in range(len(music) // BLOCK):
        if number in pictures:
            reel.pictured(number * BLOCK, pictures[number])
        reel.heard(number * BLOCK, music[number * BLOCK : (number + 1) * BLOCK])
    reel.close()


def flashes(kind: Kind) -> dict[int, Media]:
    """Pictures each 80 ms, bright from CLICK_S less DELAY on: its music knows them as they are shown."""
    bright = int((CLICK_S - DELAY / RATE) * RATE / BLOCK)
    blocks = range(bright % 4, 120, 4)
    levels = [240 if block >= bright else 16 for block in blocks]
    still = raw if kind is Kind.RGB24 else picture
    made = video(kind, levels) if kind in CHAINED else [still(n, level) for n, level in enumerate(levels)]
    return dict(zip(blocks, made, strict=True))


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        *((kind, url) for kind in (Kind.JPEG, Kind.H264) for url in ("file:a.mkv", "file:a.mp4", "hls:a")),
        (Kind.VP8, "file:a.mkv"),
        (Kind.RGB24, "file:a.mkv"),
    ],
)
def test_a_flash_is_seen_with_the_sound_that_the_delay_waits_for(
    tmp_path: Path, kind: Kind, url: str
) -> None:
    run(reel_of(job_of(url, "mixed", Allowed(folder=tmp_path), DELAY)), click(2.4), flashes(kind))
    path = tmp_path / "a" / "index.m3u8" if url == "hls:a" else tmp_path / url.removeprefix("file:")
    assert jump_of(shown_in(path)) == pytest.approx(beeps_from(path), abs=1 / 25)


@pytest.mark.parametrize("ending", ["flac", "wav"])
def test_music_alone_is_the_samples_that_were_given(tmp_path: Path, ending: str) -> None:
    music = (np.random.default_rng(0).uniform(-0.5, 0.5, RATE)).astype(np.float32)
    run(reel_of(job_of(f"file:a.{ending}", "music", Allowed(folder=tmp_path))), music, {})
    np.testing.assert_allclose(music_of(tmp_path / f"a.{ending}")[1], music, atol=1 / 32767)


@pytest.mark.parametrize("url", ["file:a.ogg", "file:a.mp3", "file:a.m4a", "file:a.opus", "hls:a"])
def test_music_alone_in_a_lossy_codec_is_the_same_music(tmp_path: Path, url: str) -> None:
    run(reel_of(job_of(url, "music", Allowed(folder=tmp_path))), click(2.0), {0: picture(0, 0)})
    path = tmp_path / "a" / "index.m3u8" if url == "hls:a" else tmp_path / url.removeprefix("file:")
    began_s, heard = music_of(path)
    assert beeps_from(path) - max(0.0, began_s) == pytest.approx(CLICK_S, abs=0.04)
    assert np.abs(np.fft.rfft(heard[-RATE // 4 :])).argmax() * 4 == pytest.approx(1000, abs=8)


def test_pictures_go_on_at_a_constant_rate_when_none_comes(tmp_path: Path) -> None:
    run(reel_of(job_of("file:a.mkv", "mixed", Allowed(folder=tmp_path))), click(2.0), {0: picture(0, 16)})
    times = [time_s for time_s, _ in shown_in(tmp_path / "a.mkv")]
    assert len(times) == 50
    assert np.diff(times) == pytest.approx(1 / 25, abs=0.0011)


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    reel = reel_of(job_of("file:a.mkv", "mixed", Allowed(folder=tmp_path)))
    good, broken = picture(0, 16), picture(1, 16)
    broken = Media(broken.kind, broken.stream, 1, 0, b"no picture")
    late = video(Kind.H264, [10, 10, 10])[1]
    run(reel, click(1.0), {0: broken, 1: late, 4: good, 8: broken})
    assert reel.left_out == 3
    assert len(shown_in(tmp_path / "a.mkv")) == 23


def test_a_picture_that_the_encoder_would_not_take_is_left_out(tmp_path: Path) -> None:
    reel = reel_of(job_of("file:a.mkv", "mixed", Allowed(folder=tmp_path)))
    wide = Media(Kind.PNG, StreamId.VIDEO, 0, 0, jpeg(0, "png", (20_000, 2)))
    run(reel, click(1.0), {0: wide, 4: picture(1, 16)})
    assert reel.left_out == 1
    assert len(shown_in(tmp_path / "a.mkv")) == 23


@pytest.mark.parametrize("kind", [Kind.H264, Kind.VP8])
def test_after_a_lost_packet_video_waits_for_a_keyframe(tmp_path: Path, kind: Kind) -> None:
    reel = reel_of(job_of("file:a.mkv", "mixed", Allowed(folder=tmp_path)))
    packets = dict(enumerate(video(kind, [16] * 6)))
    del packets[2]
    run(reel, click(0.5), packets)
    assert reel.left_out == 3


@pytest.mark.parametrize("url", ["file:a.mkv", "file:a.mp4", "hls:a"])
def test_copied_video_that_changes_its_size_goes_on(tmp_path: Path, url: str) -> None:
    reel = reel_of(job_of(url, "mixed", Allowed(folder=tmp_path)))
    packets = [*video(Kind.H264, [16] * 10), *video(Kind.H264, [240] * 10, (128, 96))]
    numbered = [msgspec.structs.replace(media, seq=seq) for seq, media in enumerate(packets)]
    run(reel, click(0.5), dict(enumerate(numbered)))
    assert reel.left_out == 0
    path = tmp_path / "a" / "index.m3u8" if url == "hls:a" else tmp_path / url.removeprefix("file:")
    with av.open(str(path)) as container:
        sizes = [frame.width for frame in container.decode(video=0)]
    assert sizes == [64] * 10 + [128] * 10
    assert jump_of(shown_in(path)) == pytest.approx(10 * BLOCK / RATE, abs=0.03)


@pytest.mark.parametrize("url", ["file:a.mkv", "file:a.mp4"])
def test_copied_pictures_that_come_at_once_follow_each_other(tmp_path: Path, url: str) -> None:
    reel = reel_of(job_of(url, "mixed", Allowed(folder=tmp_path), DELAY))
    for media in video(Kind.H264, [16] * 20):
        reel.pictured(0, media)
    run(reel, click(1.0), {})
    at = [time_s for time_s, _ in shown_in(tmp_path / url.removeprefix("file:"))]
    assert len(at) == 20
    assert min(np.diff(at)) > 0.006
    assert at[-1] - at[0] < 0.2


def test_pictures_that_are_held_back_are_bounded(tmp_path: Path) -> None:
    reel = reel_of(job_of("file:a.mkv", "mixed", Allowed(folder=tmp_path), RATE, held_pictures=5))
    for number in range(9):
        reel.pictured(number * BLOCK, picture(number, 16))
    assert reel.left_out == 4
    reel.close()
    size = len(picture(0, 16).payload)
    reel = reel_of(job_of("file:b.mkv", "mixed", Allowed(folder=tmp_path), RATE, held_bytes=3 * size))
    for number in range(9):
        reel.pictured(number * BLOCK, picture(number, 16))
    assert reel.left_out == 6
    reel.close()


def test_a_playlist_can_be_read_while_it_grows(tmp_path: Path) -> None:
    reel = reel_of(job_of("hls:a", "mixed", Allowed(folder=tmp_path)))
    music = click(5.0)
    reel.pictured(0, picture(0, 16))
    for number in range(len(music) // BLOCK):
        reel.heard(number * BLOCK, music[number * BLOCK : (number + 1) * BLOCK])
    text = (tmp_path / "a" / "index.m3u8").read_text()
    assert "EVENT" in text
    assert "000000.ts" in text
    assert "ENDLIST" not in text
    reel.close()
    assert "ENDLIST" in (tmp_path / "a" / "index.m3u8").read_text()


def test_the_process_says_how_it_goes(tmp_path: Path, quiet: list[Report]) -> None:
    process: Any = Process(job_of("file:a.flac", "music", Allowed(folder=tmp_path)))
    samples = np.zeros(BLOCK, np.float32).tobytes()
    process.run(io.BytesIO(packed(Heard(0, samples)) + packed(End())))
    assert signal.alarm(0) == 0  # its alarm is not left to somebody else
    assert [report.state for report in quiet] == ["opening", "open", "done"]
    with av.open(str(tmp_path / "a.flac")) as container:
        assert container.streams.audio[0].codec_context.name == "flac"


def noise(seconds: float) -> bytes:
    """What a process is sent, with a picture each 80 ms."""
    music = np.random.default_rng(0).uniform(-0.2, 0.2, int(seconds * RATE)).astype(np.float32)
    sent = []
    for number in range(len(music) // BLOCK):
        if number % 4 == 0:
            sent.append(packed(Pictured(number * BLOCK, picture(number, 2 * number % 256))))
        sent.append(packed(Heard(number * BLOCK, music[number * BLOCK : (number + 1) * BLOCK].tobytes())))
    return b"".join(sent) + packed(End())


@pytest.mark.parametrize("url", ["file:a.mkv", "file:a.mp4", "file:a.m4a", "file:a.flac", "hls:a", "hls:b"])
def test_a_disk_that_is_full_at_the_end_is_told(tmp_path: Path, url: str) -> None:
    what: What = "mixed" if url in ("file:a.mkv", "file:a.mp4", "hls:a") else "music"
    whole, again = (
        Process(job_of(each, what, Allowed(folder=tmp_path)))
        for each in (url, url.replace("a.", "again.").replace("hls:", "hls:again-"))
    )
    whole.run(io.BytesIO(noise(0.4)))
    size = max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    said = io.BytesIO(noise(0.4))
    with no_file_larger_than(size - 1), pytest.raises(OSError, match=NO_MORE):
        again.run(said)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_what_a_full_disk_cuts_off_ends_with_what_can_be_played(tmp_path: Path, name: str) -> None:
    process: Any = Process(job_of(f"file:{name}", "mixed", Allowed(folder=tmp_path)))
    said = io.BytesIO(noise(4.0))
    with no_file_larger_than(80_000), pytest.raises(OSError, match=NO_MORE):
        process.run(said)
    assert len(shown_in(tmp_path / name)) > 20
    assert len(music_of(tmp_path / name)[1]) > RATE
