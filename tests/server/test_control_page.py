"""The page that turns a session which somebody else holds, in a real Chromium: a dock in OBS is one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served import Serve, Served
from shell_client import ask, jpeg, soon

from benchmarks.reaction.chromium import Chromium
from cuestream_client import Client, rest
from engine.synthetic import SyntheticPlayer
from server.sessions.hosted import Hosted

pytestmark = pytest.mark.browser
KEY = "a key for tests"
PROXY = """window.real = window.fetch;
window.fetch = async () => new Response("<h1>503</h1>", { status: 503, headers: { "content-type": "text/html" } });"""
"""Of whose server there is none just now."""
SENT = """window.sent = [];
const real = window.fetch;
window.fetch = (address, request) => (request.body && sent.push(request.body), real(address, request));"""
HIDDEN = "Object.defineProperty(document, 'hidden', { configurable: true, value: true })"
BY_HAND = """window.due = [];
const later = window.setTimeout;
window.setTimeout = (work, ms) => (ms === 1000 ? due.push(work) : later(work, ms));"""
"""The pause between two looks ends when the test says so."""
LOOKED_AT = "delete document.hidden, document.dispatchEvent(new Event('visibilitychange'))"
WIDE = """[document.documentElement, ...document.querySelectorAll(".top, main *")]
  .filter((part) => part.scrollWidth > part.clientWidth && part.clientWidth && !part.matches("span, option, select, .hide"))
  .map((part) => part.id || part.className || part.tagName)"""
"""What has more in it than its width shows."""
CUT_OFF = "(({ scrollWidth, clientWidth }) => Math.max(0, scrollWidth - clientWidth))(document.getElementById('session'))"
"""How much of the session's name is not seen, pixels."""
ALL = frozenset(
    {"seed", "on_cut", "guidance", "temperature", "short_term_s", "energy", "key", "top_k", "top_p"}
)
SETTINGS = {
    "gain_db": -6.0,
    "guidance": 4.5,
    "temperature": 0.5,
    "short_term_s": 3.0,
    "energy": 0.25,
    "top_k": 100,
    "top_p": 0.5,
    "fade_ms": 1000,
    "duck.threshold_db": -40.0,
    "duck.depth_db": 20.0,
    "duck.attack_ms": 100,
    "duck.release_ms": 900,
}
CHOSEN = {"mute": True, "hold_scene": True, "key": "free", "cut_response": "gentle", "seed": 8}
PILL = "document.getElementById('health')?.textContent"


def element(name: str) -> str:
    return f"document.getElementById({name!r})"


def open_dock(browser: Chromium, url: str) -> None:
    browser.open("about:blank")  # or only the fragment would be another one
    browser.open(url)
    browser.until("document.getElementById('health') !== null")


def press(browser: Chromium, name: str) -> None:
    browser.run(f"{element(name)}.click()")


def slide(browser: Chromium, name: str, value: float) -> None:
    browser.run(f"{element(name)}.value = {value}; {element(name)}.dispatchEvent(new Event('input'))")


def until_pill(browser: Chromium, words: str) -> None:
    """Which the page finds at once, as when somebody turns to it."""
    browser.run(LOOKED_AT)
    browser.until(f"{PILL} === {json.dumps(words)}")


def until_said(browser: Chromium, words: str) -> None:
    browser.until(f"{element('trouble')}?.hidden === false")
    browser.until(f"{element('trouble')}?.textContent.includes({json.dumps(words)})")


def look(browser: Chromium) -> None:
    """At once, as when somebody turns to the page."""
    looks = browser.run(f"{LOOKED_AT}, window.cuestream.looks")
    browser.until(f"window.cuestream.looks > {looks}")


@contextmanager
def playing(served: Served, key: str | None = None) -> Iterator[Hosted]:
    with Client(served.http, token=key, name="show") as client:
        client.push(jpeg(1))
        client.play()
        hosted = served.host.find("show")
        assert hosted is not None
        yield hosted
        client.end()


def settled(served: Served, holds: Callable[[], object]) -> None:
    soon(lambda: served.on_loop(holds))


def test_the_page_waits_for_its_session_and_turns_every_setting(browser: Chromium, serve: Serve) -> None:
    player = SyntheticPlayer(follows=ALL)
    with serve(player=player) as served:
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "not there")
        assert "no session “show” now" in browser.run(f"{element('absent')}.textContent")
        assert browser.run(f"{element('pause')}.getAttribute('aria-disabled')") == "true"
        assert browser.run(f"{element('record')}.hidden")  # this server does not record
        with playing(served) as hosted:
            until_pill(browser, "playing")
            assert browser.run(f"{element('absent')}.hidden && {element('trouble')}.hidden")
            for name, value in SETTINGS.items():
                slide(browser, name, value)
            for name in ("mute", "hold_scene", "duck.enabled"):
                press(browser, name)
            browser.run("document.querySelector('[name=cut_response][value=gentle]').click()")
            browser.run(
                f"{element('tonality')}.value = 'free'; {element('tonality')}.dispatchEvent(new Event('change'))"
            )
            browser.run(f"{element('seed')}.value = 8; {element('seed')}.dispatchEvent(new Event('change'))")
            settled(served, lambda: hosted.config.seed == 8)
            shown = ask("GET", f"{served.http}/v1/sessions/show")[1]["config"]
            duck = {f"duck.{name}": value for name, value in shown.pop("duck").items()}
            assert shown | duck == SETTINGS | CHOSEN | {"duck.enabled": True}  # and there is no other one


