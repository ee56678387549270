"""How each note of the sound font sounds, as amplitudes of the oscillator codec, measured on the note alone.

A mixture has to be taken apart by guesses, and a window that is long enough to tell low notes apart hears an onset before it
happens. A note alone has neither trouble: its partials are found once, on long windows, and then followed by least squares
on short ones that begin at the onset.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.model.oscillator import band_weights
from engine.spec import OscillatorSpec
from training.composer.arrangement import KICK, PERCUSSION, SNARE
from training.composer.composer import Note
from training.composer.soundfont import SoundFont

F32 = NDArray[np.float32]

SOUNDS_FILE = "sounds.npz"
VELOCITY = 80
"""Notes are measured at this velocity; others are scaled as the sound font does, by the square."""
FRAMES = 176
"""Longer than any note of the composer."""
RELEASE = (0.55, 0.25, 0.08)
"""Of the last amplitude, in the frames after a note's end."""
LONG, SHORT, LOW_SHORT, FIRST = 16384, 2048, 4096, 1280
LOW_KEY = 48
"""Below it the partials lie so near that the longer window is needed."""
MOST_PARTIALS = 48
FLOOR_DB = -62.0
"""Partials below it, from the strongest one, are left to the noise bands."""
DRUM_PARTIALS_BELOW_HZ = {KICK.key: 300.0, SNARE.key: 400.0}
RIDGE = 1e-3


@dataclass(slots=True)
class Sounds:
    """Amplitudes [FRAMES, N] of notes, measured when they are first asked for."""

    spec: OscillatorSpec
    known: dict[tuple[int, int, int], F32]

    @classmethod
    def load(cls, spec: OscillatorSpec, path: Path) -> Sounds:
        """What was measured before, or nothing when there is no such file."""
        if not path.is_file():
            return cls(spec, {})
        with np.load(path) as file:
            keys, tracks = file["keys"], file["tracks"]
        named = zip(keys.tolist(), tracks, strict=True)
        return cls(spec, {(part, program, key): t.astype(np.float32) for (part, program, key), t in named})

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tracks = np.stack([*self.known.values()]).astype(np.float16)
        np.savez_compressed(path, keys=np.array([*self.known]), tracks=tracks)

    def of(self, note: Note) -> F32:
        """[FRAMES, N], at `VELOCITY`."""
        name = (note.part, -1 if note.program is None else note.program, note.key)
        if name not in self.known:
            self.known[name] = measure(self.spec, _record(note), note)
        return self.known[name]


_FONTS: dict[int, SoundFont] = {}


def _record(note: Note) -> F32:
    """The note alone, held for `FRAMES`."""
    font = SoundFont(parts=(note.part,)) if note.part not in _FONTS else _FONTS[note.part]
    _FONTS[note.part] = font
    heard = font.play([Note(note.part, note.key, True, VELOCITY, note.program)], FRAMES * 640 + LONG)
    font.play([Note(note.part, note.key, False)], 4 * 32000)
    return heard


