"""The composer: attributes of the picture in, step by step, notes out. Causal; what it chooses is keyed by (seed, phrase).

A cut begins a new phrase on its downbeat at once. Motion chooses energy, and with it tempo, density and instruments, at each
beat; brightness and warmth choose the mode, brightness the register, when a phrase begins. The key signature stays: modes
differ by their tonic, so pieces of any length keep to seven pitch classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.composer import arrangement as by
from training.composer.attributes import Attributes
from training.composer.theory import PROGRESSIONS, SEVENTH, TRIAD, melodic, mode_of, tonic_of, voiced

BAR, BEAT = 16, 4
PHRASE_BARS = 8
"""A phrase without a cut goes on for so many bars, then a new figure comes."""
SETTLE_STEPS = 12
"""Motion is smoothed over about so many steps."""
SOONEST_RESTART_STEPS = 10
"""A cut sooner after the last one is an accent of the percussion, no new phrase."""
COLOURFUL_FROM = 0.6
"""Saturation from which chords have sevenths."""


@dataclass(frozen=True, slots=True)
class Note:
    """`on` begins a note, else it ends. velocity: 1 to 127. program: General MIDI, None for the drum kit."""

    part: int
    key: int
    on: bool
    velocity: int = 0
    program: int | None = None


@dataclass(frozen=True, slots=True)
class Phrase:
    """What stays while a phrase lasts.

    signature: tonic of the major scale with its pitch classes. shade: 0 dark, 1 medium, 2 bright. figure, variant: which of the
    tables.
    """

    signature: int
    mode: str
    progression: tuple[int, ...]
    chord: tuple[int, ...]
    shade: int
    figure: int
    variant: int

    @property
    def tonic(self) -> int:
        return tonic_of(self.signature, self.mode)

    def root(self, bar: int) -> int:
        return self.progression[bar % len(self.progression)]


@dataclass(slots=True)
class Composer:
    """One piece. `signatures`: those that the seed may choose from."""

    seed: int
    signatures: Sequence[int] = tuple(range(12))
    step: int = 0
    energy: int = 0
    motion: float | None = None
    phrase: Phrase | None = None
    phrases: int = 0
    began: int = 0
    """The step of the last downbeat that a cut or the beginning set."""
    sixteenth: int = 0
    """Counted from the phrase's beginning."""
    sixteenths: int = 0
    """Counted from the beginning of the piece."""
    due: int = 0
    """The step of the next sixteenth."""
    ends: dict[tuple[int, int], int] = field(default_factory=dict)
    """Count of `sixteenths` at which each sounding (part, key) ends; bound: the keys of a piano for each part."""

    def advance(self, now: Attributes) -> list[Note]:
        """The notes of one step, ends first. A cut is answered at the step at which it is seen."""
        self._feel(now.motion)
        notes = self._answer_cut(now)
        if self.step == self.due:
            notes += self._ended()
            if self.sixteenth == PHRASE_BARS * BAR:
                self._begin(now)
            notes += self._sixteenth(self.sixteenth % BEAT == 0 and self._choose_energy())
        self.step += 1
        return notes

    def _feel(self, motion: float) -> None:
        self.motion = motion if self.motion is None else self.motion + (motion - self.motion) / SETTLE_STEPS

    def _answer_cut(self, now: Attributes) -> list[Note]:
        """An accent, and a new phrase on its downbeat unless the last one has only begun."""
        first, notes = self.phrase is None, list[Note]()
        if first or (now.cut and self.step - self.began >= SOONEST_RESTART_STEPS):
            notes += self._ended(all_of_them=True)
            self._begin(now)
            self.began = self.due = self.step
        if now.cut and not first:
            loudness = self._loudness(0) + by.CRASH.louder
            notes += self._play(by.PERCUSSION, by.CRASH.key, loudness, None, 2 * BEAT)
        return notes

    def _begin(self, now: Attributes) -> None:
        """Choose a phrase: the picture says how it sounds, (seed, phrase) which of its kind it is."""
        random = np.random.default_rng((self.seed, self.phrases))
        signature = self.phrase.signature if self.phrase else int(random.choice(list(self.signatures)))
        mode = mode_of(now.valence)
        options = PROGRESSIONS[mode]
        self.phrase = Phrase(
            signature,
            mode,
            options[random.integers(len(options))],
            SEVENTH if now.saturation >= COLOURFUL_FROM else TRIAD,
            sum(now.brightness >= edge for edge in by.BRIGHTER_FROM),
            int(random.integers(by.FIGURES)),
            int(random.integers(by.VARIANTS)),
        )
        self.phrases, self.sixteenth = self.phrases + 1, 0

    def _choose_energy(self) -> bool:
        """Follow the motion; whether the energy is another one now."""
        assert self.motion is not None
        low = sum(self.motion >= edge - by.HYSTERESIS for edge in by.MORE_ENERGY_FROM)
        high = sum(self.motion >= edge + by.HYSTERESIS for edge in by.MORE_ENERGY_FROM)
        before, self.energy = self.energy, min(max(self.energy, high), low)
        return self.energy != before

    def _sixteenth(self, changed: bool) -> list[Note]:
        """All parts' notes of the sixteenth that begins now. After a change of energy long notes begin in their middle."""
        bar, place = divmod(self.sixteenth, BAR)
        self.due = self.step + by.STEPS_OF_SIXTEENTH[self.energy]
        loudness = self._loudness(place)
        notes = [
            *self._percussion(place, loudness),
            *self._bass(bar, place, loudness, changed),
            *self._harmony(bar, place, loudness, changed),
            *self._melody(bar, loudness),
        ]
        self.sixteenth, self.sixteenths = self.sixteenth + 1, self.sixteenths + 1
        return notes

    def _percussion(self, place: int, loudness: int) -> Iterator[Note]:
        for pattern, drum in by.BEATS[self.energy][self._phrase.variant].items():
            if pattern[place] == "x":
                yield from self._play(by.PERCUSSION, drum.key, loudness + drum.louder, None, 1)

    def _bass(self, bar: int, place: int, loudness: int, changed: bool) -> Iterator[Note]:
        phrase = self._phrase
        for start, degree, length in by.BASS_LINES[self.energy][phrase.variant]:
            if start == place or (changed and start < place < start + length):
                key = melodic(phrase.tonic, phrase.mode, phrase.root(bar), degree, by.BASS_CENTRE)
                yield from self._play(
                    by.BASS, key, loudness, by.BASS_PROGRAMS[self.energy], length + start - place
                )

    def _harmony(self, bar: int, place: int, loudness: int, changed: bool) -> Iterator[Note]:
        phrase, program = self._phrase, by.HARMONY_PROGRAMS[self._loud][self._phrase.shade]
        chord = tuple(phrase.root(bar) + degree for degree in phrase.chord)
        for start, length in by.CHORDS[self.energy]:
            if start == place or (changed and start < place < start + length):
                for key in voiced(phrase.tonic, phrase.mode, chord, by.HARMONY_CENTRE):
                    yield from self._play(by.HARMONY, key, loudness - 8, program, length + start - place)

    def _melody(self, bar: int, loudness: int) -> Iterator[Note]:
        phrase, program = self._phrase, by.MELODY_PROGRAMS[self._loud][self._phrase.shade]
        figure, sixteenths = by.melody(self.energy, phrase.figure)
        for start, degree, length in figure:
            if start == self.sixteenth % sixteenths:
                key = melodic(
                    phrase.tonic, phrase.mode, phrase.root(bar), degree, by.MELODY_CENTRES[phrase.shade]
                )
                yield from self._play(by.MELODY, key, loudness + 6, program, length)

    @property
    def _phrase(self) -> Phrase:
        assert self.phrase is not None
        return self.phrase

    @property
    def _loud(self) -> bool:
        return self.energy >= by.LOUD_FROM

    def _loudness(self, place: int) -> int:
        return by.VELOCITY[self.energy] + (by.ACCENT if place % BEAT == 0 else 0)

    def _play(
        self, part: int, key: int, velocity: int, program: int | None, sixteenths: int
    ) -> Iterator[Note]:
        """A note; one that sounds already ends first, and a melody or bass note ends the one before."""
        for sounding in list(self.ends):
            if sounding == (part, key) or (part in (by.BASS, by.MELODY) and sounding[0] == part):
                del self.ends[sounding]
                yield Note(*sounding, on=False)
        self.ends[part, key] = self.sixteenths + sixteenths
        yield Note(part, key, True, int(np.clip(velocity, 1, 127)), program)

    def _ended(self, all_of_them: bool = False) -> list[Note]:
        over = [sounding for sounding, end in self.ends.items() if all_of_them or end <= self.sixteenths]
        for sounding in over:
            del self.ends[sounding]
        return [Note(*sounding, on=False) for sounding in over]