def test_buttons_and_keys_turn_the_session(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served, playing(served) as hosted:
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "playing")
        browser.key(" ")
        until_pill(browser, "paused")
        assert browser.run(f"{element('pause')}.textContent") == "Play"
        press(browser, "pause")
        settled(served, lambda: hosted.core.state == "playing")
        until_pill(browser, "playing")
        browser.run(SENT)
        browser.key("n")
        settled(served, lambda: hosted.config.seed != 0)
        asked = {"config": {"seed": hosted.config.seed}, "playback": "reset_context", "change_now": True}
        assert json.loads(browser.run("sent[0]")) == asked
        browser.until(f"{element('seed')}.value === '{hosted.config.seed}'")
        browser.key("m")
        settled(served, lambda: hosted.config.mute)
        browser.run(f"{element('seed')}.focus()")
        browser.key("m")  # a letter that is typed somewhere is no command
        assert browser.run(f"{element('mute')}.checked")


def test_what_others_turn_appears_and_what_is_being_typed_stays(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served, playing(served):
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "playing")
        browser.run(f"{element('seed')}.value = 12")
        look(browser)
        assert browser.run(f"{element('seed')}.value") == "12"
        ask("PATCH", f"{served.http}/v1/sessions/show", {"config": {"gain_db": -12, "mute": True}})
        look(browser)
        browser.until(f"{element('mute')}.checked && {element('gain_db')}.value === '-12'")
        assert browser.run(f"{element('gain_db')}.getAttribute('aria-valuetext')") == "-12.0 dB"


def test_a_session_that_ends_and_a_server_that_is_away_are_said_and_come_back(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    """It waits for a second or two now and then, as long as the pages do between two questions whether a server is there."""
    recording = f"{element('record')}.ariaPressed === 'true'"
    with serve(player=SyntheticPlayer(), recordings=tmp_path) as served:
        open_dock(browser, f"{served.http}/control?session=show")
        with playing(served):
            until_pill(browser, "playing")
        until_pill(browser, "not there")
        press(browser, "mute")
        until_said(browser, "no session “show” now")
        assert not browser.run(f"{element('mute')}.checked")
        with playing(served) as hosted:
            until_pill(browser, "playing")
            press(browser, "record")
            browser.until(recording)
            browser.run(PROXY)
            until_pill(browser, "no answer")
            browser.run(LOOKED_AT)
            until_said(browser, "The server does not answer; trying again.")
            browser.run("window.fetch = window.real")
            until_pill(browser, "playing")
            assert browser.run(f"{element('trouble')}.hidden && {recording}")
            browser.run(PROXY)
            until_pill(browser, "no answer")
            tape = hosted.tape
            assert tape is not None
            served.on_loop(lambda: tape.end("asked"))
            assert tape.join(10)
            browser.run(f"window.fetch = window.real; {LOOKED_AT}")
            until_said(browser, "The recording ended with the server.")
            assert not browser.run(recording)
            press(browser, "mute")
            settled(served, lambda: hosted.config.mute)


def test_a_page_that_nobody_sees_asks_for_nothing(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served, playing(served):
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "playing")
        browser.run(BY_HAND)
        browser.until(
            "due.length === 1"
        )  # by itself: a pause that is cut short here may have just ended, and there are two
        browser.run(HIDDEN)
        looks = browser.run("due[0](), window.cuestream.looks")
        browser.run(
            "fetch('v1/version').then((answer) => answer.text())"
        )  # which a look would have come before
        assert browser.run("window.cuestream.looks") == looks
        browser.run(LOOKED_AT)
        browser.until(f"window.cuestream.looks > {looks}")


def test_what_is_refused_is_said_and_the_controls_show_what_holds(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer(follows=ALL)) as served, playing(served) as hosted:
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "playing")
        held = hosted.config.short_term_s
        browser.run(f"{element('short_term_s')}.max = 9999")
        slide(browser, "short_term_s", 9000)
        until_said(browser, "Expected")
        assert browser.run(f"Number({element('short_term_s')}.value)") == held
        press(browser, "mute")
        browser.until(f"{element('trouble')}.hidden")


