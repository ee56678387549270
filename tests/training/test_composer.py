"""The composer's laws: in key, on the grid, at once at a cut, causal, by its seed; and what it has always played."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from training.composer import arrangement as by
from training.composer.attributes import Attributes
from training.composer.composer import SOONEST_RESTART_STEPS, Composer, Note
from training.composer.theory import MODES, mode_of
from training.pieces import compose, imagine

SCENE_STEPS = 400
MOTIONS = (0.05, 0.28, 0.49, 0.71, 0.95)
"""In the middle of each energy."""
LOOKS = (
    Attributes(0.10, 0.05, 0.10, 0.0),
    Attributes(0.26, 0.00, 0.00, 0.0),
    Attributes(0.20, 0.50, 0.40, 0.0),
    Attributes(0.50, 0.50, 0.30, 0.0),
    Attributes(0.50, 0.60, 0.70, 0.0),
    Attributes(0.65, 0.80, 0.50, 0.0),
    Attributes(0.95, 1.00, 0.90, 0.0),
)
"""From each mode and each shade; some are colourful, so that chords have sevenths."""
LONGEST_STEPS = 16 * max(by.STEPS_OF_SIXTEENTH)
"""A bar at the slowest pace: no note is longer."""

DIGESTS = {
    0: "46e742d27ae12d69",
    1: "f47a08ab4129df1b",
    2: "97fc4512f65dfc2b",
}


def scenes(looks: Sequence[Attributes], motions: Sequence[float], steps: int) -> Iterator[Attributes]:
    """Each look with each motion, a cut between them."""
    for look in looks:
        for motion in motions:
            yield replace(look, motion=motion, cut=True)
            yield from [replace(look, motion=motion)] * (steps - 1)


def digest(steps: list[list[Note]]) -> str:
    plain = [
        [(n.part, int(n.key), n.on, n.velocity, -1 if n.program is None else n.program) for n in notes]
        for notes in steps
    ]
    return hashlib.sha256(repr(plain).encode()).hexdigest()[:16]


@pytest.mark.parametrize("seed", DIGESTS)
def test_it_plays_what_it_has_always_played(seed: int) -> None:
    """The starter model learns from these notes; who changes them on purpose changes the digests."""
    assert digest(compose(imagine(seed), seed)) == DIGESTS[seed]


@pytest.mark.parametrize("signature", range(12))
def test_every_note_is_in_key_in_every_mode_at_every_energy_and_shade(signature: int) -> None:
    composer = Composer(seed=signature, signatures=[signature])
    reached: set[tuple[str, str | int]] = set()
    for now in scenes(LOOKS, MOTIONS, SCENE_STEPS):
        began = [note for note in composer.advance(now) if note.on and note.part != by.PERCUSSION]
        phrase = composer.phrase
        assert phrase is not None
        for note in began:
            assert (note.key - phrase.tonic) % 12 in MODES[phrase.mode], (phrase, note)
            assert (note.key - signature) % 12 in MODES["major"], (phrase, note)
            reached |= {
                ("mode", phrase.mode),
                ("energy", composer.energy),
                ("shade", phrase.shade),
                ("part", note.part),
            }
    assert {value for kind, value in reached if kind == "mode"} == set(MODES)
    assert {value for kind, value in reached if kind == "energy"} == set(range(5))
    assert {value for kind, value in reached if kind == "shade"} == set(range(3))
    assert {value for kind, value in reached if kind == "part"} == {by.BASS, by.HARMONY, by.MELODY}


def test_the_seed_chooses_among_all_the_signatures_that_it_is_given() -> None:
    chosen = set()
    for seed in range(100):
        composer = Composer(seed)
        composer.advance(LOOKS[3])
        assert composer.phrase is not None
        chosen.add(composer.phrase.signature)
    assert chosen == set(range(12))


def test_darker_pictures_have_darker_modes() -> None:
    order = list(MODES)
    places = [order.index(mode_of(valence / 100)) for valence in range(101)]
    assert places == sorted(places)
    assert set(places) == set(range(len(order)))


@pytest.mark.parametrize("energy", range(5))
def test_while_motion_stays_onsets_lie_on_sixteenths(energy: int) -> None:
    steps = compose([replace(LOOKS[3], motion=MOTIONS[energy])] * 1500, seed=energy)
    onsets = [step for step, notes in enumerate(steps) if any(note.on for note in notes)]
    assert len(onsets) > 1
    assert all(step % by.STEPS_OF_SIXTEENTH[energy] == 0 for step in onsets)


@pytest.mark.parametrize("seed", range(4))
def test_between_cuts_onsets_lie_on_a_grid_of_5_to_10_steps(seed: int) -> None:
    """The grid is where the composer counts a sixteenth; only the accent of a hasty cut lies beside it."""
    composer, grid, cuts = Composer(seed), list[int](), set[int]()
    for step, now in enumerate(imagine(seed)):
        counted = composer.sixteenths
        notes = composer.advance(now)
        cuts |= {step} if now.cut else set()
        if composer.sixteenths > counted:
            grid.append(step)
        elif any(note.on for note in notes):
            assert now.cut, step
    gaps = [after - before for before, after in pairwise(grid) if after not in cuts]
    assert set(gaps) <= set(by.STEPS_OF_SIXTEENTH)
    assert (min(by.STEPS_OF_SIXTEENTH), max(by.STEPS_OF_SIXTEENTH)) == (5, 10)


@pytest.mark.parametrize("late", range(11, 60, 7))
def test_a_cut_begins_a_phrase_at_once_and_the_percussion_says_so(late: int) -> None:
    composer = Composer(seed=late)
    for _ in range(100 + late):
        composer.advance(LOOKS[0])
    phrases, sounding = composer.phrases, set(composer.ends)
    notes = composer.advance(replace(LOOKS[6], cut=True))
    assert composer.phrases == phrases + 1
    assert composer.sixteenth == 1
    assert any(note.on and note.part == by.PERCUSSION for note in notes)
    assert {(n.part, n.key) for n in notes if not n.on} >= sounding
    assert composer.phrase is not None
    assert (composer.phrase.mode, composer.phrase.shade) == ("lydian", 2)


def test_hasty_cuts_are_accents_and_no_new_phrases() -> None:
    composer = Composer(seed=1)
    composer.advance(LOOKS[3])
    for step in range(1, 40):
        notes = composer.advance(replace(LOOKS[3], cut=True))
        assert any(note.on and note.key == by.CRASH.key for note in notes)
        assert composer.phrases == 1 + step // SOONEST_RESTART_STEPS


def test_the_signature_stays_over_cuts_and_the_mode_has_its_tonic() -> None:
    composer = Composer(seed=5)
    signatures, tonics = set(), dict[str, set[int]]()
    for now in scenes(LOOKS, MOTIONS[:1], 50):
        composer.advance(now)
        assert composer.phrase is not None
        signatures.add(composer.phrase.signature)
        tonics.setdefault(composer.phrase.mode, set()).add(composer.phrase.tonic)
    assert len(signatures) == 1
    assert set(tonics) == set(MODES)
    assert all(len(found) == 1 for found in tonics.values())
    assert len(set.union(*tonics.values())) == len(MODES)


def test_a_seed_gives_the_same_notes_and_others_give_others() -> None:
    now = imagine(3, 1000)
    pieces = [digest(compose(now, seed)) for seed in (0, 0, 1, 2, 3, 4)]
    assert pieces[0] == pieces[1]
    assert len(set(pieces)) == 5


@pytest.mark.parametrize("agreed", [1, 7, 250, 640, 900])
def test_the_future_changes_nothing(agreed: int) -> None:
    one, two = imagine(3, 1000), imagine(4, 1000)
    notes = [compose([*one[:agreed], *rest[agreed:]], seed=9) for rest in (one, two)]
    assert notes[0][:agreed] == notes[1][:agreed]
    assert notes[0] != notes[1]


@pytest.mark.parametrize("seed", range(4))
def test_every_note_that_begins_ends_and_none_ends_twice(seed: int) -> None:
    steps = compose(imagine(seed), seed)
    sounding: dict[tuple[int, int], int] = {}
    for step, notes in enumerate(steps):
        for note in notes:
            if note.on:
                assert (note.part, note.key) not in sounding, (step, note)
                sounding[note.part, note.key] = step
            else:
                assert step - sounding.pop((note.part, note.key)) <= LONGEST_STEPS
        assert all(step - began <= LONGEST_STEPS for began in sounding.values())
    assert len(steps) == 3000


def test_faster_pictures_have_more_notes() -> None:
    counts = [
        sum(note.on for notes in compose([replace(LOOKS[3], motion=motion)] * 1000, seed=2) for note in notes)
        for motion in MOTIONS
    ]
    assert counts == sorted(set(counts))
