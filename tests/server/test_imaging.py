"""Pictures that cost their decoder far more than they look: what is no part of them is left out, or they are refused."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from shell_client import jpeg

from server.access.limiting import Tally
from server.pictures.imaging import KEPT_PIXELS, MOST_SCANS, Eyes, harmless
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import Kind, Media, StreamId
from server.sessions.outbox import Line
from server.system.environment import of_a_process

SIDE = 56
JPEG, PNG = jpeg(1), jpeg(2, "png")


def see(kind: Kind, data: bytes, eyes: Eyes | None = None) -> np.ndarray | None:
    return (eyes or Eyes(SIDE)).see(Media(kind, StreamId.VIDEO, 0, 0, data))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_what_would_be_inflated_beside_a_png_is_left_out(kind: bytes) -> None:
    large = chunk(kind, b"x\0\0" + zlib.compress(bytes(10**6)))
    begin, end = 33, len(PNG) - 12
    for data in (
        PNG[:begin] + large + PNG[begin:],
        PNG[:begin] + 2 * large + PNG[begin:end] + large + PNG[end:],
    ):
        assert harmless(Kind.PNG, data) == PNG
        np.testing.assert_array_equal(see(Kind.PNG, data), see(Kind.PNG, PNG))
    assert harmless(Kind.PNG, PNG) is PNG


@pytest.mark.parametrize("length", [0, 7, 8, 11, 12, 20, 33, 40, 60, 1000])
def test_a_png_that_is_cut_off_is_no_harm(length: int) -> None:
    assert harmless(Kind.PNG, PNG[:length]) == PNG[:length]
    huge = PNG[:33] + struct.pack(">I", 2**32 - 1) + b"iCCP" + PNG[33:]
    assert len(harmless(Kind.PNG, huge[: 33 + length])) <= 33 + length


def test_a_jpeg_has_no_more_scans_than_one_needs() -> None:
    begin = JPEG.index(b"\xff\xda")
    with pytest.raises(ProtocolError, match=f"JPEG: it has {MOST_SCANS + 1} scans, of {MOST_SCANS} at most"):
        see(Kind.JPEG, JPEG[:begin] + JPEG[begin:-2] * (MOST_SCANS + 1) + JPEG[-2:])
    assert see(Kind.JPEG, JPEG[:begin] + JPEG[begin:-2] * MOST_SCANS + JPEG[-2:]) is not None


@pytest.mark.parametrize(("side", "kept"), [((640, 360), True), ((1280, 900), False)])
def test_the_buffers_of_large_pictures_are_not_kept_for_each_session(
    side: tuple[int, int], kept: bool
) -> None:
    eyes, data = Eyes(900), jpeg(3, "mjpeg", side)  # not halved
    np.testing.assert_array_equal(see(Kind.JPEG, data, eyes), see(Kind.JPEG, data, eyes))
    assert (side[0] * side[1] <= KEPT_PIXELS, eyes._open is not None) == (kept, kept)


def test_a_picture_that_broke_a_decoder_counts_as_many() -> None:
    line = Line()
    line.refuse(ProtocolError(ErrorCode.DECODE_FAILED, "broke", weight=30), 0.0)
    for _ in range(200):
        line.refuse(ProtocolError(ErrorCode.DECODE_FAILED, "ours", weight=0), 0.0)
    assert line.closing is None
    for _ in range(4):
        line.refuse(ProtocolError(ErrorCode.DECODE_FAILED, "broke", weight=30), 0.0)
    assert line.closing == 1008


def test_a_tally_is_of_the_last_minute() -> None:
    tally = Tally(3)
    assert [tally.is_full(at_s, weight) for at_s, weight in ((0, 2), (1, 1), (2, 0), (3, 1), (62, 3))] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert not tally.is_full(200, 3)
    assert tally.is_full(201, 100)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems hold a process to less")
def test_a_process_is_held_to_what_is_less() -> None:
    script = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))
from server.system.confinement import confine
confine(1 << 41)
print(resource.getrlimit(resource.RLIMIT_AS))
confine(1 << 39)
print(resource.getrlimit(resource.RLIMIT_AS))
"""
    said = subprocess.run(
        [sys.executable, "-c", script], env=of_a_process(), capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == [str((1 << 40, 1 << 40)), str((1 << 39, 1 << 39))]
