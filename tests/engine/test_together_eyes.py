"""Streams that look and sound together see and play what each would alone; eyes that have nothing to do know for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from streams import Video, camera, play

from engine.asking import Asking, Request, alone, together
from engine.backends.eyes import Ages, Encode, Fuse, Remember, Write
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from engine.batcher import advance_all
from engine.codec.encodec import Piece
from engine.codec.oscillator import Synthesise
from engine.frames import Frame
from engine.sight import NEVER, Sight
from engine.spec import StreamPolicy
from engine.stream import AudioChunk, ScoreStream
from engine.together import take_all

Pictures = Callable[..., NDArray[np.uint8]]

TOKENS_TOLERANCE = 1e-5
"""Of condition tokens that reach 5: the order of sums differs with what lies beside. Seen: 2e-6."""
AUDIO_TOLERANCE = 2e-6
"""Of the largest sample. Seen: 7e-7."""
STEPS = 90


def policies() -> list[StreamPolicy]:
    """Every way to see: small memories whose sets change, refreshed at once or in turn, open and closed grids, cuts."""
    small: dict[str, Any] = {"short_term_s": 2.0, "long_term_capacity": 4, "recalled": 3, "context_s": 0.8}
    return [
        StreamPolicy(seed=0, **small),
        StreamPolicy(seed=1, refresh="exact", **small),
        StreamPolicy(seed=2, refresh="exact", on_cut="gentle", encode_every_steps=3, **small),
        StreamPolicy(seed=3, hold_last_frame=False, similar_below=0.0, refresh_every_steps=1, **small),
        StreamPolicy(seed=4, open_slot=False, chunk_steps=7, **{**small, "recalled": 1}),
    ]


def video(pictures: Pictures, seed: int) -> Video:
    """Frames at times of its own, a cut in the middle."""
    return camera(np.concatenate((pictures(6, seed), pictures(30, seed + 50))), every=4 + 3 * seed)


def show(streams: Sequence[ScoreStream], videos: Sequence[Video]) -> None:
    for stream, frames in zip(streams, videos, strict=True):
        if (pixels := frames(stream.now)) is not None:
            stream.push(pixels)


class Counting(TorchBackend):
    """How many requests came in one go, by their kind."""

    def __init__(self, backend: TorchBackend) -> None:
        super().__init__(backend.model)
        self.asked: list[tuple[type[Any], int]] = []

    def answer_all(self, asked: Sequence[Request]) -> list[Any]:
        self.asked.append((type(asked[0]), len(asked)))
        return super().answer_all(asked)

    @property
    def largest(self) -> Counter[type[Any]]:
        return Counter({kind: max(n for k, n in self.asked if k is kind) for kind, _ in self.asked})


def check_together_is_alone(backend: TorchBackend, pictures: Pictures) -> Counting:
    """Stream 1 joins late, stream 2 leaves early, stream 3 rests at times."""
    counting = Counting(backend)
    videos = [video(pictures, seed) for seed in range(5)]
    streams = [ScoreStream(counting, policy) for policy in policies()]
    chunks: list[list[AudioChunk]] = [[] for _ in streams]
    for tick in range(STEPS):
        rests = {1: tick < 20, 2: tick >= 70, 3: tick % 4 == 0}
        due = [at for at in range(5) if not rests.get(at)]
        show([streams[at] for at in due], [videos[at] for at in due])
        assert advance_all([(streams[at], 1) for at in due]) == [None] * len(due)
        for at, chunk in zip(due, take_all([streams[at] for at in due]), strict=True):
            if chunk is not None:
                assert isinstance(chunk, AudioChunk)
                chunks[at].append(chunk)
    for at, (stream, policy) in enumerate(zip(streams, policies(), strict=True)):
        single = ScoreStream(backend, policy)
        expected = play(single, stream.now, videos[at])
        assert np.array_equal(stream.segments.columns, single.segments.columns)
        assert stream.sight.counts == single.sight.counts
        for name, found in stream.sight.state()[1].items():
            assert np.abs(found - single.sight.state()[1][name]).max() <= TOKENS_TOLERANCE, name
        assert len(chunks[at]) == len(expected.chunks) > 5
        heard = np.concatenate([chunk.samples for chunk in chunks[at]])
        loudest = np.abs(expected.samples).max()
        assert np.abs(heard - expected.samples).max() <= AUDIO_TOLERANCE * loudest
        assert loudest > 0.1
    return counting


def test_streams_that_look_and_sound_together_are_as_each_alone(
    short_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    largest = check_together_is_alone(short_torch_backend, pictures).largest
    assert all(largest[kind] >= 3 for kind in (Encode, Remember, Fuse, Write, Piece))


def test_so_are_streams_of_a_model_with_motion_ages_and_oscillators(
    nano_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    largest = check_together_is_alone(nano_torch_backend, pictures).largest
    assert all(largest[kind] >= 3 for kind in (Encode, Remember, Fuse, Write, Ages, Synthesise))


def test_who_comes_later_shares_what_is_left_to_ask(torch_backend: TorchBackend, pictures: Pictures) -> None:
    """One opens a slot that is remembered, one shows a newer frame in its slot, one refreshes: they fuse and write in one go."""
    counting, frames = Counting(torch_backend), pictures(6, 1)
    opens, shows, waits = (
        Sight(
            counting, StreamPolicy(on_cut="ignore", similar_below=0.0, encode_every_steps=5, refresh=refresh)
        )
        for refresh in ("rolling", "exact", "rolling")
    )
    for sight in (shows, waits):
        for slot in range(3):
            sight.push(Frame(frames[slot], 25 * slot))
            sight.look(25 * slot)
    counting.asked.clear()
    for sight, at in ((opens, 4), (shows, 5)):
        sight.push(Frame(frames[at], 55))
    askings = [sight.ask(55) for sight in (opens, shows, waits)]
    assert together(counting, [asking for asking in askings if asking is not None]) == [None] * 3
    assert counting.asked == [(Encode, 2), (Remember, 1), (Fuse, 3), (Write, 3)]


def test_a_stream_that_fails_in_its_look_fails_alone(
    short_torch_backend: TorchBackend, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it breaks while it asks or what it asks for breaks the batch."""
    streams = [ScoreStream(short_torch_backend, StreamPolicy(seed=seed)) for seed in range(4)]
    for seed, stream in enumerate(streams):
        stream.push(pictures(1, seed)[0])

    def broken(*_: Any) -> Any:
        raise RuntimeError("blind")

    monkeypatch.setattr(streams[1].sight, "_planes", broken)
    monkeypatch.setattr(streams[2].sight, "_planes", lambda frame: frame.pixels[:10, :10])
    streams[3].close()
    raised = advance_all([(stream, 2) for stream in streams])
    assert raised[0] is None
    assert (streams[0].now, streams[0].sight.frames) == (2, 1)
    assert str(raised[1]) == "blind"
    assert isinstance(raised[2], (RuntimeError, ValueError))
    assert "closed" in str(raised[3])
    single = ScoreStream(short_torch_backend, StreamPolicy(seed=0))
    assert np.array_equal(
        play(single, 2, lambda step: pictures(1, 0)[0] if step == 0 else None).codes,
        np.stack(streams[0].segments.columns[1:]),
    )


