"""The page in WebKit, the engine of Safari: what its rules about clicks leave of it, and what that engine lacks.

Only where it is asked for, by CUESTREAM_WEBKIT=1: on a busy machine a command of WebKit's driver sometimes gets no answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Serve
from shell_client import jpeg
from webkit import WebKit, missing, webkit

from cuestream_client import Client
from engine.synthetic import SyntheticPlayer

KEY = "a key for tests"
CLIP = Path(__file__).parents[2] / "examples" / "big-buck-bunny.mp4"
PLAYS = "window.cuestream.statistics.played > 4800 && window.cuestream.statistics.sent > 1"
TROUBLE = "(document.getElementById('trouble').hidden ? '' : document.getElementById('trouble').textContent)"
ENTER = "\ue007"

absent = missing() if os.environ.get("CUESTREAM_WEBKIT") else "WebKit is run by CUESTREAM_WEBKIT=1"
pytestmark = [pytest.mark.browser, pytest.mark.skipif(absent is not None, reason=str(absent))]


@pytest.fixture
def window() -> Iterator[WebKit]:
    """One for each test: what a camera or a file left in another one has no part in it."""
    with webkit() as opened:
        yield opened


def visit(window: WebKit, url: str, source: str) -> None:
    """Open the page, and choose a source."""
    window.open(url)
    window.until("window.cuestream !== undefined")
    window.click(f"label:has([value={source}])")


@pytest.mark.parametrize("source", ["screen", "camera"])
def test_what_is_asked_for_in_the_click_that_starts_plays(window: WebKit, serve: Serve, source: str) -> None:
    """Screen and camera are those that WebKit makes up."""
    with serve(player=SyntheticPlayer()) as served:
        visit(window, served.http, source)
        window.click("#start")
        window.until(f"{PLAYS} || {TROUBLE}")
        assert window.run(TROUBLE) == ""
        window.click("#start")
        window.until("document.getElementById('start').textContent === 'Start'")


def test_a_screen_is_asked_for_in_the_key_that_logs_in(window: WebKit, serve: Serve) -> None:
    with serve(player=SyntheticPlayer(), api_key=KEY) as served:
        visit(window, served.http, "screen")
        window.click("#start")
        window.until("document.getElementById('keydialog').open")
        window.type("#apikey", KEY + ENTER)
        window.until(f"{PLAYS} || {TROUBLE}")
        assert window.run(TROUBLE) == ""


def test_a_file_plays(window: WebKit, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        window.open(served.http)
        window.until("window.cuestream !== undefined")
        window.run("document.getElementById('file').hidden = false")  # a hidden one cannot be typed into
        window.type("#file", str(CLIP))
        window.until("document.getElementById('preview').videoWidth > 0")
        window.click("#start")
        window.until(PLAYS)


def test_the_page_for_obs_sounds_without_webrtc(window: WebKit, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served, Client(served.http, name="show") as client:
        client.push(jpeg(1))
        client.play()
        client.credit(10_000)
        window.open(f"{served.http}/obs?session=show")
        if window.run("typeof RTCPeerConnection") != "undefined":
            pytest.skip("this WebKit has WebRTC")
        window.until("window.cuestream?.connections === 1")
        assert window.run("window.cuestream.via") == "http"
        window.until("!document.getElementById('unlock').hidden")
        window.click("#unlock")
        window.until("window.cuestream.power() > 0.001")
