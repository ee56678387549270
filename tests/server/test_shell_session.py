"""A session over the wire: what is heard is what the core placed, resampled once, by index, whatever happens to the line."""

from __future__ import annotations

import gc
import sys
import weakref
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import uvicorn
from served import Serve, Served
from shell_client import PCM16, Client, jpeg, soon

from cuestream.players import find_player
from cuestream_client import Client as PythonClient
from cuestream_client.messages import AudioFormat
from cuestream_client.pictures import Form
from server.app import make_app
from server.audio.resampling import Resampler, pcm16
from server.core.playout import Limits as PlayoutLimits
from server.http.serving import make_server
from server.pictures.imaging import Eyes
from server.protocol.media import Flag, Kind, Media, Size, StreamId, encode_media, raw_bytes
from server.settings import Settings

SECOND = 48_000
OPUS_DELAY = 312
"""Samples by which a decoder is late, RFC 7845's pre-skip with libopus."""


def placed(served: Served, session_id: str, rate: int = 32_000) -> PCM16:
    """All that the core placed so far, resampled at once."""
    ring = served.on_loop(lambda: served.host.sessions[session_id].core.playout.ring)
    samples = served.on_loop(lambda: ring.read(0, ring.end))
    resampler = Resampler(rate)
    return pcm16(np.concatenate((resampler.push(samples), resampler.flush())), 2)