def test_a_stream_whose_take_fails_does_so_alone(
    nano_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    good, bad = (ScoreStream(nano_torch_backend, StreamPolicy(seed=seed)) for seed in range(2))
    for stream in (good, bad):
        play(stream, 12, lambda step: pictures(1, 0)[0] if step == 0 else None, take=False)
    bad.segments.columns[2][:] = 10**6
    chunk, error = take_all([good, bad])
    assert isinstance(chunk, AudioChunk)
    assert isinstance(error, IndexError)


def test_a_stream_that_looked_with_others_is_restored_bit_for_bit(
    short_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    videos = [video(pictures, seed) for seed in range(3)]
    streams = [ScoreStream(short_torch_backend, policy) for policy in policies()[:3]]
    for _ in range(57):
        show(streams, videos)
        advance_all([(stream, 1) for stream in streams])
        take_all(streams)
    for stream, frames in zip(streams, videos, strict=True):
        again = ScoreStream.restore(short_torch_backend, stream.snapshot())
        one, two = play(stream, 40, frames), play(again, 40, frames)
        assert np.array_equal(one.codes, two.codes)
        assert np.array_equal(one.samples, two.samples)
        assert again.snapshot() == stream.snapshot()


def test_what_is_kept_of_a_frame_does_not_keep_the_others(
    torch_backend: TorchBackend, pictures: Pictures
) -> None:
    """Long-term memory holds a frame for hours; those that were encoded beside it are gone."""
    encoded = torch_backend.encode_all([Encode(pixels) for pixels in pictures(4, 1)])
    remembered = torch_backend.remember_all([Remember(features) for features, _ in encoded])
    for array in (*encoded[0], remembered[0]):
        assert isinstance(array.base, torch.Tensor)
        assert array.base.untyped_storage().nbytes() == array.nbytes


def test_a_backend_that_gains_nothing_is_asked_by_each_alone(
    short_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    """As ONNX Runtime's on the CPU: bit for bit what it would play alone."""
    assert not OnnxBackend.answers_together
    backend = Counting(short_torch_backend)
    backend.answers_together = False
    videos = [video(pictures, seed) for seed in range(2)]
    streams = [ScoreStream(backend, policy) for policy in policies()[:2]]
    heard: list[list[AudioChunk]] = [[], []]
    for _ in range(40):
        show(streams, videos)
        assert advance_all([(stream, 1) for stream in streams]) == [None, None]
        for at, chunk in enumerate(take_all(streams)):
            heard[at] += [chunk] if isinstance(chunk, AudioChunk) else []
    assert backend.asked == []
    for at, policy in enumerate(policies()[:2]):
        expected = play(ScoreStream(short_torch_backend, policy), 40, videos[at])
        assert np.array_equal(np.concatenate([chunk.samples for chunk in heard[at]]), expected.samples)


# --- the model


def test_fusing_together_is_fusing_alone(torch_backend: TorchBackend) -> None:
    """Windows and memories of many lengths; what fills a shorter one up is never seen."""
    spec, random = torch_backend.spec, np.random.default_rng(0)
    shape = (spec.vision.tokens, spec.vision.width)
    asked = [
        Fuse(
            random.standard_normal((frames, *shape), np.float32),
            random.standard_normal((recalled, 2, *shape), np.float32),
        )
        for frames, recalled in ((1, 3), (2, 1), (1, 7), (5, 2))
    ]
    for request, found in zip(asked, torch_backend.fuse_all(asked), strict=True):
        expected = torch_backend.fuse(request.short, request.memory)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= TOKENS_TOLERANCE
        assert np.abs(expected).max() > 0.5


# --- rests


def shows(pictures: Pictures, random: np.random.Generator) -> dict[int, NDArray[np.uint8]]:
    frames = pictures(60, 3)
    steps = np.cumsum(random.choice([1, 2, 5, 9, 30, 70], 30))
    return {int(step): frames[i] for i, step in enumerate(steps)}


def done(sight: Sight) -> tuple[Any, ...]:
    meta, arrays = sight.state()
    return (meta, {name: array.tobytes() for name, array in arrays.items()})


@pytest.mark.parametrize("policy", policies(), ids=lambda policy: str(policy.seed))
def test_eyes_rest_exactly_while_nothing_is_due(
    nano_torch_backend: TorchBackend, pictures: Pictures, policy: StreamPolicy
) -> None:
    """However long they say that they rest, no step of it does anything when looked at by eyes that were not told; the step
    behind it does."""
    sight = Sight(nano_torch_backend, policy)
    shown, rests, ends, rested = shows(pictures, np.random.default_rng(policy.seed)), 0, 0, 0
    for step in range(300):
        if (pixels := shown.get(step)) is not None:
            sight.push(Frame(pixels, step))
            rests = 0
        idle = sight.idle_steps(step)
        assert idle >= rests  # as was said before, and perhaps longer
        rests = idle
        before = done(sight)
        if idle:
            sight._rests_until = 0
            rested += 1
            alone(nano_torch_backend, sight._looking(step))
            assert done(sight) == before
        else:
            sight.look(step)
            ends += done(sight) != before
            assert done(sight) != before
            assert sight.ask(step) is None  # a step is looked at once
        rests = max(0, rests - 1)
    assert rested > 100
    assert ends > 10


def test_eyes_without_a_frame_rest_for_ever(torch_backend: TorchBackend) -> None:
    sight = Sight(torch_backend, StreamPolicy())
    assert sight.idle_steps(7) == NEVER - 7
    assert sight.ask(7) is None


def test_a_frame_a_turn_and_another_policy_end_a_rest(
    torch_backend: TorchBackend, pictures: Pictures
) -> None:
    frames = pictures(2, 1)
    sight = Sight(torch_backend, StreamPolicy(on_cut="ignore", similar_below=0.0))
    sight.push(Frame(frames[0], 0))
    assert sight.idle_steps(0) == 0
    sight.look(0)
    sight.look(1)
    assert sight.idle_steps(2) == 23  # till the next slot opens
    sight.push(Frame(frames[1], 2))
    assert sight.idle_steps(2) == 8  # till a frame may be encoded again
    sight.set_policy(StreamPolicy(on_cut="ignore", similar_below=0.0, encode_every_steps=4))
    assert sight.idle_steps(2) == 2
    sight.turn(2)
    assert sight.idle_steps(2) == 0


# --- asking


class Doubling:
    """Answers numbers, but none below 0."""

    prefers_batches = False

    def __init__(self) -> None:
        self.together: list[int] = []

    def answer_all(self, asked: Sequence[Any]) -> list[Any]:
        self.together.append(len(asked))
        return [request.on(self) for request in asked]


class Double:
    stage: ClassVar[int] = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def on(self, backend: Doubling) -> int:
        if self.number < 0:
            raise ValueError(f"{self.number} is below 0")
        return 2 * self.number


def doubled(number: int, times: int) -> Asking[int]:
    for _ in range(times):
        number = yield Double(number)
    if number > 99:
        raise OverflowError(str(number))
    return number


def test_work_alone_and_together_comes_to_the_same() -> None:
    backend = Doubling()
    found = together(backend, [doubled(3, 2), doubled(5, 0), doubled(-1, 1), doubled(1, 7), doubled(1, 3)])
    assert found[:2] == [12, 5]
    assert str(found[2]) == "-1 is below 0"
    assert isinstance(found[3], OverflowError)
    assert found[4] == alone(backend, doubled(1, 3)) == 8
    assert backend.together == [4, 3, 2, 1, 1, 1, 1]
    for number, times, error in ((-1, 1, ValueError), (1, 7, OverflowError)):
        with pytest.raises(error):
            alone(backend, doubled(number, times))
