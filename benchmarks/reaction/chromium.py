"""A headless Chromium, driven over its DevTools socket: the few words that tests and measurements of a page need.

It is found by CUESTREAM_CHROMIUM or by the names it is installed under; tests skip without it, and say so.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
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
STARTED_S = 60.0
ANSWER_S = 30.0


def find_chromium() -> str | None:
    """The browser's path, None when there is none."""
    chosen = os.environ.get("CUESTREAM_CHROMIUM")
    names = [chosen] if chosen else NAMES
    return next((found for name in names if (found := shutil.which(name))), None)


class Chromium:
    """One window. folder: an empty one of its own. camera: a Y4M or MJPEG file that the fake camera repeats."""

    def __init__(self, path: str, folder: Path, camera: Path, size: tuple[int, int] = (1360, 1900)) -> None:
        flags = [f"--user-data-dir={folder}", f"--use-file-for-fake-video-capture={camera}"]
        flags.append("--window-size={},{}".format(*size))
        self._process = subprocess.Popen(
            [path, *FLAGS, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._ids = itertools.count(1)
        self._site = ""
        self.events: list[dict[str, Any]] = []
        """Errors and warnings of the page's console, and exceptions."""
        try:
            self._line = connect(self._address(folder), compression=None, max_size=None)
            self._socket = self._line.__enter__()
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.__exit__(None, None, None)
        self.close()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _address(self, folder: Path) -> str:
        """Of the window's own socket, once the browser has chosen its port."""
        end_s = time.monotonic() + STARTED_S
        told = folder / "DevToolsActivePort"
        while time.monotonic() < end_s:
            if told.exists() and (lines := told.read_text().split()):
                with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
                    pages = [target for target in json.load(answer) if target["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            time.sleep(0.1)
        raise TimeoutError("Chromium did not start")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        end_s = time.monotonic() + ANSWER_S
        while True:
            message = json.loads(self._socket.recv(timeout=max(0.0, end_s - time.monotonic())))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self._note(message)

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
        """The value of an expression in the page, awaited; a thrown exception is a RuntimeError."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, script: str, within_s: float = STARTED_S) -> Any:
        """Wait until an expression is true; its value."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{script} was not true within {within_s:g} s; {self.events[-3:]}")

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
