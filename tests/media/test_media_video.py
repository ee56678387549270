"""Laws of reading video: the right frames at the right times, or one line that says why not."""

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from clips import Clip, Sound, corners, cut_off, make, make_sound, noise

from engine.errors import MediaError
from engine.media.timeline import scan
from engine.media.video import EveryNth, VideoFrame, VideoReader, probe, ticks, ticks_until

SIZE = 32


def frames_of(path: Path) -> list[VideoFrame]:
    return list(VideoReader(path, SIZE))


def quarter(pixels: np.ndarray, row: int, column: int) -> list[int]:
    """The colour in the middle of a quarter, rounded to 0 or 255."""
    seen = pixels[SIZE // 4 + row * SIZE // 2, SIZE // 4 + column * SIZE // 2]
    return [255 if value > 127 else 0 for value in seen]


def one_line(error: pytest.ExceptionInfo[MediaError], path: Path) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_file_lasts_as_long_as_its_sound(tmp_path: Path, name: str) -> None:
    sound = Sound(noise(2.5, 0.1), codec="aac" if name == "a.mp4" else "pcm_s16le")
    info = probe(make(tmp_path / name, Clip(frames=16, sound=sound)))
    assert info.duration_s == pytest.approx(1.6, abs=0.01)
    assert info.file_s == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("h264.mp4", Clip()),
        ("h264.mkv", Clip()),
        ("h264.mov", Clip()),
        ("mpeg4.avi", Clip(codec="mpeg4")),
        ("vp9.webm", Clip(codec="libvpx-vp9", frames=4, options={"cpu-used": "8"})),
        ("ffv1.mkv", Clip(codec="ffv1")),
        ("odd.mkv", Clip(33, 47, codec="ffv1", pixel_format="yuv444p")),
        ("odd420.mkv", Clip(33, 47, codec="ffv1")),
        ("odd.mp4", Clip(33, 47, pixel_format="yuv444p")),
        ("tenbit.mkv", Clip(codec="ffv1", pixel_format="yuv420p10le")),
        ("tenbit.mp4", Clip(pixel_format="yuv420p10le")),
        ("grey16.mkv", Clip(codec="ffv1", pixel_format="gray16le")),
    ],
)
def test_frames_come_upright_in_order_and_on_time(tmp_path: Path, name: str, clip: Clip) -> None:
    path = make(tmp_path / name, clip)
    frames = frames_of(path)
    assert [frame.index for frame in frames] == list(range(clip.frames))
    assert [frame.time_s for frame in frames] == pytest.approx(
        [i / clip.rate for i in range(clip.frames)], abs=2e-3
    )
    for frame in frames:
        assert frame.pixels.shape == (SIZE, SIZE, 3)
        assert frame.pixels.dtype == np.uint8
    if not clip.pixel_format.startswith("gray"):
        last = frames[-1].pixels
        assert [quarter(last, 0, 0), quarter(last, 0, 1)] == [[255, 0, 0], [0, 255, 0]]
        assert [quarter(last, 1, 0), quarter(last, 1, 1)] == [[0, 0, 255], [255, 255, 255]]


def test_probe_tells_what_the_file_is(tmp_path: Path) -> None:
    sound = Sound(noise(1.0, 0.1), codec="aac")
    info = probe(make(tmp_path / "clip.mp4", Clip(sound=sound)))
    assert (info.width, info.height, info.frame_count) == (64, 48, 10)
    assert (info.codec, info.pixel_format, info.has_audio) == ("h264", "yuv420p", True)
    assert info.duration_s == pytest.approx(1.0, abs=0.01)
    assert info.frame_rate == pytest.approx(10, rel=0.01)
    assert info.start_s == 0.0


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "clip.ts"])
def test_every_container_gives_the_same_count_and_length(tmp_path: Path, name: str) -> None:
    info = probe(make(tmp_path / name, Clip(frames=20)))
    assert info.frame_count == 20
    assert info.duration_s == pytest.approx(2.0, abs=0.01)


