"""A window of a browser that takes commands over a websocket, as DevTools and WebDriver BiDi do: what such browsers share."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from abc import ABC, abstractmethod
from typing import Any, Self

from websockets.sync.client import connect

STARTED_S = 60.0
ANSWER_S = 30.0


class Browser(ABC):
    """events: errors and warnings of the page's console, and exceptions."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Ends the process if it takes no commands."""
        self._process = process
        self._ids = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        try:
            self._line = connect(self._address(), compression=None, max_size=None)
            self._socket = self._line.__enter__()
            self._begin()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _told_address(self) -> str | None:
        """Of the socket for commands, once it is known."""

    @abstractmethod
    def _begin(self) -> None:
        """The first commands."""

    @abstractmethod
    def _note(self, message: dict[str, Any]) -> None:
        """What the browser tells by itself."""

    @abstractmethod
    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited; a thrown exception is a RuntimeError."""

    def __enter__(self) -> Self:
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

    def _address(self) -> str:
        end_s = time.monotonic() + STARTED_S
        while time.monotonic() < end_s:
            if told := self._told_address():
                return told
            time.sleep(0.1)
        raise TimeoutError(f"{type(self).__name__} did not start")

    def command(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One of the browser's own, and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        end_s = time.monotonic() + ANSWER_S
        while True:
            message = json.loads(self._socket.recv(timeout=max(0.0, end_s - time.monotonic())))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']} {message.get('message', '')}")
                return dict(message["result"])
            self._note(message)

    def until(self, script: str, within_s: float = STARTED_S) -> Any:
        """Wait until an expression is true; its value."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{script} was not true within {within_s:g} s; {self.events[-3:]}")
