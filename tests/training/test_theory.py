"""Parts move by octaves only: what is played is the pitch of its degree, up or down by twelves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.composer.theory import MODES, PROGRESSIONS, melodic, nearest, pitch, tonic_of, voiced

tonics = st.integers(0, 11)
modes = st.sampled_from(list(MODES))
degrees = st.integers(-14, 21)
centres = st.integers(24, 96)


@given(key=st.integers(0, 127), centre=centres)
def test_nearest_is_octaves_away_and_as_near_as_they_allow(key: int, centre: int) -> None:
    assert (nearest(key, centre) - key) % 12 == 0
    assert abs(nearest(key, centre) - centre) <= 6


@given(tonic=tonics, mode=modes, chord=st.lists(degrees, min_size=1, max_size=4), centre=centres)
def test_a_voicing_is_the_chord_with_its_notes_moved_by_octaves(
    tonic: int, mode: str, chord: list[int], centre: int
) -> None:
    keys = voiced(tonic, mode, tuple(chord), centre)
    assert keys == sorted(keys)
    assert sorted(key % 12 for key in keys) == sorted(pitch(tonic, mode, degree) % 12 for degree in chord)
    assert all(abs(key - centre) <= 6 for key in keys)


@given(tonic=tonics, mode=modes, root=degrees, degree=degrees, centre=centres)
def test_a_line_keeps_its_shape_and_moves_by_octaves(
    tonic: int, mode: str, root: int, degree: int, centre: int
) -> None:
    moved = melodic(tonic, mode, root, degree, centre) - pitch(tonic, mode, root + degree)
    assert moved % 12 == 0
    assert moved == melodic(tonic, mode, root, 0, centre) - pitch(tonic, mode, root)


@given(tonic=tonics, mode=modes, degree=degrees)
def test_an_octave_has_seven_degrees(tonic: int, mode: str, degree: int) -> None:
    assert pitch(tonic, mode, degree + 7) == pitch(tonic, mode, degree) + 12
    assert pitch(tonic, mode, degree + 1) - pitch(tonic, mode, degree) in (1, 2)


@pytest.mark.parametrize("mode", MODES)
def test_no_progression_has_a_diminished_chord(mode: str) -> None:
    for progression in PROGRESSIONS[mode]:
        for root in progression:
            assert pitch(0, mode, root + 4) - pitch(0, mode, root) == 7, (mode, progression, root)


@pytest.mark.parametrize("signature", range(12))
def test_modes_of_a_signature_are_relatives(signature: int) -> None:
    """All have the seven pitch classes of its major scale."""
    scale = {(signature + tone) % 12 for tone in MODES["major"]}
    for mode, tones in MODES.items():
        assert {(tonic_of(signature, mode) + tone) % 12 for tone in tones} == scale, mode
