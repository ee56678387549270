"""The page for OBS's browser source in a real Chromium, with OBS's own words put into its mouth: events, and the current scene.

OBS's browser is a Chromium that dispatches `obsSceneChanged` with the scene's name, and answers `obsstudio.getCurrentScene`
(github.com/obsproject/obs-browser, README).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from served import Serve, Served
from shell_client import jpeg, soon

from benchmarks.reaction.chromium import Chromium
from cuestream_client import Client, rest
from engine.synthetic import LABEL, SyntheticPlayer

pytest.importorskip("aiortc", reason="WebRTC needs cuestream[webrtc]")
pytestmark = pytest.mark.browser
KEY = "a key for tests"
SOON_S = 20.0
IN_OBS = (
    """window.obsstudio = { getCurrentScene: (tell) => tell({ name: %s, width: 1920, height: 1080 }) };"""
)


@pytest.fixture
def keyed(serve: Serve) -> Iterator[Served]:
    with serve(player=SyntheticPlayer(), api_key=KEY, ice_addresses=("127.0.0.1",)) as served:
        yield served


def open_in_obs(browser: Chromium, url: str, scene: str) -> None:
    """As a browser source has it: the page is told what OBS shows."""
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=IN_OBS % json.dumps(scene))
    browser.open("about:blank")  # or only the fragment would be another one
    browser.open(url)
    browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


def switch(browser: Chromium, scene: str) -> None:
    detail = json.dumps({"name": scene, "width": 1920, "height": 1080})
    browser.run(f"dispatchEvent(new CustomEvent('obsSceneChanged', {{ detail: {detail} }}))")


def show(served: Served, browser: Chromium, more: str = "") -> str:
    """The page's address, as an operator asks for it, with other choices in it."""
    parts = urlsplit(rest.addresses(served.http, "show", KEY)["obs"])
    return parts._replace(query=parts.query + more).geturl()


@pytest.mark.parametrize("via", ["whep", "http"])
def test_the_page_waits_for_its_session_and_sounds(keyed: Served, browser: Chromium, via: str) -> None:
    open_in_obs(browser, show(keyed, browser, f"&via={via}&overlay=1"), "Game")
    browser.until("cuestream.lost")  # nobody has opened it yet
    with Client(keyed.http, token=KEY, name="show") as client:
        client.push(jpeg(1))
        client.play()
        client.credit(10_000)
        browser.until("cuestream.connections === 1")
        assert browser.run("cuestream.via") == via
        for chunk in client.audio():
            if chunk.end > 3 * 48_000:
                break
        browser.until("cuestream.power() > 0.001")
        browser.until("document.getElementById('state').textContent === 'playing'")
        assert browser.run(
            "document.getElementById('trouble').hidden && document.getElementById('unlock').hidden"
        )
        assert browser.run("document.getElementById('model').textContent") == LABEL  # its name begins it
    browser.until("cuestream.lost")  # and waits for the next one
    with Client(keyed.http, token=KEY, name="show"):
        browser.until("cuestream.connections === 2")
    browser.open("about:blank")
    soon(
        lambda: keyed.on_loop(lambda: not any(hosted.taps for hosted in keyed.host.sessions.values())), SOON_S
    )


def test_another_scene_is_a_cut_and_quiet_scenes_are_quiet(keyed: Served, browser: Chromium) -> None:
    open_in_obs(browser, show(keyed, browser, "&quiet=Ads%20%26%20more,Chat"), "Game")
    with Client(keyed.http, token=KEY, name="show") as client:
        client.push(jpeg(1))
        client.play()
        browser.until("cuestream.connections === 1")
        hosted = keyed.host.find("show")
        assert hosted is not None
        soon(lambda: hosted.core.state == "playing", SOON_S)
        switch(browser, "Cooking")
        browser.until("cuestream.cuts === 1")
        switch(browser, "Cooking")  # the same again is nothing
        switch(browser, "Ads & more")
        soon(lambda: hosted.core.state == "paused", SOON_S)
        switch(browser, "Chat")
        switch(browser, "Game")
        browser.until("cuestream.cuts === 2")
        soon(lambda: hosted.core.state in ("waiting", "playing"), SOON_S)


def test_a_session_that_begins_in_a_quiet_scene_pauses(keyed: Served, browser: Chromium) -> None:
    open_in_obs(browser, show(keyed, browser, "&quiet=Chat"), "Chat")
    with Client(keyed.http, token=KEY, name="show") as client:
        client.push(jpeg(1))
        client.play()
        hosted = keyed.host.find("show")
        assert hosted is not None
        soon(lambda: hosted.core.state == "paused", SOON_S)


def test_what_is_wrong_with_the_address_is_shown(keyed: Served, browser: Chromium) -> None:
    for address, said in (
        ("/obs", "session=NAME"),
        (
            "/obs?session=a%20name",
            "session=NAME",
        ),  # there can be none of this name, nor of one that is longer
        (f"/obs?session={'a' * 65}", "at most 64"),
        ("/obs?session=show&overlay=1#token=show.wrong", "no valid token"),
    ):
        browser.open("about:blank")
        browser.open(keyed.http + address)
        browser.until(f"document.getElementById('trouble')?.textContent.includes({json.dumps(said)})")
        assert browser.run("document.querySelector('main h1').textContent") == "Cuestream in OBS"
        assert browser.run("document.getElementById('trouble').closest('main') !== null")
    browser.until("document.getElementById('state')?.textContent === 'not allowed'")
    browser.open(show(keyed, browser, "&overlay=1"))  # only another fragment
    browser.until("document.getElementById('state')?.textContent === 'waiting for a session'")
    assert browser.run("document.getElementById('trouble').hidden")
