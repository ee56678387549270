"""The oldest browsers that do, as sdk/js/build.mjs names them: nothing newer is used, and an older one is told so.

Run the other tests of the page in such a browser by CUESTREAM_CHROMIUM.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from served import Serve

from benchmarks.reaction.chromium import Chromium
from engine.synthetic import SyntheticPlayer

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "sdk" / "js" / "build.mjs"
SAYING = ("docs/live.md", "sdk/js/README.md", "server/static/old.js")
PAGES = ("server/static/*.js", "server/static/*.html", "server/static/*.css", "examples/page/*.html")
NEWER = (
    r"AbortSignal\.(any|timeout)",
    r"\bArray\.fromAsync",
    r"\bObject\.(groupBy|hasOwn)",
    r"\bPromise\.(try|withResolvers)",
    r"\b(reportError|structuredClone)\(",
    r"\.(checkVisibility|findLast|findLastIndex|getSetCookie|isWellFormed|replaceSync|showPicker)\(",
    r"\.(toReversed|toSorted|toSpliced|toWellFormed|throwIfAborted|with)\(",
    r"\(\?<[=!]",
    r":has\(|@container|@layer|\b(color-mix|light-dark)\(|\b\d+(dvh|dvw|svh|lvh|cqw)\b|:popover-open|\bpopover=|\binert\b",
)
"""What one of the oldest lacks (MDN's compatibility data) and is soon written by habit; of syntax the build takes care."""
FLOOR = "delete Array.prototype.at"


def test_the_page_uses_nothing_that_the_oldest_browsers_lack() -> None:
    files = [path for pattern in PAGES for path in ROOT.glob(pattern)]
    assert len(files) > 14
    for path in files:
        text = path.read_text("utf-8")
        found = [name for name in NEWER if re.search(name, text)]
        assert (path.name, found) == (path.name, [])


def test_the_oldest_browsers_are_the_same_wherever_they_are_named() -> None:
    (oldest,) = re.findall(r"^const OLDEST = (\[.*\]);$", BUILD.read_text("utf-8"), re.MULTILINE)
    versions = [re.sub(r"[a-z]+", "", name) for name in json.loads(oldest)]
    assert len(versions) == 3
    for name in SAYING:
        text = (ROOT / name).read_text("utf-8")
        (said,) = re.findall(r"version (\S+)\s+on, Firefox from (\S+), Safari from ([\d.]+\d)", text)
        assert (name, list(said)) == (name, versions)


@pytest.mark.browser
@pytest.mark.parametrize("page", ["/", "/obs?session=show", "/control?session=show"])
def test_a_browser_that_is_too_old_is_told_so(browser: Chromium, serve: Serve, page: str) -> None:
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=FLOOR)
    with serve(player=SyntheticPlayer()) as served:
        browser.open(served.http + page)
        said = browser.run("document.body.innerText")
        assert said.startswith("This browser is too old for this page.")
        assert browser.run("document.querySelectorAll('main h1').length") == 1
    browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)
