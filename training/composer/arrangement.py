"""Who plays what, at five levels of energy: instruments, rhythms, figures. Times count sixteenths, programs are General MIDI."""

from __future__ import annotations

from dataclasses import dataclass

PERCUSSION, BASS, HARMONY, MELODY = range(4)
PARTS = ("percussion", "bass", "harmony", "melody")

STEPS_OF_SIXTEENTH = (10, 8, 7, 6, 5)
"""Decoder steps (20 ms) of a sixteenth at each energy: 75, 94, 107, 125 and 150 beats a minute, onsets on whole steps."""
MORE_ENERGY_FROM = (0.18, 0.38, 0.60, 0.82)
"""Motion at which each level of energy gives way to the next, and ..."""
HYSTERESIS = 0.04
"""... how much further it must go."""
BRIGHTER_FROM = (0.25, 0.60)
"""Brightness at which dark gives way to medium, and medium to bright."""
VELOCITY = (52, 62, 74, 86, 98)
ACCENT = 10
"""Added on the beat."""

LOUD_FROM = 3
"""Energy from which the second set of instruments plays."""
HARMONY_PROGRAMS = ((89, 48, 52), (50, 4, 16))
MELODY_PROGRAMS = ((11, 0, 8), (81, 4, 13))
"""[calm, loud][dark, medium, bright]."""
BASS_PROGRAMS = (32, 32, 33, 33, 38)
BASS_CENTRE, HARMONY_CENTRE = 36, 59
MELODY_CENTRES = (62, 70, 82)
"""Dark, medium, bright."""

Figure = tuple[tuple[int, int, int], ...]
"""(start, degree over the chord's root, length), ..."""


@dataclass(frozen=True, slots=True)
class Drum:
    key: int
    louder: int


KICK, SNARE, STICK, HAT, OPEN, CRASH = (
    Drum(36, 8), Drum(38, 4), Drum(37, -8), Drum(42, -16), Drum(46, -14), Drum(49, 0),
)  # fmt: skip
BEATS: tuple[tuple[dict[str, Drum], ...], ...] = (
    ({}, {}),
    ({"x...x...x...x...": HAT}, {"....x.......x...": STICK}),
    (
        {"x.......x.......": KICK, "....x.......x...": SNARE, "x.x.x.x.x.x.x.x.": HAT},
        {"x.....x.x.......": KICK, "....x.......x...": STICK, "x.x.x.x.x.x.x.x.": HAT},
    ),
    (
        {"x...x...x...x...": KICK, "....x.......x...": SNARE, "..x...x...x...x.": OPEN},
        {"x.....x.x.....x.": KICK, "....x.......x...": SNARE, "x.x.x.x.x.x.x.x.": HAT},
    ),
    (
        {"x...x...x...x...": KICK, "....x.......x...": SNARE, "xxxxxxxxxxxxxxxx": HAT},
        {"x..x..x.x..x..x.": KICK, "....x.......x...": SNARE, "xxxxxxxxxxxxxxxx": HAT},
    ),
)
"""[energy][variant]."""

BASS_LINES: tuple[tuple[Figure, ...], ...] = (
    (((0, 0, 16),), ((0, 0, 16),)),
    (((0, 0, 8), (8, 0, 8)), ((0, 0, 8), (8, 4, 8))),
    (((0, 0, 4), (4, 0, 4), (8, 4, 4), (12, 0, 4)), ((0, 0, 6), (6, 0, 2), (8, 0, 4), (12, 4, 4))),
    (
        tuple((i, 0, 2) for i in range(0, 16, 2)),
        tuple((i, (0, 0, 4, 0)[i // 2 % 4], 2) for i in range(0, 16, 2)),
    ),
    (tuple((i, (0, 7)[i // 2 % 2], 2) for i in range(0, 16, 2)), tuple((i, 0, 2) for i in range(0, 16, 2))),
)
"""[energy][variant], a bar."""

CHORDS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 16),),
    ((0, 16),),
    ((0, 8), (8, 8)),
    ((0, 4), (4, 4), (8, 4), (12, 4)),
    tuple((i, 2) for i in range(0, 16, 2)),
)
"""[energy]: (start, length) of the harmony's chords in a bar."""

SLOW: tuple[Figure, ...] = (
    ((0, 4, 12), (12, 2, 4), (16, 4, 8), (24, 7, 8)),
    ((0, 2, 8), (8, 4, 8), (16, 7, 12), (28, 4, 4)),
    ((0, 4, 8), (8, 5, 4), (12, 4, 4), (16, 2, 16)),
    ((0, 7, 16), (16, 4, 8), (24, 2, 8)),
)
"""Two bars."""
MIDDLE: tuple[Figure, ...] = (
    ((0, 0, 4), (4, 2, 4), (8, 4, 4), (12, 2, 4)),
    ((0, 4, 6), (6, 2, 2), (8, 0, 4), (12, 4, 4)),
    ((0, 2, 2), (2, 4, 2), (4, 7, 4), (8, 4, 4), (12, 2, 4)),
    ((0, 4, 4), (6, 4, 2), (8, 7, 4), (12, 4, 2), (14, 2, 2)),
)
ARPEGGIOS = (
    (0, 2, 4, 7, 9, 7, 4, 2),
    (0, 4, 2, 4, 7, 4, 2, 4),
    (7, 4, 2, 0, 2, 4, 7, 9),
    (0, 2, 4, 2, 7, 4, 9, 7),
)
RUNS = ("x.x.x.x.x.x.x.x.", "x.xxx.xxx.xxx.xx", "xxxxxxxxxxxxxxxx")
"""Which sixteenths an arpeggio plays at energies 2, 3 and 4."""
FIGURES = len(SLOW)
VARIANTS = 2


def melody(energy: int, figure: int) -> tuple[Figure, int]:
    """The figure that plays at this energy, and the sixteenths after which it repeats."""
    if energy == 0:
        return SLOW[figure], 32
    if energy == 1:
        return MIDDLE[figure], 16
    run, wave = RUNS[energy - 2], ARPEGGIOS[figure]
    starts = [i for i in range(16) if run[i] == "x"]
    ends = [*starts[1:], 16]
    notes = ((s, wave[i % len(wave)], e - s) for i, (s, e) in enumerate(zip(starts, ends, strict=True)))
    return tuple(notes), 16
