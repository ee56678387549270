"""A headless Chromium, driven over its DevTools socket: the few words that tests and measurements of a page need.

It is found by CUESTREAM_CHROMIUM or by the names it is installed under; tests skip without it, and say so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.reaction.browser import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--window-size=1360,1900",
    "--no-sandbox",  # of a container; the pages are ours
    "--disable-gpu",
    "--force-prefers-reduced-motion",  # there is no GPU: drawing 25 times a second would take a core from the music
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--remote-debugging-address=127.0.0.1",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """The browser's path, None when there is none."""
    chosen = os.environ.get("CUESTREAM_CHROMIUM")
    names = [chosen] if chosen else NAMES
    return next((found for name in names if (found := shutil.which(name))), None)


class Chromium(Browser):
    """One window. folder: an empty one of its own. camera: a Y4M or MJPEG file that the fake camera repeats."""

    def __init__(self, path: str, folder: Path, camera: Path) -> None:
        folder.mkdir(exist_ok=True)  # headless shells write nothing into one that is not there
        flags = [f"--user-data-dir={folder}", f"--use-file-for-fake-video-capture={camera}"]
        self._told, self._site = folder / "DevToolsActivePort", ""
        command = [path, *FLAGS, *flags, "about:blank"]
        super().__init__(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def _told_address(self) -> str | None:
        """Of the window's own socket, once the browser has chosen its port."""
        if not self._told.exists() or not (lines := self._told.read_text("utf-8").split()):
            return None
        with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        return str(pages[0]["webSocketDebuggerUrl"]) if pages else None

    def _begin(self) -> None:
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command and its result."""
        return self.command(method, params)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        entry = params.get("entry", {})
        if entry.get("url", "").endswith("/favicon.ico"):
            return  # asked for by the browser, not by a page
        if not entry.get("url", self._site).startswith(self._site):
            return  # of a page before this one, whose server is gone
        loud = params.get("type") in ("error", "warning") or entry.get("level") == "error"
        if message.get("method") == "Runtime.exceptionThrown" or loud:
            self.events.append(params)

    def open(self, url: str) -> None:
        """What the page before it said is forgotten: its server may have ended."""
        self.events.clear()
        self._site = "://".join(urlsplit(url)[:2])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def key(self, name: str) -> None:
        """Press a key: a letter, or a name such as ArrowLeft."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """The window as a PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