def test_the_key_is_asked_for_and_a_wrong_one_is_said(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    with serve(player=SyntheticPlayer(), api_key=KEY, recordings=tmp_path) as served, playing(served, KEY):
        open_dock(browser, f"{served.http}/control?session=show")
        browser.until(f"!{element('enter')}.hidden")
        assert browser.run(PILL) == "needs the key"
        for given in ("another key", "clé ключ"):
            press(browser, "enter")
            browser.until(f"{element('keydialog')}.open")
            browser.type(given)
            browser.run("document.querySelector('#keydialog button').click()")
            until_said(browser, "That key is not right.")
            browser.until(f"!{element('enter')}.hidden")
        press(browser, "enter")
        browser.type(KEY)
        browser.run("document.querySelector('#keydialog button').click()")
        until_pill(browser, "playing")
        assert browser.run(f"{element('enter')}.hidden && {element('trouble')}.hidden")
        press(browser, "record")  # who has the key may
        browser.until(f"{element('record')}.ariaPressed === 'true'")


def test_an_address_with_a_token_needs_no_key_and_one_of_another_session_turns_nothing(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    with serve(player=SyntheticPlayer(), api_key=KEY, recordings=tmp_path) as served:
        mine, other = (rest.addresses(served.http, name, KEY)["control"] for name in ("show", "other"))
        with playing(served, KEY) as hosted:
            open_dock(browser, mine)
            until_pill(browser, "playing")
            press(browser, "mute")
            settled(served, lambda: hosted.config.mute)
            assert browser.run(f"{element('record')}.hidden && {element('recordings')}.hidden")
            foreign = urlsplit(mine)._replace(fragment=urlsplit(other).fragment).geturl()
            open_dock(browser, foreign)
            until_pill(browser, "not allowed")
            until_said(browser, "does not let it turn the session “show”")
            browser.open(mine[:-1] + ("a" if mine[-1] != "a" else "b"))  # only another fragment
            until_said(browser, "is not valid here")
            browser.open(mine)
            until_pill(browser, "playing")


@pytest.mark.parametrize(
    "asked", ["", "?session=", "?session=a%20b", "?session=../x", f"?session={'a' * 65}"]
)
def test_an_address_without_a_name_says_so(browser: Chromium, serve: Serve, asked: str) -> None:
    with serve(player=SyntheticPlayer()) as served:
        open_dock(browser, f"{served.http}/control{asked}")
        until_said(browser, "control?session=NAME")
        until_pill(browser, "no session")
        assert not browser.events


def test_recordings_are_begun_ended_and_listed_also_those_of_others(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    on, listed = (
        f"{element('record')}.ariaPressed === 'true'",
        "document.querySelectorAll('#recorded li').length",
    )
    with serve(player=SyntheticPlayer(), recordings=tmp_path) as served, playing(served) as hosted:
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "playing")
        browser.key("r")
        browser.until(on)
        assert served.on_loop(lambda: hosted.tape is not None)
        press(browser, "record")
        browser.until(f"!({on}) && {listed} === 1")
        ask("POST", f"{served.http}/v1/sessions/show/recording", {"audio": "flac"})
        look(browser)
        browser.until(on)
        ask("DELETE", f"{served.http}/v1/sessions/show/recording")
        look(browser)
        browser.until(f"!({on}) && {listed} === 2")


def test_two_pages_show_the_same(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served, playing(served):
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "playing")
        browser.run("window.other = open(location.href, '', 'width=300,height=600'), true")
        browser.until(f"other.{PILL} === 'playing'")
        browser.run("other.document.getElementById('mute').click()")
        look(browser)
        browser.until(f"{element('mute')}.checked")
        press(browser, "mute")
        browser.until("!other.document.getElementById('mute').checked")
        browser.run("other.close()")


LONG = "a" * 64
"""The longest name, without a place to break it."""


@pytest.mark.parametrize(("width", "text_px"), [(200, 16), (300, 16), (320, 32), (400, 16)])
def test_it_fits_a_narrow_dock(
    browser: Chromium, serve: Serve, tmp_path: Path, width: int, text_px: int
) -> None:
    player = SyntheticPlayer(follows=ALL)
    with serve(player=player, recordings=tmp_path) as served, playing(served):
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=700, deviceScaleFactor=1, mobile=False
        )
        browser.call("Page.setFontSizes", fontSizes={"standard": text_px, "fixed": 13})
        for name, words in (("show", "playing"), (LONG, "not there")):
            open_dock(browser, f"{served.http}/control?session={name}")
            until_pill(browser, words)
            browser.run("document.querySelector('details').open = true")
            assert browser.run(WIDE) == []
            assert browser.run(CUT_OFF) == 0
        browser.call("Page.setFontSizes", fontSizes={"standard": 16, "fixed": 13})
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_every_control_has_a_name(browser: Chromium, serve: Serve) -> None:
    """As a screen reader says it."""
    nameless = """[...document.querySelectorAll("main :is(input, select, button), footer input")]
      .filter((part) => !(part.labels?.length || part.ariaLabel || part.textContent.trim())).map((part) => part.id)"""
    with serve(player=SyntheticPlayer()) as served:
        open_dock(browser, f"{served.http}/control?session=show")
        until_pill(browser, "not there")
        assert browser.run(nameless) == []
        assert browser.run(
            "new Set([...document.querySelectorAll('[id]')].map(({ id }) => id)).size"
        ) == browser.run("document.querySelectorAll('[id]').length")
