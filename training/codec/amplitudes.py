"""Notes to the amplitudes that each part should sound with. A note begins where its step is, and nothing sounds before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.codec.sounds import FRAMES, RELEASE, VELOCITY, Sounds
from training.composer.arrangement import PARTS, PERCUSSION
from training.composer.composer import Note

F32 = NDArray[np.float32]

RING = np.minimum(1, np.arange(100.0, 0.0, -1.0).astype(np.float32) / 40)
"""How a drum fades out in the end, frame by frame."""


@dataclass(frozen=True, slots=True)
class Sounding:
    """A note from its step to the step of its end (or the end of the piece)."""

    note: Note
    start: int
    end: int


def soundings(steps: Sequence[Sequence[Note]]) -> list[Sounding]:
    """Pair the beginnings and ends of notes; steps[s] are the notes of step s."""
    open_notes: dict[tuple[int, int], tuple[Note, int]] = {}
    done = list[Sounding]()
    for step, notes in enumerate(steps):
        for note in notes:
            before = open_notes.pop((note.part, note.key), None)
            if before:
                done.append(Sounding(*before, step))
            if note.on:
                open_notes[note.part, note.key] = (note, step)
    return done + [Sounding(*left, len(steps)) for left in open_notes.values()]


def amplitudes(steps: Sequence[Sequence[Note]], sounds: Sounds) -> F32:
    """[K, T, N] of full scale: energies of a part's notes add up."""
    energy = np.zeros((len(PARTS), len(steps) + FRAMES + len(RELEASE), sounds.spec.amplitudes), np.float32)
    for each in soundings(steps):
        track = held(sounds.of(each.note), each)
        energy[each.note.part, each.start : each.start + len(track)] += track**2
    return np.sqrt(energy[:, : len(steps)])


def held(track: F32, each: Sounding) -> F32:
    """A note's amplitudes for as long as it sounds. Drums ring on; other notes are released."""
    loudness = np.float32((each.note.velocity / VELOCITY) ** 2)
    if each.note.part == PERCUSSION:
        return track[: len(RING)] * RING[:, None] * loudness
    length = min(each.end - each.start, FRAMES)
    release = track[length - 1] * np.array(RELEASE, np.float32)[:, None]
    return np.concatenate((track[:length], release)) * loudness
