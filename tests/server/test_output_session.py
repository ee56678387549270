"""Outputs of sessions: files and HLS hold the music that was placed; what is refused; how each one ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from output_rig import RATE, jump_of, look_until, music_of, picture, shown_in
from served import Serve, Served
from shell_client import Client, ask, jpeg

from engine.synthetic import SyntheticPlayer, tone_hz
from server.output.limits import OutputLimits
from server.output.sender import Sender

KEY = "a-key-for-tests"


def one_of(served: Served, client: Client, **start: Any) -> str:
    """Begin a session; its address."""
    return f"{served.http}/v1/sessions/{client.start(**start)['session_id']}"


def placed(client: Client) -> np.ndarray:
    """The left channel that was sent, -1 to 1."""
    return client.pcm[:, 0].astype(np.float32) / 32768


def lies_in(wanted: np.ndarray, heard: np.ndarray) -> tuple[int, float]:
    """Where a piece of music is in another, and how much it looks like it there, 1 being the same."""
    size = len(heard) + len(wanted)
    found = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    at = int(found[: len(heard) - len(wanted)].argmax())
    piece = heard[at : at + len(wanted)]
    return at, float(piece @ wanted / np.sqrt((piece @ piece) * (wanted @ wanted)))


def test_a_flac_holds_the_samples_that_were_sent(serve: Serve, tmp_path: Path) -> None:
    with serve(outputs=tmp_path) as served, Client(served.ws) as client:
        one = one_of(served, client)
        client.play()
        status, state = ask("POST", f"{one}/output", {"url": "file:show.flac"})
        assert (status, state["url"], state["delay_ms"]) == (201, "file:show.flac", None)
        client.hear(client.at + 2 * RATE)
        status, state = ask("DELETE", f"{one}/output")
        assert (status, state["state"], state["reason"], state["error"]) == (200, "finished", "asked", "")
        client.hear(client.at + RATE // 2)
        heard = music_of(tmp_path / "show.flac")[1]
        assert len(heard) == state["samples"]
        at, likeness = lies_in(heard[:RATE], placed(client))
        assert likeness > 0.9999
        np.testing.assert_allclose(heard[:RATE], placed(client)[at : at + RATE], atol=1 / 32767)
        assert ask("GET", f"{one}/output")[1] == state


def test_hls_holds_the_music_within_its_codec_and_ends_with_the_session(serve: Serve, tmp_path: Path) -> None:
    with serve(outputs=tmp_path, player=SyntheticPlayer()) as served, Client(served.ws) as client:
        one = one_of(served, client)
        client.play()
        status, state = ask("POST", f"{one}/output", {"url": "hls:show", "what": "mixed"})
        assert (status, state["delay_ms"]) == (201, 440)  # 340 ms are made ahead, in pieces of 100
        client.show()
        client.hear(client.at + 2 * RATE)
        client.send("session.end")
        client.hear_the_rest()
        client.wait_for(lambda: not served.host.outputs.running)
        heard = music_of(tmp_path / "show" / "index.m3u8")[1]
        assert lies_in(placed(client)[RATE : 3 * RATE // 2], heard)[1] > 0.99
        assert "ENDLIST" in (tmp_path / "show" / "index.m3u8").read_text()
        metrics = ask("GET", f"{served.http}/metrics")[1]
        assert 'cuestream_outputs_ended_total{reason="session_ended"} 1.0' in metrics
        assert "cuestream_outputs 0.0" in metrics


def test_what_is_seen_is_what_is_heard(serve: Serve, tmp_path: Path) -> None:
    """The synthetic player plays another tone once it has seen a bright picture: 0.3 s after it, when nothing else keeps the
    machine busy. The delay is a second, so the flash is seen 0.7 s after its sound."""
    with serve(outputs=tmp_path, player=SyntheticPlayer()) as served, Client(served.ws) as client:
        one = one_of(served, client, config={"seed": 0})
        client.show(picture(0, 16).payload)
        client.send("playback", action="play")
        client.hear(1)
        state = ask("POST", f"{one}/output", {"url": "file:show.mkv", "what": "mixed", "delay_ms": 1000})[1]
        assert state["delay_ms"] == 1000
        for number in range(24):
            client.show(picture(number, 16 if number < 10 else 240).payload)
            client.hear(client.at + RATE // 10)
        assert ask("DELETE", f"{one}/output")[1]["state"] == "finished"
    path = tmp_path / "show.mkv"
    began_s, heard = music_of(path)
    seen_s = jump_of(shown_in(path))
    heard_s = began_s + bright_from(heard)
    assert 0.2 < seen_s - heard_s < 1.0


def test_a_picture_that_comes_before_a_late_tick_is_seen_where_the_music_goes_on(
    serve: Serve, tmp_path: Path
) -> None:
    """A loop that slept for two seconds hears the websocket first, and then lets its clock go on where it stopped."""
    with serve(outputs=tmp_path) as served, Client(served.ws) as client:
        one = one_of(served, client)
        client.show(picture(0, 16).payload)
        client.play()
        ask("POST", f"{one}/output", {"url": "file:show.mkv", "what": "mixed", "delay_ms": 100})
        client.show(picture(1, 16).payload)
        client.hear(client.at + RATE // 10)
        hosted = served.host.sessions[one.rpartition("/")[2]]
        served.on_loop(lambda: hosted.picture(served.host.monotonic() + 2, picture(2, 240)))
        client.hear(client.at + RATE // 2)
        assert ask("DELETE", f"{one}/output")[1]["state"] == "finished"
    assert shown_in(tmp_path / "show.mkv")[-1][1] > 200


def bright_from(samples: np.ndarray) -> float:
    """When the tone of a bright picture begins, in seconds."""
    block = RATE // 50
    at = np.arange(block) / RATE
    wave = np.exp(-2j * np.pi * tone_hz(0, True) * at)
    levels = [abs(samples[n : n + block] @ wave) for n in range(0, len(samples) - block, block)]
    return int(np.argmax(np.array(levels) > max(levels) / 2)) * block / RATE


def test_a_pause_is_silence_and_a_mixed_output_waits_for_a_picture(serve: Serve, tmp_path: Path) -> None:
    with serve(outputs=tmp_path) as served, Client(served.ws) as client:
        one = one_of(served, client)
        client.play()
        ask("POST", f"{one}/output", {"url": "file:show.wav"})
        client.hear(client.at + RATE // 2)
        client.send("playback", action="pause")
        client.until("state", playback="paused")
        before = ask("GET", f"{one}/output")[1]["samples"]
        client.wait_for(lambda: ask("GET", f"{one}/output")[1]["samples"] > before + RATE)
        ask("DELETE", f"{one}/output")
        assert not music_of(tmp_path / "show.wav")[1][-RATE // 2 :].any()
        ask("POST", f"{one}/output", {"url": "file:show.mp4", "what": "mixed", "delay_ms": 0})
        look_until(f"{one}/output", state="connecting")
        state = ask("DELETE", f"{one}/output")[1]
        assert (state["state"], state["error"]) == ("failed", "there was nothing to send")
        ask("POST", f"{one}/output", {"url": "file:show.mp4", "what": "mixed", "delay_ms": 0})
        look_until(f"{one}/output", state="connecting")
        client.show(jpeg(1))
        look_until(f"{one}/output", state="sending")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"url": "file:../x.wav"}, 400, "bad_request"),
        ({"url": "file:/etc/x.wav"}, 400, "bad_request"),
        ({"url": "file:.hidden.wav"}, 400, "bad_request"),
        ({"url": "file:x.mkv"}, 400, "bad_request"),
        ({"url": "file:x.flac", "what": "mixed"}, 400, "bad_request"),
        ({"url": "file:x"}, 400, "bad_request"),
        ({"url": "hls:a/b"}, 400, "bad_request"),
        ({"url": "http://127.0.0.1/x"}, 400, "bad_request"),
        ({"url": "concat:a|b"}, 400, "bad_request"),
        ({"url": "rtmp:///live/x"}, 400, "bad_request"),
        ({"url": "rtmp://127.0.0.1:99999/live/x"}, 400, "bad_request"),
        ({"url": "rtmp://127.0.0.1/live x"}, 400, "bad_request"),
        ({"url": "rtmp://127.0.0.2/live/x"}, 403, "output_forbidden"),
        ({"url": "rtmp://here.example@127.0.0.2/live/x"}, 403, "output_forbidden"),
        ({"url": "rtmp://127.0.0.2\\@127.0.0.1/live/x"}, 400, "bad_request"),
        ({"url": "srt://here.example"}, 400, "bad_request"),
        ({"url": "srt://here.example:9?mode=listener"}, 400, "bad_request"),
        ({"url": "srt://here.example:9?streamid=a#&mode=listener&localaddr=127.0.0.1"}, 400, "bad_request"),
        ({"url": "srt://here.example:9?streamid=a&streamid=b"}, 400, "bad_request"),
        ({"url": "srt://here.example:9/?streamid=a%00b"}, 400, "bad_request"),
        ({"url": "srt://here.example:9/x?streamid=a"}, 400, "bad_request"),
        ({"url": "srt://me@here.example:9"}, 400, "bad_request"),
        ({"url": "file:x.wav", "delay_ms": 5}, 400, "bad_request"),
        ({"url": "file:x.mkv", "what": "mixed", "delay_ms": 5001}, 400, "bad_request"),
        ({"url": "file:x.mkv", "what": "stems"}, 400, "bad_request"),
        ({"url": "file:there.wav"}, 409, "output_refused"),
        ({}, 400, "bad_request"),
    ],
)
def test_what_is_refused(refusing: tuple[str, Path], body: dict[str, Any], status: int, code: str) -> None:
    one, folder = refusing
    answered, answer = ask("POST", f"{one}/output", body)
    assert (answered, answer["error"]["code"]) == (status, code)
    assert [path.name for path in folder.iterdir()] == ["there.wav"]


@pytest.fixture(scope="module")
def refusing(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "there.wav").write_bytes(b"")
    hosts = ("127.0.0.1", "here.example")
    with serve(outputs=folder, push_hosts=hosts) as served, Client(served.ws) as client:
        yield one_of(served, client), folder


def test_a_server_that_was_told_nothing_sends_nothing_on(served: Served) -> None:
    with Client(served.ws) as client:
        one = one_of(served, client)
        for url, option in (
            ("file:x.wav", "--outputs"),
            ("hls:x", "--outputs"),
            ("rtmp://127.0.0.1/a", "--push"),
        ):
            status, answer = ask("POST", f"{one}/output", {"url": url})
            assert (status, answer["error"]["code"]) == (409, "output_off")
            assert option in answer["error"]["text"]
        assert ask("GET", f"{one}/output")[0] == ask("DELETE", f"{one}/output")[0] == 404
        assert ask("GET", f"{served.http}/v1/version")[1]["outputs"] == []


def test_the_key_is_asked_for(serve: Serve, tmp_path: Path) -> None:
    with serve(outputs=tmp_path, api_key=KEY) as served, Client(served.ws, KEY) as client:
        one = one_of(served, client)
        for method in ("POST", "GET", "DELETE"):
            assert ask(method, f"{one}/output", {"url": "file:x.wav"} if method == "POST" else None)[0] == 401
        assert ask("POST", f"{one}/output", {"url": "file:x.wav"}, KEY)[0] == 201


def test_limits_are_kept(serve: Serve, tmp_path: Path) -> None:
    limits = OutputLimits(at_once=1, length_s=0.25)
    with serve(outputs=tmp_path, output=limits) as served, Client(served.ws) as one, Client(served.ws) as two:
        first, second = one_of(served, one), one_of(served, two)
        assert ask("POST", f"{first}/output", {"url": "file:a.wav"})[0] == 201
        for address in (first, second):
            status, answer = ask("POST", f"{address}/output", {"url": "file:b.wav"})
            assert (status, answer["error"]["code"]) == (409, "output_refused")
        one.play()
        state = look_until(f"{first}/output", state="finished")
        assert state["reason"] == "length"
        assert 12_000 <= state["samples"] < 12_000 + RATE
        assert len(music_of(tmp_path / "a.wav")[1]) == state["samples"]


def test_one_that_has_no_thread_is_refused_and_takes_no_place(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = OutputLimits(at_once=1)
    with serve(outputs=tmp_path, output=limits) as served, Client(served.ws) as client:
        one = one_of(served, client)
        with monkeypatch.context() as full:
            full.setattr(Sender, "start", no_thread)
            status, answer = ask("POST", f"{one}/output", {"url": "file:a.wav"})
        assert (status, answer["error"]["code"]) == (409, "output_refused")
        assert "cannot be started: can't start new thread" in answer["error"]["text"]
        assert ask("GET", f"{one}/output")[0] == 404
        assert ask("POST", f"{one}/output", {"url": "file:a.wav"})[0] == 201


def no_thread(_: Any) -> None:
    raise RuntimeError("can't start new thread")


def test_a_name_is_given_to_one_session_also_while_nothing_is_written(serve: Serve, tmp_path: Path) -> None:
    with serve(outputs=tmp_path) as served, Client(served.ws) as one, Client(served.ws) as two:
        first, second = one_of(served, one), one_of(served, two)
        wanted = {"url": "file:a.mkv", "what": "mixed"}
        assert ask("POST", f"{first}/output", wanted)[0] == 201
        status, answer = ask("POST", f"{second}/output", wanted)
        assert (status, answer["error"]["code"]) == (409, "output_refused")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(OutputLimits(folder_bytes=1), "quota"), (OutputLimits(free_bytes=2**62), "disk")],
)
def test_a_full_folder_or_disk_is_said(
    serve: Serve, tmp_path: Path, limits: OutputLimits, reason: str
) -> None:
    (tmp_path / "older.wav").write_bytes(b"12")
    with serve(outputs=tmp_path, output=limits) as served, Client(served.ws) as client:
        one = one_of(served, client)
        ask("POST", f"{one}/output", {"url": "file:a.wav"})
        state = look_until(f"{one}/output", state="failed")
        assert state["reason"] == reason
        assert state["error"] in client.until("warning", code="output")["text"]


def test_a_folder_that_fills_up_finishes_the_file(serve: Serve, tmp_path: Path) -> None:
    with (
        serve(outputs=tmp_path, output=OutputLimits(folder_bytes=200_000)) as served,
        Client(served.ws) as client,
    ):
        one = one_of(served, client)
        client.play()
        ask("POST", f"{one}/output", {"url": "file:a.wav"})
        client.hear(client.at + 3 * RATE // 2)
        assert look_until(f"{one}/output", state="finished")["reason"] == "quota"
        assert len(music_of(tmp_path / "a.wav")[1]) > RATE


def test_a_server_that_stops_finishes_the_file(serve: Serve, tmp_path: Path) -> None:
    with serve(outputs=tmp_path) as served, Client(served.ws) as client:
        one = one_of(served, client)
        client.play()
        ask("POST", f"{one}/output", {"url": "file:a.mp4", "what": "mixed"})
        client.show()
        client.hear(client.at + RATE)
        look_until(f"{one}/output", state="sending")
        client.drop()
    assert len(music_of(tmp_path / "a.mp4")[1]) > RATE // 2
    assert shown_in(tmp_path / "a.mp4")
