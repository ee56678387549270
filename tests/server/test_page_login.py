"""What the page says: of a key, of a picture that cannot be had, of a recording that is over; and its keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from served import Serve

from benchmarks.reaction.chromium import Chromium
from engine.synthetic import SyntheticPlayer

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "server" / "static"
KEY = "a key for tests"
CHOOSER = """window.choosers = 0;
document.getElementById("file").addEventListener("click", (event) => (choosers++, event.preventDefault()));"""
"""Counts the choosers that would open."""
DENIED = """window.askings = 0;
navigator.mediaDevices.getDisplayMedia = async () => {
  askings++;
  throw new DOMException("Permission denied", "NotAllowedError");
}"""
"""Counts how often a screen is asked for."""
SAID = """window.said = [];
new MutationObserver(() => said.push(document.getElementById("trouble").textContent)).observe(
  document.getElementById("trouble"), { childList: true });"""
CHECKED = "document.querySelector('[name=source]:checked').value"
FOCUSED = "document.activeElement.id || document.activeElement.value"
UNPLUG = """(() => {
  const [track] = document.getElementById("preview").srcObject.getTracks();
  track.stop();
  track.dispatchEvent(new Event("ended"));
})()"""

pytestmark = pytest.mark.browser


def element(name: str) -> str:
    return f"document.getElementById({name!r})"


def press(browser: Chromium, name: str) -> None:
    browser.run(f"{element(name)}.click()")


def choose(browser: Chromium, source: str) -> None:
    browser.run(f"document.querySelector('[name=source][value={source}]').parentElement.click()")


def hand(browser: Chromium, path: Path) -> None:
    """As if it was chosen in the file chooser."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    found = browser.call("DOM.querySelector", nodeId=root, selector="#file")
    browser.call("DOM.setFileInputFiles", files=[str(path)], **found)


def until_said(browser: Chromium, words: str) -> None:
    said = f"!{element('trouble')}.hidden && {element('trouble')}.textContent.includes"
    browser.until(f"{said}({json.dumps(words)})")


def log_in(browser: Chromium, key: str) -> None:
    press(browser, "start")
    browser.until(f"{element('keydialog')}.open")
    browser.type(key)
    browser.run("document.querySelector('#keydialog button').click()")
    browser.until(f"!{element('keydialog')}.open")


def test_the_key_is_asked_for_a_wrong_one_is_refused_and_the_right_one_plays(
    browser: Chromium, serve: Serve
) -> None:
    with serve(player=SyntheticPlayer(), api_key=KEY) as served:
        browser.open(f"{served.http}/?session=show")
        browser.until("window.cuestream !== undefined")
        log_in(browser, "another key")
        until_said(browser, "That key is not right.")
        browser.until(f"{element('start')}.textContent === 'Start'")
        assert not served.host.sessions
        log_in(browser, KEY)
        browser.until("window.cuestream.statistics.playback === 'playing'")
        browser.until("window.cuestream.statistics.played > 0")
        assert list(served.host.sessions) == [browser.run("window.cuestream.statistics.session")] == ["show"]
        assert browser.run(f"{element('trouble')}.hidden")
        assert browser.run(f"{element('tonality')}.value") == "seed"  # no music's key was taken for it
        press(browser, "start")
        browser.until(f"{element('start')}.textContent === 'Start'")
        assert "session=show" in browser.run(f"{element('addresses')}.textContent")  # good the next time, too


def test_every_name_on_the_page_is_there_once_and_those_that_are_asked_for_are_there() -> None:
    page, *scripts = ((STATIC / name).read_text("utf-8") for name in ("index.html", "app.js", "controls.js"))
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)) > 50
    assert set(re.findall(r'\bfor="([^"]+)"', page)) <= set(names)
    assert set(re.findall(r'\$\("([^"]+)"\)', "".join(scripts))) <= set(names)


