"""What the server reads by itself is heard: the flash of a file, of HTTP, of HLS, of RTMP and of RTSP."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, hears_both_tones, limits, publisher, state_of, web
from process import free_port
from rtsp_server import rtsp
from served import Serve
from shell_client import Client, ask

from server.ingest.address import Forbidden
from server.ingest.standing import feed_of


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
    with serve(SYNTHETIC, ingest=limits(ports=frozenset({port}), backoff_s=60, most_backoff_s=60)) as served:
        status, one, about = feed(served, url, listen=True)
        assert (status, about["state"]) == (201, "connecting")
        for _ in range(2):
            with publisher(url, 4 * FPS) as pushing:
                assert hears_both_tones(one)
                pushing.kill()
            assert state_of(one, "listening")["text"] == "the publisher left; the next one is waited for"


def test_a_port_that_another_program_has_is_not_listened_at(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as line:
        port = int(line.getsockname()[1])
        url = f"rtmp://127.0.0.1:{port}/live/key-of-mine"
        with serve(SYNTHETIC, ingest=limits(ports=frozenset({port}))) as served:
            one = feed(served, url, listen=True)[1]
            assert state_of(one, "waiting")["text"] == "Address already in use; it is tried again"
            line.close()
            with publisher(url, 4 * FPS):
                assert hears_both_tones(one)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_an_operator_who_lets_nobody_in_is_told_of_the_port(host: str) -> None:
    with pytest.raises(Forbidden, match="not waited for at port 1935; see --ingest-port"):
        feed_of(f"rtmp://{host}:1935/live/key", limits())
    assert feed_of(f"rtmp://{host}:1935/live/key", limits(ports=frozenset({1935}))).listen


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


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ssl.SSLContext]:
    """A server's side, by the name in its certificate, whose maker is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def context(name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(made)
        return made

    return context


def test_rtsp_over_tls_is_heard_from_whoever_has_the_name(
    serve: Serve, tls: Callable[[str], ssl.SSLContext]
) -> None:
    with serve(SYNTHETIC, ingest=limits(attempts=1)) as served:
        with rtsp(tls=tls("localhost")) as (url, _):
            one = feed(served, url)[1]
            assert hears_both_tones(one)
            ask("DELETE", one)
        with rtsp(tls=tls("elsewhere.example")) as (url, asked):
            assert "certificate" in state_of(feed(served, url)[1], "failed")["text"]
            assert asked == []


def test_the_music_makes_room_for_the_sound_of_what_is_read(serve: Serve, tmp_path: Path) -> None:
    write_video(tmp_path / "loud.mp4", 4 * FPS, loud=True)
    with serve(SYNTHETIC, ingest=limits(files=tmp_path)) as served, Client(served.ws) as client:
        session_id = client.start(config={"duck": {"enabled": True, "depth_db": 20}})["session_id"]
        feed(served, "file:loud.mp4", session_id)
        playout = served.host.sessions[session_id].core.playout
        client.wait_for(lambda: playout.mix.duck.after == pytest.approx(0.1))


def test_a_publisher_with_another_key_is_not_shown(serve: Serve) -> None:
    port = free_port()
    with serve(SYNTHETIC, ingest=limits(ports=frozenset({port}))) as served:
        one = feed(served, f"rtmp://127.0.0.1:{port}/live/key-of-mine", listen=True)[1]
        with publisher(f"rtmp://127.0.0.1:{port}/live/another", 4 * FPS) as pushing:
            while not (about := state_of(one, "listening"))["failures"]:
                assert pushing.poll() is None
            pushing.kill()
        assert about["text"] == "a publisher came with another key; the next one is waited for"
        assert about["pictures"] == 0
