"""The TypeScript client in a real Chromium, by websocket and by WebRTC: what a camera shows is seen, two tones stay apart, breaks
of the line and reloads of the page go on with the session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest
from served import Serve, Served

from benchmarks.reaction import camera
from benchmarks.reaction.chromium import Chromium
from benchmarks.reaction.window import WAYS, begin, go_on, leave
from engine.frames import F32, U8
from engine.media.pixels import Scaler
from engine.synthetic import SIDE, SyntheticPlayer, tone_hz
from server.audio.resampling import PCM16, WIRE_RATE

LEFT_HZ, RIGHT_HZ = 1000, 3000
APART_DB = 30
"""Opus joins channels where it is not heard; so the bound is far from either way."""
ALIKE = 0.95
HEARD = "reaction.peaks().every((peak) => peak > 0.1)"
DARK_HZ, BRIGHT_HZ = tone_hz(0, False), tone_hz(0, True)
SEED = {"seed": 0}

pytestmark = pytest.mark.browser


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "webrtc":
        pytest.importorskip("aiortc", reason="WebRTC needs cuestream[webrtc]")
    return str(request.param)


@pytest.fixture
def meeting(serve: Serve) -> Iterator[Served]:
    """It replays what a slow reload missed; after half a second it would go on at the present."""
    with serve(player=SyntheticPlayer(), ice_addresses=("127.0.0.1",), catch_up_ms=10_000) as served:
        yield served


def seen(served: Served, holds: Callable[[U8], bool]) -> U8:
    """What the only session's player sees, [SIDE, SIDE, 3], once this holds, or when it did not for ten seconds."""
    (session,) = served.host.sessions
    assert served.host._runner is not None
    voices = served.host._runner.voices._voices
    end_s = time.monotonic() + 10
    while (shown := voices[session]._newest) is None or not holds(shown.pixels):
        if time.monotonic() > end_s:
            assert shown is not None
            break
        time.sleep(0.02)
    return shown.pixels


def of_the_file() -> U8:
    """The dim picture as a player is to see it."""
    frame = av.VideoFrame.from_ndarray(camera.scene(), format="gray").reformat(format="yuv420p")
    return Scaler(SIDE).square(frame)


def test_what_the_camera_shows_is_what_the_player_sees_and_the_browser_hears(
    browser: Chromium, meeting: Served, way: str
) -> None:
    begin(browser, meeting.http, way, config=SEED)
    louder = f"(([one, other]) => one - other)(reaction.levels({DARK_HZ}, {BRIGHT_HZ})[0])"
    browser.until(f"{louder} > 20")
    browser.until(f"{louder} < -20")
    browser.until(f"{louder} > 20")
    dim = of_the_file().astype(float)
    browser.until("reaction.notes.told.length > 1")
    dark = seen(meeting, lambda pixels: pixels.mean() < 128)
    assert float(np.corrcoef(dark.ravel().astype(float), dim.ravel())[0, 1]) > ALIKE
    assert browser.run("reaction.notes.errors") == []
    leave(browser)
    assert not browser.events


class TwoTones:
    """Stands where the one channel of a player becomes two equal ones, and gives each its own tone; the rest is the server's."""

    def __init__(self) -> None:
        self._at = 0

    def __call__(self, samples: F32, channels: int) -> PCM16:
        at = np.arange(self._at, self._at + len(samples)) / WIRE_RATE
        self._at += len(samples)
        tones = [np.sin(2 * np.pi * hz * at) for hz in (LEFT_HZ, RIGHT_HZ)]
        return (0.3 * 32767 * np.stack(tones, axis=1)).astype(np.int16)


def test_two_tones_stay_apart(
    browser: Chromium, meeting: Served, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"websocket": "server.audio.packing.pcm16", "webrtc": "server.webrtc.music.pcm16"}[way]
    monkeypatch.setattr(where, TwoTones())
    begin(browser, meeting.http, way)
    browser.until("reaction.peaks().every((peak) => peak > 0.25)")
    browser.run("new Promise((done) => setTimeout(done, 500))")  # the meters look back 0.17 s
    (left, right) = browser.run(f"reaction.levels({LEFT_HZ}, {RIGHT_HZ})")
    assert left[0] - left[1] > APART_DB
    assert right[1] - right[0] > APART_DB
    if way == "webrtc":
        assert "stereo=1" in browser.run("reaction.figures()")["opus"]
    leave(browser)


