"""The TypeScript client over WebRTC in a real Chromium: a camera goes up, music comes down, the messages are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium
from conftest import Serve, Served
from test_page import flashing_camera

from engine.synthetic import SyntheticPlayer

pytest.importorskip("aiortc", reason="WebRTC needs cuestream[webrtc]")
pytest.importorskip("server.webrtc", reason="this server has no WebRTC yet")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_chromium() is None,
        reason="no Chromium: apt-get install chromium, or name one in CUESTREAM_CHROMIUM",
    ),
]

BEGIN = """(async () => {
  const { Client, RtcTransport, camera } = await import("/static/cuestream.js");
  const audio = Object.assign(new Audio(), { autoplay: true });
  const context = new AudioContext();
  const ears = [0, 1].map(() => new AnalyserNode(context));
  const heard = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
  ears.forEach((ear, i) => heard.connect(ear, i));
  const video = (await camera()).getVideoTracks()[0];
  const onMusic = (music) => {
    audio.srcObject = music;
    context.createMediaStreamSource(music).connect(heard);
  };
  const transport = new RtcTransport({ video, onMusic });
  const client = new Client({ transport });
  const lines = [], types = [];
  client.on("line", ({ state }) => lines.push(state));
  client.on("message", ({ type }) => types.push(type));
  client.play();
  await client.connect();
  const peaks = () => ears.map((ear) => {
    const samples = new Float32Array(ear.fftSize);
    ear.getFloatTimeDomainData(samples);
    return Math.max(...samples);
  });
  window.rtc = { client, transport, audio, lines, types, peaks };
})()"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    path = find_chromium()
    flashing_camera(tmp_path / "camera.y4m")
    assert path is not None
    with Chromium(path, tmp_path / "profile", tmp_path / "camera.y4m") as window:
        yield window


@pytest.fixture
def meeting(serve: Serve) -> Iterator[Served]:
    with serve(player=SyntheticPlayer(), ice_addresses=("127.0.0.1",)) as served:
        yield served


def test_a_camera_is_seen_and_music_heard_and_a_break_resumes(browser: Chromium, meeting: Served) -> None:
    browser.open(meeting.http)
    browser.run(BEGIN)
    browser.until("rtc.types.includes('scene.cut')")
    browser.until("rtc.peaks().every((peak) => peak > 0.1)")
    browser.until("rtc.audio.currentTime > 0.2 && rtc.client.ticket")
    session = browser.run("rtc.client.session.id")
    browser.run("rtc.client.update({ gain_db: -60 })")
    browser.until("rtc.peaks().every((peak) => peak < 0.001)")
    browser.run("rtc.client.update({ gain_db: 0 })")
    browser.run("rtc.transport.line.close(1006)")
    browser.until("rtc.client.stats.resumed === 1")
    browser.until("rtc.peaks().every((peak) => peak > 0.1)")
    assert browser.run("rtc.client.session.id") == session
    browser.run("rtc.client.close()")
    assert browser.run("rtc.client.failure") is None
    assert browser.run("rtc.lines") == ["connecting", "open", "lost", "connecting", "open", "closed"]
    assert not browser.events
