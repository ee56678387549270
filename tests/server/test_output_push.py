"""Pushing over the network: RTMP and SRT arrive; targets that are not there, hang or die harm nobody and are tried again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import pytest
from output_rig import RATE, look_until, music_of, picture, shown_in, video
from served import Serve
from shell_client import PATIENCE_S, Client, ask

from engine.synthetic import SyntheticPlayer
from server.output.limits import OutputLimits
from server.protocol.media import Kind

LISTENER = Path(__file__).with_name("output_listener.py")
HOSTS = ("127.0.0.1",)
SECRET = "live_key_12345"
QUICK = OutputLimits(retry_s=0.1, retry_most_s=0.2)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@contextmanager
def listener(url: str, path: Path, *most: str) -> Iterator[subprocess.Popen[str]]:
    """A server for one publisher, which listens in a moment."""
    command = [sys.executable, str(LISTENER), url, str(path), *most]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def playing(serve: Serve, limits: OutputLimits = QUICK) -> Iterator[tuple[Client, str, Any]]:
    with (
        serve(push_hosts=HOSTS, output=limits, player=SyntheticPlayer()) as served,
        Client(served.ws) as client,
    ):
        one = f"{served.http}/v1/sessions/{client.start()['session_id']}"
        client.play()
        yield client, f"{one}/output", served


@pytest.mark.parametrize("kind", ["music", "jpeg", "h264"])
def test_rtmp_arrives_whole(serve: Serve, tmp_path: Path, kind: str) -> None:
    url, path = f"rtmp://127.0.0.1:{free_port()}/live/{SECRET}", tmp_path / "came.mkv"
    with playing(serve) as (client, output, _), listener(url, path) as process:
        body = {"url": url} | ({} if kind == "music" else {"what": "mixed"})
        status, state = ask("POST", output, body)
        assert status == 201
        assert SECRET not in str(state)
        show(client, kind)
        assert look_until(output, state="sending")["reconnects"] < 5
        show(client, kind)
        client.hear(client.at + RATE)
        assert ask("DELETE", output)[1]["state"] == "finished"
        assert process.wait(PATIENCE_S) == 0
    assert len(music_of(path)[1]) > RATE // 2
    with av.open(str(path)) as container:
        codecs = {stream.codec_context.name for stream in container.streams}
    assert codecs == ({"aac"} if kind == "music" else {"aac", "h264"})
    if kind != "music":
        assert len(shown_in(path)) > 5


def show(client: Client, kind: str) -> None:
    """Ten pictures."""
    if kind == "h264":
        for media in video(Kind.H264, [16] * 5 + [240] * 5):
            client.show(media.payload, Kind.H264, flags=media.flags)
            client.hear(client.at + RATE // 25)
    elif kind == "jpeg":
        for number in range(10):
            client.show(picture(number, 16).payload)
            client.hear(client.at + RATE // 25)


def test_a_target_that_is_not_there_is_tried_again_and_given_up(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    limits = OutputLimits(retry_s=0.05, retry_most_s=0.1, give_up_s=4)
    with playing(serve, limits) as (client, output, served):
        ask("POST", output, {"url": f"rtmp://127.0.0.1:{free_port()}/live/{SECRET}"})
        state = look_until(output, state="waiting")
        assert "refused" in state["error"]
        assert SECRET not in str(state)
        client.hear(client.at + RATE // 2)
        state = look_until(output, state="failed")
        assert state["reconnects"] >= 1
        assert state["lost_samples"] > 0
        metrics = ask("GET", f"{served.http}/metrics")[1]
        assert 'cuestream_outputs_ended_total{reason="failed"} 1.0' in metrics
        assert "cuestream_output_lost_samples_total 0.0" not in metrics
        told = [record.message for record in caplog.records if "output" in record.message]
        assert len(told) == 1
        assert "rtmp://127.0.0.1:" in told[0]
        assert "has failed: " in told[0]
        assert SECRET not in told[0]


def test_a_target_that_hangs_holds_nothing_up(serve: Serve) -> None:
    """It is connected to and never says a word; the music goes on meanwhile."""
    limits = OutputLimits(connect_s=1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, playing(serve, limits) as (client, output, _):
        ask("POST", output, {"url": f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/x"})
        client.hear(client.at + RATE)
        state = look_until(output, state="waiting")
        assert "did not answer" in state["error"]
        assert ask("DELETE", output)[1]["reason"] == "asked"


def test_a_connection_that_dies_is_made_again(serve: Serve, tmp_path: Path) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/x"
    with playing(serve) as (client, output, _):
        with listener(url, tmp_path / "one.mkv", "30") as process:
            ask("POST", output, {"url": url})
            client.hear(client.at + RATE)
            process.wait(PATIENCE_S)
        look_until(output, state="waiting")
        with listener(url, tmp_path / "two.mkv") as process:
            look_until(output, state="sending")
            client.hear(client.at + RATE)
            state = ask("DELETE", output)[1]
            process.wait(PATIENCE_S)
        assert (state["state"], state["reconnects"] > 0) == ("finished", True)
    assert len(music_of(tmp_path / "one.mkv")[1]) > RATE // 4
    assert len(music_of(tmp_path / "two.mkv")[1]) > RATE // 2


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="SRT needs the program ffmpeg")
@pytest.mark.parametrize("query", ["", "?passphrase=a+secret%20%23&pbkeylen=32&streamid=x&latency=60000"])
def test_srt_arrives(serve: Serve, tmp_path: Path, query: str) -> None:
    url, path = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", tmp_path / "came.ts"
    key = ["-passphrase", "a secret #"] if query else []
    listen = ["ffmpeg", "-nostdin", "-loglevel", "quiet", *key, "-i", f"{url}?mode=listener"]
    receive = [*listen, "-c", "copy", str(path)]
    with playing(serve) as (client, output, _), subprocess.Popen(receive) as receiver:
        try:
            ask("POST", output, {"url": url + query, "what": "mixed"})
            show(client, "jpeg")
            for _ in range(int(PATIENCE_S)):
                client.hear(client.at + RATE)
                if path.exists():  # the receiver has looked at enough of it
                    break
            seen = arguments_of_all()
            client.hear(client.at + 2 * RATE)
            assert ask("DELETE", output)[1]["state"] == "finished"
            receiver.wait(PATIENCE_S)
        finally:
            receiver.kill()
    assert len(music_of(path)[1]) > RATE // 2
    assert len(shown_in(path)) > 10
    senders = [words for words in seen if words[-1:] == [url]]
    assert len(senders) == (sys.platform == "linux")
    assert not [words for words in senders if {"a secret #", "x"} & set(words)]


def arguments_of_all() -> list[list[str]]:
    """Of the processes of this machine, as everybody on it sees them; elsewhere than on Linux none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended
            found.append(path.read_bytes().decode(errors="replace").split("\0")[:-1])
    return found


def test_srt_without_its_program_says_what_to_install(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with playing(serve) as (_, output, _served):
        status, answer = ask("POST", output, {"url": "srt://127.0.0.1:9"})
    assert (status, answer["error"]["code"]) == (409, "output_off")
    assert "ffmpeg" in answer["error"]["text"]
