"""The pictures' own sound from where it comes to the result: by websocket, by ingest, by WHIP. It is heard with its pictures."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiortc import AudioStreamTrack
from flashing import FPS, write_video
from ingest_rig import feed, limits, state_of
from output_rig import (
    F32,
    RATE,
    beeps_after_flashes,
    beeps_from,
    jump_of,
    look_until,
    music_of,
    picture,
    shown_in,
    spoken,
)
from rtc_client import Lamp, closing, publisher
from served import Serve
from shell_client import Client, ask

from engine.synthetic import SyntheticPlayer
from server.ingest.sounding import Sounding
from server.protocol.media import Kind, Media, StreamId, encode_media

SILENT = {"gain_db": -60}
"""The music, so that what is heard is the original."""
TENTH = RATE // 10


def beep(number: int, rate: int = RATE) -> F32:
    """A tenth of a second of the original sound: a tone from the second one on."""
    at = np.arange(rate // 10) / rate
    return (0.5 * (number >= 20) * np.sin(2 * np.pi * 1000 * at)).astype(np.float32)


def say(client: Client, number: int, rate: int) -> None:
    samples = (beep(number, rate) * 32767).astype("<i2")
    first = number * len(samples)
    client.ws.send(
        encode_media(
            Media(Kind.PCM_S16, StreamId.ORIGINAL, number, first, samples.tobytes(), dur=len(samples))
        )
    )


def together(path: Path, frame_s: float) -> None:
    """The law: a beep and its flash are within a picture and 20 ms of each other."""
    after_s = beeps_from(path) - jump_of(shown_in(path))
    print(f"the beep is {after_s:+.3f} s after its flash")
    assert abs(after_s) <= frame_s + 0.02


@pytest.mark.parametrize("rate", [48_000, 16_000])
def test_by_websocket(serve: Serve, tmp_path: Path, rate: int) -> None:
    with serve(outputs=tmp_path, player=SyntheticPlayer()) as served, Client(served.ws) as client:
        form = {"codec": "pcm_s16", "sample_rate": rate, "channels": 1}
        one = f"{served.http}/v1/sessions/{client.start(original=form, config=SILENT)['session_id']}"
        client.play()
        status, state = ask("POST", f"{one}/output", {"url": "file:a.mkv", "what": "mixed"})
        assert (status, state["original_gain_db"]) == (201, 0.0)
        for number in range(30):
            if number:
                say(client, number - 1, rate)  # captured until now
            client.show(picture(0, 16 if number < 20 else 240).payload)
            client.hear(client.at + TENTH)
        client.hear(client.at + 5 * TENTH)
        state = ask("DELETE", f"{one}/output")[1]
        assert state["lost_original_samples"] <= RATE // 5
        assert state["original_s"] >= 2
        metrics = ask("GET", f"{served.http}/metrics")[1]
        assert f"cuestream_output_original_seconds_total {state['original_s']}.0" in metrics
    together(tmp_path / "a.mkv", 1 / 10)


def test_sound_that_comes_before_a_late_tick_is_heard_where_the_music_goes_on(
    serve: Serve, tmp_path: Path
) -> None:
    """A loop that slept for two seconds hears who speaks first, and then lets its clock go on where it stopped."""
    with serve(outputs=tmp_path, player=SyntheticPlayer()) as served, Client(served.ws) as client:
        one = f"{served.http}/v1/sessions/{client.start(config=SILENT)['session_id']}"
        client.play()
        ask("POST", f"{one}/output", {"url": "file:a.mkv", "what": "mixed", "delay_ms": 100})
        client.show(picture(0, 16).payload)
        sent = look_until(f"{one}/output", state="sending")["samples"]
        hosted = served.host.sessions[one.rpartition("/")[2]]
        sound = spoken(beep(20), goes_on=False)
        served.on_loop(lambda: hosted.original(served.host.monotonic() + 2, sound))
        client.wait_for(lambda: ask("GET", f"{one}/output")[1]["samples"] > sent + RATE)
        assert ask("DELETE", f"{one}/output")[1]["state"] == "finished"
    assert np.abs(music_of(tmp_path / "a.mkv")[1]).max() > 0.2


def test_it_can_be_left_out_and_is_no_part_of_music_alone(serve: Serve, tmp_path: Path) -> None:
    with serve(outputs=tmp_path, player=SyntheticPlayer()) as served, Client(served.ws) as client:
        one = f"{served.http}/v1/sessions/{client.start(config=SILENT)['session_id']}"
        client.play()
        for name, more in (
            ("a.mkv", {"what": "mixed", "original_gain_db": -60}),
            ("a.wav", {"what": "music"}),
        ):
            assert ask("POST", f"{one}/output", {"url": f"file:{name}"} | more)[0] == 201
            for number in range(5):
                say(client, 20 + number, RATE)
                client.show(picture(0, 16).payload)
                client.hear(client.at + TENTH)
            client.hear(client.at + 5 * TENTH)
            assert ask("DELETE", f"{one}/output")[1]["original_s"] == 0
            assert not music_of(tmp_path / name)[1].any()


def test_by_ingest(serve: Serve, tmp_path: Path) -> None:
    write_video(tmp_path / "beeps.mp4", 3 * FPS, beeps=True)
    played = {"ingest": limits(files=tmp_path), "player": SyntheticPlayer()}
    with serve(outputs=tmp_path, **played) as served, Client(served.ws) as client:
        session_id = client.start(config=SILENT)["session_id"]
        one = f"{served.http}/v1/sessions/{session_id}"
        client.send("playback", action="play")
        ask("POST", f"{one}/output", {"url": "file:a.mkv", "what": "mixed"})
        feed(served, "file:beeps.mp4", session_id)
        state_of(one, "ended")
        client.wait_for(lambda: ask("GET", f"{one}/output")[1]["original_s"] >= 2)
        assert ask("DELETE", f"{one}/output")[1]["lost_original_samples"] <= RATE // 20
    together(tmp_path / "a.mkv", 1 / 8)


class Bulb(Lamp):
    """lit_s: when it became bright, each time."""

    def __init__(self) -> None:
        super().__init__()
        self.lit_s: list[float] = []
        self._was_lit = False

    async def recv(self) -> av.VideoFrame:
        frame = await super().recv()
        if self.level > 128 and not self._was_lit:
            self.lit_s.append(time.monotonic())
        self._was_lit = self.level > 128
        return frame


class Voice(AudioStreamTrack):
    """Silent but where it is told to be loud. loud_s: when it began to be, each time."""

    def __init__(self) -> None:
        super().__init__()
        self.loud = self._was_loud = False
        self.loud_s: list[float] = []

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        if self.loud and not self._was_loud:
            self.loud_s.append(time.monotonic() - 0.02)
        self._was_loud = self.loud
        tone = 16_000 * self.loud * np.sin(2 * np.pi * 1000 * np.arange(960) / RATE)
        made = av.AudioFrame.from_ndarray(tone.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        made.sample_rate, made.time_base = RATE, Fraction(1, RATE)
        made.pts = 960 * (frame.pts // 160)
        return made


@pytest.mark.usefixtures("loopback")
def test_by_whip(serve: Serve, tmp_path: Path) -> None:
    """Five times, and the middle of these: of several pictures one may be late, and a busy machine may break a beep in two."""
    lamp, voice = Bulb(), Voice()

    async def play() -> None:
        show = publisher(lamp, voice, "H264")  # as OBS; it is copied
        async with closing(show):
            await show.post(f"{served.http}/v1/whip/show")
            await show.connected()
            assert ask("PATCH", f"{one}", {"config": SILENT})[0] == 200
            ask("POST", f"{one}/output", {"url": "file:a.mkv", "what": "mixed"})
            await asyncio.to_thread(look_until, f"{one}/output", state="sending")
            for number in range(11):
                lamp.level, voice.loud = (230, True) if number % 2 else (40, False)
                await asyncio.sleep(0.35)
            await asyncio.sleep(1.0)
            state = (await asyncio.to_thread(ask, "DELETE", f"{one}/output"))[1]
            assert (state["state"], state["original_s"] >= 3) == ("finished", True)

    with serve(outputs=tmp_path, ice_addresses=("127.0.0.1",), player=SyntheticPlayer()) as served:
        one = f"{served.http}/v1/sessions/show"
        asyncio.run(play())
    after_s = beeps_after_flashes(tmp_path / "a.mkv")
    assert len(after_s) == 5
    after_s -= np.array(voice.loud_s) - np.array(lamp.lit_s)  # as they were sent
    print("the beeps are so much after their flashes, s:", after_s.round(3))
    assert abs(float(np.median(after_s))) <= 1 / 20 + 0.02


def test_the_music_steps_back_until_the_original_is_over_in_the_output(serve: Serve, tmp_path: Path) -> None:
    duck = {"enabled": True, "depth_db": 60, "attack_ms": 1, "release_ms": 1}
    with serve(outputs=tmp_path, player=SyntheticPlayer()) as served, Client(served.ws) as client:
        one = f"{served.http}/v1/sessions/{client.start(config={'duck': duck})['session_id']}"
        client.play()
        body = {"url": "file:a.mkv", "what": "mixed", "delay_ms": 1000, "original_gain_db": -40}
        ask("POST", f"{one}/output", body)
        playout = served.host.sessions[one.rpartition("/")[2]].core.playout
        say(client, 20, RATE)
        client.wait_for(lambda: playout.mix.duck.after < 0.01)
        ducked_at = client.at
        for number in range(21, 40):
            samples = np.zeros(TENTH, "<i2").tobytes()
            client.ws.send(
                encode_media(
                    Media(Kind.PCM_S16, StreamId.ORIGINAL, number, number * TENTH, samples, dur=TENTH)
                )
            )
            client.hear(client.at + TENTH)
            if playout.mix.duck.after == 1.0:
                break
        assert 0.9 * RATE < client.at - ducked_at < 1.5 * RATE


@pytest.mark.parametrize(
    "body",
    [
        {"url": "file:x.wav", "original_gain_db": 0},
        {"url": "file:x.mkv", "what": "mixed", "original_gain_db": 13},
        {"url": "file:x.mkv", "what": "mixed", "original_gain_db": -61},
        {"url": "file:x.mkv", "what": "mixed", "original_gain_db": "loud"},
    ],
)
def test_what_is_refused(serve: Serve, tmp_path: Path, body: dict[str, Any]) -> None:
    with serve(outputs=tmp_path) as served, Client(served.ws) as client:
        one = f"{served.http}/v1/sessions/{client.start()['session_id']}"
        status, answer = ask("POST", f"{one}/output", body)
        assert (status, answer["error"]["code"]) == (400, "bad_request")
        assert not list(tmp_path.iterdir())


def frame_of(samples: F32, first: int, rate: int, form: str = "fltp") -> av.AudioFrame:
    layout = "mono" if samples.ndim == 1 else "stereo"
    planes = np.ascontiguousarray(np.atleast_2d(samples.T))
    frame = av.AudioFrame.from_ndarray(planes, format=form, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
    return frame


def test_a_worker_gives_each_stretch_its_moment() -> None:
    sounding, tone = Sounding(), np.ones(1024, np.float32) / 2
    records = [
        record
        for n in (0, 1, 2, 3, 60, 61, 62, 63)  # a gap after four frames
        for record in sounding.records(frame_of(tone, n * 1024, RATE), 100.0)
    ]
    begins = [record.time_us / 1e6 for record in records]
    ends = [begin + len(record.payload) / 2 / RATE for begin, record in zip(begins, records, strict=True)]
    assert begins[0] == pytest.approx(100.0, abs=1e-5)
    assert [record.height for record in records].count(0) == 2
    for before, record, begin in zip(ends, records[1:], begins[1:], strict=False):
        if record.height:
            assert begin == pytest.approx(before, abs=2e-6)
        else:
            assert begin == pytest.approx(100 + 60 * 1024 / RATE, abs=1e-5)
    assert len(np.frombuffer(b"".join(record.payload for record in records), "<i2")) == 8 * 1024


def test_a_worker_takes_channels_that_have_no_place() -> None:
    """As the tracks of a field recorder."""
    frame = av.AudioFrame.from_ndarray(np.full((1, 9 * 4_800), 0.1, np.float32), "flt", "9 channels")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    records = list(Sounding().records(frame, 0.0))
    heard = np.frombuffer(b"".join(record.payload for record in records), "<i2") / 32768
    assert {record.width for record in records} == {2}
    assert heard == pytest.approx(0.3, abs=1e-3)


def test_a_worker_takes_another_form_and_long_frames() -> None:
    sounding = Sounding()
    stereo = np.zeros((65_536, 2), np.float32)
    first = list(sounding.records(frame_of(stereo, 0, 8_000), 0.0))
    then = list(sounding.records(frame_of(np.zeros(4_800, np.float32), 8 * 48_000, RATE), 0.0))
    assert all(len(record.payload) <= 32 * 1024 for record in first)
    assert {record.width for record in first} == {2}
    assert {record.width for record in then[-1:]} == {1}
    assert sum(len(record.payload) for record in first) / 4 == pytest.approx(65_536 * 6, abs=200)