def test_what_goes_wrong_is_said_and_what_was_there_goes_on(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    sent = "window.cuestream.statistics.sent"
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no film")
    browser.events.clear()  # of the test before
    with serve(player=SyntheticPlayer(), recordings=tmp_path / "recordings") as served:
        browser.open(served.http)
        browser.until("window.cuestream !== undefined")
        the_keys(browser)
        browser.run(CHOOSER)
        browser.run(DENIED)

        choose(browser, "file")
        choose(browser, "file")  # nothing was chosen in the first one
        press(browser, "start")
        assert browser.run("choosers") == 3
        hand(browser, junk)
        until_said(browser, "cannot be played here")
        hand(browser, ROOT / "examples" / "big-buck-bunny.mp4")  # and it begins, as was asked for
        browser.until("window.cuestream.statistics.playback === 'playing'")
        assert browser.run(f"{element('filename')}.textContent") == "big-buck-bunny.mp4"
        choose(browser, "screen")
        until_said(browser, "The browser did not allow it.")
        assert browser.run(CHECKED) == "file"
        before = browser.run(sent)
        browser.until(f"{sent} > {before}")
        choose(browser, "camera")
        browser.until(f"{element('trouble')}.hidden && {element('preview')}.srcObject !== null")
        browser.until(f"{element('health')}.textContent === 'on time'")
        browser.run(UNPLUG)
        until_said(browser, "The camera is gone.")
        assert browser.run(f"{element('health')}.textContent") == "no picture"
        assert not browser.run(f"{element('empty')}.hidden")

        (hosted,) = served.host.sessions.values()
        press(browser, "record")
        browser.until(f"{element('record')}.textContent.startsWith('0:')")
        served.on_loop(lambda: hosted.tape.end("quota"))
        until_said(browser, "The folder of recordings is full")
        press(browser, "record")
        browser.until(f"{element('record')}.textContent.startsWith('0:') && {element('trouble')}.hidden")
        browser.run(f"{element('record')}.click(); {element('record')}.click()")
        until_said(browser, "not being recorded")
        browser.until("document.querySelectorAll('#recorded li').length === 2")
        browser.key("m")
        browser.until(f"{element('trouble')}.hidden")  # what was refused is forgotten when something was not
        press(browser, "record")
        browser.until(f"{element('record')}.textContent.startsWith('0:')")
        served.on_loop(lambda: (hosted.line.hang_up(1012), hosted.tape.end("asked")))  # as a restart does
        until_said(browser, "The recording ended with the server.")
        assert browser.run(f"{element('record')}.textContent") == "Record"
        browser.until("document.querySelectorAll('#recorded li').length === 3")

        browser.run("document.activeElement.blur()")
        browser.key("Enter")
        browser.until(f"{element('start')}.textContent === 'Start'")
        assert "Start a session" in browser.run(f"{element('addresses')}.textContent")
    assert not browser.events


def test_the_keyboard_is_enough_and_arrow_keys_ask_for_nothing(browser: Chromium, serve: Serve) -> None:
    asked = "[askings, choosers]"
    browser.events.clear()
    with serve(player=SyntheticPlayer()) as served:
        browser.open(served.http)
        browser.until("window.cuestream !== undefined")
        for script in (CHOOSER, DENIED, SAID):
            browser.run(script)
        browser.run("document.querySelector('[name=source][value=camera]').focus()")
        for source in ("screen", "file", "camera"):
            browser.key("ArrowRight")
            assert browser.run(CHECKED) == source
        assert browser.run(asked) == [0, 0]
        browser.run(f"{element('start')}.focus()")
        browser.key(" ")
        browser.until("window.cuestream.statistics.playback === 'playing'")
        assert browser.run(FOCUSED) == "start"
        assert browser.run(f"{element('start')}.textContent") == "End"

        (hosted,) = served.host.sessions.values()
        browser.key("r")  # this server does not record
        browser.key("m")
        browser.until(f"{element('mute')}.checked")
        while not served.on_loop(lambda: hosted.config.mute):
            browser.run("new Promise((done) => setTimeout(done, 20))")
        assert browser.run("said") == []

        browser.run("document.querySelector('[name=source][value=camera]').focus()")
        browser.key("ArrowRight")
        assert (browser.run(CHECKED), browser.run(asked)) == ("screen", [0, 0])
        browser.key("Enter")
        until_said(browser, "The browser did not allow it.")
        browser.until(f"{CHECKED} === 'camera'")
        assert browser.run(FOCUSED) == "screen"
        browser.key(" ")
        browser.until("askings === 2")
        browser.until(f"{CHECKED} === 'camera'")
        browser.key("ArrowRight")
        assert (browser.run(CHECKED), browser.run(asked)) == ("file", [2, 0])
        browser.run(f"{element('start')}.focus()")
        assert browser.run(CHECKED) == "camera"  # which is what is shown
    assert not browser.events


def test_a_reload_lists_what_was_recorded_and_goes_on_with_what_is_being_recorded(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    recorded = "[...document.querySelectorAll('#recorded li')].map((row) => row.firstChild.textContent)"
    runs = f"{element('record')}.textContent.startsWith('0:')"
    browser.events.clear()
    with serve(player=SyntheticPlayer(), recordings=tmp_path, api_key=KEY) as served:
        browser.open(served.http)
        browser.until("window.cuestream !== undefined")
        log_in(browser, KEY)
        browser.until("window.cuestream.statistics.played > 0 && sessionStorage.getItem('cuestream.ticket')")
        for count in (1, 2):
            press(browser, "record")
            browser.until(runs)
            press(browser, "record")
            browser.until(f"{recorded}.length === {count}")
        before = browser.run(recorded)
        press(browser, "record")
        browser.until(runs)
        browser.call("Page.reload")
        browser.until(f"window.cuestream?.statistics.resumed === 1 && {runs}")
        browser.until(f"{recorded}.length === 2")
        assert browser.run(recorded) == before
        assert browser.run(f"{element('trouble')}.hidden && !document.querySelector('#recorded em')")
        link = browser.run("document.querySelector('#recorded a').href")
        assert browser.run(f"fetch({link!r}).then((answer) => answer.status)") == 200
        press(browser, "record")
        browser.until(f"{recorded}.length === 3")
        assert browser.run(recorded)[1:] == before
    assert not browser.events


def the_keys(browser: Chromium) -> None:
    """Letters typed at a list are no commands, and one that is held down is one."""
    browser.run(f"{element('tonality')}.focus()")
    browser.key("m")
    assert not browser.run(f"{element('mute')}.checked")
    browser.run(f"{element('tonality')}.blur()")
    browser.key("m")
    browser.call("Input.dispatchKeyEvent", type="rawKeyDown", key="m", autoRepeat=True)
    assert browser.run(f"{element('mute')}.checked")
    browser.key("m")
