"""The whole product as one person has it: `cuestream serve` as a process, its page in a real browser, a camera that flashes.

A minute of wall clock; deselect with `-m "not browser"`. The random model plays, since the browser needs the cores;
`CUESTREAM_PAGE_MODEL` names another one, and `CUESTREAM_PAGE_OUT` a folder that keeps the measurements and a picture of the page.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cores import Cores
from benchmarks.reaction.chromium import Chromium

ROOT = Path(__file__).parents[2]
MODEL = os.environ.get("CUESTREAM_PAGE_MODEL", "random-tiny")
PLAY_S = 60
MOST_OTHERS = 0.25
"""Cores that others may use, if a gap in the music is to be our fault."""
EYE = """(() => {
  const video = document.getElementById("preview"), pen = document.createElement("canvas").getContext("2d");
  pen.canvas.width = pen.canvas.height = 8;
  window.flashes = [];
  let bright = false;
  const look = () => {
    pen.drawImage(video, 0, 0, 8, 8);
    const luma = pen.getImageData(0, 0, 8, 8).data.reduce((a, b) => a + b, 0) / 256;
    if (luma > 190 && !bright) window.flashes.push(performance.now());
    bright = luma > 190;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
})()"""
"""Notes when the preview turns bright, on the clock of the page."""
ANSWERS = "window.flashes.map((at) => ({ at, ear: window.cuestream.measure.answeredAt(at) }))"

pytestmark = pytest.mark.browser


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    folder = str(tmp_path / "recordings")
    command = [
        sys.executable,
        "-m",
        "cuestream",
        "serve",
        "--model",
        MODEL,
        "--port",
        "0",
        "--recordings",
        folder,
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "plays at" in line)
        yield re.search(r"http://\S+/", said)[0]  # type: ignore[index]
        process.terminate()


def test_a_minute_in_a_browser_plays_without_a_gap_and_answers_what_the_camera_sees(
    browser: Chromium, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    browser.open(address)
    browser.until("window.cuestream !== undefined")
    browser.run("document.getElementById('start').click()")
    browser.until("window.cuestream.statistics.playback === 'playing'")
    browser.until("window.cuestream.statistics.played > 0")
    browser.run(EYE)
    begun, cores = browser.run("window.cuestream.statistics"), Cores()
    time.sleep(PLAY_S)  # nothing to wait for: the minute is what is looked at
    end, answers = browser.run("window.cuestream.statistics"), browser.run(ANSWERS)
    measured = report(begun, end, answers) | {"others_cores": round(cores.others(), 2)}
    keep(browser, measured)
    with capsys.disabled():
        print(f"\n{json.dumps(measured)}")
    assert end["received"] > begun["received"]
    assert end["sent"] > begun["sent"]
    assert end["pictureToEar"]["p50"] > 0
    assert measured["answered"] >= measured["flashes"] / 2 > 3
    assert measured["cuts"] > 0
    assert not browser.events
    if measured["others_cores"] > MOST_OTHERS:
        pytest.skip(
            f"it plays; not judged whether in time, since others used {measured['others_cores']} cores"
        )
    assert measured["heard_s"] > 0.97 * PLAY_S
    assert end["underruns"] == 0
    assert measured["flashes"] >= PLAY_S - 5
    assert measured["answered"] >= measured["flashes"] - 3  # the last ones are on their way


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
    assert not browser.run("document.getElementById('recordings').hidden")
    browser.key("r")
    browser.until("/^0:0[2-9]/.test(document.getElementById('record').textContent)")
    keep(browser, None)
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


def report(begun: dict[str, Any], end: dict[str, Any], answers: list[dict[str, float]]) -> dict[str, Any]:
    """Milliseconds. answer_ms: from the flash in the preview to the first sound that knew it."""
    late = [answer["ear"] - answer["at"] for answer in answers if answer["ear"] is not None]
    cuts = [cut["heardMs"] - cut["atMs"] for cut in end["cuts"] if cut["heardMs"] is not None]
    return {
        "model": MODEL,
        "heard_s": round((end["played"] - begun["played"]) / 48000, 2),
        "underruns": end["underruns"],
        "concealed_s": round(end["concealed"] / 48000, 2),
        "picture_to_ear_ms": {name: round(value) for name, value in end["pictureToEar"].items()},
        "flashes": len(answers),
        "answered": len(late),
        "flash_to_ear_ms": quartiles(late),
        "cuts": len(cuts),
        "cut_to_ear_ms": quartiles(cuts),
        "pictures_per_s": round((end["sent"] - begun["sent"]) / PLAY_S, 2),
    }


def quartiles(values: list[float]) -> dict[str, int]:
    return {f"p{q}": round(np.percentile(values, q)) for q in (5, 50, 95)} if values else {}


def keep(browser: Chromium, measured: dict[str, Any] | None) -> None:
    """A picture of the page, and what was measured, if somebody asked for them."""
    if folder := os.environ.get("CUESTREAM_PAGE_OUT"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(folder) / ("page.png" if measured else "recording.png"))
        if measured:
            (Path(folder) / "page.json").write_text(json.dumps(measured, indent=1) + "\n")
