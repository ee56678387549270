"""A headless Firefox, driven over WebDriver BiDi in the words of `benchmarks.reaction.chromium`.

It is found by CUESTREAM_FIREFOX or by the names it is installed under; tests skip without it, and say so.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("firefox-esr", "firefox")
PREFS: dict[str, Any] = {
    "media.navigator.streams.fake": True,  # a camera without a device: one colour, which changes slowly
    "media.navigator.permission.disabled": True,  # nobody is asked
    "ui.prefersReducedMotion": 1,  # as Chromium's, for the same reason
    "devtools.jsonview.enabled": False,  # it is a page of its own, which runs no script of ours
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
"""That sounds need a click is left as it is."""
STARTED_S = 60.0
ANSWER_S = 30.0


def find_firefox() -> str | None:
    """The browser's path, None when there is none."""
    chosen = os.environ.get("CUESTREAM_FIREFOX")
    names = [chosen] if chosen else NAMES
    return next((found for name in names if (found := shutil.which(name))), None)


class Firefox:
    """One window. folder: an empty one of its own. sound: of the PulseAudio server that it plays to."""

    def __init__(self, path: str, folder: Path, sound: str, size: tuple[int, int] = (1360, 1900)) -> None:
        prefs = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFS.items()]
        folder.mkdir()
        (folder / "user.js").write_text("".join(prefs))
        command = [
            path,
            "--headless",
            "--no-remote",
            "--profile",
            str(folder),
            "--remote-debugging-port",
            "0",
        ]
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            env=os.environ | {"HOME": str(folder), "PULSE_SERVER": sound},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._ids = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        """Errors and warnings of the page's console, and exceptions."""
        try:
            self._line = connect(self._address(folder), compression=None, max_size=None)
            self._socket = self._line.__enter__()
            self._session("session.new", capabilities={})
            self._session("session.subscribe", events=["log.entryAdded"])
            self._context = self._session("browsingContext.getTree")["contexts"][0]["context"]
            self.call(
                "browsingContext.setViewport", viewport=dict(zip(("width", "height"), size, strict=True))
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Firefox:
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
        """Of the browser's socket, once it has chosen its port."""
        end_s = time.monotonic() + STARTED_S
        told = folder / "WebDriverBiDiServer.json"
        while time.monotonic() < end_s:
            if told.exists() and (text := told.read_text()):
                return f"ws://127.0.0.1:{json.loads(text)['ws_port']}/session"
            time.sleep(0.1)
        raise TimeoutError("Firefox did not start")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A BiDi command for the window, and its result."""
        return self._session(method, context=self._context, **params)

    def _session(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        end_s = time.monotonic() + ANSWER_S
        while True:
            message = json.loads(self._socket.recv(timeout=max(0.0, end_s - time.monotonic())))
            if message.get("id") == number:
                if message["type"] == "error":
                    raise RuntimeError(f"{method}: {message['error']}: {message['message']}")
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "log.entryAdded" and message["params"]["level"] in ("error", "warn"):
            self.events.append(message["params"])

    def open(self, url: str) -> None:
        """What the page before it said is forgotten."""
        self.events.clear()
        self.call("browsingContext.navigate", url=url, wait="complete")

    def reload(self) -> None:
        self.call("browsingContext.reload", wait="complete")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited; a thrown exception is a RuntimeError."""
        expression = f"(async () => JSON.stringify(await eval({json.dumps(script)})) ?? 'null')()"
        target = {"context": self._context}
        result = self._session("script.evaluate", expression=expression, target=target, awaitPromise=True)
        if result["type"] == "exception":
            raise RuntimeError(f"{script}: {result['exceptionDetails']['text']}")
        return json.loads(result["result"]["value"])

    def until(self, script: str, within_s: float = STARTED_S) -> Any:
        """Wait until an expression is true; its value."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{script} was not true within {within_s:g} s; {self.events[-3:]}")

    def click(self, selector: str) -> None:
        """As a mouse does, where the browser asks whether it was the user."""
        found = self.call("browsingContext.locateNodes", locator={"type": "css", "value": selector})["nodes"][
            0
        ]
        origin = {"type": "element", "element": {"sharedId": found["sharedId"]}}
        moves = [{"type": "pointerMove", "x": 0, "y": 0, "origin": origin}]
        moves += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self.call("input.performActions", actions=[{"type": "pointer", "id": "mouse", "actions": moves}])
