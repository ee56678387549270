"""What the page says: of a key, of a picture that cannot be had, of a recording that is over, of a server that is gone; keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from served import Serve

from benchmarks.reaction.chromium import Chromium
from cuestream_client import Client
from engine.synthetic import SyntheticPlayer
from server.sessions.hosted import Hosted

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
BUSY = """navigator.mediaDevices.getUserMedia = async () => {
  throw new DOMException("Could not start video source", "NotReadableError");
}"""
CONTRAST = """((element) => {
  const light = ([r, g, b]) => [r, g, b].map((x) => (x / 255 <= 0.04045 ? x / 3294.6 : ((x / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const style = getComputedStyle(element);
  const colours = (text) => text.match(/rgb\\([^)]*\\)/g).map((one) => one.match(/\\d+/g).map(Number));
  const [text] = colours(style.color).map(light);
  return Math.min(...colours(style.backgroundImage).map(light).map((ground) => (text + 0.05) / (ground + 0.05)));
})"""
"""Of light text on an element's gradient, WCAG 2.2's ratio."""
CLOSED = """new Promise((done) => {
  const dialog = document.getElementById("keydialog");
  dialog.addEventListener("close", () => done(true));
  dialog.close();
})"""
"""As Escape does."""
TRIES = """window.tries = 0;
window.WebSocket = class extends WebSocket {
  constructor(...all) {
    super(...all);
    tries += 1;
  }
};"""
PILLS = """window.pills = [];
new MutationObserver(() => pills.push(document.getElementById("health").textContent)).observe(
  document.getElementById("health"), { childList: true });"""
AWAY = """window.away = true;
window.WebSocket = class extends WebSocket {
  constructor(url, ...all) {
    super(away ? "ws://127.0.0.1:9" : url, ...all);
  }
};"""
"""Nobody listens there."""
PROXY = """window.fetch = async () => new Response("<html><h1>503 Service Unavailable</h1></html>", {
  status: 503, statusText: "Service Unavailable", headers: { "content-type": "text/html" },
});"""
"""Of whose server there is none just now."""
HANGS = """window.fetch = (_, { signal }) => new Promise((_, fail) => {
  signal.onabort = () => fail(signal.reason);
});"""
"""Nobody answers, as of a machine that is asleep."""
COOKIELESS = """for (const kind of ["sessionStorage", "localStorage"]) Object.defineProperty(window, kind, {
  get: () => {
    throw new DOMException("Access is denied for this document.", "SecurityError");
  },
});"""
IMPATIENT = """window.pauses = [];
const later = window.setTimeout;
window.setTimeout = (work, ms) => (pauses.push(ms), later(work, 0));"""
"""No pause is waited for."""
GAINS = """window.gains = [];
window.GainNode = class extends GainNode {
  constructor(...all) {
    super(...all);
    gains.push(this);
  }
};"""
CONTEXTS = """window.contexts = [];
window.AudioContext = class extends AudioContext {
  constructor(...all) {
    super(...all);
    contexts.push(this);
  }
};"""
SILENCED = "contexts[0].resume = () => Promise.reject(new Error('not now')), contexts[0].suspend()"
"""As a browser does that wants a click before it sounds again."""
INSECURE = "Object.defineProperty(window, 'isSecureContext', { value: false })"
UNHIDE = """for (const part of document.querySelectorAll("main [hidden]:not(input)")) part.hidden = false"""
SIZES = """[...document.querySelectorAll("body *")]
  .filter((part) => [...part.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
  .map((part) => parseFloat(getComputedStyle(part).fontSize))"""
"""Of all text, CSS pixels."""
BESIDE = """[document.documentElement, ...document.querySelectorAll(".bar, .actions, .tabs, .row, .slider, .panel, button")]
  .filter((part) => part.scrollWidth > part.clientWidth)
  .map((part) => part.id || part.className || part.tagName)"""
"""What has more in it than its width shows."""
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


def open_page(browser: Chromium, url: str) -> None:
    """Until its script has begun."""
    browser.open(url)
    browser.until("window.cuestream !== undefined")


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
        open_page(browser, f"{served.http}/?session=show")
        press(browser, "start")
        browser.until(f"{element('keydialog')}.open")
        browser.type("not meant")
        browser.run(CLOSED)
        assert browser.run("sessionStorage.getItem('key')") is None
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
    """Of both pages, with what scripts put into them."""
    shared = [
        (STATIC / f"{name}.js").read_text("utf-8") for name in ("controls", "recording", "pressing", "said")
    ]
    for page, script in (("index", "app"), ("control", "control")):
        whole = [(STATIC / name).read_text("utf-8") for name in (f"{page}.html", f"{script}.js")] + shared
        text = "".join(whole)
        names = re.findall(r'\bid="([^"]+)"', text)
        assert len(names) == len(set(names)) > 40
        assert set(re.findall(r'\bfor="([^"]+)"', text)) <= set(names)
        assert set(re.findall(r'\$\("([^"]+)"\)', text)) <= set(names)


def restart(hosted: Hosted) -> None:
    """What one does to a session that is recorded: the files are whole before its client can come back and be told."""
    line, tape = hosted.line, hosted.tape
    assert line is not None
    assert tape is not None
    line.hang_up(1012)
    tape.end("asked")
    assert tape.join(10)


def test_what_goes_wrong_is_said_and_what_was_there_goes_on(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    sent = "window.cuestream.statistics.sent"
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no film")
    player = SyntheticPlayer(follows=frozenset({"key"}))
    with serve(player=player, recordings=tmp_path / "recordings") as served:
        open_page(browser, served.http)
        the_keys(browser)
        browser.run(CHOOSER)
        browser.run(DENIED)

        choose(browser, "file")
        choose(browser, "file")  # nothing was chosen in the first one
        press(browser, "start")
        assert browser.run("choosers") == 3
        hand(browser, junk)
        until_said(browser, "cannot be played here")
        browser.run("document.activeElement.blur()")
        browser.key("Escape")
        assert browser.run(f"{element('trouble')}.hidden")
        hand(browser, ROOT / "examples" / "big-buck-bunny.mp4")  # and it begins, as was asked for
        browser.until("window.cuestream.statistics.playback === 'playing'")
        assert browser.run(f"{element('filename')}.textContent") == "big-buck-bunny.mp4"
        choose(browser, "screen")
        until_said(browser, "No screen was shared.")
        assert browser.run(CHECKED) == "file"
        before = browser.run(sent)
        browser.until(f"{sent} > {before}")
        choose(browser, "camera")
        browser.until(f"{element('trouble')}.hidden && {element('preview')}.srcObject !== null")
        browser.until(f"{element('health')}.textContent === 'playing'")
        choose(browser, "screen")
        until_said(browser, "No screen was shared.")
        browser.until(f"{CHECKED} === 'camera'")
        choose(browser, "camera")  # which is shown still
        assert browser.run(f"{element('trouble')}.hidden")
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
        served.on_loop(lambda: restart(hosted))
        until_said(browser, "The recording ended with the server.")
        assert browser.run(f"{element('record')}.textContent") == "Record"
        browser.until("document.querySelectorAll('#recorded li').length === 3")

        browser.run("document.activeElement.blur()")
        browser.key("Enter")
        browser.until(f"{element('start')}.textContent === 'Start'")
        assert "Press Start" in browser.run(f"{element('addresses')}.textContent")
    assert not browser.events


def test_the_keyboard_is_enough_and_arrow_keys_ask_for_nothing(browser: Chromium, serve: Serve) -> None:
    asked = "[askings, choosers]"
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
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
        press(browser, "shortcuts")
        browser.key("m")
        assert browser.run(f"{element('mute')}.checked")  # as it was
        press(browser, "shortcuts")

        browser.run("document.querySelector('[name=source][value=camera]').focus()")
        browser.key("ArrowRight")
        assert (browser.run(CHECKED), browser.run(asked)) == ("screen", [0, 0])
        browser.key("Enter")
        until_said(browser, "No screen was shared.")
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


def test_new_music_is_not_the_same_music_again(browser: Chromium, serve: Serve) -> None:
    """The same seed would play the same for the same pictures."""
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
        press(browser, "start")
        browser.until("window.cuestream.statistics.playback === 'playing'")
        (hosted,) = served.host.sessions.values()
        before = served.on_loop(lambda: (hosted.config.seed, hosted.core.take))
        browser.key("n")
        browser.until(f"{element('seed')}.value !== '{before[0]}'")
        while served.on_loop(lambda: hosted.core.take) == before[1]:
            browser.run("new Promise((done) => setTimeout(done, 20))")
        assert str(served.on_loop(lambda: hosted.config.seed)) == browser.run(f"{element('seed')}.value")
        press(browser, "start")


def test_a_reload_lists_what_was_recorded_and_goes_on_with_what_is_being_recorded(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    recorded = "[...document.querySelectorAll('#recorded li')].map((row) => row.firstChild.textContent)"
    runs = f"{element('record')}.textContent.startsWith('0:')"
    browser.call("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    with serve(player=SyntheticPlayer(), recordings=tmp_path, api_key=KEY) as served:
        open_page(browser, served.http)
        log_in(browser, KEY)
        browser.until("window.cuestream.statistics.played > 0 && sessionStorage.getItem('cuestream.ticket')")
        for count in (1, 2):
            press(browser, "record")
            browser.until(runs)
            press(browser, "record")
            browser.until(f"{recorded}.length === {count}")
        before = browser.run(recorded)
        assert browser.run(f"Math.abs(Date.parse({before[0].split(' · ')[0]!r}) - Date.now()) < 60_000")
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
        press(browser, "start")
        browser.until(f"{element('start')}.textContent === 'Start'")
        browser.call("Page.reload")
        browser.until(f"{recorded}.length === 3")  # without a session, too
        assert not browser.events
    browser.call("Emulation.setTimezoneOverride", timezoneId="")


def test_a_reload_without_the_camera_goes_on_with_the_session(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
        press(browser, "start")
        browser.until("window.cuestream.statistics.played > 0 && sessionStorage.getItem('cuestream.ticket')")
        session = browser.run("window.cuestream.statistics.session")
        script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=BUSY)
        browser.call("Page.reload")
        browser.until("window.cuestream?.statistics.resumed === 1")
        until_said(browser, "The music goes on without a picture. Choose a source.")
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)
        assert browser.run("window.cuestream.statistics.session") == session
        browser.until(f"{element('health')}.textContent === 'no picture'")
        choose(browser, "camera")
        until_said(browser, "another program may have it")


def test_a_server_that_is_gone_is_said_once(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
        press(browser, "start")
        browser.until("window.cuestream.statistics.playback === 'playing'")
        browser.until(f"{element('health')}.textContent === 'playing'")
        for script in (SAID, PILLS, TRIES):
            browser.run(script)
        browser.run(f"{element('pause')}.focus()")
    browser.until("tries > 2")
    assert browser.run(FOCUSED) == "pause"
    assert browser.run(f"{element('pause')}.ariaDisabled") == "true"
    assert browser.run("said") == ["The server does not answer; trying again."]
    assert browser.run("pills") == ["line lost, resuming"]
    assert browser.run("document.title") == "line lost, resuming · Cuestream"
    press(browser, "start")
    browser.until(f"{element('start')}.textContent === 'Start'")
    assert browser.run(f"{element('trouble')}.hidden")  # nothing is tried any more


def test_a_name_keeps_the_addresses_and_one_that_is_in_use_is_said(browser: Chromium, serve: Serve) -> None:
    addresses = f"{element('addresses')}.textContent"
    with serve(player=SyntheticPlayer()) as served, Client(served.http, name="show"):
        browser.open(f"{served.http}/?session=show")
        browser.until(f"window.cuestream && {addresses}.includes('session=show')")
        press(browser, "start")
        until_said(browser, "A session named “show” is in use")
        browser.run(
            f"{element('name')}.value = 'a name'; {element('name')}.dispatchEvent(new Event('change'))"
        )
        assert browser.run("location.search") == "?session=show"  # there is no such name
        browser.run(
            f"{element('name')}.value = 'other'; {element('name')}.dispatchEvent(new Event('change'))"
        )
        browser.until(f"{addresses}.includes('session=other')")
        assert browser.run("location.search") == "?session=other"
        press(browser, "start")
        browser.until("window.cuestream.statistics.played > 0")
        assert browser.run("window.cuestream.statistics.session") == "other"
        assert browser.run(f"{element('name')}.readOnly")


def test_a_tab_that_is_silent_mutes_nobody_else_and_a_session_that_was_lost_is_said(
    browser: Chromium, serve: Serve
) -> None:
    with serve(player=SyntheticPlayer(), resume_window_s=1) as served:
        open_page(browser, served.http)
        browser.run(GAINS)
        press(browser, "start")
        browser.until("window.cuestream.statistics.played > 0")
        press(browser, "here")
        browser.until("gains[0].gain.value < 0.001")
        press(browser, "here")
        browser.until("gains[0].gain.value > 0.999")
        (hosted,) = served.host.sessions.values()
        assert not served.on_loop(lambda: hosted.config.mute)
        browser.run(AWAY)
        served.on_loop(lambda: hosted.line.hang_up(1012))
        while served.on_loop(lambda: dict(served.host.sessions)):
            browser.run("new Promise((done) => setTimeout(done, 20))")
        browser.run("window.away = false")
        until_said(browser, "This is a new one")
        assert browser.run("window.cuestream.statistics.session") != hosted.id


def test_a_server_without_room_is_said(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer(), max_sessions=1) as served:
        open_page(browser, served.http)
        with Client(served.http, name="show"):
            press(browser, "start")
            until_said(browser, "no room for another session just now; trying again")
        press(browser, "start")
        browser.until(f"{element('start')}.textContent === 'Start'")


def test_what_a_proxy_says_is_not_taken_for_the_server_s_word(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
        browser.run(PROXY)
        press(browser, "start")
        until_said(
            browser, "/v1/sessions answered HTTP 503 Service Unavailable, not in a Cuestream server's words"
        )
        until_said(browser, "perhaps a proxy before it did; trying again.")
        press(browser, "start")
        browser.until(f"{element('start')}.textContent === 'Start'")


@pytest.mark.parametrize("page", ["/", "/obs?session=show", "/control?session=show"])
def test_a_page_that_is_open_before_its_server_answers_begins_when_it_does(
    browser: Chromium, serve: Serve, page: str
) -> None:
    script = browser.call(
        "Page.addScriptToEvaluateOnNewDocument", source=f"window.real = window.fetch; {PROXY}"
    )
    with serve(player=SyntheticPlayer()) as served:
        browser.open("about:blank")
        browser.open(served.http + page)
        until_said(browser, "The server does not answer; trying again.")
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)
        browser.run("window.fetch = window.real")
        browser.until("window.cuestream !== undefined")
        browser.until(f"{element('trouble')}.hidden")


def test_a_browser_that_blocks_all_cookies_plays(browser: Chromium, serve: Serve) -> None:
    """It keeps nothing, not even for its tab: a reload begins anew."""
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=COOKIELESS)
    with serve(player=SyntheticPlayer(), api_key=KEY) as served:
        open_page(browser, f"{served.http}/?session=show")
        log_in(browser, KEY)
        browser.until("window.cuestream.statistics.played > 0")
        press(browser, "start")
        browser.until(f"{element('start')}.textContent === 'Start'")
        assert not browser.events
        browser.open(f"{served.http}/control?session=show")
        browser.until(f"!{element('enter')}.hidden")
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


@pytest.mark.parametrize("away", [PROXY, HANGS], ids=["refuses", "hangs"])
def test_a_server_that_is_away_for_long_is_asked_less_often(
    browser: Chromium, serve: Serve, away: str
) -> None:
    """So long an answer is waited for, and so long a pause is made."""
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=f"{away}\n{IMPATIENT}")
    with serve(player=SyntheticPlayer()) as served:
        browser.open("about:blank")
        browser.open(served.http)
        browser.until("window.pauses.length > 9")
        waited, paused = (
            browser.run(f"window.pauses.slice(0, 10).filter((_, i) => i % 2 === {i})") for i in (0, 1)
        )
        assert (waited, paused) == ([10_000] * 5, [1000, 2000, 4000, 8000, 8000])
        browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


def test_a_websocket_that_does_not_open_is_said(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
        browser.run(AWAY)
        press(browser, "start")
        until_said(
            browser, "answers, but opens no websocket: a proxy before it has to hand those on; trying again."
        )
        until_said(browser, "to hand those on.")  # it gave up
        browser.until(f"{element('start')}.textContent === 'Start'")


def test_a_session_that_was_long_enough_is_followed_by_another_and_that_is_said(
    browser: Chromium, serve: Serve
) -> None:
    with serve(player=SyntheticPlayer(), session_s=2) as served:
        open_page(browser, served.http)
        browser.run(SAID)
        press(browser, "start")
        until_said(browser, "The session was as long as one may be. This is a new one")
        until_said(browser, "Its addresses are new, too")
        assert len(browser.run("said")) == 1
        press(browser, "start")


@pytest.mark.parametrize("page", ["/", "/obs?session=show&overlay=1", "/control?session=show"])
def test_text_of_twice_the_size_fits_a_width_of_320_px(browser: Chromium, serve: Serve, page: str) -> None:
    """WCAG 2.2, 1.4.4 and 1.4.10: all text follows the size that the browser is told, and nothing is beside or cut off."""
    with serve(player=SyntheticPlayer()) as served:
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=320, height=800, deviceScaleFactor=1, mobile=True
        )
        browser.open("about:blank")
        browser.open(served.http + page)
        browser.until("window.cuestream !== undefined")
        browser.run(UNHIDE)
        small = browser.run(SIZES)
        browser.call("Page.setFontSizes", fontSizes={"standard": 32, "fixed": 26})
        large = browser.run(SIZES)
        beside = browser.run(BESIDE)
        browser.call("Page.setFontSizes", fontSizes={"standard": 16, "fixed": 13})
        browser.call("Emulation.clearDeviceMetricsOverride")
        assert large == [pytest.approx(2 * size) for size in small]
        assert beside == []


def test_what_the_page_shows_is_what_is_said_of_it(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
        for name in (
            "guidance",
            "temperature",
            "energy",
            "short_term_s",
            "tonality",
            "memoryhead",
        ):  # of others
            assert not browser.run(f"{element(name)}.getClientRects().length")
        assert browser.run(f"{element('gain_db')}.getAttribute('aria-valuetext')") == "0.0 dB"
        assert browser.run(f"{element('pause')}.ariaPressed") is None  # its name says it already
        assert browser.run(f"{element('record')}.ariaLabel") == "Record"
        assert (
            browser.run(f"{element('target')}.closest('.meter').querySelector('h2').textContent") == "Buffer"
        )
        assert browser.run(f"{CONTRAST}({element('start')})") > 4.5
        clock = "import('./static/recording.js').then(({ clock }) => [65, 3725].map(clock))"
        assert browser.run(clock) == ["1:05", "1:02:05"]
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True
        )
        tops = [f"{element(name)}.parentElement.offsetTop" for name in ("mute", "here")]
        assert browser.run(f"{tops[0]} === {tops[1]}")
        tops = [
            browser.run(top_when(said)) for said in ("paused", "the server says more than a phone is wide")
        ]
        assert tops[0] == tops[1]
        browser.call("Emulation.clearDeviceMetricsOverride")

        press(browser, "start")
        browser.until("document.querySelector('.address button') && window.cuestream.statistics.played > 0")
        browser.run(
            "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
        )  # of a page by http
        browser.run("document.querySelector('.address button').click()")
        browser.until("document.querySelector('.address button').textContent === 'Copied'")
        assert browser.run(f"{element('said')}.textContent") == "Copied the OBS address"
        assert browser.run("getSelection().toString()") == browser.run(
            "document.querySelector('.address code').textContent"
        )
        browser.until(f"{element('memorycaption')}.textContent")
        x, y = browser.run(
            "(({ x, y, width, height }) => [x + width / 2, y + height / 2])"
            f"(({element('start')}.scrollIntoView(), {element('start')}.getBoundingClientRect()))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        browser.until(f"{element('start')}.textContent === 'Start'")
        assert browser.run(FOCUSED) is None  # or Space, which pauses, would press it again
        assert browser.run(f"{element('memorycaption')}.textContent") == ""


def top_when(said: str) -> str:
    """Where the page begins beneath its header."""
    return f"({element('health')}.textContent = {said!r}, document.querySelector('main').offsetTop)"


def test_an_insecure_page_says_why_it_is_of_no_use(browser: Chromium, serve: Serve) -> None:
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=INSECURE)
    with serve(player=SyntheticPlayer()) as served:
        browser.open(served.http)
        until_said(browser, "secure pages alone")
        press(browser, "start")
        assert browser.run(f"{element('start')}.textContent") == "Start"
        assert not browser.run(f"{element('trouble')}.hidden")
    browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)


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


def test_a_page_whose_sound_was_taken_away_says_so_and_plays_on_after_a_click(
    browser: Chromium, serve: Serve
) -> None:
    pill = f"{element('health')}.textContent"
    with serve(player=SyntheticPlayer()) as served:
        open_page(browser, served.http)
        browser.run(CONTEXTS)
        press(browser, "start")
        browser.until(f"window.cuestream.statistics.played > 0 && {pill} === 'playing'")
        browser.run(SILENCED)
        browser.until(f"{pill} === 'click to hear the music'")
        browser.run("delete contexts[0].resume, dispatchEvent(new Event('pointerdown'))")
        browser.until(f"{pill} === 'playing'")
        press(browser, "start")
        browser.until(f"{element('start')}.textContent === 'Start'")
        assert not browser.events
