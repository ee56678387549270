"""The real models in a session: the music is that of `cuestream score --live`, sample for sample, with or without a reconnect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import Clip, make
from numpy.typing import NDArray
from rig import RATE, FilmVoice, Rig, check_in_order, rig

from cuestream.music import live
from cuestream.players import find_player
from engine.media.video import LIVE_FRAMES_PER_S, EveryNth, VideoReader, probe
from engine.player import ModelPlayer
from engine.spec import StreamPolicy
from server.core.controls import Hold, Turn
from server.core.orders import Orders, Shown
from server.core.session import Session
from server.engine_thread.voices import Voice

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
POLICY = StreamPolicy(seed=3, short_term_s=4.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return make(path, Clip(frames=60, rate=10), picture)


@pytest.fixture(scope="module", params=["starter", "tiny"])
def player(request: pytest.FixtureRequest) -> Any:
    if request.param == "starter":
        return find_player("starter", threads=1)
    return ModelPlayer(request.getfixturevalue("torch_backend"))


@pytest.fixture(scope="module")
def scored(player: Any, video: Path) -> F32:
    return np.concatenate([piece.samples for piece in live(player, video, probe(video), POLICY)])


@pytest.fixture(scope="module")
def film(player: Any, video: Path) -> list[Shown]:
    frames = VideoReader(video, player.side, EveryNth(LIVE_FRAMES_PER_S))
    return [Shown(frame.pixels, int(frame.time_s * player.code_rate)) for frame in frames]


@pytest.mark.parametrize("speed", [1.4, 7.0])
def test_a_session_plays_what_score_live_plays(
    player: Any, film: list[Shown], scored: F32, speed: float
) -> None:
    played = rig(player, POLICY, film, speed=lambda _: speed)
    check_in_order(played.run(6.4), 0)
    assert len(played.pcm) > 5.5 * RATE
    both = min(len(played.pcm), len(scored) - RATE // 2)  # its end is cut where the video ends
    assert np.array_equal(played.pcm[:both], scored[:both])


def test_and_after_five_seconds_without_a_line(player: Any, film: list[Shown], scored: F32) -> None:
    played = rig(player, POLICY, film)
    before = played.run(2.5)
    heard = before[-20].first_sample
    played.session.detach(played.now)
    assert played.run(5) == []
    played.session.resume(played.now, heard)
    after = played.run(3.5)
    check_in_order(after, heard)
    assert not any(chunk.concealed or chunk.discontinuity for chunk in after)
    pcm = np.concatenate([chunk.samples for chunk in after])
    both = min(heard + len(pcm), len(scored) - RATE // 2)
    assert both > 5 * RATE
    assert np.array_equal(pcm[: both - heard], scored[heard:both])


@pytest.mark.parametrize("behind", [0, 25_000])
def test_a_checkpoint_of_a_model_goes_on_bit_for_bit(
    player: Any, film: list[Shown], scored: F32, behind: int
) -> None:
    """The worker is lost after 3 s; another one continues from the last second's snapshot."""
    first = rig(player, POLICY, film)
    first.run(3.5)
    checkpoint, heard = first.session.checkpoint, first.chunks[-1].first_sample - behind
    assert checkpoint is not None
    assert (heard < checkpoint.placed) == (behind > 0)
    voice = FilmVoice(player, POLICY, film, checkpoint)
    again = Rig(Session.restored(first.session.config, checkpoint, 0.0), voice)
    again.session.resume(0.0, heard)
    chunks = again.run(2)
    assert not any(chunk.discontinuity for chunk in chunks)
    check_in_order(chunks, heard)
    pcm = np.concatenate([chunk.samples for chunk in chunks])
    both = min(heard + len(pcm), len(scored) - RATE // 2)
    assert both > heard + RATE
    assert np.array_equal(pcm[: both - heard], scored[heard:both])


def test_a_voice_is_due_to_the_end_of_a_piece(player: Any) -> None:
    """With what the codec looks ahead, so that a backend that takes several steps at once is asked once for a piece."""
    voice = Voice(player, POLICY)
    shown = Shown(np.zeros((player.side, player.side, 3), np.uint8), 0)
    voice.follow(Orders(frame=shown, wanted=RATE))
    voice.show()
    for _ in range(voice.due()):
        assert voice.stream.take() is None
        voice.stream.advance()
    assert voice.stream.take() is not None


def test_two_sessions_in_one_engine_play_as_alone(player: Any, film: list[Shown], scored: F32) -> None:
    one = rig(player, POLICY, film)
    other = Voice(player, StreamPolicy(seed=8))
    one.voices.open("other", other)
    shown = Shown(np.zeros((player.side, player.side, 3), np.uint8), 0)
    one.voices.tick({"other": Orders(frame=shown, wanted=2 * RATE)})
    one.run(3)
    assert other.taken > RATE
    assert np.array_equal(one.pcm, scored[: len(one.pcm)])


def test_controls_change_the_music_from_a_step_on(player: Any, pictures: Callable[..., U8]) -> None:
    played, plain = (rig(player, POLICY) for _ in range(2))
    played.run(1), plain.run(1)
    played.session.control(played.now, Turn(replace(POLICY, seed=77)))
    played.session.control(played.now, Turn(replace(POLICY, seed=77, temperature=0.7)))
    played.session.control(played.now, Hold(True))
    one, two = played.run(2), plain.run(2)
    known = [chunk.policy_revision for chunk in one]
    assert known[0] == 0
    assert known[-1] == 2
    same = [np.array_equal(a.samples, b.samples) for a, b in zip(one, two, strict=True)]
    assert all(same[: known.index(2)])
    assert not any(same[known.index(2) + 15 :])
