"""The page, the SDK by WebRTC and OBS's page in a real Firefox, heard where its sound comes out. No console says anything.

Firefox wants a click before it sounds, and offers WebRTC in words of its own; Chromium's tests are the thorough ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from firefox import Firefox, find_firefox
from loudspeaker import RATE, Loudspeaker, find_pulseaudio
from served import Serve, Served
from shell_client import jpeg, soon

from benchmarks.reaction.window import go_on, leave
from cuestream_client import Client
from engine.synthetic import SyntheticPlayer, tone_hz

SOON_S = 20.0
NEAR_HZ = 20
"""A spectrum of 0.2 s has bins of 5 Hz."""
LOUD = 0.05
"""Of full scale; test tones have 0.2."""
PLAYS = "window.cuestream.statistics.playback === 'playing' && window.cuestream.statistics.played > 0"
HEALTH = "document.getElementById('health').textContent"
START = "document.getElementById('start').textContent"
ASKED = "void Object.defineProperty(AudioContext.prototype, 'outputLatency', { get: () => ((window.asked = true), 0) })"
"""Whether the page asks what the sound output takes: Firefox 153 may stand still for good when it is asked at a wrong moment."""
SEED = 3

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def loudspeaker() -> Iterator[Loudspeaker]:
    path = find_pulseaudio()
    if path is None:
        pytest.skip("no sound output for Firefox: apt-get install pulseaudio")
    with tempfile.TemporaryDirectory(prefix="ear") as folder, Loudspeaker(path, Path(folder)) as speaker:
        yield speaker


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory, loudspeaker: Loudspeaker) -> Iterator[Firefox]:
    path = find_firefox()
    if path is None:
        pytest.skip("no Firefox: apt-get install firefox-esr, or name one in CUESTREAM_FIREFOX")
    with Firefox(path, tmp_path_factory.mktemp("firefox") / "profile", loudspeaker.address) as window:
        yield window


@pytest.fixture
def meeting(serve: Serve) -> Iterator[Served]:
    with serve(player=SyntheticPlayer()) as served:
        yield served


@pytest.fixture
def webrtc() -> None:
    """What it needs. Firefox asks no address of the loopback, and this machine's own lead nowhere else."""
    ice = pytest.importorskip("aioice.ice", reason="WebRTC needs cuestream[webrtc]")
    if not ice.get_host_addresses(use_ipv4=True, use_ipv6=True):
        pytest.skip("Firefox meets nobody at 127.0.0.1, and this machine has no other address")


def sounds(loudspeaker: Loudspeaker, *tones_hz: int) -> bool:
    """Whether one of these test tones comes out on both sides, and louder than all else."""
    heard = loudspeaker.hear()
    if np.abs(heard).max(0).min() < LOUD:
        return False
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))[:, None], axis=0)).sum(1)
    loudest_hz = np.argmax(spectrum) * RATE / len(heard)
    return min(abs(loudest_hz - tone) for tone in tones_hz) < NEAR_HZ


def test_the_page_plays_after_a_click_and_again_after_a_reload(
    firefox: Firefox, meeting: Served, loudspeaker: Loudspeaker
) -> None:
    firefox.open(meeting.http)
    firefox.until("window.cuestream !== undefined")
    assert not loudspeaker.hear().any()
    firefox.run(ASKED)
    firefox.click("#start")
    firefox.until(PLAYS)
    tones = tone_hz(0, False), tone_hz(0, True)
    soon(lambda: sounds(loudspeaker, *tones), SOON_S)
    (hosted,) = meeting.host.sessions.values()
    soon(lambda: hosted.watching.counts["shown"] > 3, SOON_S)
    assert firefox.run("window.asked") is None
    firefox.reload()
    firefox.until(f"{HEALTH} === 'click to hear the music'")
    firefox.click("header")
    firefox.until(PLAYS)
    assert meeting.host.sessions == {firefox.run("window.cuestream.statistics.session"): hosted}
    soon(lambda: sounds(loudspeaker, *tones), SOON_S)
    firefox.click("#start")
    firefox.until(f"{START} === 'Start'")
    assert not firefox.events


def test_the_page_says_that_it_waits_for_a_sound_output(firefox: Firefox, meeting: Served) -> None:
    """As where there is none: the context stays suspended although the user has clicked."""
    firefox.open(meeting.http)
    firefox.until("window.cuestream !== undefined")
    firefox.run("void Object.defineProperty(AudioContext.prototype, 'state', { get: () => 'suspended' })")
    firefox.click("#start")
    firefox.until(f"{HEALTH} === 'waiting for a sound output'")
    assert not firefox.events


@pytest.mark.usefixtures("webrtc")
def test_the_camera_goes_up_and_the_music_comes_down_by_webrtc(
    firefox: Firefox, meeting: Served, loudspeaker: Loudspeaker
) -> None:
    firefox.open(f"{meeting.http}/v1/version")
    firefox.click("html")
    go_on(firefox, "webrtc", config={"seed": SEED})
    soon(lambda: sounds(loudspeaker, tone_hz(SEED, False), tone_hz(SEED, True)), SOON_S)
    (hosted,) = meeting.host.sessions.values()
    soon(lambda: hosted.watching.counts["shown"] > 3, SOON_S)
    leave(firefox)
    assert firefox.run("reaction.client.failure") is None
    assert firefox.run("reaction.notes.lines").count("open") == 1
    assert not firefox.events


@pytest.mark.usefixtures("webrtc")
@pytest.mark.parametrize("via", ["whep", "http"])
def test_the_page_for_obs_sounds_after_a_click_and_its_meter_moves(
    firefox: Firefox, meeting: Served, loudspeaker: Loudspeaker, via: str
) -> None:
    with Client(meeting.http, name="show") as client:
        client.push(jpeg(1))
        client.update(seed=SEED)
        client.play()
        client.credit(10_000)
        firefox.open(f"{meeting.http}/obs?session=show&overlay=1&via={via}")
        firefox.until("!document.getElementById('unlock').hidden")
        firefox.click("#unlock")
        firefox.until("cuestream.power() > 0.001")
        soon(lambda: sounds(loudspeaker, tone_hz(SEED, False), tone_hz(SEED, True)), SOON_S)
        assert firefox.run("document.getElementById('unlock').hidden")
        assert not firefox.events
    firefox.open("about:blank")
