"""What the page shows of the music's memory, and recordings that are made and fetched there; see `test_page.py`."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_rig import MODEL, keep, page
from served import Serve

from benchmarks.reaction.chromium import Chromium
from engine.synthetic import SyntheticPlayer

CHOSEN = """(async () => {
  const { Memory } = await import("./static/memory.js");
  const [old, window] = [0, 1].map(() => document.body.appendChild(document.createElement("ol")));
  const memory = new Memory({ old, window, caption: document.createElement("p") }), seen = [];
  const show = (...places) => {
    memory.show(places.map((place, i) => ({ at_us: i, place, age_ms: 0, picture: i })));
    if (!seen.length) memory.choose(window.firstChild);
    seen.push([old, window].map((list) => list.getAttribute("aria-activedescendant")));
  };
  show("window", "window");
  show("recalled", "window");
  show();
  return seen;
})()"""
"""The active descendants of both lists while the chosen picture moves from one to the other and is forgotten."""

TURNED = "fetch(`/v1/sessions/${window.cuestream.statistics.session}`).then((held) => held.json()).then((held) => held.config)"
"""What the server holds."""

pytestmark = pytest.mark.browser


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with page(tmp_path / "recordings") as served:
        yield served


def test_what_the_music_remembers_is_shown_and_a_recording_is_made_and_fetched(
    browser: Chromium, address: str
) -> None:
    browser.open(address)
    browser.until("window.cuestream !== undefined")
    browser.run(
        "document.querySelector('[name=cut_response][value=ignore]').click()"
    )  # or each flash empties the window
    time.sleep(0.3)  # longer than a choice waits for the next one
    browser.run("document.getElementById('start').click()")
    browser.until("document.querySelectorAll('#memorywindow li canvas').length > 2")
    assert browser.run("document.querySelector('[name=cut_response][value=ignore]').checked")
    browser.until("document.querySelectorAll('#memoryold li').length > 1")
    browser.run("document.getElementById('memorywindow').focus()")
    browser.key("ArrowLeft")
    browser.until("document.getElementById('memorycaption').textContent.includes('in the short-term window')")
    browser.run("document.getElementById('start').focus()")
    browser.until("document.getElementById('memorycaption').textContent.includes('long-term memory,')")
    key, held = "document.getElementById('tonality')", MODEL == "starter"
    browser.run(f"{key}.value = 'D'; {key}.dispatchEvent(new Event('change'))")
    browser.until(f"/held to D/.test(document.getElementById('trouble').textContent) !== {json.dumps(held)}")
    assert browser.run(f"{key}.value") == ("D" if held else "seed")
    energy = "document.getElementById('energy')"
    assert browser.run(f"{energy}.getClientRects().length > 0") is held  # where the model sees motion
    browser.run(f"{energy}.value = -0.5; {energy}.dispatchEvent(new Event('input'))")
    browser.until(f"{TURNED}.then((config) => config.energy === -0.5)")
    assert browser.run(f"{energy}.getAttribute('aria-valuetext')") == "\N{MINUS SIGN}0.50"
    assert not browser.run("document.getElementById('recordings').hidden")
    browser.key("r")
    browser.until("/^0:0[2-9]/.test(document.getElementById('record').textContent)")
    keep(browser, None)
    named = (
        "(({ ariaLabel, textContent }) => ariaLabel.includes(textContent))(document.getElementById('record'))"
    )
    assert browser.run(named)  # by what is seen, and said
    browser.key("r")
    browser.until("document.querySelectorAll('#recorded a').length > 0")
    links = browser.run("[...document.querySelectorAll('#recorded a')].map((a) => a.href)")
    assert [link.rpartition("/")[2] for link in links] == ["music.flac", "film.mp4", "timeline.jsonl"]
    for link in links:
        with urllib.request.urlopen(link, timeout=10) as answer:
            assert len(answer.read()) > 1000
    browser.key("r")
    browser.until("document.getElementById('record').textContent === '0:00'")
    browser.run("document.getElementById('start').click()")
    browser.until("document.querySelectorAll('#recorded li').length === 2")
    assert not browser.events


def test_a_list_names_no_chosen_picture_that_it_has_not(browser: Chromium, serve: Serve) -> None:
    with serve(player=SyntheticPlayer()) as served:
        browser.open(served.http)
        assert browser.run(CHOSEN) == [[None, "cell-0"], ["cell-0", None], [None, None]]
