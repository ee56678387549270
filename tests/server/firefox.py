"""A headless Firefox, driven over WebDriver BiDi in the words of `benchmarks.reaction.chromium`.

It is found by CUESTREAM_FIREFOX or by the names it is installed under; tests skip without it, and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.reaction.browser import Browser

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


def find_firefox() -> str | None:
    """The browser's path, None when there is none."""
    chosen = os.environ.get("CUESTREAM_FIREFOX")
    names = [chosen] if chosen else NAMES
    return next((found for name in names if (found := shutil.which(name))), None)


class Firefox(Browser):
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
        self._told, self._size = folder / "WebDriverBiDiServer.json", size
        super().__init__(
            subprocess.Popen(
                [*command, "about:blank"],
                env=os.environ | {"HOME": str(folder), "PULSE_SERVER": sound},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def _told_address(self) -> str | None:
        if not self._told.exists() or not (text := self._told.read_text()):
            return None
        return f"ws://127.0.0.1:{json.loads(text)['ws_port']}/session"

    def _begin(self) -> None:
        self.command("session.new", {"capabilities": {}})
        self.command("session.subscribe", {"events": ["log.entryAdded"]})
        self._context = self.command("browsingContext.getTree", {})["contexts"][0]["context"]
        width, height = self._size
        self.call("browsingContext.setViewport", viewport={"width": width, "height": height})

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A BiDi command for the window, and its result."""
        return self.command(method, {"context": self._context, **params})

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
        expression = f"(async () => JSON.stringify(await eval({json.dumps(script)})) ?? 'null')()"
        asked = {"expression": expression, "target": {"context": self._context}, "awaitPromise": True}
        result = self.command("script.evaluate", asked)
        if result["type"] == "exception":
            raise RuntimeError(f"{script}: {result['exceptionDetails']['text']}")
        return json.loads(result["result"]["value"])

    def click(self, selector: str) -> None:
        """As a mouse does, where the browser asks whether it was the user."""
        found = self.call("browsingContext.locateNodes", locator={"type": "css", "value": selector})["nodes"][
            0
        ]
        origin = {"type": "element", "element": {"sharedId": found["sharedId"]}}
        moves = [{"type": "pointerMove", "x": 0, "y": 0, "origin": origin}]
        moves += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self.call("input.performActions", actions=[{"type": "pointer", "id": "mouse", "actions": moves}])
