"""The stream as a whole: what is heard depends on frames, seed and policy, not on how it is cut, batched or asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streams import Played, camera, play

from engine import codec
from engine.backends.torch import TorchBackend
from engine.errors import PackageError
from engine.spec import StreamPolicy
from engine.stream import MAX_UNTAKEN_STEPS, ScoreStream
from export.checkpoint import load_model
from export.verify import without_codec

U8 = NDArray[np.uint8]
SAMPLES_TOLERANCE = 5e-6
"""Of samples that reach 2.6. Seen: at most 2.2e-6."""


def policy(**changes: Any) -> StreamPolicy:
    return StreamPolicy(**{"short_term_s": 2.0, "context_s": 0.8} | changes)


@pytest.fixture(scope="module")
def video(pictures: Callable[..., U8]) -> Any:
    """Twenty frames, one each fifth of a second, with a cut in the middle."""
    return camera(np.concatenate((pictures(10, 1), pictures(10, 2))))


def test_chunk_size_changes_nothing(short_backend: Any, video: Any) -> None:
    """The codes exactly, the samples up to the order of sums; over two hand-overs."""
    plays = []
    for chunk_steps in (5, 1, 7, 25):
        stream = ScoreStream(short_backend, policy(chunk_steps=chunk_steps))
        played = play(stream, 210, video)
        assert stream.segments.leading.ordinal == 2
        assert all(len(c.samples) == chunk_steps * 640 for c in played.chunks)
        if rest := stream.close():
            played.chunks.append(rest)
        plays.append(played)
    for played in plays[1:]:
        assert np.array_equal(played.codes, plays[0].codes)
        assert played.samples.shape == plays[0].samples.shape == (207 * 640,)
        assert np.abs(played.samples - plays[0].samples).max() <= SAMPLES_TOLERANCE


def test_the_audio_of_a_stream_is_its_codes_decoded_at_once(short_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_backend, policy())
    played = play(stream, 150, video)
    rest = stream.close()
    assert rest is not None
    got = np.concatenate((played.samples, rest.samples))
    codes = np.stack([played.codes[k : k + 147, k] for k in range(4)])
    spec = short_backend.spec.codec
    expected, _ = codec.decode(short_backend, spec, codec.start(spec, 4), codes, last=True)
    assert np.abs(got - expected).max() <= SAMPLES_TOLERANCE
    assert np.abs(expected).max() > 0.1


def test_when_audio_is_taken_changes_nothing(short_torch_backend: Any, video: Any) -> None:
    """At every step, or all of it at the end."""
    plays = []
    for take in (True, False):
        stream = ScoreStream(short_torch_backend, policy())
        played = play(stream, 150, video, take=take)
        play(stream, 0, video, into=played)
        while chunk := stream.take():
            played.chunks.append(chunk)
        plays.append(played)
    assert np.array_equal(plays[0].codes, plays[1].codes)
    assert np.array_equal(plays[0].samples, plays[1].samples)


def test_the_same_seed_plays_the_same_and_another_one_another_music(
    short_torch_backend: Any, video: Any
) -> None:
    codes = [play(ScoreStream(short_torch_backend, policy(seed=s)), 60, video).codes for s in (4, 4, 5)]
    assert np.array_equal(codes[0], codes[1])
    assert (codes[0] != codes[2]).mean() > 0.5


def test_a_stream_depends_on_no_other_stream(short_backend: Any, video: Any) -> None:
    """Two that take turns on one backend play what each plays alone."""
    alone = [play(ScoreStream(short_backend, policy(seed=s)), 120, video).codes for s in (1, 2)]
    streams = [ScoreStream(short_backend, policy(seed=s)) for s in (1, 2)]
    together = [Played(), Played()]
    for _ in range(120):
        for stream, played in zip(streams, together, strict=True):
            play(stream, 1, video, into=played)
    for played, expected in zip(together, alone, strict=True):
        assert np.array_equal(played.codes, expected)


def test_both_backends_play_the_same_greedy_codes(
    short_torch_backend: Any, short_onnx_backend: Any, video: Any
) -> None:
    codes = [
        play(ScoreStream(b, policy(temperature=0)), 210, video).codes
        for b in (short_torch_backend, short_onnx_backend)
    ]
    assert np.array_equal(*codes)


def test_guidance_of_one_plays_the_same_without_null_rows(short_torch_backend: Any, video: Any) -> None:
    """Guided with 1 is what the conditional row alone says."""
    stream = ScoreStream(short_torch_backend, policy(guidance=1.0, temperature=0))
    nearly = ScoreStream(short_torch_backend, policy(guidance=1.0 + 1e-9, temperature=0))
    assert (stream.segments.caches.rows, nearly.segments.caches.rows) == (1, 2)
    assert np.array_equal(play(stream, 120, video).codes, play(nearly, 120, video).codes)


def test_a_picture_is_taken_as_it_was_pushed(short_torch_backend: Any, video: Any) -> None:
    """Whoever fills one array again and again changes nothing that was pushed before."""
    plays = []
    for fills_again in (False, True):
        stream, array, columns = ScoreStream(short_torch_backend, policy()), np.empty_like(video(0)), []
        for step in range(150):
            if (pixels := video(step)) is not None:
                array[:] = pixels
                stream.push(array if fills_again else array.copy())
                array[:] = 255 * (step % 20 == 0)
            stream.advance()
            columns.append(stream.segments.columns[-1])
        plays.append((np.stack(columns), stream.sight.counts))
    assert np.array_equal(plays[0][0], plays[1][0])
    assert plays[0][1] == plays[1][1]


def test_the_picture_is_heard(short_torch_backend: Any, pictures: Callable[..., U8]) -> None:
    """From the step at which another picture is shown the codes are others, and not before."""
    still, other = pictures(1, 1)[0], pictures(1, 9)[0]
    shown = ScoreStream(short_torch_backend, policy()), ScoreStream(short_torch_backend, policy())
    codes = [
        play(
            stream, 100, lambda step, i=i: (other if i and step >= 50 else still) if step % 5 == 0 else None
        ).codes
        for i, stream in enumerate(shown)
    ]
    different = (codes[0] != codes[1]).any(1)
    assert not different[:50].any()
    assert different[50:60].any()


def test_chunks_follow_each_other_and_say_how_old_their_picture_is(
    short_torch_backend: Any, pictures: Callable[..., U8]
) -> None:
    stream = ScoreStream(short_torch_backend, policy(chunk_steps=5, similar_below=0.0, encode_every_steps=1))
    played = play(stream, 200, camera(pictures(29, 1), 7))
    assert len(played.chunks) > 30
    for i, chunk in enumerate(played.chunks):
        end = 5 * (i + 1)
        assert chunk.first_sample == 5 * i * 640
        assert chunk.newest_step == (end - 1) // 7 * 7
        assert chunk.age_steps == end - chunk.newest_step
        assert chunk.seed == stream.policy.seed
    segments = [chunk.segment for chunk in played.chunks]
    assert segments == sorted(segments)
    assert set(segments) == {0, 1, 2}


def test_a_chunk_leaves_with_the_step_that_completes_its_look_ahead(
    short_torch_backend: Any, video: Any
) -> None:
    """140 ms of structural delay: 3 steps of delay pattern and 4 frames of look-ahead."""
    stream = ScoreStream(short_torch_backend, policy(chunk_steps=5))
    left = []
    for step in range(1, 60):
        before = len(play(stream, 1, video).chunks)
        left += [step] * before
    assert left == list(range(5 + 3 + 4, 60, 5))


def test_a_stream_says_how_many_steps_a_chunk_lacks(short_torch_backend: Any, pictures: Any) -> None:
    stream = ScoreStream(short_torch_backend, policy(chunk_steps=5))
    stream.push(pictures(1, 0)[0])
    for whole in (5 + 3 + 4, 5):
        for lacks in range(whole, 0, -1):
            assert stream.lacks == lacks
            assert stream.take() is None
            stream.advance()
        assert stream.lacks == 0
        assert stream.take() is not None


def test_music_that_nobody_takes_is_bounded(onnx_backend: Any, pictures: Callable[..., U8]) -> None:
    stream = ScoreStream(onnx_backend, StreamPolicy(guidance=1.0))
    stream.push(pictures(1, 0)[0])
    for _ in range(MAX_UNTAKEN_STEPS):
        stream.advance()
    now = stream.now
    with pytest.raises(ValueError, match=r"1500 steps of music wait to be taken; call take\(\)"):
        stream.advance()
    assert stream.now == now
    assert stream.take() is not None
    stream.advance()
    assert stream.now == now + 1


def test_a_stream_needs_a_frame_before_it_plays(
    short_torch_backend: Any, pictures: Callable[..., U8]
) -> None:
    stream = ScoreStream(short_torch_backend, policy())
    with pytest.raises(ValueError, match="needs a frame before it can play"):
        stream.advance()
    assert (stream.now, stream.take()) == (0, None)
    stream.push(pictures(1, 0)[0])
    stream.advance()
    assert stream.now == 1


def test_a_model_without_a_codec_cannot_sound(tiny_package: Any) -> None:
    silent = TorchBackend(load_model(without_codec(tiny_package)))
    with pytest.raises(PackageError, match="exported without a codec"):
        ScoreStream(silent)


@pytest.mark.parametrize("frames", [None, 100, 93, 92, 91, 90, 89])
def test_closing_ends_the_music_after_exactly_so_many_frames(
    short_torch_backend: Any, video: Any, frames: int | None
) -> None:
    """96 code frames are known, 90 have left, 94 went to the codec."""
    stream = ScoreStream(short_torch_backend, policy(chunk_steps=5))
    played = play(stream, 99, video)
    assert (stream.frames, len(played.chunks)) == (96, 18)
    rest = stream.close(frames)
    wanted = max(90, min(96, 96 if frames is None else frames))
    assert (rest is None) == (wanted == 90)
    assert 90 * 640 + (0 if rest is None else len(rest.samples)) == wanted * 640
    assert stream.close(frames) is None


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_stream_that_has_hardly_begun_can_be_closed(
    short_torch_backend: Any, video: Any, steps: int
) -> None:
    """Four delayed codebooks make a code frame of the fourth step, and the codec sounds from four code frames on."""
    for frames in (None, 0, 1, 2):
        stream = ScoreStream(short_torch_backend, policy())
        play(stream, steps, video)
        rest = stream.close(frames)
        there = stream.frames if stream.frames >= 4 else 0
        wanted = there if frames is None else min(frames, there)
        assert (0 if rest is None else len(rest.samples)) == wanted * 640


def test_nothing_plays_after_the_end(short_torch_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_torch_backend, policy())
    play(stream, 99, video)
    assert stream.close() is not None
    with pytest.raises(ValueError, match="closed"):
        stream.advance()
    assert stream.take() is None


def test_ten_minutes_hold_what_one_minute_holds(short_onnx_backend: Any, pictures: Callable[..., U8]) -> None:
    """Columns, conditions, frames: a stream of any length needs the room of a short one."""
    frames = pictures(40, 8)
    stream, sizes = ScoreStream(short_onnx_backend, policy(guidance=1.0)), []
    for _ in range(4):
        play(stream, 800, lambda step: frames[step // 25 % 40] if step % 25 == 0 else None)
        sizes.append((len(stream.segments.columns), len(stream._conditions), stream.sight.frames))
    assert max(s[0] for s in sizes) <= short_onnx_backend.spec.trained_steps + 1
    assert max(s[1] for s in sizes) <= 5 + 4 + 3
    assert len(stream.snapshot()) < 2_000_000


def test_a_stream_that_is_closed_where_it_stands_is_closed(short_torch_backend: Any, video: Any) -> None:
    """Also when there is nothing left to return."""
    stream = ScoreStream(short_torch_backend, policy())
    play(stream, 50, video)
    assert stream.close(40) is None
    with pytest.raises(ValueError, match="closed"):
        stream.advance()