def test_one_pixel_is_a_video(tmp_path: Path) -> None:
    path = make(tmp_path / "dot.mkv", Clip(1, 1, codec="ffv1", pixel_format="bgr0", frames=2))
    assert (probe(path).width, probe(path).height) == (1, 1)
    assert [frame.pixels.shape for frame in frames_of(path)] == [(SIZE, SIZE, 3)] * 2


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mov", "qtrle", "argb"),
        ("b.mkv", "ffv1", "bgra"),
        ("c.mov", "png", "rgba"),
        ("d.mkv", "ffv1", "yuva420p"),
    ],
)
def test_alpha_is_composited_on_black(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    image = np.zeros((48, 64, 4), np.uint8)
    image[:, :32], image[:, 32:] = (255, 255, 255, 0), (255, 255, 255, 255)
    clip = Clip(codec=codec, pixel_format=pixel_format, frames=2)
    last = frames_of(make(tmp_path / name, clip, image))[-1].pixels
    assert quarter(last, 0, 0) == [0, 0, 0]
    assert quarter(last, 0, 1) == [255, 255, 255]


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0, 40, 240, 250, 1000, 1040, 1900, 2500]
    path = make(tmp_path / "vfr.mkv", Clip(frames=8, rate=25, times_ms=times))
    assert [frame.time_s for frame in frames_of(path)] == pytest.approx([t / 1000 for t in times], abs=1e-6)


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_a_video_ends_with_its_last_frame_where_frames_are_uneven_and_out_of_order(
    tmp_path: Path, name: str
) -> None:
    """MP4 says of a packet how long it is until the next one is decoded, not shown."""
    path = make(tmp_path / name, Clip(times_ms=[0, 100, 200, 300, 700, 1100, 1500, 1900, 2300, 2400]))
    reader = VideoReader(path, SIZE)
    assert list(reader)
    assert (reader.end_s, scan(path).end_s) == pytest.approx((2.5, 2.5), abs=1e-3)


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.ts"])
def test_time_counts_from_the_first_frame(tmp_path: Path, name: str) -> None:
    sound = Sound(noise(3.0, 0.1), codec="aac")
    path = make(tmp_path / name, Clip(start_s=2.0, sound=sound))
    reader = VideoReader(path, SIZE)
    times = [frame.time_s for frame in reader]
    assert times[:2] == pytest.approx([0.0, 0.1], abs=2e-3)
    assert not reader.damaged
    assert probe(path).duration_s == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", ["turned.mp4", "turned.mkv", "turned.mov"])
@pytest.mark.parametrize(
    ("rotation", "hflip", "size", "top_left"),
    [
        (90, False, (48, 64), [0, 255, 0]),
        (-90, False, (48, 64), [0, 0, 255]),
        (180, False, (64, 48), [255, 255, 255]),
        (None, True, (64, 48), [0, 255, 0]),
    ],
)
def test_frames_are_turned_as_the_file_says(
    tmp_path: Path, name: str, rotation: float | None, hflip: bool, size: tuple[int, int], top_left: list[int]
) -> None:
    path = make(tmp_path / name, Clip(rotation=rotation, hflip=hflip))
    assert (probe(path).width, probe(path).height) == size
    assert quarter(frames_of(path)[0].pixels, 0, 0) == top_left


def test_a_time_is_the_tick_that_it_stands_for() -> None:
    for tick in range(2000):
        time_s = tick / 50  # 29 / 50 * 50 is below 29
        assert (ticks(time_s, 50), ticks_until(time_s, 50)) == (tick, tick)
        assert (ticks(time_s + 1e-4, 50), ticks_until(time_s + 1e-4, 50)) == (tick, tick + 1)


def test_the_same_frames_are_wanted_wherever_the_files_clock_begins(tmp_path: Path) -> None:
    shown = [
        [frame.time_s for frame in VideoReader(make(tmp_path / "clip.mkv", clip), 8, EveryNth(10))]
        for clip in (Clip(frames=60), Clip(frames=60, start_s=1.4))
    ]
    assert shown[0] == shown[1] == [index / 10 for index in range(60)]


def test_only_wanted_frames_are_converted(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip())
    asked: list[tuple[int, float]] = []

    def wanted(index: int, time_s: float) -> bool:
        asked.append((index, time_s))
        return index % 5 == 0

    assert [frame.index for frame in VideoReader(path, SIZE, wanted)] == [0, 5]
    assert [index for index, _ in asked] == list(range(10))


