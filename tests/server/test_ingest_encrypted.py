"""HLS with AES-128: what is decrypted is what was encrypted, keys come through the checked door, what is broken is said."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, hears_both_tones, limits, state_of, web
from served import Serve

from server.ingest.decrypting import BLOCK, Decrypted

KEY, IV = bytes(range(16)), bytes(range(16, 32))


def encrypted(data: bytes) -> bytes:
    count = BLOCK - len(data) % BLOCK
    cipher = Cipher(algorithms.AES(KEY), modes.CBC(IV)).encryptor()
    return cipher.update(data + bytes([count]) * count) + cipher.finalize()


class Trickle(io.BytesIO):
    """Gives less than it is asked for, as networks do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 7, 7))


def read_all(file: Decrypted, size: int) -> bytes:
    parts = []
    while part := file.read(size):
        assert len(part) <= size
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32, 1000])
@pytest.mark.parametrize("size", [1, 5, 16, 188, 4096])
def test_what_was_encrypted_is_read(length: int, size: int) -> None:
    data = bytes(n % 251 for n in range(length))
    for source in (io.BytesIO(encrypted(data)), Trickle(encrypted(data))):
        assert read_all(Decrypted(source, KEY, IV), size) == data


@pytest.mark.parametrize("broken", [encrypted(b"x" * 40)[:-1], encrypted(b"x" * 40)[:-16], b"", b"x" * 64])
def test_what_is_cut_short_or_has_another_key_is_said(broken: bytes) -> None:
    with pytest.raises(OSError, match="cut short, or has another key"):
        read_all(Decrypted(io.BytesIO(broken), KEY, IV), 4096)


def write_encrypted(folder: Path, key_url: str) -> None:
    (folder / "key").write_bytes(KEY)
    (folder / "key-info").write_text(f"{key_url}\n{folder / 'key'}\n{IV.hex()}\n")
    write_video(
        folder / "x.m3u8",
        4 * FPS,
        "hls",
        hls_time="1",
        hls_list_size="0",
        hls_playlist_type="vod",
        hls_key_info_file=str(folder / "key-info"),
    )
    assert f'METHOD=AES-128,URI="{key_url}"' in (folder / "x.m3u8").read_text()


def test_encrypted_hls_is_heard(serve: Serve, tmp_path: Path) -> None:
    write_encrypted(tmp_path, "key")
    with serve(SYNTHETIC, ingest=limits()) as served, web(tmp_path) as (base, asked):
        assert hears_both_tones(feed(served, f"{base}/x.m3u8")[1])
        assert "/key" in asked


@pytest.mark.parametrize(
    "key_url", ["http://169.254.169.254/key", "file:///etc/hostname", "data:text/plain,0123456789abcdef"]
)
def test_a_key_from_elsewhere_is_not_fetched(serve: Serve, tmp_path: Path, key_url: str) -> None:
    write_encrypted(tmp_path, key_url)
    with serve(SYNTHETIC, ingest=limits(attempts=1)) as served, web(tmp_path) as (base, _):
        about = state_of(feed(served, f"{base}/x.m3u8")[1], "failed")
        assert about["pictures"] == 0
