"""WebKitGTK's browser on a display that nobody sees, driven by WebDriver: the engine of Safari, where there is no Safari.

It needs WebKitWebDriver, MiniBrowser and Xvfb: `apt-get install webkit2gtk-driver xvfb`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NEEDED = ("WebKitWebDriver", "Xvfb")
SETTINGS = ("--automation", "--enable-media-stream=true", "--enable-mock-capture-devices=true")
STARTED_S = 30.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""How WebDriver names an element. Source: W3C WebDriver, 11."""
AWAITED = """const done = arguments[arguments.length - 1];
(async () => (%s))().then((value) => done({ value }), (error) => done({ error: String(error) }));"""


def missing() -> str | None:
    """What is not installed, None when all is."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if find_minibrowser() is None:
        absent.append("MiniBrowser")
    return f"no {', '.join(absent)}: apt-get install webkit2gtk-driver xvfb" if absent else None


def find_minibrowser() -> Path | None:
    return next(Path("/usr").glob("lib*/**/webkit2gtk-4.*/MiniBrowser"), None)


class WebKit:
    """One window, without anything that another one kept. driver: where WebKitWebDriver makes windows."""

    def __init__(self, driver: str) -> None:
        options = {"binary": str(find_minibrowser()), "args": list(SETTINGS)}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        self._address = driver
        told = self._call("POST", "", {"capabilities": wanted})
        self._address = f"{driver}/{told['sessionId']}"

    def close(self) -> None:
        self._call("DELETE", "")

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited; a thrown exception is a RuntimeError."""
        answer = self._call("POST", "/execute/async", {"script": AWAITED % script, "args": []})
        if "error" in answer:
            raise RuntimeError(f"{script}: {answer['error']}")
        return answer.get("value")

    def until(self, script: str, within_s: float = STARTED_S) -> Any:
        """Wait until an expression is true; its value."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{script} was not true within {within_s:g} s")

    def click(self, selector: str) -> None:
        """As the user does: what a page may do in a gesture alone, it may do now."""
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Into a field; a path into one for files."""
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def _find(self, selector: str) -> str:
        return str(self._call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One command of WebDriver, and its value."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._address}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=STARTED_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{path}: {error.read().decode()}") from None
        except TimeoutError:
            raise TimeoutError(f"{method} {path} {body}: no answer within {STARTED_S:g} s") from None


@contextlib.contextmanager
def webkit() -> Iterator[WebKit]:
    with display() as shown, driver(shown) as address:
        window = WebKit(address)
        try:
            yield window
        finally:
            window.close()


@contextlib.contextmanager
def display() -> Iterator[str]:
    """Xvfb chooses a number that is free, and says it."""
    ours, its = os.pipe()
    command = ["Xvfb", "-displayfd", str(its), "-screen", "0", "1360x1900x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=(its,), stderr=subprocess.DEVNULL) as process:
        try:
            os.close(its)
            with os.fdopen(ours) as told:
                yield f":{told.readline().strip()}"
        finally:
            process.terminate()


@contextlib.contextmanager
def driver(shown: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["WebKitWebDriver", f"--port={port}", "--host=127.0.0.1"]
    around = {**os.environ, "DISPLAY": shown}
    with subprocess.Popen(
        command, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            await_port(port)
            yield f"http://127.0.0.1:{port}/session"
        finally:
            process.terminate()


def await_port(port: int) -> None:
    end_s = time.monotonic() + STARTED_S
    while time.monotonic() < end_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise TimeoutError("WebKitWebDriver did not start")
