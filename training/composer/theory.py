"""Modes, chords and voicings. A pitch is a MIDI key; a degree counts steps of the scale from the tonic and may leave 0..6."""

from __future__ import annotations

MODES: dict[str, tuple[int, ...]] = {
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "major": (0, 2, 4, 5, 7, 9, 11),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
}
"""Semitones over the tonic, from the darkest mode to the brightest."""
DEGREES = {"major": 0, "dorian": 1, "phrygian": 2, "lydian": 3, "mixolydian": 4, "minor": 5}
"""The degree of a major scale on which each mode with the same seven pitch classes begins."""
BRIGHTER_FROM = (0.12, 0.40, 0.50, 0.60, 0.88)
"""Valence at which each mode gives way to the next."""
PROGRESSIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "phrygian": ((0, 1, 0, 6), (0, 5, 1, 0)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 6), (0, 5, 3, 6)),
    "dorian": ((0, 3, 0, 3), (0, 6, 3, 0)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 3)),
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4)),
    "lydian": ((0, 1, 0, 4), (0, 1, 5, 1)),
}
"""Degrees of the roots, a chord a bar; no diminished chord."""
TRIAD, SEVENTH = (0, 2, 4), (0, 2, 4, 6)


def mode_of(valence: float) -> str:
    return list(MODES)[sum(valence >= edge for edge in BRIGHTER_FROM)]


def tonic_of(signature: int, mode: str) -> int:
    """The tonic (pitch class) of the mode that has the pitch classes of the major scale on `signature`."""
    return (signature + MODES["major"][DEGREES[mode]]) % 12


def pitch(tonic: int, mode: str, degree: int) -> int:
    """Of a degree over a tonic (pitch class), in the octave where degree 0 is the tonic itself."""
    octave, step = divmod(degree, len(MODES[mode]))
    return tonic + 12 * octave + MODES[mode][step]


def nearest(key: int, centre: int) -> int:
    """The key an octave or more away that lies nearest to `centre`: a pitch is only ever moved by octaves."""
    return key + 12 * round((centre - key) / 12)


def voiced(tonic: int, mode: str, degrees: tuple[int, ...], centre: int) -> list[int]:
    """A chord with every note as near to `centre` as octaves allow, lowest first."""
    return sorted(nearest(pitch(tonic, mode, d), centre) for d in degrees)


def melodic(tonic: int, mode: str, root: int, degree: int, centre: int) -> int:
    """`degree` steps over a chord's root, the root as near to `centre` as octaves allow: a line keeps its shape."""
    low = pitch(tonic, mode, root)
    return pitch(tonic, mode, root + degree) + nearest(low, centre) - low
