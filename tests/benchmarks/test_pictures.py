"""Pictures of clips: they are written, show what was shown and when, and count onsets right."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from clips import Clip, make
from numpy.typing import NDArray

REASON = "pictures of the quality benchmark need {}: pip install 'cuestream[quality,plot]'"
pytest.importorskip("librosa", reason=REASON.format("librosa"))
pytest.importorskip("matplotlib", reason=REASON.format("matplotlib"))
soundfile = pytest.importorskip("soundfile", reason=REASON.format("soundfile"))

from benchmarks.quality import pictures
from benchmarks.quality.clips import HELD_OUT, STEPS_PER_S, Task, scenes_of
from benchmarks.quality.hearing import SAMPLE_RATE, hear
from benchmarks.quality.measures import Clip as Made
from engine.backends.torch import TorchBackend
from engine.errors import MediaError
from engine.frames import Frame
from engine.player import ModelPlayer

pytestmark = pytest.mark.usefixtures("librosa_compiled")

STRIP, DPI = 18, 110


def tone(hertz: float, seconds: float) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(
        np.float32
    )


def size(png: Path) -> tuple[int, int]:
    """Width and height, out of the header."""
    head = png.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


def test_a_real_video_is_drawn_with_what_the_model_plays(
    nano_torch_backend: TorchBackend, tmp_path: Path
) -> None:
    video = make(tmp_path / "tiny.mp4", Clip(frames=25))
    picture = pictures.of_video(ModelPlayer(nano_torch_backend), video)
    assert picture.end_s == pytest.approx(2.5, abs=0.02)
    assert len(picture.strip) == STRIP
    assert picture.aspect == 64 / 48
    pictures.draw(picture, tmp_path / "tiny.png")
    width, height = size(tmp_path / "tiny.png")
    assert width == pictures.WIDTH * DPI
    assert 500 < height < 900
    assert (tmp_path / "tiny.png").stat().st_size > 20_000


def test_a_video_that_is_too_short_is_refused(nano_torch_backend: TorchBackend, tmp_path: Path) -> None:
    video = make(tmp_path / "short.mp4", Clip(frames=8))
    with pytest.raises(MediaError, match=r"needs 2 s of video, found 0\.8 s"):
        pictures.of_video(ModelPlayer(nano_torch_backend), video)


def test_a_held_out_video_is_drawn_as_its_script_asks(tmp_path: Path) -> None:
    task, samples = Task("somebody", HELD_OUT, 0, 6 * STEPS_PER_S), tone(440, 6)
    soundfile.write(tmp_path / "x.wav", samples, SAMPLE_RATE)
    cuts = np.array([scene.start / STEPS_PER_S for scene in scenes_of(task.video, task.steps)[1:]])
    clip = Made(task.video, 0, hear(samples), cuts, np.zeros((3, 4)), np.zeros((2, 200)))
    picture = pictures.of_clip(task, clip, tmp_path / "x.wav", side=32)
    times, motion = picture.motion.T
    assert list(times) == sorted(times)
    assert times[0] == 0
    assert times[-1] == pytest.approx(6 - 1 / STEPS_PER_S)
    assert ((motion >= 0) & (motion <= 1)).all()
    assert set(cuts) <= set(times)
    pictures.draw(picture, tmp_path / "x.png")
    assert size(tmp_path / "x.png")[0] == pictures.WIDTH * DPI


def test_thumbnails_are_what_is_shown_in_the_middle_of_each_part() -> None:
    frames = [Frame(np.full((8, 8, 3), i, np.uint8), 10 * i) for i in range(18)]
    assert [int(pixels[0, 0, 0]) for pixels in pictures.spread(frames, 180)] == list(range(18))


def test_a_cut_off_video_ends_with_its_last_thumbnail(tmp_path: Path) -> None:
    found = pictures.thumbnails(make(tmp_path / "x.mp4", Clip(frames=10)), end_s=2.0)
    assert len(found) == STRIP
    assert found[-1] is found[-2]


def test_regular_onsets_have_their_rate_everywhere_even_at_the_edges() -> None:
    """Of 20 onsets a second the sum is the integral but for 0.02 %, as observed."""
    onsets = np.arange(0.025, 10, 0.05)
    rate = pictures.onset_rate(onsets, np.arange(0, 10.01, 0.1), 10.0)
    np.testing.assert_allclose(rate, 20, rtol=1e-3)


def test_far_from_the_edges_the_rate_adds_up_to_the_onsets() -> None:
    moments = np.arange(0, 20, 0.01)
    rate = pictures.onset_rate(np.array([5.0, 7.3, 7.4, 12]), moments, 20.0)
    assert rate.sum() * 0.01 == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize("hertz", [55.0, 440.0, 3520.0])
def test_a_tone_stands_in_its_row_of_the_spectrogram(hertz: float) -> None:
    level = pictures.by_octaves(tone(hertz, 3))
    loudest = np.median(level.argmax(0))
    octaves = np.log2(pictures.HIGHEST_HZ / pictures.LOWEST_HZ)
    drawn = pictures.LOWEST_HZ * 2 ** (loudest / (pictures.ROWS - 1) * octaves)
    assert abs(np.log2(drawn / hertz)) < 1 / 12
    assert level.max() <= 0
    assert level.min() >= -pictures.RANGE_DB


def test_only_the_sides_of_wide_pictures_are_cut_off() -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    assert pictures._cropped(pixels, 1.0).shape == (100, 100, 3)
    assert pictures._cropped(pixels, 2.5).shape == (100, 50, 3)
