"""A policy may change while a stream plays: from that step on it is the stream that was restored with the new policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save
from streams import Played, camera, play

from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from training.composer.player import ProceduralPlayer

U8 = NDArray[np.uint8]
POLICY = StreamPolicy(short_term_s=2.0, context_s=0.8, seed=7, long_term_capacity=4, recalled=3)


@pytest.fixture(scope="module")
def video(pictures: Callable[..., U8]) -> Any:
    """A frame each fifth of a second; a cut at step 100."""
    return camera(np.concatenate((pictures(10, 1), pictures(30, 2))))


def with_policy(blob: bytes, policy: StreamPolicy) -> bytes:
    """The snapshot of a stream that always had this policy."""
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    meta = json.loads(header["__metadata__"]["stream"])
    meta["policy"] = asdict(policy)
    return bytes(save(load(blob), {"stream": json.dumps(meta)}))


def same(one: Played, two: Played) -> bool:
    return np.array_equal(one.codes, two.codes) and np.array_equal(one.samples, two.samples)


@pytest.mark.parametrize("steps", [3, 101])
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"guidance": 5.0},
        {"temperature": 0.3, "top_k": 20},
        {"short_term_s": 1.0, "long_term_capacity": 2, "recalled": 2},
        {"context_s": 0.4, "chunk_steps": 3},
        {"on_cut": "gentle", "encode_every_steps": 3, "refresh": "exact"},
    ],
    ids=str,
)
def test_a_change_is_the_stream_restored_with_it(
    short_onnx_backend: Any, video: Any, steps: int, changes: dict[str, Any]
) -> None:
    stream = ScoreStream(short_onnx_backend, POLICY)
    play(stream, steps, video)
    changed = replace(POLICY, **changes)
    again = ScoreStream.restore(short_onnx_backend, with_policy(stream.snapshot(), changed))
    stream.set_policy(changed)
    assert stream.snapshot() == again.snapshot()
    assert same(play(stream, 70, video), play(again, 70, video))
    assert stream.snapshot() == again.snapshot()


def test_the_same_policy_changes_nothing(short_backend: Any, video: Any) -> None:
    stream, other = (ScoreStream(short_backend, POLICY) for _ in range(2))
    one, two = Played(), Played()
    for _ in range(150):
        stream.set_policy(replace(POLICY))
        play(stream, 1, video, into=one)
    assert same(one, play(other, 150, video, into=two))
    assert stream.snapshot() == other.snapshot()


def test_a_change_is_heard(short_backend: Any, video: Any) -> None:
    stream, other = (ScoreStream(short_backend, POLICY) for _ in range(2))
    play(stream, 50, video), play(other, 50, video)
    stream.set_policy(replace(POLICY, seed=8))
    one, two = play(stream, 60, video), play(other, 60, video)
    assert not np.array_equal(one.codes, two.codes)
    assert [chunk.seed for chunk in one.chunks[:3]] == [7, 7, 8]  # what was sampled before says so


def test_a_stream_opened_with_room_plays_as_one_opened_narrow(short_backend: Any, video: Any) -> None:
    wide = ScoreStream(short_backend, POLICY)
    wide.set_policy(replace(POLICY, short_term_s=1.0))
    narrow = ScoreStream(short_backend, replace(POLICY, short_term_s=1.0))
    assert same(play(wide, 150, video), play(narrow, 150, video))
    wide.set_policy(POLICY)
    play(wide, 60, video)
    assert (wide.sight.frames, narrow.sight.frames) == (4, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"short_term_s": 2.5}, "room for a short_term_s of 2, not for 5"), ({"guidance": 1.0}, "3 to 1")],
)
def test_what_is_allocated_sets_the_limit(
    onnx_backend: Any, pictures: Callable[..., U8], changes: dict[str, Any], said: str
) -> None:
    stream = ScoreStream(onnx_backend, POLICY)
    play(stream, 5, camera(pictures(1, 1)))
    before = stream.snapshot()
    with pytest.raises(ValueError, match=said):
        stream.set_policy(replace(POLICY, seed=99, **changes))
    assert stream.snapshot() == before


def test_a_gentle_cut_is_looked_at_at_once_and_forgets_nothing(
    short_backend: Any, pictures: Callable[..., U8]
) -> None:
    """Frames each 30 steps, a cut at step 61, out of the grid and too soon to be encoded otherwise."""
    held = {}
    for answer in ("ignore", "gentle", "forget"):
        stream = ScoreStream(short_backend, replace(POLICY, on_cut=answer, encode_every_steps=25))
        scenes = {0: pictures(1, 1)[0], 30: pictures(2, 1)[1], 60: pictures(3, 1)[2], 61: pictures(1, 2)[0]}
        play(stream, 62, scenes.get)
        held[answer] = (stream.sight.frames, stream.sight.newest_step, stream.sight.cuts)
    assert held == {"ignore": (3, 60, []), "gentle": (3, 61, [61]), "forget": (1, 61, [61])}


@pytest.mark.parametrize("on_cut", ["ignore", "gentle", "forget"])
def test_turning_forgets_all_but_the_newest_frame(short_backend: Any, video: Any, on_cut: Any) -> None:
    stream = ScoreStream(short_backend, replace(POLICY, on_cut=on_cut))
    stream.turn()  # nothing was seen yet: nothing to turn to
    play(stream, 78, video)
    assert stream.sight.frames == 4
    stream.turn()
    again = ScoreStream.restore(short_backend, stream.snapshot())
    assert same(play(stream, 10, lambda _: None), play(again, 10, lambda _: None))
    assert stream.sight.frames == again.sight.frames == 1
    assert stream.sight.newest_step == 78


def test_the_composer_follows_the_same_verbs(sound_font: Path) -> None:
    """Another seed and a turn begin with the next phrase; a gentle cut is counted and begins none."""
    player = ProceduralPlayer(sound_font)
    stream = player.open(StreamPolicy(on_cut="gentle"))
    stream.push(np.zeros((64, 64, 3), np.uint8))
    for _ in range(50):
        stream.advance()
    stream.push(np.full((64, 64, 3), 200, np.uint8))
    stream.advance()
    held = player.held(stream)
    assert (held.cuts, held.counts["phrases"]) == ([50], 1)
    stream.set_policy(StreamPolicy(seed=3))
    stream.turn()
    stream.advance()
    assert player.held(stream).counts["phrases"] == 2
    assert stream.composer.seed == stream.policy.seed == 3


def test_the_composer_keeps_its_key_and_takes_what_names_none(sound_font: Path) -> None:
    """To it `seed` and `free` are one: its phrases choose. A named key is another stream's, either way."""
    stream = ProceduralPlayer(sound_font).open(StreamPolicy())
    stream.set_policy(StreamPolicy(key="free", seed=3))
    stream.set_policy(StreamPolicy(key="seed", seed=4))
    for before, after in (("free", "C"), ("C", "free")):
        stream = ProceduralPlayer(sound_font).open(StreamPolicy(key=before))
        with pytest.raises(ValueError, match=f"open a new stream for {after}"):
            stream.set_policy(StreamPolicy(key=after))
