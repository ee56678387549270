"""What the server reads by itself is heard: the flash of a file, of HTTP, of HLS, of RTMP and of RTSP."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Serve
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, hears_both_tones, limits, publisher, state_of, web
from process import free_port
from rtsp_server import rtsp
from shell_client import ask


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "flash.mp4"
    write_video(path, 4 * FPS)
    return path


def test_a_file_below_the_folder_is_played_in_its_own_time_and_ends(serve: Serve, clip: Path) -> None:
    with serve(SYNTHETIC, ingest=limits(files=clip.parent)) as served:
        status, one, about = feed(served, "file:flash.mp4")
        assert (status, about["state"]) == (201, "connecting")
        assert hears_both_tones(one)
        about = state_of(one, "ended")
        assert 20 <= about["pictures"] <= 4 * FPS
        assert ask("GET", one)[1]["pictures"]["shown"] > 10


def test_a_film_over_http_is_heard(serve: Serve, clip: Path) -> None:
    with serve(SYNTHETIC, ingest=limits()) as served, web(clip.parent) as (base, _):
        assert hears_both_tones(feed(served, f"{base}/flash.mp4")[1])


def test_hls_is_heard(serve: Serve, tmp_path: Path) -> None:
    write_video(tmp_path / "x.m3u8", 4 * FPS, "hls", hls_time="1", hls_list_size="0", hls_playlist_type="vod")
    with serve(SYNTHETIC, ingest=limits()) as served, web(tmp_path) as (base, asked):
        assert hears_both_tones(feed(served, f"{base}/x.m3u8")[1])
        assert "/x.m3u8" in asked


def test_a_publisher_is_waited_for_and_waited_for_again(serve: Serve) -> None:
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/key-of-mine"
    with serve(SYNTHETIC, ingest=limits(ports=frozenset({port}))) as served:
        status, one, about = feed(served, url, listen=True)
        assert (status, about["state"]) == (201, "listening")
        for _ in range(2):
            with publisher(url, 4 * FPS) as pushing:
                assert hears_both_tones(one)
                pushing.kill()
            state_of(one, "listening")


def test_rtmp_is_pulled(serve: Serve) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/key-of-mine"
    with (
        serve(SYNTHETIC, ingest=limits(attempts=200)) as served,
        publisher(url, 30 * FPS, listen=True) as playing,
    ):
        assert hears_both_tones(feed(served, url)[1])
        playing.kill()


def test_rtsp_is_heard(serve: Serve) -> None:
    with serve(SYNTHETIC, ingest=limits()) as served, rtsp() as (url, asked):
        assert hears_both_tones(feed(served, url)[1])
        assert any(line.startswith("PLAY") for line in asked)
