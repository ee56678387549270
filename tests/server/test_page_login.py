"""The page of a server that asks for its key: the dialog asks, what was typed is what is shown to the server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Serve

from benchmarks.reaction.chromium import Chromium
from engine.synthetic import SyntheticPlayer

STATIC = Path(__file__).parents[2] / "server" / "static"
KEY = "a key for tests"

pytestmark = pytest.mark.browser


def element(name: str) -> str:
    return f"document.getElementById({name!r})"


def log_in(browser: Chromium, key: str) -> None:
    browser.run(f"{element('start')}.click()")
    browser.until(f"{element('keydialog')}.open")
    browser.type(key)
    browser.run("document.querySelector('#keydialog button').click()")
    browser.until(f"!{element('keydialog')}.open")


def test_the_key_is_asked_for_a_wrong_one_is_refused_and_the_right_one_plays(
    browser: Chromium, serve: Serve
) -> None:
    with serve(player=SyntheticPlayer(), api_key=KEY) as served:
        browser.open(served.http)
        browser.until("window.cuestream !== undefined")
        log_in(browser, "another key")
        browser.until(f"!{element('trouble')}.hidden && {element('start')}.textContent === 'Start'")
        assert not served.host.sessions
        log_in(browser, KEY)
        browser.until("window.cuestream.statistics.playback === 'playing'")
        browser.until("window.cuestream.statistics.played > 0")
        assert list(served.host.sessions) == [browser.run("window.cuestream.statistics.session")]
        assert browser.run(f"{element('trouble')}.hidden")
        assert browser.run(f"{element('tonality')}.value") == "seed"  # no music's key was taken for it
        browser.run(f"{element('start')}.click()")
        browser.until(f"{element('start')}.textContent === 'Start'")


def test_every_name_on_the_page_is_there_once_and_those_that_are_asked_for_are_there() -> None:
    page, script = ((STATIC / name).read_text(encoding="utf-8") for name in ("index.html", "app.js"))
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)) > 50
    assert set(re.findall(r'\bfor="([^"]+)"', page)) <= set(names)
    assert set(re.findall(r'\$\("([^"]+)"\)', script)) <= set(names)


def test_letters_typed_at_a_select_are_no_commands(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        browser.open(served.http)
        browser.until("window.cuestream !== undefined")
        browser.run(f"{element('tonality')}.focus()")
        browser.key("m")
        assert not browser.run(f"{element('mute')}.checked")
        browser.run(f"{element('tonality')}.blur()")
        browser.key("m")
        assert browser.run(f"{element('mute')}.checked")
