"""Videos drawn from a script: gradients, textures, moving shapes, a panning camera, light, noise and a vignette.

What a script asks for is what the picture shows on average; everything else (shapes, textures, hues) is drawn at random, so
that nothing but the attributes tells one scene from another.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.frames import F32, U8, Frame
from training.composer.scenes import Scene

FRAME_STEPS = 6
"""A frame is drawn each 120 ms."""
TEXTURE_SIDE = 192
COLD_HUE, HUE_SPAN = 0.6, 0.56
"""Hue of the coldest picture, and how far the warmest lies from it on the wheel."""
TOP_SPEED = 3.2
"""Picture widths a second of the fastest shape."""


def render(
    scenes: list[Scene], side: int, random: np.random.Generator, every: int = FRAME_STEPS
) -> Iterator[Frame]:
    """A frame each `every` steps, and one at each cut."""
    for scene in scenes:
        drawn = _Drawing.of(scene, side, random)
        first = -(-scene.start // every) * every
        steps = range(first, scene.end, every)
        for step in steps if first == scene.start else (scene.start, *steps):
            yield Frame(drawn.at(step, random), step)


@dataclass(slots=True)
class _Drawing:
    """One scene as it is drawn; it moves on from frame to frame."""

    scene: Scene
    background: F32
    texture: F32
    places: F32
    headings: F32
    radii: F32
    colours: F32
    square: list[bool]
    pan: F32
    camera: F32
    noise: float
    step: int

    @classmethod
    def of(cls, scene: Scene, side: int, random: np.random.Generator) -> _Drawing:
        shapes = int(random.integers(3, 10))
        headings = random.normal(size=(shapes, 2)).astype(np.float32)
        headings /= np.linalg.norm(headings, axis=1, keepdims=True)
        pan = random.normal(size=2)
        return cls(
            scene,
            _background(scene, side, random),
            _texture(random) * np.float32(random.uniform(0.05, 0.35)),
            random.random((shapes, 2), np.float32),
            headings * random.uniform(0.6, 1.4, (shapes, 1)).astype(np.float32),
            random.uniform(0.06, 0.22, shapes).astype(np.float32),
            np.stack([_colour(scene, random, 0.07, 0.5) for _ in range(shapes)]),
            [bool(random.random() < 0.4) for _ in range(shapes)],
            (pan / np.linalg.norm(pan)).astype(np.float32),
            random.random(2, np.float32),
            float(random.uniform(0.003, 0.02)),
            scene.start,
        )

    def at(self, step: int, random: np.random.Generator) -> U8:
        """The frame at a step, [side, side, 3]. Steps must not go backwards."""
        speed = TOP_SPEED * self.scene.motion_at(step) ** 1.7
        self._move(speed * (step - self.step) / 50)
        self.step = step
        side = len(self.background)
        picture = self.background * (1 + self._seen_texture(side))[..., None]
        for i in range(len(self.places)):
            _paint(picture, self.places[i], self.radii[i], self.colours[i], self.square[i])
        picture += random.normal(0, self.noise, (side, side, 1)).astype(np.float32)
        return (np.clip(picture, 0, 1) * 255).astype(np.uint8)

    def _move(self, way: float) -> None:
        self.places = (self.places + self.headings * np.float32(way)) % 1
        self.camera = (self.camera + self.pan * np.float32(way * 0.3)) % 1

    def _seen_texture(self, side: int) -> F32:
        y, x = (self.camera * TEXTURE_SIDE).astype(int)
        rows, columns = (y + np.arange(side)) % TEXTURE_SIDE, (x + np.arange(side)) % TEXTURE_SIDE
        return self.texture[rows[:, None], columns]


def _background(scene: Scene, side: int, random: np.random.Generator) -> F32:
    """Two colours of the scene, one blending into the other in some direction; darker towards the corners."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    angle = random.uniform(0, 2 * np.pi)
    share = np.clip(
        (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)) * random.uniform(0.5, 3) + 0.5, 0, 1
    )
    ends = [_colour(scene, random, 0.05, 0.25) for _ in range(2)]
    dark = random.uniform(0, 0.5) * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    blended = ends[0] * (1 - share[..., None]) + ends[1] * share[..., None]
    return (blended * (1 - dark[..., None])).astype(np.float32)


def _colour(scene: Scene, random: np.random.Generator, hue_spread: float, spread: float) -> F32:
    hue = (COLD_HUE - HUE_SPAN * scene.warmth + random.normal(0, hue_spread)) % 1
    saturation = np.clip(
        (0.04 + 0.92 * scene.saturation) * random.uniform(1 - spread / 2, 1 + spread / 2), 0, 1
    )
    value = np.clip((0.08 + 0.84 * scene.brightness) * random.uniform(1 - spread, 1 + spread), 0, 1)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def _texture(random: np.random.Generator) -> F32:
    """Noise with the spectrum of a natural picture, or stripes; periodic, effective value 1."""
    if random.random() < 0.3:
        turns = random.integers(-12, 13, 2)
        y, x = np.mgrid[0:TEXTURE_SIDE, 0:TEXTURE_SIDE] / TEXTURE_SIDE
        plain = np.sin(2 * np.pi * (turns[0] * x + turns[1] * y)) + 1e-3 * random.normal(size=x.shape)
    else:
        f = np.hypot(*np.meshgrid(np.fft.fftfreq(TEXTURE_SIDE), np.fft.rfftfreq(TEXTURE_SIDE), indexing="ij"))
        spectrum = np.fft.rfft2(random.normal(size=(TEXTURE_SIDE, TEXTURE_SIDE)))
        plain = np.fft.irfft2(
            spectrum / np.maximum(f, 1 / TEXTURE_SIDE) ** random.uniform(0.7, 1.6), (TEXTURE_SIDE,) * 2
        )
    plain = plain - plain.mean()
    return (plain / plain.std()).astype(np.float32)


def _paint(picture: F32, place: F32, radius: float, colour: F32, square: bool) -> None:
    """A disc or a square at a place (0..1) into the picture; what leaves on one side does not come in on the other."""
    side = len(picture)
    centre, reach = place * side, radius * side
    low = np.clip(np.floor(centre - reach), 0, side).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, side).astype(int)
    part = picture[low[0] : high[0], low[1] : high[1]]
    if square:
        part[...] = colour
        return
    rows = (np.arange(low[0], high[0]) - centre[0]) ** 2
    columns = (np.arange(low[1], high[1]) - centre[1]) ** 2
    part[rows[:, None] + columns < reach**2] = colour
