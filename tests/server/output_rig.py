"""What the tests of outputs share: jobs, pictures, and what is in the result."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from shell_client import PATIENCE_S, ask

from server.audio.original_sound import Sound, Source
from server.output import wire
from server.output.limits import OutputLimits
from server.output.targets import Allowed, What, target_of
from server.output.wire import Job
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, Size, StreamId

RATE = 48_000
F32 = NDArray[np.float32]
ENCODERS = {
    Kind.H264: ("libx264", {"tune": "zerolatency", "preset": "ultrafast"}),
    Kind.VP8: ("libvpx", {"deadline": "realtime", "lag-in-frames": "0"}),
}


def job_of(
    url: str, what: What, allowed: Allowed, delay: int = 0, original: float | None = None, **limits: Any
) -> Job:
    target, held = target_of(url, what, allowed), delay if what == "mixed" else None
    return wire.job_of(target, OutputLimits(**limits), held, original, 10**6)


def spoken(
    samples: F32, rate: int = RATE, kind: Kind = Kind.PCM_F32, goes_on: bool = True, source: Source = "whip"
) -> Sound:
    """Original sound. samples: [n] or [n, channels]."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    data = (samples * 32767).astype("<i2") if kind is Kind.PCM_S16 else samples.astype("<f4")
    return Sound(source, kind, rate, channels, data.tobytes(), goes_on)


def picture(number: int, level: int, codec: str = "mjpeg", side: tuple[int, int] = (64, 48)) -> Media:
    """A JPEG of one brightness."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = *side, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.full((side[1], side[0], 3), level, np.uint8), format="rgb24")
    packets = [*encoder.encode(frame.reformat(format="yuvj420p")), *encoder.encode(None)]
    return Media(Kind.JPEG, StreamId.VIDEO, number, 0, b"".join(map(bytes, packets)))


def raw(number: int, level: int) -> Media:
    """As WebRTC brings it."""
    return Media(Kind.RGB24, StreamId.VIDEO, number, 0, bytes([level]) * (64 * 48 * 3), size=Size(64, 48))


def video(kind: Kind, levels: list[int], side: tuple[int, int] = (64, 48)) -> list[Media]:
    """H.264 or VP8, of pictures of one brightness each, the first one a keyframe."""
    codec, options = ENCODERS[kind]
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *side, "yuv420p", Fraction(1, 25)
    encoder.options = options
    packets = []
    for number, level in enumerate(levels):
        frame = av.VideoFrame.from_ndarray(np.full((side[1], side[0], 3), level, np.uint8), format="rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    return [
        Media(kind, StreamId.VIDEO, n, 0, bytes(p), Flag.KEYFRAME if p.is_keyframe else NO_FLAGS)
        for n, p in enumerate(packets)
    ]


def music_of(path: Path | str, **choices: Any) -> tuple[float, F32]:
    """When the sound begins in seconds, and its left channel, -1 to 1."""
    with av.open(str(path), **choices) as container:
        frames = list(container.decode(audio=0))
    parts = [frame.to_ndarray() for frame in frames]
    scale = 32768 if frames[0].format.name.startswith("s16") else 1
    planar = frames[0].format.is_planar
    left = [part[0] if planar else part.reshape(-1, 2)[:, 0] for part in parts]
    assert frames[0].time is not None
    return frames[0].time, (np.concatenate(left) / scale).astype(np.float32)


def shown_in(path: Path | str, **choices: Any) -> list[tuple[float, float]]:
    """Time and brightness of each picture."""
    with av.open(str(path), **choices) as container:
        return [
            (frame.time, float(frame.to_ndarray(format="gray").mean())) for frame in container.decode(video=0)
        ]


def beeps_from(path: Path | str) -> float:
    """When a tone of half of full scale begins in it, seconds."""
    began_s, samples = music_of(path)
    return began_s + int(np.argmax(np.abs(samples) > 0.2)) / RATE


def jump_of(shown: list[tuple[float, float]]) -> float:
    """When it becomes bright."""
    return next(time_s for time_s, level in shown if level > 128)


def look_until(url: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    """The state of an output once it has these fields."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        status, state = ask("GET", url, key=key)
        if status == 200 and fields.items() <= state.items():
            return dict(state)
        time.sleep(0.02)
    raise TimeoutError(f"waited for {fields}; it is {state}")


def beeps_after_flashes(path: Path | str) -> F32:
    """How much later than each flash the beep nearest to it is, in seconds."""
    began_s, samples = music_of(path)
    blocks = np.abs(samples[: len(samples) // 480 * 480]).reshape(-1, 480).max(axis=1)
    times_s, levels = (np.array(each, np.float32) for each in zip(*shown_in(path), strict=True))
    beeps = _beginnings(blocks, began_s + np.arange(len(blocks), dtype=np.float32) / 100)
    nearest = [min((beep - flash for beep in beeps), key=abs) for flash in _beginnings(levels, times_s)]
    return np.array(nearest, np.float32)


def _beginnings(levels: F32, times_s: F32) -> list[float]:
    """When it becomes more than half of the loudest, after less than that for 0.1 s."""
    high = levels > levels.max() / 2
    quiet = [high[(times_s < at_s) & (times_s >= at_s - 0.1)] for at_s in times_s]
    late = times_s >= times_s[0] + 0.1
    began = [high[n] and late[n] and not high[n - 1] and not quiet[n].any() for n in range(len(high))]
    return [float(at_s) for at_s in times_s[began]]
