"""The TypeScript client in a real Chromium against this server: breaks of the line, a reload of the page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from served import Serve, Served

from benchmarks.reaction.chromium import Chromium
from benchmarks.reaction.window import begin
from engine.synthetic import LABEL, SyntheticPlayer

pytestmark = pytest.mark.browser


def listen(browser: Chromium, served: Served) -> None:
    begin(browser, served.http, "websocket")
    browser.until("reaction.player.played?.playing && reaction.client.ticket")


@pytest.fixture
def patient(serve: Serve) -> Iterator[Served]:
    """A server that leaves out nothing of a gap, however slow this machine is just now."""
    with serve(player=SyntheticPlayer(), catch_up_ms=20_000) as served:
        yield served


def test_what_a_page_said_is_forgotten_with_it(browser: Chromium, patient: Served) -> None:
    browser.run("console.error('of the page before')")
    assert browser.events
    browser.open(f"{patient.http}/healthz")
    assert not browser.events


def test_no_sample_is_lost_or_doubled_by_breaks_of_the_line(browser: Chromium, patient: Served) -> None:
    listen(browser, patient)
    session = browser.run("reaction.client.session.id")
    for resumed, code in enumerate((1012, 1011, 1001), 1):
        seen = browser.run("reaction.notes.chunks.length")
        patient.on_loop(lambda code=code: patient.host.sessions[session].line.hang_up(code))
        browser.until(f"reaction.client.stats.resumed === {resumed}")
        browser.until(f"reaction.notes.chunks.length > {seen + 30}")
    chunks: list[list[int]] = browser.run("reaction.notes.chunks")
    assert {number for number, _, _ in chunks} == {1}
    assert [pair for pair in pairwise(chunks) if pair[0][2] != pair[1][1]] == []
    lines = browser.run("reaction.notes.lines")
    assert [line for line in lines if line.startswith("lost")] == ["lost 1012", "lost 1011", "lost 1001"]
    browser.run("reaction.client.close()")
    assert browser.run("reaction.client.failure") is None
    assert "session.ended" in browser.run("reaction.notes.messages")


def test_a_session_that_is_gone_is_begun_anew_and_plays(browser: Chromium, patient: Served) -> None:
    listen(browser, patient)
    session = browser.run("reaction.client.session.id")
    browser.run("reaction.client.update({gain_db: -6.5})")
    browser.until("reaction.client.config.gain_db === -6.5")

    def forget() -> None:
        hosted = patient.host.sessions.pop(session)
        hosted.line.hang_up(1011)

    patient.on_loop(forget)
    browser.until("reaction.client.stats.sessions === 2 && reaction.notes.chunks.at(-1)[0] === 2")
    assert browser.run("reaction.client.session.id") != session
    assert browser.run("reaction.client.config.gain_db") == -6.5
    browser.run("reaction.client.close()")


def test_a_reload_goes_on_with_the_session_and_the_camera(browser: Chromium, serve: Serve) -> None:
    statistics = "window.cuestream?.statistics"
    with serve(player=SyntheticPlayer()) as served:
        browser.open(served.http)
        browser.until("window.cuestream !== undefined")
        assert browser.run("`${model.textContent} ${label.textContent}`") == LABEL  # its name stands once
        browser.run("document.getElementById('start').click()")
        browser.until(f"{statistics}.played > 48000 && sessionStorage.getItem('cuestream.ticket')")
        before: dict[str, Any] = browser.run(statistics)
        browser.call("Page.reload")
        browser.until(f"{statistics}?.resumed === 1 && {statistics}.sent > 3")
        browser.until(f"{statistics}.playback === 'playing' && {statistics}.pictureToEar?.p50 < 2000")
        after: dict[str, Any] = browser.run(statistics)
        assert after["session"] == before["session"]
        assert after["played"] > before["played"]
        assert list(served.host.sessions) == [before["session"]]
        browser.run("document.getElementById('start').click()")
        browser.until("document.getElementById('start').textContent === 'Start'")
        assert browser.run("sessionStorage.getItem('cuestream.ticket')") is None
        assert not browser.events
