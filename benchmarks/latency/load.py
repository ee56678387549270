"""Many listeners, in a few processes of their own."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from uvicorn.loops.auto import auto_loop_factory

from benchmarks.latency.listener import Heard, Plan, listen

EDGE = (320, 180)
Plans = tuple[Plan, ...]
PICTURES = 8
"""Of each scene, shown in turn, so that none is as the one before."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """cpu_s: what the processes of the listeners used."""

    heard: tuple[Heard, ...]
    cpu_s: float


def play_together(plans: Sequence[Plan], processes: int) -> Loaded:
    """Every plan at once, spread over the processes."""
    shares = [tuple(plans[i::processes]) for i in range(min(processes, len(plans)))]
    loaded = _in_processes(_together, shares)
    heard = tuple(each for share in loaded for each in share.heard)
    return Loaded(heard, sum(share.cpu_s for share in loaded))


def play_in_turn(plans: Sequence[Plan], apart_s: float) -> Loaded:
    """One plan after another, in one process."""
    return _in_processes(partial(_in_turn, apart_s), [tuple(plans)])[0]


def _in_processes(play: Callable[[Plans], Loaded], shares: Sequence[Plans]) -> list[Loaded]:
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(play, shares))


def _together(plans: Plans) -> Loaded:
    async def everybody() -> list[Heard]:
        return await asyncio.gather(*(listen(plan) for plan in plans))

    return _measured(everybody())


def _in_turn(apart_s: float, plans: Plans) -> Loaded:
    async def everybody() -> list[Heard]:
        heard = []
        for plan in plans:
            heard.append(await listen(plan))
            await asyncio.sleep(apart_s)
        return heard

    return _measured(everybody())


def _measured(everybody: Coroutine[None, None, list[Heard]]) -> Loaded:
    before_s = time.process_time()
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        return Loaded(tuple(runner.run(everybody)), time.process_time() - before_s)


def scene(level: int) -> tuple[bytes, ...]:
    """Pictures of one brightness with something that moves in them, as JPEG."""
    width, height = EDGE
    at = np.arange(width)
    made = []
    for shift in range(PICTURES):
        wave = level + 20 * np.sin((at + shift * 8) * 2 * np.pi / 64)
        pixels = np.broadcast_to(wave[None, :, None], (height, width, 3))
        made.append(jpeg(pixels.astype(np.uint8)))
    return tuple(made)


def jpeg(pixels: np.ndarray) -> bytes:
    """uint8 [h, w, 3]."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt = "yuvj420p"
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=encoder.pix_fmt)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
