"""examples/page in a real Chromium: a page of another site, which this server knows or does not know."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from served import Serve
from shell_client import soon

from benchmarks.reaction.chromium import Chromium
from engine.synthetic import SyntheticPlayer

ROOT = Path(__file__).parents[2]
PAGE, CLIENT = Path("examples/page/index.html"), Path("server/static/cuestream.js")
ADDRESS = "http://127.0.0.1:8765"
HEARD, OUTPUT = "document.querySelector('span').textContent", "document.querySelector('output').value"

pytestmark = pytest.mark.browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of what the page needs, and the address where it is handed out."""
    for path in (PAGE, CLIENT):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_its_canvas_has_music_where_its_site_is_named(
    browser: Chromium, serve: Serve, site: tuple[Path, str]
) -> None:
    """First where it is not: the client asks three times. Each page has a name of its own, since a browser that asks
    whether a page changed does so in whole seconds."""
    folder, origin = site
    text = (folder / PAGE).read_text()
    with serve(player=SyntheticPlayer(), origins=(origin,)) as served, serve() as other:
        heard, refused = f"parseFloat({HEARD}) > 0.5 && !{OUTPUT}", f"{OUTPUT}.endsWith('--origin {origin}?')"
        for name, server, said in (("refused.html", other, refused), ("heard.html", served, heard)):
            (folder / PAGE).with_name(name).write_text(text.replace(ADDRESS, server.http))
            browser.open(f"{origin}/examples/page/{name}")
            browser.run("document.querySelector('button').click()")
            browser.until(said, 10)
        (session,) = served.host.sessions.values()
        assert session.watching.counts["shown"] > 1
        browser.run("document.querySelector('button').click()")
        soon(lambda: not served.host.sessions)
        assert not other.host.sessions
        assert not browser.events
