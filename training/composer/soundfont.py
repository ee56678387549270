"""Notes to samples with a General MIDI sound font (tinysoundfont, MIT)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import MissingRuntime, PackageError
from training.composer.arrangement import PARTS, PERCUSSION
from training.composer.composer import Note

F32 = NDArray[np.float32]

SOUND_FONT_VARIABLE = "CUESTREAM_SOUNDFONT"
SOUND_FONTS = (
    "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/default-GM.sf3",
    "/usr/share/sounds/sf2/default-GM.sf2",
)
"""Where Debian and others put one; the first is the one that everything was tuned with."""
DRUM_CHANNEL, DRUM_BANK = 9, 128
PART_GAINS_DB = (-3.0, -4.0, -4.5, 0.0)
GAIN_DB = -1.0
HOP, SAMPLE_RATE = 640, 32000
CODE_RATE = SAMPLE_RATE // HOP
RULES = 2
"""Raised when the same seed and picture begin to give other notes or sounds."""
LICENCES = {
    "FluidR3Mono_GM.sf3": "MIT; Frank Wen, Michael Cowgill and others",
    "FluidR3_GM.sf2": "MIT; Frank Wen and others",
    "MuseScore_General.sf3": "MIT; S. Christian Collins, Frank Wen and others",
}
"""Of sound fonts that are known by their names."""


class SoundFont:
    """An instrument for the four parts. `parts` limits what sounds, for stems.

    Each has a synthesiser of its own and begins silent, so the same notes give the same samples, bit for bit. All of a process
    share what was read of the file.
    """

    def __init__(self, path: Path | None = None, parts: Iterable[int] = range(len(PARTS))) -> None:
        """Raises MissingRuntime when tinysoundfont or a sound font is not installed, PackageError when the latter is damaged."""
        self._synth = _open(path or find_sound_font())
        self._parts = frozenset(parts)
        self._programs: dict[int, int | None] = {}
        for part in self._parts:
            self._synth.control_change(_channel(part), 7, round(127 * 10 ** (PART_GAINS_DB[part] / 40)))

    def play(self, notes: Iterable[Note], samples: int = HOP) -> F32:
        """Begin and end notes now, and return the samples that follow, mono."""
        for note in notes:
            if note.part in self._parts:
                self._note(note)
        stereo = np.frombuffer(bytes(self._synth.generate(samples)), np.float32).reshape(-1, 2)
        return stereo.mean(1)

    def _note(self, note: Note) -> None:
        channel = _channel(note.part)
        if not note.on:
            self._synth.noteoff(channel, note.key)
            return
        if note.program is not None and self._programs.get(note.part) != note.program:
            self._synth.program_select(channel, 0, 0, note.program)
            self._programs[note.part] = note.program
        self._synth.noteon(channel, note.key, note.velocity)


def find_sound_font() -> Path:
    """Raises MissingRuntime, with what to install."""
    named = os.environ.get(SOUND_FONT_VARIABLE)
    for path in [Path(named)] if named else map(Path, SOUND_FONTS):
        if path.is_file():
            return path
    raise MissingRuntime(
        f"no General MIDI sound font{f' at {named}' if named else ''}: install one (Debian: apt-get install "
        f"fluidr3mono-gm-soundfont) or name its file in {SOUND_FONT_VARIABLE}"
    )


def ready() -> Path:
    """The sound font that will be played. Raises MissingRuntime when it or tinysoundfont is missing."""
    _tinysoundfont()
    return find_sound_font()


def digest(path: Path | None = None) -> str:
    """Of the rules and the sound font (its name and size): what besides seed and picture decides how the music sounds."""
    real = (path or find_sound_font()).resolve()
    return hashlib.sha256(f"procedural {RULES} {real.name} {real.stat().st_size}".encode()).hexdigest()[:16]


def licence_of(path: Path) -> str:
    return LICENCES.get(path.resolve().name, "its own")


def _open(path: Path) -> Any:
    synth = _tinysoundfont().Synth(samplerate=SAMPLE_RATE, gain=GAIN_DB)
    try:
        sound_font = synth.sfload(_read(path))
        for part in range(len(PARTS)):
            synth.program_select(_channel(part), sound_font, DRUM_BANK if part == PERCUSSION else 0, 0)
    except RuntimeError as error:
        raise PackageError(f"{path}: expected a General MIDI sound font: {error}") from error
    return synth


@lru_cache(maxsize=1)
def _read(path: Path) -> Any:
    """A sound font that is never played, of which others are copies. To read it takes 1.2 s, in which no other thread of Python
    runs, and 290 MB; a copy takes neither."""
    synth = _tinysoundfont().Synth()
    return synth.soundfonts[synth.sfload(str(path))]


def _tinysoundfont() -> Any:
    try:
        import tinysoundfont
    except ImportError as error:
        raise MissingRuntime(
            "the procedural composer needs tinysoundfont: pip install --no-deps 'tinysoundfont>=0.3.7,<0.4'"
        ) from error
    return tinysoundfont


def _channel(part: int) -> int:
    return DRUM_CHANNEL if part == PERCUSSION else part