def test_a_break_of_the_line_is_resumed(browser: Chromium, meeting: Served, way: str) -> None:
    begin(browser, meeting.http, way)
    browser.until(f"{HEARD} && reaction.client.ticket && reaction.notes.told.length > 0")
    session = browser.run("reaction.client.session.id")
    browser.run("reaction.client.update({ gain_db: -60 })")
    browser.until("reaction.peaks().every((peak) => peak < 0.001)")
    browser.run("reaction.client.update({ gain_db: 0 })")
    browser.run("reaction.client.line.close(1006)")
    browser.until("reaction.client.stats.resumed === 1")
    browser.until(HEARD)
    assert browser.run("reaction.client.session.id") == session
    leave(browser)
    assert browser.run("reaction.client.failure") is None
    lines = [line.split()[0] for line in browser.run("reaction.notes.lines")]
    assert lines == ["connecting", "open", "lost", "connecting", "open", "closed"]
    assert not browser.events


def test_a_reload_goes_on_with_the_session_the_music_and_the_camera(
    browser: Chromium, meeting: Served, way: str
) -> None:
    begin(browser, meeting.http, way, config=SEED)
    browser.until(f"{HEARD} && reaction.client.ticket && reaction.notes.told.length > 0")
    browser.run("reaction.client.update({ short_term_s: 3 })")
    browser.until("reaction.client.config.short_term_s === 3 && sessionStorage.getItem('cuestream.ticket')")
    session = browser.run("reaction.client.session.id")
    (hosted,) = meeting.host.sessions.values()
    shown, placed = hosted.watching.counts["shown"], hosted.core.playout.ring.end
    browser.call("Page.reload")
    browser.until("document.readyState === 'complete' && !window.reaction")
    go_on(browser, way, again=True)
    browser.until(f"{HEARD} && reaction.notes.told.length > 0")
    stats: dict[str, Any] = browser.run("reaction.client.stats")
    assert (stats["resumed"], browser.run("reaction.client.session.id")) == (1, session)
    assert browser.run("reaction.client.config.short_term_s") == 3
    assert meeting.host.sessions == {session: hosted}
    assert hosted.core.take == 0  # the same music, not another one
    assert hosted.core.playout.ring.end > placed
    assert hosted.watching.counts["shown"] > shown
    if way == "websocket":  # by index; a track goes on at the present
        assert stats["skippedSamples"] == 0
    leave(browser)
    browser.until("reaction.client.stats.state === 'over'")
    assert browser.run("sessionStorage.getItem('cuestream.ticket')") is None
    assert not browser.events


def test_the_browsers_jitter_buffer_is_told_how_much_to_hold_back(browser: Chromium, meeting: Served) -> None:
    pytest.importorskip("aiortc", reason="WebRTC needs cuestream[webrtc]")
    target = "reaction.transport.line.peer.getReceivers().find(({ track }) => track.kind === 'audio').jitterBufferTarget"
    for told, wanted in (({"bufferMs": 250}, 250), ({}, None)):
        begin(browser, meeting.http, "webrtc", **told)
        browser.until(HEARD)
        assert browser.run(target) == wanted
        leave(browser)