def test_what_is_received_equals_what_the_core_placed_resampled_once(served: Served) -> None:
    with Client(served.ws) as client:
        session_id = client.start(config={"seed": 7})["session_id"]
        client.send("flow.credit", credit_ms=5000)  # whatever the machine does, no report is waited for
        client.play()
        for _ in range(4):
            client.show()
            client.hear(client.at + SECOND // 4)
        client.send("playback", action="pause")
        client.until("state", playback="paused")
        whole = placed(served, session_id)
        assert client.first == 0
        assert np.array_equal(client.pcm, whole[: client.at])
        assert len(whole) - client.at <= 2 * 960  # what the filter holds back
        assert np.abs(client.pcm).max() > 0


def test_indexes_go_on_without_a_gap_and_say_their_source(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.play()
        client.hear(SECOND)
    ends = [media.ts + media.dur for media in client.media]
    assert [media.ts for media in client.media] == [0, *ends[:-1]]
    assert [media.seq for media in client.media] == list(range(len(client.media)))
    assert all(media.source and media.source.revision == 0 for media in client.media)


def test_two_sessions_play_at_once(served: Served) -> None:
    with Client(served.ws) as one, Client(served.ws) as two:
        assert one.start(config={"seed": 1})["session_id"] != two.start(config={"seed": 2})["session_id"]
        one.play()
        two.play()
        one.hear(SECOND // 2)
        two.hear(SECOND // 2)
        assert not np.array_equal(one.pcm[:9600], two.pcm[:9600])


def test_a_resume_after_a_dropped_line_goes_on_with_the_next_sample(serve: Serve) -> None:
    with serve(catch_up_ms=30_000) as served, Client(served.ws) as first:
        session_id = first.start()["session_id"]
        first.play()
        handle = first.until("resume.handle")["handle"]
        first.drop()
        with Client(served.ws) as second:
            second.come_back(handle, first.at)
            resumed = second.until("session.resumed")
            assert resumed["session_id"] == session_id
            assert resumed["first_sample"] == first.at
            assert resumed["consumed_messages"] >= 2
            second.hear(first.at + SECOND // 2)
            second.send("playback", action="pause")
            second.until("state", playback="paused")
            both = np.concatenate((first.pcm, second.pcm))
            assert np.array_equal(both, placed(served, session_id)[: len(both)])


def test_a_client_that_comes_back_late_is_moved_to_the_present(serve: Serve) -> None:
    with serve(catch_up_ms=0) as served, Client(served.ws) as first:
        first.start()
        first.play()
        handle = first.until("resume.handle")["handle"]
        first.drop()
        with Client(served.ws) as second:
            second.come_back(handle)
            assert second.until("session.resumed")["first_sample"] > 0
            second._until(lambda _: bool(second.media))
            assert Flag.DISCONTINUITY | Flag.CROSSFADE in second.media[0].flags
            assert second.media[0].ts == second.messages[0]["first_sample"]


def test_an_update_says_everything_that_holds_and_the_music_says_its_revision(served: Served) -> None:
    with Client(served.ws) as client:
        before = client.start()["config"]
        client.play()
        client.send("session.update", config={"gain_db": -6.5, "temperature": 0.5, "top_k": 9}, event_id="e2")
        updated = client.until("session.updated", event_id="e2")
        assert updated["revision"] == 1
        assert updated["config"] == before | {"gain_db": -6.5, "temperature": 0.5, "top_k": 9}
        client._until(lambda _: bool(client.media and client.media[-1].source.revision == 1))  # type: ignore[union-attr]


def test_a_refused_update_changes_nothing(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.send("session.update", config={"gain_db": 3, "guidance": 1}, event_id="e")
        error = client.until("error", code="bad_request", event_id="e")
        assert not error["fatal"]
        client.send("session.update", config={})
        assert client.until("session.updated")["config"]["gain_db"] == 0


def test_a_key_that_the_player_cannot_be_held_to_is_refused_at_the_start_too(served: Served) -> None:
    with Client(served.ws) as client:
        client.send("session.start", protocol_minor=0, config={"key": "D"}, event_id="e")
        assert "cannot be held to D" in client.until("error", code="bad_request", event_id="e")["text"]


def test_a_longer_window_than_the_server_has_room_for_is_refused_at_the_start_too(served: Served) -> None:
    with Client(served.ws) as client:
        client.send("session.start", protocol_minor=0, config={"short_term_s": 100}, event_id="e")
        assert (
            "room for a window of 30 s, not of 100 s"
            in client.until("error", code="bad_request", event_id="e")["text"]
        )


def test_a_session_that_breaks_is_told_and_the_others_play_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(served.ws) as one, Client(served.ws) as two:
        broken = served.host.find(one.start()["session_id"])
        two.start()
        two.play()
        two.hear(SECOND // 4)

        def breaks(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(broken, "tick", breaks)
        assert one.until("error", code="internal")["fatal"]
        assert one.closed() == 1011
        two.hear(two.at + SECOND // 2)
        assert served.host.find(broken.id) is None


def test_mute_is_silence_and_the_music_goes_on(served: Served) -> None:
    with Client(served.ws) as client:
        client.start(config={"mute": True, "fade_ms": 0})
        client.play()
        client.hear(SECOND // 2)
        assert not client.pcm[-4800:].any()


def test_verbs(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.send("playback", action="play", event_id="a")
        assert client.until("state", event_id="a")["health"] == "waiting"
        client.show()
        client.hear(1)
        client.send("playback", action="pause")
        client.until("state", playback="paused")
        stood = client.at
        client.send("playback", action="play")
        client.hear(stood + 960)
        client.send("playback", action="reset_context")
        client.hear(client.at + SECOND // 2)
        client.send("playback", action="stop")
        client.until("state", playback="stopped")


def test_change_now_answers_with_a_cut(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.play()
        client.send("scene.change", event_id="now")
        cut = client.until("scene.cut", event_id="now")
        assert cut["response"] == "follow"
        client.hear(cut["from_sample"] + 1)


def test_a_change_for_a_moment_comes_with_its_picture(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.play()
        client.send("scene.change", at_us=3000, event_id="then")
        for _ in range(3):
            client.show(jpeg(7))
        assert client.until("scene.cut", event_id="then")["at_us"] == 3000


def test_a_change_before_any_picture_comes_with_the_first_and_answers_to_nobody_else(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.send("scene.change", event_id="first")
        client.send("playback", action="play")
        client.show()
        assert client.until("scene.cut", event_id="first")["at_us"] == 0
        for level in (b"\x00", b"\xff"):
            client.show(level * 3 * 32 * 32, Kind.RGB24, size=Size(32, 32))
        assert "event_id" not in client.until("scene.cut")


def test_a_scene_that_is_held_from_the_beginning_is_the_first_picture(served: Served) -> None:
    with Client(served.ws) as client:
        session_id = client.start(config={"hold_scene": True})["session_id"]
        client.play()
        client.show()
        hosted = served.host.sessions[session_id]
        client.wait_for(lambda: hosted.watching.counts["shown"] == 2)
        assert len(hosted._stamps.newest(0, 2)) == 1


def test_a_session_can_be_resumed_from_its_first_moment_on(serve: Serve) -> None:
    with serve(idle_s=0.3) as served, Client(served.ws) as client:
        client.start()
        assert client.closed() == 1000
        assert [message["type"] for message in client.messages].count("resume.handle") == 1


@pytest.mark.parametrize(("kind", "codec"), [(Kind.PNG, "png"), (Kind.WEBP, "libwebp"), (Kind.JPEG, "mjpeg")])
def test_pictures_of_every_kind(served: Served, kind: Kind, codec: str) -> None:
    with Client(served.ws) as client:
        client.start()
        client.show(jpeg(1, codec), kind)
        client.until("state", health="on_time")


@pytest.mark.parametrize(("kind", "size"), [(Kind.I420, (64, 48)), (Kind.RGB24, (63, 47))])
def test_raw_pictures(served: Served, kind: Kind, size: tuple[int, int]) -> None:
    with Client(served.ws) as client:
        assert kind.name.lower() in client.start()["video"]["codecs"]
        data = bytes(raw_bytes(kind, *size))
        client.show(data[1:], kind, size=Size(*size))
        assert client.until("error")["code"] == "invalid_media"
        client.show(data, kind, size=Size(*size))
        client.until("state", health="on_time")


def test_raw_pictures_have_the_colours_that_were_sent() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    media = Media(Kind.RGB24, StreamId.VIDEO, 0, 0, pixels.tobytes(), size=Size(8, 8))
    np.testing.assert_array_equal(Eyes(8).see(media), pixels)


@pytest.mark.parametrize("form", ["rgb24", "i420"])
def test_the_python_client_sends_raw_pictures(served: Served, form: Form) -> None:
    with PythonClient(served.http, pictures=form) as client:
        assert client.push(np.full((33, 51, 3), 200, np.uint8))
        client.play()
        assert next(iter(client.audio())).samples.size


@pytest.mark.parametrize(("kind", "codec"), [(Kind.H264, "libx264"), (Kind.VP8, "libvpx")])
def test_video_whose_pictures_need_each_other(served: Served, kind: Kind, codec: str) -> None:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    tuned = {"tune": "zerolatency"} if codec == "libx264" else {"lag-in-frames": "0", "deadline": "realtime"}
    encoder.options = tuned
    grey = np.full((72, 64), 128, np.uint8)
    frames = [av.VideoFrame.from_ndarray(grey, format="yuv420p") for _ in range(3)]
    for at, frame in enumerate(frames):
        frame.pts = at
    packets = [packet for frame in frames for packet in encoder.encode(frame)]
    with Client(served.ws) as client:
        client.start()
        client.show(bytes(packets[1]), kind)  # without what it needs: dropped
        client.show(bytes(packets[0]), kind, flags=Flag.KEYFRAME)
        client.until("state", health="on_time")


def test_the_music_ducks_under_the_original_sound(served: Served) -> None:
    loud = (np.ones(4800, np.int16) * 12000).tobytes()
    duck = {"enabled": True, "depth_db": 60, "attack_ms": 1}
    with Client(served.ws) as client:
        client.start(
            original={"codec": "pcm_s16", "sample_rate": 48000, "channels": 1}, config={"duck": duck}
        )
        client.play()
        client.ws.send(encode_media(Media(Kind.PCM_S16, StreamId.ORIGINAL, 0, 0, loud, dur=4800)))
        client.hear(client.at + SECOND // 2)
        assert not client.pcm[-960:].any()


def test_float_samples_and_one_channel(served: Served) -> None:
    with Client(served.ws) as client:
        audio = client.start(audio={"codec": "pcm_f32", "sample_rate": 44100, "channels": 1})["audio"]
        assert audio == {"codec": "pcm_f32", "sample_rate": 48000, "channels": 1}
        client.play()
        assert len(client.media[0].payload) == 4 * client.media[0].dur


@pytest.mark.parametrize(("name", "decoder"), [("flac", "flac"), ("opus", "opus")])
def test_coded_music_decodes_to_what_was_placed(served: Served, name: str, decoder: str) -> None:
    with Client(served.ws) as client:
        audio = {"codec": name, "sample_rate": 48000, "channels": 2}
        created = client.start(audio=audio)
        assert created["audio"] == audio
        client.play()
        client.hear(SECOND)
        client.send("playback", action="pause")
        client.until("state", playback="paused")
        whole = placed(served, created["session_id"])[: client.at]
    assert {media.dur for media in client.media} == {960}
    context = av.CodecContext.create(decoder, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout = SECOND, "stereo"
    frames = [frame for media in client.media for frame in context.decode(av.Packet(media.payload))]
    if name == "flac":
        heard = np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in frames])
        assert np.array_equal(heard, whole)
    else:
        heard = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)[:, OPUS_DELAY:]
        likeness = np.corrcoef(heard[0], whole[: heard.shape[1], 0])[0, 1]
        assert likeness > 0.9  # observed 0.952, three runs


def test_the_clock_is_told(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.send("ping", t_us=12345)
        assert client.until("pong")["t_us"] == 12345


def test_the_starter_plays(serve: Serve) -> None:
    with serve(player=find_player("starter", threads=1)) as served, Client(served.ws) as client:
        session_id = client.start()["session_id"]
        client.play()
        latency = client.until("latency")
        assert latency["p50_ms"] < 2000
        client.send("playback", action="pause")
        client.until("state", playback="paused")
        assert np.array_equal(client.pcm, placed(served, session_id)[: client.at])
        assert not client.messages[0]["label"]


def test_end_says_the_length_and_closes(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.play()
        client.send("session.end", fade_ms=20, event_id="bye")
        ended: dict[str, Any] = client.until("session.ended", event_id="bye")
        assert ended["reason"] == "asked"
        assert ended["samples"] == client.at
        assert client.media[-1].flags == Flag.END
        assert client.closed() == 1000


def test_longer_chunks_are_fewer_messages_of_the_same_music(serve: Serve) -> None:
    heard = []
    for chunk_ms in (20, 100, 500):
        playout = PlayoutLimits().led_by(2000)
        with serve(chunk_ms=chunk_ms, playout=playout) as server, Client(server.ws) as client:
            created = client.start(config={"seed": 3})
            assert created["limits"]["credit_ms"] == max(500, 3 * chunk_ms)
            client.send("flow.credit", credit_ms=5000)
            client.show()
            watching = server.host.sessions[created["session_id"]].watching
            soon(lambda watching=watching: watching.counts["shown"])  # all music begins with it
            client.send("playback", action="play")
            client.hear(48_000)
            heard.append(client.pcm[:40_000])
            assert {media.dur for media in client.media[1:]} == {48 * chunk_ms}
    assert np.array_equal(heard[0], heard[1])
    assert np.array_equal(heard[0], heard[2])


def test_the_longest_messages_are_taken(serve: Serve) -> None:
    playout, form = PlayoutLimits().led_by(1000), AudioFormat("pcm_f32", 48_000, 2)
    with serve(chunk_ms=500, playout=playout) as server, PythonClient(server.http, audio=form) as client:
        client.push(np.full((64, 96, 3), 200, np.uint8))
        client.play()
        chunks = client.audio()
        assert [len(next(chunks).samples) for _ in range(3)][1:] == [24_000, 24_000]


def test_the_rings_of_references_that_a_session_leaves_are_collected_soon(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the collector would, which counts objects and not what is in them; here it never does."""
    monkeypatch.setattr("server.sessions.host.COLLECT_S", 0.1)
    monkeypatch.setattr(served.host, "collect", gc.collect)
    gc.disable()
    try:
        with Client(served.ws) as client:
            session_id = client.start()["session_id"]
            left = weakref.ref(served.on_loop(lambda: served.host.sessions[session_id].core))
            client.send("session.end", fade_ms=0)
            client.until("session.ended")
        soon(lambda: left() is None)
    finally:
        gc.enable()


def test_a_process_of_its_own_collects_what_sessions_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("freeze", "set_threshold", "collect"):
        monkeypatch.setattr(gc, name, lambda *_: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_: None)
    app = make_app(find_player("synthetic"), Settings())
    make_server(app, "127.0.0.1", 0, 0.0, lambda _: None).run()
    assert app.state.host.collect is gc.collect