def test_a_video_of_which_nothing_is_wanted_is_no_error(tmp_path: Path) -> None:
    reader = VideoReader(make(tmp_path / "clip.mp4", Clip()), SIZE, lambda index, time_s: False)
    assert list(reader) == []
    assert (reader.decoded, reader.damaged) == (10, False)
    assert reader.end_s == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_file_cut_off_gives_its_frames_up_to_there(tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = cut_off(make(tmp_path / name, Clip(frames=60, gop=6, options=options), image), 0.6)
    reader = VideoReader(path, SIZE)
    frames = list(reader)
    assert 10 < len(frames) < 60
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert reader.damaged
    assert reader.end_s < 5.0
    assert probe(path).width == 64


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "music.m4a", Sound(noise(0.2, 0.1), codec="aac"))
    with pytest.raises(MediaError) as error:
        probe(path)
    assert "expected a video track, found 1 audio" in one_line(error, path)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "album.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48_000, layout="stereo")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(corners(32, 32)).reformat(format="yuvj420p")
        container.mux(cover.encode(picture))
        block = av.AudioFrame.from_ndarray(noise(0.1, 0.1), format="fltp", layout="stereo")
        block.sample_rate = 48_000
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    with pytest.raises(MediaError) as error:
        probe(path)
    assert "found 1 audio, 1 picture" in one_line(error, path)


@pytest.fixture
def as_before() -> Iterator[None]:
    """SVT-AV1 makes the thread that calls it a real-time one where it is root's, and so what that starts later."""
    policy = os.sched_getscheduler(0)
    yield
    os.sched_setscheduler(0, policy, os.sched_param(0))


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize(
    "clip",
    [
        Clip(frames=1, codec="libsvtav1"),
        Clip(frames=1, codec="png", pixel_format="rgb24"),
    ],
    ids=["avif", "png"],
)
def test_a_picture_is_no_video(tmp_path: Path, clip: Clip, request: pytest.FixtureRequest) -> None:
    path = make(tmp_path / f"picture.{request.node.callspec.id}", clip)
    with pytest.raises(MediaError) as error:
        probe(path)
    assert "is a picture, not a video" in one_line(error, path)


def test_a_gif_that_moves_and_a_film_of_one_frame_are_videos(tmp_path: Path) -> None:
    moving = make(tmp_path / "moving.gif", Clip(frames=3, codec="gif", pixel_format="rgb8"))
    assert probe(moving).frame_count == 3
    for name in ("one.mp4", "one.mkv"):
        assert probe(make(tmp_path / name, Clip(frames=1))).frame_count == 1


def test_a_track_without_frames_is_an_error(tmp_path: Path) -> None:
    path = make(tmp_path / "none.mkv", Clip(frames=0, sound=Sound(noise(0.2, 0.1))))
    for look in (probe, frames_of):
        with pytest.raises(MediaError) as error:
            look(path)
        assert "none of its frames" in one_line(error, path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("text.mp4", b"these are only words\n" * 40, "found text"),
        ("empty.mp4", b"", "found an empty file"),
        ("noise.mp4", bytes(range(256)) * 9, "found something else or a damaged file"),
        ("scene:1.mp4", b"words with a colon in the file's name", "found text"),
    ],
)
def test_what_is_no_media_is_named(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for look in (probe, frames_of):
        with pytest.raises(MediaError) as error:
            look(path)
        assert expected in one_line(error, path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path / "missing.mp4", "no such file"),
        (tmp_path / "frame%04d.png", "no such file; of numbered pictures make a video first"),
        (tmp_path, "found a directory"),
        (Path("/dev/null"), "found a device or pipe"),
        (tmp_path / ("x" * 300 + ".mp4"), "name too long"),
    ):
        with pytest.raises(MediaError) as error:
            probe(path)
        assert expected in one_line(error, path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_file_that_we_may_not_read_is_named(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", Clip())
    path.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(MediaError) as error:
            probe(path)
    finally:
        os.seteuid(0)
    assert "Permission denied" in str(error.value)


def test_a_colon_in_a_relative_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "clip.mp4", Clip()).rename(tmp_path / "scene:1.mp4")
    monkeypatch.chdir(tmp_path)
    assert probe(Path("scene:1.mp4")).frame_count == 10
