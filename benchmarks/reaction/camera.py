"""What the fake camera of a browser shows: pictures as Y4M, which it repeats for as long as it is watched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
WIDTH, HEIGHT, FPS = 320, 180, 30
BRIGHT = 235
GREY = 128


def write(path: Path, pictures: Iterable[U8], fps: int = FPS) -> None:
    """pictures: luma, [HEIGHT, WIDTH] each."""
    chroma = np.full(HEIGHT * WIDTH // 2, GREY, np.uint8).tobytes()
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
        for luma in pictures:
            file.write(b"FRAME\n" + luma.tobytes() + chroma)


def scene(seed: int = 3) -> U8:
    """A dim picture with something in it."""
    blocks = np.random.default_rng(seed).integers(30, 110, (HEIGHT // 20, WIDTH // 20), np.uint8)
    return blocks.repeat(20, 0).repeat(20, 1)


def turning(lengths: Sequence[int]) -> Iterator[U8]:
    """Dark for so many pictures, then bright for as many as the next length says, and so on."""
    dark = scene()
    for number, length in enumerate(lengths):
        for _ in range(length):
            yield np.full_like(dark, BRIGHT) if number % 2 else dark


def irregular(least: int, most: int, turns: int) -> list[int]:
    """Lengths that keep no step with anything; an even number of them, so that the repeated file turns each time too."""
    if turns % 2:
        raise ValueError(f"a file that is repeated turns an even number of times, not {turns}")
    return [int(length) for length in np.random.default_rng(5).integers(least, most + 1, turns)]
