"""A restored stream is the continued stream; one without caches goes on from the same music; a foreign blob is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streams import camera, play

from engine.backends.torch import TorchBackend
from engine.errors import PackageError
from engine.player import ModelPlayer
from engine.spec import StreamPolicy
from engine.stream import STATE_FORMAT, ScoreStream
from export.checkpoint import Package, load_model

U8 = NDArray[np.uint8]


def policy(**changes: Any) -> StreamPolicy:
    return StreamPolicy(
        **{"short_term_s": 2.0, "context_s": 0.8, "seed": 7, "long_term_capacity": 4, "recalled": 3} | changes
    )


@pytest.fixture(scope="module")
def video(pictures: Callable[..., U8]) -> Any:
    """A frame each fifth of a second; a cut at step 100."""
    return camera(np.concatenate((pictures(10, 1), pictures(30, 2))))


def check_goes_on(stream: ScoreStream, video: Any, steps: int = 130) -> None:
    """The restored stream against the one that was never stopped: bit for bit, codes, samples and counts."""
    again = ScoreStream.restore(stream.backend, stream.snapshot())
    assert again.policy == stream.policy
    one, two = play(stream, steps, video), play(again, steps, video)
    assert np.array_equal(one.codes, two.codes)
    assert np.array_equal(one.samples, two.samples)
    assert [replace(c, samples=None) for c in one.chunks] == [replace(c, samples=None) for c in two.chunks]
    assert again.sight.counts == stream.sight.counts
    assert again.snapshot() == stream.snapshot()
    ends = stream.close(), again.close()
    assert ends[0] is not None
    assert ends[1] is not None
    assert np.array_equal(ends[0].samples, ends[1].samples)


@pytest.mark.parametrize("steps", [1, 4, 24, 25, 60, 61, 62, 100, 101, 102, 130, 200])
def test_a_restored_stream_is_the_continued_stream(short_backend: Any, video: Any, steps: int) -> None:
    """Right at the beginning, at the grid, around the start of a following segment and around its hand-over."""
    stream = ScoreStream(short_backend, policy())
    play(stream, steps, video)
    assert (stream.segments.following is not None) == (
        62 <= steps <= 100 or 123 <= steps <= 161 or steps >= 184
    )
    check_goes_on(stream, video)


@pytest.mark.parametrize(
    "changes",
    [{"guidance": 1.0}, {"refresh": "exact"}, {"open_slot": False}, {"on_cut": "ignore"}],
    ids=str,
)
def test_a_restored_stream_is_the_continued_stream_under_any_policy(
    short_backend: Any, video: Any, changes: dict[str, Any]
) -> None:
    stream = ScoreStream(short_backend, policy(**changes))
    play(stream, 90, video)
    check_goes_on(stream, video)


def test_a_frame_that_waits_in_the_mailbox_is_kept(
    short_backend: Any, video: Any, pictures: Callable[..., U8]
) -> None:
    stream = ScoreStream(short_backend, policy())
    play(stream, 53, video)
    stream.push(pictures(1, 6)[0])
    assert stream.sight.counts["pushed"] == 7
    check_goes_on(stream, video)
    assert stream.sight.counts["encoded"] > 7


def test_a_snapshot_right_after_a_cut_goes_on(short_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_backend, policy())
    play(stream, 101, video)
    assert (stream.sight.counts["cuts"], stream.sight.frames) == (1, 1)
    check_goes_on(stream, video)


def test_a_cut_that_waits_in_the_mailbox_is_kept(short_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_backend, policy())
    play(stream, 100, video)
    stream.push(video(100))
    assert stream.sight.counts["cuts"] == 0
    check_goes_on(stream, lambda step: None if step == 100 else video(step))
    assert stream.sight.counts["cuts"] == 1


def test_a_cut_that_nobody_was_told_of_is_kept(short_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_backend, policy())
    play(stream, 101, video)
    blob, player = stream.snapshot(), ModelPlayer(short_backend)
    assert player.held(player.restore(blob)).cuts == player.held(stream).cuts == [100]
    assert player.held(player.restore(stream.snapshot())).cuts == []


def test_frames_that_wait_for_a_refresh_are_kept(short_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_backend, policy(refresh="rolling"))
    play(stream, 76, video)
    meta, _ = stream.sight.state()
    assert meta["stale"]
    check_goes_on(stream, video)


def test_when_a_frame_was_last_encoded_is_kept(short_backend: Any, pictures: Callable[..., U8]) -> None:
    """Frames come faster than they are encoded: the next one waits as long as it would have waited."""
    fast = camera(pictures(59, 1), 3)
    stream = ScoreStream(short_backend, policy(similar_below=0.0, encode_every_steps=10))
    play(stream, 44, fast)
    check_goes_on(stream, fast)


def test_the_frame_that_others_are_compared_with_is_kept(
    short_backend: Any, pictures: Callable[..., U8]
) -> None:
    still = pictures(1, 3)[0]
    stream = ScoreStream(short_backend, policy())
    play(stream, 44, lambda step: still if step % 5 == 0 else None)
    check_goes_on(stream, lambda step: still if step % 5 == 0 else None)
    assert stream.sight.counts["encoded"] == 1


def test_audio_that_nobody_took_is_kept(short_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_backend, policy())
    play(stream, 90, video, take=False)
    check_goes_on(stream, video)


def test_a_stream_without_a_frame_can_be_kept_too(short_backend: Any, video: Any) -> None:
    check_goes_on(ScoreStream(short_backend, policy()), video)


def test_a_closed_stream_stays_closed(short_torch_backend: Any, video: Any) -> None:
    stream = ScoreStream(short_torch_backend, policy())
    play(stream, 50, video)
    assert stream.close(43) is not None
    again = ScoreStream.restore(short_torch_backend, stream.snapshot())
    assert again.close() is None


def test_taking_a_snapshot_changes_nothing(short_backend: Any, video: Any) -> None:
    plain, watched = ScoreStream(short_backend, policy()), ScoreStream(short_backend, policy())
    expected = play(plain, 130, video)
    columns, chunks = [], []
    for _ in range(130):
        watched.snapshot(caches=watched.now % 2 == 0) if watched.now else None
        got = play(watched, 1, video)
        columns += got.columns
        chunks += got.chunks
    assert np.array_equal(np.stack(columns), expected.codes)
    assert np.array_equal(np.concatenate([c.samples for c in chunks]), expected.samples)


@pytest.mark.parametrize("steps", [1, 2, 50, 90, 101, 130])
def test_a_stream_without_caches_goes_on_from_the_same_music(
    short_backend: Any, video: Any, steps: int
) -> None:
    stream = ScoreStream(short_backend, policy())
    play(stream, steps, video)
    blob = stream.snapshot(caches=False)
    again = ScoreStream.restore(short_backend, blob)
    assert np.array_equal(np.stack(again.segments.columns), np.stack(stream.segments.columns))
    assert (again.now, again.frames) == (stream.now, stream.frames)
    one, two = play(stream, 130, video), play(again, 130, video)
    assert [c.first_sample for c in two.chunks] == [c.first_sample for c in one.chunks]
    assert two.codes.max() < 128
    assert np.isfinite(two.samples).all()


@pytest.mark.parametrize("steps", [1, 2, 50, 90, 101, 130])
def test_while_the_picture_stood_still_caches_are_only_derived(
    short_backend: Any, pictures: Callable[..., U8], steps: int
) -> None:
    """The columns are the truth: under one condition, re-reading them gives the caches, and so the same music."""
    still = pictures(1, 3)[0]
    stream = ScoreStream(short_backend, policy(hold_last_frame=False))
    play(stream, steps, lambda step: still if step == 0 else None)
    again = ScoreStream.restore(short_backend, stream.snapshot(caches=False))
    one, two = play(stream, 130, lambda _: None), play(again, 130, lambda _: None)
    assert np.array_equal(one.codes, two.codes)
    assert np.array_equal(one.samples, two.samples)


def test_a_snapshot_without_caches_is_far_smaller(onnx_backend: Any, video: Any) -> None:
    """The tiny model after 12 s, window full."""
    stream = ScoreStream(onnx_backend, StreamPolicy())
    play(stream, 600, lambda step: video(step % 400))
    small, large = len(stream.snapshot(caches=False)), len(stream.snapshot())
    assert small * 3 < large  # seen: 1.0 MB and 5.2 MB
    assert small < 2_000_000


def test_a_snapshot_goes_over_to_another_backend_without_its_caches(
    short_torch_backend: Any, short_onnx_backend: Any, pictures: Callable[..., U8]
) -> None:
    """From PyTorch to the exported graphs in the middle of a greedy piece: the same codes."""
    still = pictures(1, 3)[0]
    stream = ScoreStream(short_torch_backend, policy(temperature=0.0, hold_last_frame=False))
    play(stream, 90, lambda step: still if step == 0 else None)
    again = ScoreStream.restore(short_onnx_backend, stream.snapshot(caches=False))
    assert np.array_equal(play(stream, 60, lambda _: None).codes, play(again, 60, lambda _: None).codes)


# --- what is refused


@pytest.fixture(scope="module")
def blob(short_torch_backend: Any, video: Any) -> bytes:
    stream = ScoreStream(short_torch_backend, policy())
    play(stream, 70, video)
    return stream.snapshot()


def test_the_snapshot_of_another_model_is_refused(
    short_torch_backend: Any, short_package: Package, blob: bytes
) -> None:
    other = Package(replace(short_package.spec, name="other"), short_package.weights)
    with pytest.raises(PackageError) as caught:
        ScoreStream.restore(TorchBackend(load_model(other)), blob)
    assert short_package.spec.digest in str(caught.value)
    assert other.spec.digest in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-4, 0.001, 0.01, 0.5, 0.99, 0.999999])
def test_a_truncated_snapshot_is_refused(short_torch_backend: Any, blob: bytes, share: float) -> None:
    with pytest.raises(PackageError, match="expected a stream snapshot"):
        ScoreStream.restore(short_torch_backend, blob[: int(share * len(blob))])


@pytest.mark.parametrize(
    "junk", [b"", b"\0" * 8, b"\x02" + b"\0" * 7 + b"{}", b"PK\x03\x04" * 20, b"\xff" * 64]
)
def test_what_is_no_snapshot_is_refused(short_torch_backend: Any, junk: bytes) -> None:
    with pytest.raises(PackageError, match="expected a stream snapshot"):
        ScoreStream.restore(short_torch_backend, junk)


def test_a_snapshot_of_another_format_is_refused(short_torch_backend: Any, blob: bytes) -> None:
    other = blob.replace(rb"\"format\": %d" % STATE_FORMAT, rb"\"format\": 9", 1)
    assert other != blob
    with pytest.raises(PackageError, match=f"expected snapshot format {STATE_FORMAT}, found 9"):
        ScoreStream.restore(short_torch_backend, other)


def test_a_damaged_header_is_refused_or_harmless(short_torch_backend: Any, blob: bytes) -> None:
    """Any bit of the description changed: a PackageError, or a stream; never another error."""
    random, messages = np.random.default_rng(0), []
    end = 8 + int.from_bytes(blob[:8], "little")
    for at in random.integers(0, end, 300):
        damaged = bytearray(blob)
        damaged[at] ^= 1 << int(random.integers(0, 8))
        try:
            ScoreStream.restore(short_torch_backend, bytes(damaged))
        except PackageError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)
