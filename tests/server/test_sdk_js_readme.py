"""What the README of the TypeScript client shows runs as it stands in a real Chromium, in a page of this server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Serve, Served
from shell_client import soon

from benchmarks.reaction.chromium import Chromium
from engine.synthetic import SyntheticPlayer

README = Path(__file__).parents[2] / "sdk" / "js" / "README.md"
IMPORT = re.compile(r'^import .* from "@cuestream/client";$', re.MULTILINE)
PAGE = """
    Object.assign(globalThis, await import("/static/cuestream.js"));
    document.body.innerHTML = "<button></button>";
    globalThis.audio = new Audio();
    globalThis.shown = [];
    globalThis.show = (config) => shown.push(config);
    globalThis.said = [];
    globalThis.say = (text) => said.push(text);
    const fetched = fetch;
    globalThis.fetch = (url, request) => fetched(url === "/my/session" ? "/v1/sessions" : url, request);"""
"""What its reader has around it: a page with a button, and a backend that asks for sessions."""
JPEGS = """
    const canvas = new OffscreenCanvas(64, 36);
    canvas.getContext("2d").fillRect(0, 0, 64, 36);
    const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg" })).arrayBuffer());
    globalThis.jpegs = (async function* () {
      while (!globalThis.heard) {
        yield bytes;
        await new Promise((done) => setTimeout(done, 50));
      }
    })();
    globalThis.write = (samples) => (globalThis.heard = samples.length);"""
"""A film that goes on until its music is heard."""
PLAYING = """
    globalThis.player = await MusicPlayer.open();
    globalThis.client = new Client();
    client.on("music", (chunk) => (globalThis.chunk = chunk));
    client.play();
    await client.connect();
    globalThis.stream = await camera();
    new Shutter(client, stream.getVideoTracks()[0]);"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("recordings")
    with serve(player=SyntheticPlayer(), ice_addresses=("127.0.0.1",), recordings=folder) as served:
        yield served


@pytest.fixture
def page(browser: Chromium, server: Served) -> Chromium:
    browser.open(f"{server.http}/healthz")
    browser.run("sessionStorage.clear()")
    run(browser, PAGE)
    return browser


def run(page: Chromium, script: str) -> Any:
    """With `await`; what it declares outside of everything is there for the next one."""
    names = ", ".join(re.findall(r"^const (\w+)", script, re.MULTILINE))
    return page.run(f"(async () => {{ {script}\nObject.assign(globalThis, {{ {names} }}); }})()")


def example(about: str) -> str:
    """The only one with these words."""
    blocks = re.findall(r"```js\n(.*?)```", README.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if about in block)
    return IMPORT.sub("", found).replace("=> ...", "=> {}")


def test_it_begins_by_a_click(page: Chromium, server: Served) -> None:
    known = set(server.host.sessions)
    run(page, example("await camera()"))
    page.run("document.querySelector('button').click()")
    soon(lambda: server.host.sessions.keys() - known)
    (session,) = server.host.sessions.keys() - known
    soon(lambda: server.host.sessions[session].core.state == "playing")


def test_a_backend_invites_it(page: Chromium) -> None:
    run(page, example("{ invite }"))
    assert page.run("client.connect().then(() => client.session.id)")


def test_everything_can_be_turned_and_listened_to(page: Chromium) -> None:
    run(page, f"{PLAYING} player.connect(client);")
    page.until("player.played", 10)
    run(page, example("client.update"))
    page.until("client.config.gain_db === -6 && client.config.short_term_s === 4 && shown.length", 10)


def test_a_loudspeaker_of_ones_own_says_what_was_heard(page: Chromium) -> None:
    run(page, PLAYING)
    page.until("globalThis.chunk", 10)
    run(
        page,
        "Object.assign(globalThis, { session: chunk.session, playedThrough: chunk.end });"
        "Object.assign(globalThis, { bufferMs: 0, underruns: 0, clockPpm: 0 });",
    )
    run(page, example("client.report"))
    assert page.run("client.failure") is None


def test_a_reload_finds_its_ticket(page: Chromium) -> None:
    run(page, "globalThis.player = await MusicPlayer.open();")
    run(page, example("savedTicket()"))
    page.run("client.connect()")
    page.until("savedTicket() !== null", 10)


def test_a_film_is_scored_picture_by_picture(page: Chromium, server: Served) -> None:
    """As a script in Node does it."""
    run(page, JPEGS)
    run(page, example("of jpegs").replace("http://127.0.0.1:8765", server.http))
    assert page.run("[client.failure, client.session.hasEnded, heard > 0]") == [None, True, True]


def test_a_peer_connection_brings_the_music(page: Chromium) -> None:
    pytest.importorskip("aiortc", reason="WebRTC needs cuestream[webrtc]")
    run(page, "globalThis.stream = await camera();")
    run(page, example("iceServers: []"))
    page.run("client.on('state', (state) => shown.push(state.health)), client.play(), client.connect()")
    page.until("audio.srcObject && shown.includes('on_time')", 10)


def test_what_others_show_is_heard(page: Chromium) -> None:
    pytest.importorskip("aiortc", reason="WebRTC needs cuestream[webrtc]")
    run(page, f"{PLAYING} globalThis.urls = client.urls;")
    page.run(f"void (async () => {{ {example('WhepPlayer')} }})()")
    page.until("audio.srcObject !== null", 10)
    run(page, "audio.srcObject = null, audio.autoplay = true")
    run(page, example("urls.audio"))
    page.until("audio.readyState > 0", 10)  # it has begun to read it; when it plays is the browser's


def test_what_fails_is_said(browser: Chromium, server: Served, serve: Serve) -> None:
    """A site that is not known, a wrong key, a setting that is out of range, a line that breaks."""
    with serve(player=SyntheticPlayer(), api_key="a key for tests") as keyed:
        browser.open(f"{keyed.http}/healthz")
        run(browser, PAGE)
        for client, told in (
            (f"{{ url: '{server.http}' }}", f"Unreachable: .* was it started with --origin {keyed.http}"),
            ("{ key: 'another' }", "Refused: that is not this server.s key"),
            ("{ key: 'a key for tests' }", "open"),
        ):
            run(browser, f"globalThis.client = new Client({client}), said.length = 0;")
            run(browser, example("say("))
            browser.until(f"/^{told}/.test(said.at(-1))".replace("://", ":.."), 10)
        browser.run("client.update({ gain_db: 99 })")
        browser.until("said.at(-1).startsWith('bad_request: ')", 10)
        browser.run("client.line.close(1006)")
        browser.until("said.at(-1) === 'open'", 10)
        assert "closed with 1006; again in 0 ms" in browser.run("said")
        browser.run("client.close()")
        assert browser.run("client.failure") is None


def test_the_shortest_way_has_its_options(page: Chromium) -> None:
    run(
        page,
        "globalThis.video = (await camera()).getVideoTracks()[0], globalThis.onMusic = () => {};",
    )
    run(page, example("targetS"))
    assert page.run("player instanceof MusicPlayer && transport instanceof RtcTransport")