LOOK = """(async () => {
  const { Shutter } = await import("/static/cuestream.js");
  const { notes } = reaction;
  const eye = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const onPicture = (atUs, shown) => {
    notes.pictured.push(atUs);
    eye.drawImage(shown, 0, 0, 1, 1);
    notes.shown.push([...eye.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
  };
  const onError = ({ message }) => notes.errors.push(message);
  const gl = (canvas, [red, green, blue], options) => {
    const context = canvas.getContext("webgl2", options);
    context.clearColor(red / 255, green / 255, blue / 255, 1);
    return () => context.clear(context.COLOR_BUFFER_BIT);
  };
  const game = (canvas, draw) => {
    draw();
    if (canvas.isConnected) requestAnimationFrame(() => game(canvas, draw));
  };
  const ways = {
    "2d": (canvas, colour) => {
      const pen = canvas.getContext("2d");
      pen.fillStyle = `rgb(${colour})`;
      pen.fillRect(0, 0, canvas.width, canvas.height);
    },
    webgl: (canvas, colour) => game(canvas, gl(canvas, colour)),
    opaque: (canvas, colour) => game(canvas, gl(canvas, colour, { alpha: false })),
    late: (canvas, colour) => setTimeout(gl(canvas, colour), 100), // once, and then it stands still
    once: (canvas, colour) => gl(canvas, colour)(), // before anybody looks
    blank: (canvas, colour) => (canvas.getContext("2d"), setTimeout(ways["2d"], 100, canvas, colour)),
    contextless: (canvas, colour) => setTimeout(() => ways.webgl(canvas, colour), 100),
    worker: (canvas, colour) => {
      const code = `onmessage = ({ data }) => (${ways["2d"]})(data, [${colour}])`;
      const canvasOfWorker = canvas.transferControlToOffscreen();
      new Worker(URL.createObjectURL(new Blob([code]))).postMessage(canvasOfWorker, [canvasOfWorker]);
    },
    foreign: async (canvas, address) => {
      const image = Object.assign(new Image(), { src: address });
      await image.decode();
      canvas.getContext("2d").drawImage(image, 0, 0);
    },
  };
  window.look = async (way, what, afterMs = 0) => {
    reaction.shutter.stop();
    document.querySelector("canvas")?.remove();
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
    document.body.append(canvas);
    notes.shown = [];
    notes.pictured = [];
    await ways[way](canvas, what);
    const beginsMs = performance.now() + afterMs;
    const live = { get: () => reaction.client.live && performance.now() > beginsMs };
    reaction.shutter = new Shutter(Object.create(reaction.client, { live }), canvas, { onPicture, onError });
  };
})()"""
"""`look(way, what, afterMs)`: watch a canvas of one colour, [red, green, blue], or with an image; no picture is wanted sooner.

notes.shown: the colours that were pushed, by one pixel of each picture. notes.pictured: when, microseconds."""


ONCE = ("once", "late")
"""What is drawn is over before a picture is wanted, as on a machine that is busy."""


def test_a_canvas_is_watched_whatever_draws_it(browser: Chromium, meeting: Served) -> None:
    """None of its pictures is black: a canvas of WebGL is, once the browser has shown it."""
    begin(browser, meeting.http, "websocket", config=SEED)
    browser.run(LOOK)
    ways = ("2d", "blank", "webgl", "opaque", "once", "late", "contextless", "worker")
    for way, green in zip(ways, range(20, 240, 25), strict=False):
        colour = [250, green, 10]
        browser.run(f"look({way!r}, {colour}, {300 if way in ONCE else 0})")
        browser.until("reaction.notes.shown.length > 2")
        pushed = np.array(browser.run("reaction.notes.shown"))
        assert (way, np.abs(pushed - colour).max() < 8) == (way, True), pushed
        if way in ONCE:  # what is known to stand still is sent once a second
            assert np.diff(browser.run("reaction.notes.pictured")).min() > 0.9e6
        met = seen(
            meeting, lambda pixels, colour=colour: bool(np.abs(pixels.mean((0, 1)) - colour).max() < 8)
        )  # type: ignore[misc]
        assert np.abs(met.mean((0, 1)) - colour).max() < 8
    assert browser.run("reaction.notes.errors") == []
    leave(browser)
    assert not browser.events


def test_a_game_in_a_hidden_page_goes_on_with_its_last_picture(browser: Chromium, meeting: Served) -> None:
    begin(browser, meeting.http, "websocket", config=SEED)
    browser.run(LOOK)
    browser.run("look('webgl', [250, 80, 10])")
    browser.until("reaction.notes.shown.length > 0")
    over_it = browser.call("Target.createTarget", url="about:blank")
    browser.until("document.hidden")
    browser.run("reaction.notes.shown.length = 0")
    browser.until("reaction.notes.shown.length > 2")
    pushed = np.array(browser.run("reaction.notes.shown"))
    browser.call("Target.closeTarget", **over_it)
    assert np.abs(pushed - [250, 80, 10]).max() < 8, pushed
    leave(browser)


def test_a_canvas_with_what_another_site_owns_gives_a_clear_error(
    browser: Chromium, meeting: Served, serve: Serve
) -> None:
    with serve() as other:
        begin(browser, meeting.http, "websocket", config=SEED)
        browser.run(LOOK)
        browser.run(f"look('foreign', '{other.http}/static/icon.svg')")
        browser.until("reaction.notes.errors.length > 0")
        assert all("crossorigin" in said for said in browser.run("reaction.notes.errors"))
        assert browser.run("reaction.notes.shown") == []
        leave(browser)
