"""A video that flashes, as a file or published."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS = 10


def write_video(
    path: Path | str, pictures: int, form: str | None = None, real_time: bool = False, **options: str
) -> None:
    """Dark for a second, then bright for one, and so on; at FPS pictures a second."""
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        begun_s = time.monotonic()
        for number in range(pictures):
            pixels = np.full((48, 64, 3), 20 if number // FPS % 2 == 0 else 230, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            if real_time:
                time.sleep(max(0.0, begun_s + number / FPS - time.monotonic()))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