def measure(spec: OscillatorSpec, x: F32, note: Note) -> F32:
    """Follow the partials of a recorded note, and the noise between them. x: samples from the onset on."""
    hz = _partials(spec, x, note)
    places = np.round(spec.partials_per_octave * np.log2(hz / spec.lowest_hz)).astype(int)
    track = np.zeros((FRAMES, spec.amplitudes), np.float64)
    short = LOW_SHORT if note.key < LOW_KEY and note.part != PERCUSSION else SHORT
    fitters = {n: _Fitter(spec, hz, n) for n in {FIRST, SHORT, short}}
    bands = band_weights(spec, np.fft.rfftfreq(FIRST, 1 / spec.sample_rate))
    for i in range(FRAMES):
        centre = (i + 1) * spec.hop
        length = next(n for n in (short, SHORT, FIRST) if centre >= n // 2)
        amplitudes, rest = fitters[length].fit(x[centre - length // 2 : centre + length // 2])
        np.maximum.at(track[i], places, amplitudes)
        track[i, spec.partials :] = _band_levels(rest, bands)
    return _smoothed(track, note).astype(np.float32)


@dataclass
class _Fitter:
    """Least squares of sinusoids of known frequencies under a window of one length."""

    spec: OscillatorSpec
    hz: NDArray[np.float64]
    length: int

    @cached_property
    def window(self) -> NDArray[np.float64]:
        return np.hanning(self.length + 1)[:-1]

    @cached_property
    def basis(self) -> NDArray[np.float64]:
        angle = (
            2 * np.pi * self.hz * (np.arange(self.length) - self.length / 2)[:, None] / self.spec.sample_rate
        )
        return np.concatenate((np.cos(angle), np.sin(angle)), 1)

    @cached_property
    def solver(self) -> NDArray[np.float64]:
        weighted = self.basis * self.window[:, None]
        gram = weighted.T @ self.basis
        solved = np.linalg.solve(gram + RIDGE * self.length * np.eye(len(gram)), weighted.T)
        return np.asarray(solved, np.float64)

    def fit(self, x: F32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Amplitudes, and what is left of the middle `FIRST` samples."""
        answer = self.solver @ x
        middle = slice(self.length // 2 - FIRST // 2, self.length // 2 + FIRST // 2)
        rest = x[middle] - self.basis[middle] @ answer
        return np.hypot(*np.split(answer, 2)), rest


def _partials(spec: OscillatorSpec, x: F32, note: Note) -> NDArray[np.float64]:
    """Frequencies of the strongest peaks anywhere in the note, at most one for each oscillator."""
    found: dict[int, tuple[float, float]] = {}
    window = np.hanning(LONG)
    highest = spec.lowest_hz * 2 ** ((spec.partials - 0.5) / spec.partials_per_octave)
    highest = DRUM_PARTIALS_BELOW_HZ.get(note.key, 0.0) if note.part == PERCUSSION else highest
    for start in (0, 4000, 16000, 48000):
        spectrum = np.abs(np.fft.rfft(x[start : start + LONG] * window)) * 4 / LONG
        level = np.log(spectrum + 1e-12)
        peak = np.flatnonzero((level[1:-1] > level[:-2]) & (level[1:-1] >= level[2:])) + 1
        a, b, c = level[peak - 1], level[peak], level[peak + 1]
        offset = 0.5 * (a - c) / (a - 2 * b + c)
        for f, height in zip((peak + offset) * spec.sample_rate / LONG, np.exp(b), strict=True):
            place = round(spec.partials_per_octave * np.log2(max(f, 1.0) / spec.lowest_hz))
            if 0 <= place < spec.partials and f < highest and height > found.get(place, (0.0, 0.0))[1]:
                found[place] = (float(f), float(height))
    strongest = sorted(found.values(), key=lambda each: -each[1])[:MOST_PARTIALS]
    floor = strongest[0][1] * 10 ** (FLOOR_DB / 20) if strongest else 0.0
    return np.array(_apart([f for f, height in strongest if height > floor]))


def _apart(by_strength: list[float]) -> list[float]:
    """Peaks without the side lobes: none within 12 Hz of a stronger one."""
    kept = list[float]()
    for f in by_strength:
        if all(abs(f - other) > 12 for other in kept):
            kept.append(f)
    return kept


def _band_levels(rest: NDArray[np.float64], bands: NDArray[np.float64]) -> NDArray[np.float64]:
    window = np.hanning(len(rest))
    power = np.abs(np.fft.rfft(rest * window)) ** 2 * 2 / (len(rest) * (window**2).sum())
    return np.sqrt(bands @ power)


def _smoothed(track: NDArray[np.float64], note: Note) -> NDArray[np.float64]:
    """The attack as it is; later, means over more and more frames: slow beating is not worth its codes."""
    if note.part == PERCUSSION:
        return track
    sums = np.concatenate((np.zeros((1, track.shape[1])), np.cumsum(track, 0)))
    answer = track.copy()
    for i in range(4, len(track)):
        reach = min(12, (i - 2) // 2)
        low, high = i - reach, min(len(track), i + reach + 1)
        answer[i] = (sums[high] - sums[low]) / (high - low)
    return answer
