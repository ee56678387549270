"""One connection to obs-websocket 5: requests and their answers, and the events that came meanwhile.

Source: github.com/obsproject/obs-websocket, docs/generated/protocol.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import deque
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from cuestream_client.errors import ClientError

HELLO, IDENTIFY, IDENTIFIED, EVENT, REQUEST, RESPONSE = 0, 1, 2, 5, 6, 7
RPC_VERSION = 1
SCENE_EVENTS = 1 << 2
NOT_FOUND, NOT_CREATED = 600, 700
WRONG_PASSWORD = 4009
CONNECT_S, ANSWER_S = 5.0, 10.0
MAX_MESSAGE = 32 * 1024 * 1024
MOST_EVENTS = 64


class ObsError(ClientError):
    """OBS refused a request, or is not to be reached. code: obs-websocket's status of the request, 0 for the rest."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class Obs:
    """`with Obs(url, password) as obs: obs.ask("GetVersion")`. For one thread. events: whether changes of scene are told."""

    def __init__(self, url: str, password: str = "", events: bool = False) -> None:
        """Raises ObsError."""
        self.url, self._numbers = url, 0
        self._events: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MOST_EVENTS)  # full: the oldest goes
        self._ends = ExitStack()
        try:
            self._line = self._ends.enter_context(_connected(url))
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            said = "in OBS: Tools, WebSocket Server Settings, Enable WebSocket server"
            raise ObsError(f"{url}: OBS does not answer ({error}); {said}") from error
        try:
            self._identify(password, events)
        except BaseException:
            self._ends.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def ask(self, request: str, **data: Any) -> dict[str, Any]:
        """The answer's data. Raises ObsError."""
        self._numbers += 1
        number = str(self._numbers)
        self._send(REQUEST, {"requestType": request, "requestId": number, "requestData": data})
        while True:
            code, answer = self._receive(ANSWER_S)
            if code == RESPONSE and answer.get("requestId") == number:
                break
        status = answer["requestStatus"]
        if not status["result"]:
            comment = status.get("comment", "it was refused")
            raise ObsError(f"OBS: {request}: {comment}", status["code"])
        return dict(answer.get("responseData") or {})

    def find(self, request: str, **data: Any) -> dict[str, Any] | None:
        """The same; None for what is not there."""
        try:
            return self.ask(request, **data)
        except ObsError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def event(self, within_s: float) -> tuple[str, dict[str, Any]] | None:
        """The next event and its data; None when none came in that time. Raises ObsError when the connection is over."""
        if not self._events:
            with suppress(TimeoutError):
                self._read(within_s)
        return self._events.popleft() if self._events else None

    # --- the line

    def _identify(self, password: str, events: bool) -> None:
        code, hello = self._receive(CONNECT_S)
        if code != HELLO:
            raise ObsError(f"{self.url} is not an obs-websocket of version 5")
        said: dict[str, Any] = {
            "rpcVersion": RPC_VERSION,
            "eventSubscriptions": SCENE_EVENTS if events else 0,
        }
        if asked := hello.get("authentication"):
            said["authentication"] = answer_to(password, asked["salt"], asked["challenge"])
        self._send(IDENTIFY, said)
        while self._receive(CONNECT_S)[0] != IDENTIFIED:
            pass

    def _send(self, code: int, data: dict[str, Any]) -> None:
        try:
            self._line.send(json.dumps({"op": code, "d": data}))
        except ConnectionClosed as error:
            raise _over(error) from error

    def _receive(self, within_s: float) -> tuple[int, dict[str, Any]]:
        """The message that has to come by then."""
        try:
            return self._read(within_s)
        except TimeoutError as error:
            raise ObsError(f"{self.url}: OBS said nothing for {within_s:g} s") from error

    def _read(self, within_s: float) -> tuple[int, dict[str, Any]]:
        """A message; what is an event is kept besides. Raises TimeoutError where none comes, and ObsError."""
        try:
            message = json.loads(self._line.recv(timeout=within_s))
            code, data = int(message["op"]), dict(message["d"])
        except ConnectionClosed as error:
            raise _over(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ObsError(f"{self.url} is not an obs-websocket of version 5") from error
        if code == EVENT:
            self._events.append((str(data.get("eventType")), dict(data.get("eventData") or {})))
        return code, data


def _connected(url: str) -> ClientConnection:
    return connect(
        url,
        subprotocols=[Subprotocol("obswebsocket.json")],
        open_timeout=CONNECT_S,
        max_size=MAX_MESSAGE,
        compression=None,
        proxy=None,
    )


def answer_to(password: str, salt: str, challenge: str) -> str:
    """obs-websocket's proof that the password is known, without saying it."""
    secret = base64.b64encode(hashlib.sha256((password + salt).encode()).digest())
    return base64.b64encode(hashlib.sha256(secret + challenge.encode()).digest()).decode()


def _over(error: ConnectionClosed) -> ObsError:
    code = error.rcvd.code if error.rcvd else 0
    if code == WRONG_PASSWORD:
        return ObsError("OBS wants its websocket password: --obs-password, or OBS_WEBSOCKET_PASSWORD", code)
    return ObsError(f"OBS closed the connection ({error})", code)
