"""Sessions over WebRTC, aiortc on both sides: what is seen is heard, what is said is answered, who is gone is missed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiortc import AudioStreamTrack
from numpy.typing import NDArray
from obs_offer import OBS
from rtc_client import SDP, Lamp, RtcClient, browser, closing, eventually, player, publisher, send
from served import Serve, Served
from shell_client import Client, ask

from cuestream.players import find_player
from engine.synthetic import tone_hz
from server.webrtc.limits import PeerLimits

pytestmark = pytest.mark.usefixtures("loopback")
KEY = "a key for tests"
RATE = 48_000
HERE = {"player": find_player("synthetic"), "ice_addresses": ("127.0.0.1",)}
LOUD, CLICK = 1000, 13_000
PCM16 = NDArray[np.int16]
Play = Callable[[], Coroutine[Any, Any, None]]


def metrics(served: Served) -> dict[str, float]:
    lines = ask("GET", f"{served.http}/metrics")[1].splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def ended(served: Served, reason: str) -> float:
    return metrics(served).get(f'cuestream_webrtc_peers_ended_total{{reason="{reason}"}}', 0)


def written(served: Served) -> float:
    return metrics(served).get('cuestream_checkpoints_total{result="written"}', 0)


def is_loud(pcm: PCM16) -> bool:
    return bool(len(pcm) and np.abs(pcm).max() > LOUD)


def hears(hz: int, pcm: PCM16) -> bool:
    """Whether the last 100 ms are this tone."""
    if len(pcm) < RATE // 10:
        return False
    newest = pcm[-RATE // 10 :, 0].astype(float)
    spectrum = np.abs(np.fft.rfft(newest * np.hanning(len(newest))))
    return is_loud(pcm[-RATE // 10 :]) and abs(int(spectrum.argmax()) * 10 - hz) <= 10


async def plays(client: RtcClient, served: Served, key: str | None = None, **config: Any) -> dict[str, Any]:
    """A browser that plays; what it was told of its session."""
    assert await client.meet(served.http, key) == 201
    created = await client.start(config={"seed": 0} | config)
    client.send("playback", action="play")
    await client.ears.until(is_loud)
    return created


def test_a_flash_is_heard_as_a_click_and_what_is_said_is_answered(serve: Serve) -> None:
    async def play() -> None:
        lamp = Lamp()
        client = browser(lamp)
        async with closing(client):
            created = await plays(client, served)
            assert created["audio"] == {"codec": "opus", "sample_rate": RATE, "channels": 2}
            await client.ears.until(lambda pcm: hears(tone_hz(0, False), pcm))
            client.ears.forget()
            lamp.level = 230
            await client.ears.until(lambda pcm: bool((np.abs(pcm) > CLICK).any()))
            await client.ears.until(lambda pcm: hears(tone_hz(0, True), pcm))
            await client.until("scene.cut")
            await client.until("latency")
            client.send("session.update", config={"mute": True}, event_id="e1")
            assert (await client.until("session.updated", event_id="e1"))["config"]["mute"] is True
            await client.ears.until(lambda pcm: len(pcm) > RATE // 5 and not pcm[-RATE // 10 :].any())
            client.send("playout.report", played_through_sample=0, buffer_ms=40.0)
            client.send("flow.credit", credit_ms=0)
            assert client.channel is not None
            client.channel.send(b"\x00" * 24)
            assert (await client.until("error"))["code"] == "bad_request"
            client.send("session.update", config={"mute": False})
            await client.ears.until(is_loud)  # credit means nothing here
            client.send("session.end", fade_ms=0)
            assert (await client.until("session.ended"))["reason"] == "asked"
            await client.ended.wait()
        await eventually(lambda: not served.host.sessions)
        await eventually(lambda: ended(served, "over") == 1)

    with serve(**HERE) as served:
        asyncio.run(play())
        shown = metrics(served)
        assert shown['cuestream_inbound_frames_total{result="shown"}'] > 1
        assert shown["cuestream_audio_sent_samples_total"] > 0


def test_a_session_is_resumed_with_its_handle_and_moves_between_transports(serve: Serve) -> None:
    async def play() -> None:
        first, second = browser(), browser()
        async with closing(first, second):
            assert await first.meet(served.http) == 401
            created = await plays(first, served, secret)
            session = created["session_id"]
            hosted = served.host.find(session)
            handle = (await first.until("resume.handle"))["handle"]
            assert await second.meet(served.http, handle) == 201
            await second.opened()
            resume = {"protocol_minor": 0, "received_through_sample": 0, "played_through_sample": 0}
            second.send("session.resume", handle=handle, **resume)
            resumed = await second.until("session.resumed")
            assert (resumed["session_id"], resumed["config"]) == (session, created["config"])
            assert resumed["first_sample"] > 0
            assert (await first.until("error"))["code"] == "session_superseded"
            await first.ended.wait()
            await second.ears.until(lambda pcm: hears(tone_hz(0, False), pcm))
            handle = (await second.until("resume.handle"))["handle"]
            await second.close()
            await eventually(lambda: hosted.core.shown_state == "detached")
            await asyncio.to_thread(on_a_websocket, handle, resumed["first_sample"])
        assert served.host.find(session) is None or served.host.find(session) is hosted

    def on_a_websocket(handle: str, heard: int) -> None:
        with Client(served.ws) as client:
            client.resume(handle, heard)
            client.hear(heard + RATE // 10)

    with serve(api_key=KEY, **HERE) as served:
        made = ask("POST", f"{served.http}/v1/sessions", key=KEY)[1]
        secret = made["client_secret"]["value"]
        asyncio.run(play())


def test_what_is_published_is_heard_by_players_and_goes_on_for_the_same_key(serve: Serve) -> None:
    async def play() -> None:
        lamp, hearer = Lamp(), player()
        one, two = publisher(lamp), publisher(Lamp(level=230))
        async with closing(one, two, hearer):
            assert (await one.post(f"{served.http}/v1/whip", "my stream"))[0] == 201
            await one.connected()
            assert (await hearer.post(f"{served.http}/v1/whep/{one.session}"))[0] == 201
            await hearer.ears.until(is_loud)
            assert metrics(served)["cuestream_whep_listeners"] == 1
            hosted = served.host.find(one.session)
            assert hosted is not None
            before = hosted.core.playout.ring.end
            assert (
                send("DELETE", served.http + one.location, key="my stream")[0] == 200
            )  # OBS, before it reconnects
            await one.ended.wait()
            await eventually(lambda: hosted.core.shown_state == "detached")
            assert (await two.post(f"{served.http}/v1/whip", "my stream"))[0] == 201
            assert two.session == one.session
            assert served.host.find(two.session) is hosted
            hearer.ears.forget()
            seed = hosted.config.seed
            await hearer.ears.until(lambda pcm: hears(tone_hz(seed, True), pcm))
            assert hosted.core.take == 0  # no new music
            assert hosted.core.playout.ring.end > before
            assert ask("DELETE", f"{served.http}/v1/sessions/{two.session}")[0] == 204
            await two.ended.wait()
            await hearer.ended.wait()
        await eventually(lambda: metrics(served)["cuestream_whep_listeners"] == 0)
        await eventually(lambda: not [t for t in threading.enumerate() if t.name.endswith("-decoder")])

    with serve(**HERE) as served:
        asyncio.run(play())


def test_the_newest_publisher_shows_the_pictures_and_the_older_one_is_let_go(serve: Serve) -> None:
    async def play() -> None:
        one, two = publisher(), publisher()
        async with closing(one, two):
            await one.post(f"{served.http}/v1/whip/show")
            await one.connected()
            await two.post(f"{served.http}/v1/whip/show")
            await one.ended.wait()
            await two.connected()
            assert ended(served, "superseded") == 1
            hosted = served.host.find("show")
            assert hosted is not None
            assert hosted.core.shown_state != "detached"
            shown = hosted.watching.counts["shown"]
            await eventually(lambda: hosted.watching.counts["shown"] > shown + 1)

    with serve(**HERE) as served:
        asyncio.run(play())


def test_a_page_hears_what_another_program_publishes_to_its_session(serve: Serve) -> None:
    async def play() -> None:
        page, obs = player(), publisher(Lamp(level=230))
        page.open_channel()
        async with closing(page, obs):
            assert await page.meet(served.http) == 201
            session = (await page.start(config={"seed": 0}))["session_id"]
            page.send("playback", action="play")
            assert (await obs.post(f"{served.http}/v1/whip/{session}"))[0] == 201
            await page.ears.until(lambda pcm: hears(tone_hz(0, True), pcm))
            await obs.close()
            await eventually(lambda: ended(served, "closed") == 1)
            hosted = served.host.find(session)
            assert hosted is not None
            assert hosted.core.shown_state == "playing"  # the page holds it

    with serve(**HERE) as served:
        asyncio.run(play())


@pytest.mark.parametrize("end", ["", "a=end-of-candidates\r\n"])
def test_an_offer_without_candidates_connects(serve: Serve, end: str) -> None:
    """As OBS sends it since 30.2; and with the end of candidates said, which ICE alone would take for a failure."""

    async def play() -> None:
        client = publisher()
        async with closing(client):
            lines = (await client.offer()).splitlines(keepends=True)
            bare = "".join(line for line in lines if "candidate" not in line) + end
            assert (await client.post(f"{served.http}/v1/whip", sdp=bare))[0] == 201
            await client.connected()
            hosted = served.host.find(client.session)
            assert hosted is not None
            await eventually(lambda: hosted.watching.counts["shown"] > 0)

    with serve(**HERE) as served:
        asyncio.run(play())


def test_candidates_may_be_trickled(serve: Serve) -> None:
    async def play() -> None:
        client = publisher()
        async with closing(client):
            lines = (await client.offer()).splitlines(keepends=True)
            ours = [line for line in lines if line.startswith("a=candidate")]
            await client.post(f"{served.http}/v1/whip", sdp="".join(x for x in lines if "candidate" not in x))
            mid = next(line for line in lines if line.startswith("a=mid:"))
            fragment = "m=video 9 UDP/TLS/RTP/SAVPF 97\r\n" + mid + "".join(ours)
            kind, tag = "application/trickle-ice-sdpfrag", client.answer["etag"]
            assert send("PATCH", served.http + client.location, fragment, kind, if_match=tag)[0] == 204
            await client.connected()

    with serve(**HERE) as served:
        asyncio.run(play())


def test_a_half_open_offer_takes_a_place(serve: Serve) -> None:
    with serve(peers=PeerLimits(at_once=1), **HERE) as served:
        assert send("POST", f"{served.http}/v1/whip", OBS, SDP)[0] == 201
        assert send("POST", f"{served.http}/v1/whip", OBS, SDP)[0] == 503


def test_a_half_open_offer_ends_and_gives_its_place_back(serve: Serve) -> None:
    async def play() -> None:
        assert send("POST", f"{served.http}/v1/whip", OBS, SDP)[0] == 201
        await eventually(lambda: ended(served, "not_connected") == 1)
        await eventually(lambda: send("POST", f"{served.http}/v1/whip", OBS, SDP)[0] == 201)

    with serve(peers=PeerLimits(at_once=1, connect_s=0.3), **HERE) as served:
        asyncio.run(play())


def vanish(client: RtcClient) -> None:
    """As a machine that was switched off: nothing is said, nothing is answered."""
    for transceiver in client.pc.getTransceivers():
        for protocol in transceiver.receiver.transport.transport._connection._protocols:
            protocol.transport.sendto = lambda data, addr: None  # type: ignore[method-assign]


def test_a_publisher_that_vanishes_is_missed_within_five_seconds_and_may_come_back(serve: Serve) -> None:
    async def play() -> None:
        client, again = publisher(), publisher()
        async with closing(client, again):
            await client.post(f"{served.http}/v1/whip", "my stream")
            await client.connected()
            hosted = served.host.find(client.session)
            assert hosted is not None
            await eventually(lambda: hosted.core.state == "playing")
            vanish(client)
            began_s = time.monotonic()
            await eventually(lambda: hosted.core.shown_state == "detached")
            assert time.monotonic() - began_s < 5.5  # 5 s, and what a busy machine takes to look
            await eventually(
                lambda: ended(served, "lost") == 1
            )  # it is counted once its connection is closed
            await again.post(f"{served.http}/v1/whip", "my stream")
            await again.connected()
            assert again.session == client.session
            assert hosted.core.shown_state == "playing"

    with serve(**HERE) as served:
        asyncio.run(play())


def test_a_player_that_sends_nothing_but_answers_is_kept(serve: Serve) -> None:
    async def play() -> None:
        show, quiet = publisher(), player()
        async with closing(show, quiet):
            await show.post(f"{served.http}/v1/whip/show")
            await show.connected()
            await quiet.post(f"{served.http}/v1/whep/show")
            await quiet.connected()
            for receiver in quiet.pc.getReceivers():
                receiver._send_rtcp = nothing  # type: ignore[method-assign]
            await quiet.ears.until(lambda pcm: len(pcm) > 3.5 * RATE)
            assert not quiet.ended.is_set()
            assert ended(served, "lost") == 0

    async def nothing(packet: Any) -> None:
        return

    with serve(peers=PeerLimits(lost_s=1.8), **HERE) as served:
        asyncio.run(play())


def test_a_browser_that_says_nothing_is_let_go(serve: Serve) -> None:
    async def play() -> None:
        client = browser()
        async with closing(client):
            assert await client.meet(served.http) == 201
            await client.opened()
            assert (await client.until("error"))["code"] == "bad_handshake"
            await client.ended.wait()

    with serve(handshake_s=1, **HERE) as served:
        asyncio.run(play())


class Voice(AudioStreamTrack):
    """A loud tone."""

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        at = np.arange(960) + 960 * (frame.pts // 160)
        tone = (20_000 * np.sin(2 * np.pi * 440 * at / RATE)).astype(np.int16)
        made = av.AudioFrame.from_ndarray(np.repeat(tone, 2).reshape(1, -1), format="s16", layout="stereo")
        made.sample_rate, made.pts, made.time_base = RATE, int(at[0]), Fraction(1, RATE)
        return made


def test_video_that_is_too_large_is_refused_and_the_session_lives_on(serve: Serve) -> None:
    async def play() -> None:
        client = browser(Lamp((160, 128)))
        async with closing(client):
            await client.meet(served.http)
            await client.start()
            text = (await client.until("error", code="frame_too_large"))["text"]
            assert "at most 19200 pixels, this one 160 x 128" in text
            client.send("ping", t_us=1)
            await client.until("pong")
        shown = metrics(served)
        assert shown['cuestream_inbound_frames_total{result="refused"}'] >= 1
        assert shown['cuestream_inbound_frames_total{result="shown"}'] == 0

    with serve(image_pixels=160 * 120, **HERE) as served:
        asyncio.run(play())


def test_the_original_sound_ducks_the_music(serve: Serve) -> None:
    async def play() -> None:
        show, hearer = publisher(audio=Voice()), player()
        async with closing(show, hearer):
            await show.post(f"{served.http}/v1/whip/show")
            await show.connected()
            await hearer.post(f"{served.http}/v1/whep/show")
            await hearer.ears.until(is_loud)
            ducks = {"duck": {"enabled": True, "threshold_db": -40, "depth_db": 60, "attack_ms": 1}}
            assert ask("PATCH", f"{served.http}/v1/sessions/show", {"config": ducks})[0] == 200
            await hearer.ears.until(lambda pcm: not is_loud(pcm[-RATE // 10 :]))

    with serve(**HERE) as served:
        asyncio.run(play())


def test_a_server_that_ends_takes_leave_of_its_peers(serve: Serve) -> None:
    async def play() -> None:
        show, hearer = publisher(), player()
        async with closing(show, hearer):
            await show.post(f"{served.http}/v1/whip/show")
            await show.connected()
            await hearer.post(f"{served.http}/v1/whep/show")
            await hearer.connected()
            await asyncio.to_thread(served.stop)
            await show.ended.wait()
            await hearer.ended.wait()

    with serve(**HERE) as served:
        asyncio.run(play())


def test_a_stream_key_finds_its_session_in_the_server_that_is_started_after(
    serve: Serve, tmp_path: Path
) -> None:
    async def play(served: Served) -> str:
        client = publisher()
        async with closing(client):
            assert (await client.post(f"{served.http}/v1/whip", "my stream"))[0] == 201
            await client.connected()
            hosted = served.host.find(client.session)
            assert hosted is not None
            await eventually(lambda: hosted.core.state == "playing" and hosted.core.checkpoint is not None)
            await eventually(lambda: written(served) > 0)
        return client.session

    with serve(checkpoints=tmp_path, **HERE) as before:
        session = asyncio.run(play(before))
    with serve(checkpoints=tmp_path, **HERE) as after:
        assert asyncio.run(play(after)) == session
        assert metrics(after)['cuestream_checkpoints_total{result="restored"}'] == 1


def test_what_is_published_can_be_recorded_with_its_film(serve: Serve, tmp_path: Path) -> None:
    async def play() -> None:
        lamp = Lamp(size=(320, 180))
        client = publisher(lamp)
        async with closing(client):
            await client.post(f"{served.http}/v1/whip/show")
            await client.connected()
            hosted = served.host.find("show")
            assert hosted is not None
            await eventually(lambda: hosted.core.state == "playing")
            address = f"{served.http}/v1/sessions/show/recording"
            assert (await asyncio.to_thread(ask, "POST", address, {"video": True}))[0] == 201
            await eventually(lambda: any(tmp_path.glob("*/film.webm")))  # it begins with a keyframe
            shown = hosted.watching.counts["shown"]
            await eventually(lambda: hosted.watching.counts["shown"] > shown + 8)
            status, state = await asyncio.to_thread(ask, "DELETE", address)
            assert status == 200
            assert any(path.partition("?")[0].endswith("film.webm") for path in state["paths"]), state

    with serve(recordings=tmp_path, **HERE) as served:
        asyncio.run(play())
    (film,) = tmp_path.glob("*/film.webm")
    with av.open(str(film)) as container:
        assert container.streams.video[0].width == 320
        assert len(list(container.decode(video=0))) >= 4
