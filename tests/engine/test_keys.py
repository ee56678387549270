"""Music that is held to a key: only tokens of the key are drawn, and a stream keeps, changes and restores its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streams import camera, play

from engine.errors import PackageError
from engine.keys import KEYS_FILE, UNUSED, Keys
from engine.offline import Span, compose
from engine.spec import KEYS, StreamPolicy
from engine.stream import ScoreStream

Pictures = Callable[[int, int], NDArray[np.uint8]]
TAUGHT = (0, 7, 2)


def table() -> Keys:
    """Every token of three parts sounds one or two pitch classes, by turns; a few are unused; percussion sounds none."""
    pitches = np.zeros((4, 128), np.uint16)
    for part in (1, 2, 3):
        for token in range(128):
            bits = 1 << (token % 12) | (1 << (token + 4) % 12 if part == 2 else 0)
            pitches[part, token] = UNUSED if token % 50 == 7 else bits
    return Keys(pitches, TAUGHT)


def outside(columns: NDArray[np.int64], signature: int) -> int:
    """Of columns [n, K]: tokens that the key has not."""
    allowed = table().allowed(signature)
    return int(sum((~allowed[part, columns[:, part]]).sum() for part in range(4)))


def test_a_signature_allows_its_major_scale_and_what_has_no_pitch() -> None:
    keys = Keys(
        np.array([[0, *(1 << p for p in range(12)), 1 << 0 | 1 << 4, 1 << 0 | 1 << 3, UNUSED]], np.uint16),
        (0,),
    )
    names = ["none", *KEYS, "C+E", "C+Eb", "unused"]
    in_c = [name for name, allowed in zip(names, keys.allowed(0)[0], strict=True) if allowed]
    in_eb = [name for name, allowed in zip(names, keys.allowed(3)[0], strict=True) if allowed]
    assert in_c == ["none", "C", "D", "E", "F", "G", "A", "B", "C+E"]
    assert in_eb == ["none", "C", "D", "Eb", "F", "G", "Ab", "Bb", "C+Eb"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_tokens_of_the_key_are_played(nano_backend: Any, pictures: Pictures, temperature: float) -> None:
    policy, video = StreamPolicy(key="Eb", temperature=temperature, top_k=0), camera(pictures(40, 0))
    free = play(ScoreStream(nano_backend, replace(policy, key="free"), keys=table()), 200, video)
    held = play(ScoreStream(nano_backend, policy, keys=table()), 200, video)
    assert outside(held.codes, 3) == 0
    assert outside(free.codes, 3) > 50


def test_free_is_as_if_the_model_knew_no_pitches(nano_backend: Any, pictures: Pictures) -> None:
    policy, video = StreamPolicy(key="free"), camera(pictures(20, 0))
    free, plain = (play(ScoreStream(nano_backend, policy, keys=k), 60, video) for k in (table(), None))
    assert np.array_equal(free.codes, plain.codes)


def test_the_seed_chooses_among_the_keys_that_were_taught(nano_torch_backend: Any) -> None:
    streams = [ScoreStream(nano_torch_backend, StreamPolicy(seed=seed), keys=table()) for seed in range(6)]
    assert [stream.segments.signature for stream in streams] == [0, 7, 2, 0, 7, 2]


def test_a_running_stream_changes_its_key_when_asked_and_not_with_its_seed(
    nano_backend: Any, pictures: Pictures
) -> None:
    policy, video = StreamPolicy(key="seed", seed=0, top_k=0), camera(pictures(40, 0))
    stream = ScoreStream(nano_backend, policy, keys=table())
    before = play(stream, 40, video)
    stream.set_policy(replace(policy, seed=1))
    assert stream.segments.signature == 0
    stream.set_policy(replace(policy, key="B"))
    later = play(stream, 60, video)
    assert outside(before.codes, 0) == 0
    assert outside(before.codes, 11) > 20
    assert outside(later.codes, 11) == 0


def test_a_restored_stream_keeps_the_key_that_it_began_with(nano_backend: Any, pictures: Pictures) -> None:
    policy, video = StreamPolicy(seed=1), camera(pictures(64, 0))
    stream = ScoreStream(nano_backend, policy, keys=table())
    stream.set_policy(replace(policy, seed=5))
    play(stream, 113, video)
    again = ScoreStream.restore(nano_backend, stream.snapshot(), table())
    went_on, restored = play(stream, 60, video), play(again, 60, video)
    assert again.segments.signature == 7
    assert np.array_equal(went_on.codes, restored.codes)
    assert outside(went_on.codes, 7) == 0


def test_a_whole_file_is_held_to_the_key_too(nano_torch_backend: Any, pictures: Pictures) -> None:
    spec = nano_torch_backend.spec
    features = nano_torch_backend.encode_frames(
        np.random.default_rng(0).integers(0, 256, (4, 56, 56, 4), dtype=np.uint8)
    )
    short, memory = nano_torch_backend.look(features), nano_torch_backend.remember(features)
    span = Span(start=0, prompt=0, total=100, first_frame=0, frames=4)
    policy = StreamPolicy(key="A", top_k=0)
    codes = next(iter(compose(nano_torch_backend, short, memory, [span], policy, keys=table())))
    assert codes.shape == (spec.decoder.codebooks, 100)
    assert outside(codes.T, 9) == 0


def test_a_key_that_is_not_known_or_not_possible_is_refused(nano_torch_backend: Any) -> None:
    with pytest.raises(ValueError, match="key is seed, free or one of C Db"):
        StreamPolicy(key="H")
    with pytest.raises(
        ValueError, match="pitches of this model's tokens are not known; it cannot be held to C"
    ):
        ScoreStream(nano_torch_backend, StreamPolicy(key="C"))
    stream = ScoreStream(nano_torch_backend, StreamPolicy())
    with pytest.raises(ValueError, match="cannot be held to C"):
        stream.set_policy(StreamPolicy(key="C"))
    assert stream.policy.key == "seed"


def test_the_table_is_kept_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    assert Keys.load(tmp_path, 4, 128) is None
    table().save(tmp_path)
    again = Keys.load(tmp_path, 4, 128)
    assert again is not None
    assert np.array_equal(again.pitches, table().pitches)
    assert again.taught == TAUGHT
    with pytest.raises(PackageError, match=r"expected pitches \[4, 64\]"):
        Keys.load(tmp_path, 4, 64)
    Keys(np.full((4, 128), 1, np.uint16), TAUGHT).save(tmp_path)
    with pytest.raises(PackageError, match="no token of some codebook is left in D"):
        Keys.load(tmp_path, 4, 128)
    for damaged in (b"", b"PK nothing", b"PK\x03\x04" + bytes(40)):
        (tmp_path / KEYS_FILE).write_bytes(damaged)
        with pytest.raises(PackageError, match="expected the pitches of tokens"):
            Keys.load(tmp_path, 4, 128)
