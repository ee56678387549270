"""The delay pattern: codebook k of column c holds timestep c - 1 - k, in any of the ways in which it is asked."""

from __future__ import annotations

import numpy as np

from engine.patterns import DelayPattern

PATTERN = DelayPattern(4, 128)
CODES = np.random.default_rng(0).integers(0, 128, (4, 30))


def test_every_cell_holds_the_timestep_of_its_column_or_is_special() -> None:
    columns = PATTERN.sequence(CODES, 36)
    for c in range(36):
        for k in range(4):
            timestep = c - 1 - k
            inside = 0 <= timestep < 30
            assert columns[c, k] == (CODES[k, timestep] if inside else 128)
            assert PATTERN.filled(36, 30)[c, k] == inside


def test_codes_of_a_sequence_are_the_codes() -> None:
    assert np.array_equal(PATTERN.codes(PATTERN.sequence(CODES, PATTERN.columns_for(30))), CODES)


def test_a_frame_is_complete_when_its_last_codebook_is_known() -> None:
    for frames in range(30):
        assert PATTERN.codes(PATTERN.sequence(CODES, PATTERN.columns_for(frames))).shape[1] == frames


def test_a_segment_that_begins_later_reads_a_sequence_of_its_own() -> None:
    """Blanking the columns of a long sequence gives the sequence of the codes from there on."""
    columns = PATTERN.sequence(CODES, 31)
    for origin in (0, 1, 7):
        begun = np.stack([PATTERN.begin(c, p) for p, c in enumerate(columns[origin:])])
        assert np.array_equal(begun, PATTERN.sequence(CODES[:, origin:], 31 - origin))


def test_the_first_column_is_special() -> None:
    assert np.array_equal(PATTERN.first_column(), PATTERN.sequence(CODES, 1)[0])
