"""A video that flashes, as a file, published, or before the camera of a browser."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.reaction import camera

FPS = 10
RATE = 48_000
CAMERA_FPS, FLASH_FRAMES = 20, 5
"""A flash lasts a quarter of a second, so that pictures taken eight times a second hold every one."""


def flashing_camera(path: Path) -> None:
    """One second that a fake camera repeats: a dim picture that flashes white at its end."""
    camera.write(path, camera.turning([CAMERA_FPS - FLASH_FRAMES, FLASH_FRAMES]), CAMERA_FPS)


def write_video(
    path: Path | str,
    pictures: int,
    form: str | None = None,
    real_time: bool = False,
    loud: bool = False,
    beeps: bool = False,
    apart: int = FPS,
    **options: str,
) -> None:
    """Dark for a second, then bright for one, and so on; at FPS pictures a second.

    beeps: it is loud only while it is bright. apart: pictures from a keyframe to the next.
    """
    with av.open(str(path), "w", format=form, options=options) as container:
        stream: Any = container.add_stream(
            "libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency", "g": str(apart)}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream("aac", rate=RATE, layout="mono") if loud or beeps else None
        begun_s = time.monotonic()
        for number in range(pictures):
            pixels = np.full((48, 64, 3), 20 if number // FPS % 2 == 0 else 230, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            if real_time:
                time.sleep(max(0.0, begun_s + number / FPS - time.monotonic()))
            container.mux(stream.encode(frame))
            if sound:
                container.mux(sound.encode(_tone(number, loud or number // FPS % 2 == 1)))
        container.mux(stream.encode(None))
        if sound:
            container.mux(sound.encode(None))


def _tone(number: int, loud: bool) -> av.AudioFrame:
    """The sound of one picture, half of full scale."""
    count = RATE // FPS
    samples = 0.5 * loud * np.sin(np.arange(number * count, (number + 1) * count) * 0.1)
    frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, number * count, Fraction(1, RATE)
    return frame
