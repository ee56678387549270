"""The shell's parts without a server: resampling, secrets, mailbox, decoding, limits of rate, the outbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from shell_client import jpeg
from starlette.datastructures import Headers

from cuestream.players import find_player
from engine.media.pixels import Scaler
from engine.player import Player
from engine.spec import KEYS, StreamPolicy
from engine.synthetic import SyntheticPlayer
from server.access.limiting import Bucket
from server.access.origins import Guard
from server.access.secrets import SECRET_S, Anybody, Door, Invited, Operator, new_identity
from server.audio.resampling import Resampler, aligned, pcm16
from server.core.errors import SessionError
from server.core.ring import Ring
from server.pictures.imaging import Eyes, halvings_of, still_size
from server.pictures.mailbox import MOST_CHAINED, Mailbox
from server.protocol.config import ConfigPatch, merge
from server.protocol.errors import ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, StreamId
from server.protocol.messages import Pong
from server.protocol.values import Key
from server.sessions.outbox import MOST_WAITING, Line
from server.sessions.status import Ages
from server.wire_controls import config_of, controls, followed, policy_of, turned
from training.composer.player import ProceduralPlayer

RATE = 32_000
SIGNAL = np.random.default_rng(0).normal(0, 0.2, RATE).astype(np.float32)


def whole() -> np.ndarray:
    resampler = Resampler(RATE)
    return np.concatenate((resampler.push(SIGNAL), resampler.flush()))


@pytest.mark.parametrize("piece", [1, 63, 640, 4001])
def test_resampling_in_pieces_equals_resampling_the_whole(piece: int) -> None:
    resampler = Resampler(RATE)
    parts = [resampler.push(SIGNAL[at : at + piece]) for at in range(0, len(SIGNAL), piece)]
    parts.append(resampler.flush())
    assert np.array_equal(np.concatenate(parts), whole())
    assert resampler.next == len(SIGNAL) * 3 // 2


@pytest.mark.parametrize("first", [2, 640, 9602, 31_000])
def test_a_resampler_that_begins_anywhere_equals_one_that_began_at_the_beginning(first: int) -> None:
    ring = Ring(len(SIGNAL))
    ring.write(SIGNAL[:first])
    resampler = Resampler.within(ring, first, RATE)
    at = resampler.next
    rest = np.concatenate((resampler.push(SIGNAL[first:]), resampler.flush()))
    assert at <= first * 3 // 2
    kept = rest[first * 3 // 2 - at :]
    assert np.array_equal(kept, whole()[first * 3 // 2 :])


def test_a_jump_renames_what_the_filter_holds() -> None:
    resampler = Resampler(RATE)
    resampler.push(SIGNAL[:640])
    held = 960 - resampler.next
    resampler.jump(6400)
    assert resampler.next == 9600 - held


def test_aligned_is_the_last_input_where_a_resampler_may_begin() -> None:
    assert [aligned(out, RATE) for out in (0, 1, 2, 3, 959, 960)] == [0, 0, 0, 2, 638, 640]
    assert pcm16(np.array([2.0, -2.0, 0.5], np.float32), 2)[:, 0].tolist() == [32767, -32768, 16384]


def test_a_secret_opens_one_session_once_and_not_for_long() -> None:
    door = Door("key", 30)
    secret = door.invite("s-1", 0)
    assert door.caller(secret, 1) == Invited("s-1")
    door.withdraw("s-1")
    assert door.caller(secret, 1) == Anybody("wrong_token")
    late = door.invite("s-2", 0)
    assert door.caller(late, SECRET_S) == Anybody("wrong_token")
    assert door.caller("key", 0) == Operator()
    assert door.caller(None, 0) == Anybody("no_token")
    assert Door(None, 30).caller(None, 0) == Operator()


def test_a_handle_is_good_for_its_server_and_a_while() -> None:
    door = Door(None, 30)
    session = new_identity("s-1")
    handle = door.handle(session, 100)
    assert session != new_identity("s-1")
    assert door.session_of(handle, 101) == (session, True)
    assert door.session_of(handle, 200) == (session, False)
    assert Door(None, 30).session_of(handle, 101) == (None, False)
    assert door.session_of("nonsense", 101) == (None, False)
    assert door.may_listen("s-1", door.listening("s-1"))
    assert not door.may_listen("s-2", door.listening("s-1"))


def media(kind: Kind, seq: int, payload: bytes = b"x", flags: Flag = NO_FLAGS) -> Media:
    return Media(kind, StreamId.VIDEO, seq, seq, payload, flags)


def test_the_newest_still_picture_wins() -> None:
    counts = Counter[str]()
    box = Mailbox(counts)
    for seq in range(3):
        box.put(seq, media(Kind.JPEG, seq))
    assert box.take() == (2, media(Kind.JPEG, 2))
    assert box.take() is None
    assert counts["dropped"] == 2


def test_after_a_loss_video_waits_for_a_keyframe() -> None:
    box = Mailbox(Counter())
    box.put(0, media(Kind.H264, 0))
    assert box.take() is None
    box.put(1, media(Kind.H264, 1, flags=Flag.KEYFRAME))
    for seq in range(2, 3 + MOST_CHAINED):
        box.put(seq, media(Kind.H264, seq))
    assert box.take() is None
    assert box.needs_key
    box.put(99, media(Kind.H264, 99, flags=Flag.KEYFRAME))
    assert box.take() is not None
    assert not box.needs_key


@pytest.mark.parametrize("between", [media(Kind.H264, 2), media(Kind.JPEG, 1)], ids=["a number", "a still"])
def test_video_that_does_not_follow_what_was_decoded_waits_for_a_keyframe(between: Media) -> None:
    box = Mailbox(Counter())
    box.put(0, media(Kind.H264, 0, flags=Flag.KEYFRAME))
    assert box.take() is not None
    box.put(1, between)
    box.take()
    box.put(2, media(Kind.H264, between.seq + 1))
    assert box.take() is None
    assert box.needs_key


@pytest.mark.parametrize(("kind", "codec"), [(Kind.JPEG, "mjpeg"), (Kind.PNG, "png"), (Kind.WEBP, "libwebp")])
def test_a_picture_is_measured_by_its_header_and_decoded(kind: Kind, codec: str) -> None:
    data = jpeg(3, codec, (96, 64))
    assert still_size(kind, data) == (96, 64)
    pixels = Eyes(56).see(media(kind, 0, data))
    assert pixels is not None
    assert pixels.shape == (56, 56, 3)
    with pytest.raises(ProtocolError, match="frame_too_large"):
        Eyes(56, Limits(image_pixels=96 * 64 - 1)).see(media(kind, 0, data))


def test_a_large_jpeg_is_halved_and_looks_the_same() -> None:
    data = jpeg(3, "mjpeg", (640, 360))
    whole = Eyes(56).frame(media(Kind.JPEG, 0, data))
    seen = Eyes(56).see(media(Kind.JPEG, 0, data))
    assert whole is not None
    assert seen is not None
    assert (whole.width, whole.height) == (640, 360)
    apart = np.abs(Scaler(56).square(whole).astype(int) - seen)
    assert apart.mean() < 1
    assert not np.array_equal(Eyes(56).see(media(Kind.JPEG, 0, jpeg(4, "mjpeg", (640, 360)))), seen)


@pytest.mark.parametrize(
    ("width", "height", "side", "halvings"),
    [(64, 48, 56, 0), (640, 360, 224, 0), (1280, 720, 224, 1), (4000, 4000, 8, 3)],
)
def test_a_jpeg_is_halved_as_often_as_it_stays_large_enough(
    width: int, height: int, side: int, halvings: int
) -> None:
    assert halvings_of(Kind.JPEG, width, height, side) == halvings
    assert halvings_of(Kind.PNG, width, height, side) == halvings_of(Kind.JPEG, width, height, None) == 0


def test_eyes_that_saw_other_pictures_see_the_same() -> None:
    pictures = [
        media(kind, 0, jpeg(seed, codec, side))
        for seed, (kind, codec) in enumerate(((Kind.JPEG, "mjpeg"), (Kind.PNG, "png"), (Kind.JPEG, "mjpeg")))
        for side in ((96, 64), (320, 180))
    ]
    eyes = Eyes(56)
    for picture in [*pictures, *reversed(pictures)]:
        np.testing.assert_array_equal(eyes.see(picture), Eyes(56).see(picture))


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG, Kind.WEBP, Kind.H264, Kind.VP8])
def test_nonsense_is_refused_and_nothing_else(kind: Kind) -> None:
    rng, eyes = np.random.default_rng(1), Eyes(56)
    good = {
        kind: jpeg(1, codec)
        for kind, codec in ((Kind.JPEG, "mjpeg"), (Kind.PNG, "png"), (Kind.WEBP, "libwebp"))
    }
    for _ in range(60):
        data = bytearray(good.get(kind, rng.bytes(200)))
        for at in rng.integers(0, len(data), 6):
            data[at] = rng.integers(256)
        with contextlib.suppress(ProtocolError):
            eyes.see(media(kind, 0, bytes(data[: rng.integers(1, len(data))])))


def test_a_bucket_lets_the_rate_through() -> None:
    bucket = Bucket(10, 2)
    assert [bucket.allows(at) for at in (0, 0, 0, 0.1, 0.1, 5, 5, 5)] == [
        True,
        True,
        False,
        True,
        False,
        True,
        True,
        False,
    ]


def test_an_outbox_that_nobody_reads_ends_with_slow_consumer() -> None:
    line = Line()
    for at in range(MOST_WAITING + 1):
        line.say(Pong(at, at))
    assert line.closing == 4413

    async def rest() -> list[object]:
        return [await line.next(), await line.next()]

    said, end = asyncio.run(rest())
    assert "slow_consumer" in str(said)
    assert end is None


def test_what_is_said_is_written_at_once_and_what_cannot_be_keeps_its_place() -> None:
    """Nothing overtakes a message that the sender has in hand, though there is room again."""
    written: list[object] = []
    has_room = True

    def write(data: object, since_s: float | None) -> bool:
        if has_room:
            written.append(data)
        return has_room

    async def say() -> None:
        nonlocal has_room
        line = Line(write=write)
        line.put(b"1")
        has_room = False
        line.put(b"2", 5.0)
        line.put(b"3")
        has_room = True
        line.put(b"4")
        assert written == [b"1"]
        for _ in range(3):
            written.append(await line.next())
            line.put(b"5") if len(written) == 3 else None
        assert line.since_s is None
        written.append(await line.next())
        ended = asyncio.ensure_future(line.next())
        await asyncio.sleep(0)
        line.put(b"6")
        line.hang_up(1000)
        assert await ended is None

    asyncio.run(say())
    assert written == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_the_configuration_of_a_policy_gives_the_policy_again() -> None:
    policy = StreamPolicy(seed=5, guidance=2.0, short_term_s=6.0, key="Eb", energy=-0.5)
    config = config_of(policy)
    assert policy_of(config, policy) == policy
    assert controls(config, config) == []


def test_what_a_running_stream_cannot_take_over_is_refused_before_anything_changes() -> None:
    config = config_of(StreamPolicy())
    for said, patch in (
        ("guidance", ConfigPatch(guidance=1.0)),
        ("room", ConfigPatch(short_term_s=31.0)),
        ("cannot be held to D", ConfigPatch(key="D")),
    ):
        with pytest.raises(SessionError, match=said):
            turned(StreamPolicy(), merge(config, patch), 30, SyntheticPlayer())


def test_the_wire_names_the_keys_of_the_engine() -> None:
    assert get_args(Key) == ("seed", "free", *KEYS)


def test_an_age_is_told_in_the_steps_of_the_player() -> None:
    ages = Ages(step_ms=12.5)
    ages.note(4)
    told = ages.latency(0.0)
    assert told is not None
    assert told.p50_ms == 50.0


@pytest.mark.parametrize("headers", [{"host": "["}, {"host": "localhost", "origin": "http://[x"}])
def test_what_is_no_address_is_a_foreign_one(headers: dict[str, str]) -> None:
    assert Guard(lambda *_: None, local=True)._why_not(Headers(headers), "/") == "that is no address"  # type: ignore[arg-type, return-value]


def test_a_player_follows_a_key_where_it_takes_one_and_what_it_follows_can_be_turned(
    tiny_player: Player[Any],
) -> None:
    for player in (
        SyntheticPlayer(),
        ProceduralPlayer(Path()),
        tiny_player,
        find_player("starter", threads=1),
    ):
        takes = True
        try:
            player.check(replace(player.defaults, key="D"))
        except ValueError:
            takes = False
        assert ("key" in player.follows) == takes == (player.name == "starter")
        assert set(followed(player.follows)) <= set(ConfigPatch.__struct_fields__)
