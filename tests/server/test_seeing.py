"""How many pictures of a video are looked at: as many as are wanted, each one soon, and the last one always."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from output_rig import video

from server.pictures.decoders import Done
from server.pictures.imaging import Eyes
from server.pictures.seeing import Watching
from server.pictures.wire import LookBack, Picture
from server.pictures.worker import see
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, StreamId

FPS = 12
U8 = Any


@dataclass
class AtOnce:
    """Decoders that answer at once, or when they are told to. looked: numbers of the pictures whose pixels were wanted."""

    answers: bool = True
    looked: list[int] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)
    newest: int | None = None

    def see(self, name: str, media: Media, done: Done, looked_at: bool = True) -> None:
        (self.looked if looked_at else self.passed).append(media.seq)
        self.newest = None if looked_at else media.seq
        self._answer(done, looked_at)

    def look_back(self, name: str, done: Done) -> None:
        assert self.newest is not None
        self.looked.append(self.newest)
        self._answer(done, True)

    def forget(self, name: str) -> None: ...

    def _answer(self, done: Done, looked_at: bool) -> None:
        pixels = np.zeros((1, 1, 3), np.uint8) if looked_at else None
        done(pixels) if self.answers else self.waiting.append(lambda: done(pixels))


def watching(decoders: Any, shown: list[tuple[float, int]] | None = None) -> Watching:
    """shown: when each came that was looked at, and when it was captured."""
    kept = [] if shown is None else shown

    def show(came_s: float, pixels: U8, at_us: int) -> None:
        kept.append((came_s, at_us))

    def refuse(came_s: float, error: ProtocolError) -> None: ...

    return Watching("s/0", Limits(), FPS, decoders, show, refuse, Counter())


def frame(seq: int, flags: Flag = NO_FLAGS, kind: Kind = Kind.H264) -> Media:
    return Media(kind, StreamId.VIDEO, seq, 1000 * seq, b"x", Flag.KEYFRAME if seq == 0 else flags)


@pytest.mark.parametrize("camera_fps", [7, 12, 24, 30, 60])
def test_of_a_video_all_are_decoded_and_so_many_looked_at_as_are_wanted(camera_fps: int) -> None:
    decoders, count = AtOnce(), camera_fps * 20
    made = watching(decoders)
    for seq in range(count):
        uneven_s = 0.005 * (seq % 3)
        made.picture(10 + seq / camera_fps + uneven_s, frame(seq))
    assert sorted(decoders.looked + decoders.passed) == list(range(count))
    assert len(decoders.looked) == pytest.approx(20 * min(FPS, camera_fps), abs=2)
    assert np.diff(decoders.looked).max() <= np.ceil(camera_fps / FPS)


def test_still_pictures_are_all_looked_at() -> None:
    decoders = AtOnce()
    made = watching(decoders)
    for seq in range(50):
        made.picture(seq / 50, frame(seq, kind=Kind.JPEG))
    assert decoders.looked == list(range(50))


def test_the_last_of_a_few_that_come_together_is_looked_at_soon() -> None:
    decoders, shown = AtOnce(), list[tuple[float, int]]()
    made = watching(decoders, shown)
    for seq in range(5):
        made.picture(5 + seq / 30, frame(seq))
    assert decoders.passed[-1] == 4
    made.tick(5.2)
    made.tick(5.3)
    made.tick(5.4)
    assert decoders.looked[-1] == 4
    assert shown[-1] == (5 + 4 / 30, 4000)
    assert decoders.looked.count(4) == 1


def test_what_is_looked_back_at_holds_nothing_up_and_is_shown_to_nobody_after_the_end() -> None:
    decoders, shown = AtOnce(), list[tuple[float, int]]()
    made = watching(decoders, shown)
    for seq in range(4):
        made.picture(5 + seq / 60, frame(seq))
    decoders.answers = False
    made.tick(6)
    made.picture(6.01, frame(4))
    assert decoders.looked[-1] == 3  # the next one waits for the answer
    decoders.waiting.pop()()
    assert max(decoders.looked + decoders.passed) == 4
    made.stop()
    had = len(shown)
    decoders.waiting.pop()()
    made.tick(9)
    assert len(shown) == had


def test_after_a_loss_and_after_a_refusal_a_keyframe_is_needed() -> None:
    decoders = AtOnce(answers=False)
    made = watching(decoders)
    assert made.needs_key
    made.picture(0, frame(0))
    assert not made.needs_key
    decoders.waiting.pop()()
    made.picture(0.1, frame(2))
    assert made.needs_key
    assert made.counts["dropped"] == 1
    made.picture(0.2, frame(3, Flag.KEYFRAME))
    assert not made.needs_key
    made._decoded(0.2, 0, ProtocolError(ErrorCode.DECODE_FAILED, "no"))
    assert made.needs_key


@pytest.mark.parametrize("kind", [Kind.H264, Kind.VP8])
def test_a_worker_that_passes_pictures_over_sees_the_same_as_one_that_looks_at_all(kind: Kind) -> None:
    passes, looks = Eyes(56), Eyes(56)
    for n, media in enumerate(video(kind, [16, 60, 120, 200, 240, 30])):
        wanted = looks.see(media)
        assert wanted is not None
        seen = see(passes, Picture("s", media.kind, media.payload, looked_at=n % 3 == 0))
        if n % 3:
            assert seen.pixels is None
            seen = see(passes, LookBack("s"))
        assert seen.pixels == wanted.tobytes()
    assert see(passes, LookBack("s")).pixels is None


def test_looking_back_at_nothing_is_no_error() -> None:
    seen = see(Eyes(56), LookBack("s"))
    assert (seen.pixels, seen.code) == (None, "")
