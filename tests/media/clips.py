"""Tiny media files for the tests, made with PyAV where they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound track to put into a clip."""

    samples: npt.NDArray[np.float32]  # [channels, n]
    rate: int = 48_000
    layout: str = "stereo"
    codec: str = "pcm_s16le"
    delay_s: float = 0.0
    gap_s: float = 0.0  # of silence that is not stored, in the middle


@dataclass(frozen=True, slots=True)
class Clip:
    """What a test video is made of."""

    width: int = 64
    height: int = 48
    frames: int = 10
    rate: int = 10
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    rotation: float | None = None  # degrees counter-clockwise
    hflip: bool = False
    start_s: float = 0.0
    times_ms: Sequence[int] | None = None
    gop: int = 10
    sound: Sound | None = None
    options: dict[str, str] | None = None


def corners(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Red top left, green top right, blue bottom left, white bottom right. [H, W, 3]."""
    image = np.zeros((height, width, 3), np.uint8)
    top, left = slice(0, height // 2), slice(0, width // 2)
    bottom, right = slice(height // 2, None), slice(width // 2, None)
    image[top, left], image[top, right] = (255, 0, 0), (0, 255, 0)
    image[bottom, left], image[bottom, right] = (0, 0, 255), (255, 255, 255)
    return image


def make(path: Path, clip: Clip, image: npt.NDArray[np.uint8] | None = None) -> Path:
    """Write the clip: every frame shows image, [H, W, 3] or [H, W, 4], which is corners unless given."""
    image = corners(clip.height, clip.width) if image is None else image
    ticks = 1000 if clip.times_ms or clip.start_s else clip.rate
    with av.open(str(path), "w", options=clip.options or {}) as container:
        video = container.add_stream(clip.codec, rate=clip.rate)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, clip.pixel_format
        video.codec_context.time_base, video.codec_context.gop_size = Fraction(1, ticks), clip.gop
        if clip.rotation is not None or clip.hflip:
            video.set_display_rotation(clip.rotation or 0, hflip=clip.hflip)
        sound = add_sound(container, clip.sound) if clip.sound else None
        for index in range(clip.frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            at = clip.times_ms[index] if clip.times_ms else index * ticks // clip.rate
            frame.pts, frame.time_base = at + round(clip.start_s * ticks), Fraction(1, ticks)
            container.mux(video.encode(frame.reformat(format=clip.pixel_format)))
        container.mux(video.encode(None))
        if sound and clip.sound:
            mux_sound(container, sound, clip.sound)
    return path


def add_sound(container: av.container.OutputContainer, sound: Sound) -> av.AudioStream:
    stream = container.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
    assert isinstance(stream, av.AudioStream)
    return stream


def mux_sound(container: av.container.OutputContainer, stream: av.AudioStream, sound: Sound) -> None:
    for start in range(0, sound.samples.shape[1], 1024):
        block = np.ascontiguousarray(sound.samples[:, start : start + 1024].T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout=sound.layout)
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        late_s = sound.delay_s + (sound.gap_s if 2 * start >= sound.samples.shape[1] else 0.0)
        frame.pts = start + round(late_s * sound.rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def make_sound(path: Path, sound: Sound) -> Path:
    """Write a file with sound alone; its ending says what kind."""
    with av.open(str(path), "w") as container:
        mux_sound(container, add_sound(container, sound), sound)
    return path


def noise(seconds: float, level: float, rate: int = 48_000, channels: int = 2) -> npt.NDArray[np.float32]:
    """Seeded white noise of this RMS. [channels, n]."""
    made = np.random.default_rng(7).normal(0, level, (channels, round(seconds * rate)))
    return made.astype(np.float32)


def impulse(seconds: float, at_s: float, rate: int = 48_000, channels: int = 2) -> npt.NDArray[np.float32]:
    """Silence with one sample of 0.5 in every channel. [channels, n]."""
    made = np.zeros((channels, round(seconds * rate)), np.float32)
    made[:, round(at_s * rate)] = 0.5
    return made


def cut_off(path: Path, fraction: float) -> Path:
    """Keep the first part of a file's bytes."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    return path
