"""The websocket /v1/stream: one connection from its upgrade to its close. `docs/protocol.md` is what it does.

What comes is answered at once, and what is said is written at once while the client reads. Two tasks beside that: one sends what
had to wait in the line's outbox and closes at its end, one waits for the other end's close. Nothing waits for the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from server.access.admission import TooOften
from server.access.rates import address_of
from server.access.secrets import bearer
from server.http.websocket import direct
from server.protocol import SUBPROTOCOL
from server.protocol.errors import CLOSES, ErrorCode, error_body
from server.sessions.conversation import Conversation
from server.sessions.host import Host
from server.sessions.outbox import Line, reason_of

logger = logging.getLogger("uvicorn.error")
TOKEN_PREFIX = "cuestream.token."
CLOSE_S = 2.0
"""How long saying goodbye may take."""
UNSAID = (1005, 1006)
"""A close without a code, and a connection that broke."""
LEFT = 1000
"""Of a client that does not come back."""


def _label(code: int) -> str:
    """Clients may send any of three thousand codes; a metric has one series for those that say nothing to us."""
    return str(code) if code in CLOSES or code in UNSAID else "other"


async def stream(websocket: WebSocket) -> None:
    """The route."""
    host: Host = websocket.app.state.host
    if SUBPROTOCOL not in websocket.scope["subprotocols"]:
        refused = error_body("bad_request", f"this server speaks {SUBPROTOCOL}")
        await websocket.send_denial_response(JSONResponse(refused, 400))
        return
    try:
        host.admission.check_connect(address_of(websocket))
    except TooOften as error:
        headers = {"retry-after": str(max(1, round(error.retry_s)))}
        refused = error_body("quota_exceeded", str(error))
        await websocket.send_denial_response(JSONResponse(refused, 429, headers))
        return
    await websocket.accept(subprotocol=SUBPROTOCOL)
    await Connection(host, websocket).run()


def token_of(websocket: WebSocket) -> str | None:
    """From the subprotocols, as browsers send it, or from the header."""
    for name in websocket.scope["subprotocols"]:
        if name.startswith(TOKEN_PREFIX):
            return str(name.removeprefix(TOKEN_PREFIX))
    return bearer(websocket.headers)


class Connection:
    """`_code`: how it ended."""

    def __init__(self, host: Host, websocket: WebSocket) -> None:
        self._host, self._websocket, self._direct = host, websocket, direct(websocket)
        self._limits = host.settings.limits
        self._line = Line(self._limits, self._write)
        self._conversation = Conversation(host, self._line, token_of(websocket), address_of(websocket))
        self._handshake: asyncio.Timeout | None = None
        self._code = 1006

    async def run(self) -> None:
        self._direct.hand_over(self._hear)
        sender = asyncio.create_task(self._send())
        receiver = asyncio.create_task(self._receive())
        try:
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
            if receiver.done() and self._line.closing is not None:
                await asyncio.wait((sender,), timeout=CLOSE_S)
        finally:
            if hosted := self._conversation.hosted:
                hosted.detach(self._host.monotonic(), self._line, left=self._code == LEFT)
            for task in (sender, receiver):
                task.cancel()
            results = await asyncio.gather(sender, receiver, return_exceptions=True)
            self._host.metrics.closes.labels(_label(self._code)).inc()
            self._host.litter()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    # --- sending

    def _write(self, data: str | bytes, since_s: float | None) -> bool:
        written = self._direct.write(data)
        if written:
            self._measure(since_s)
        return written

    def _measure(self, since_s: float | None) -> None:
        if since_s is not None:
            self._host.metrics.overhead.observe(self._host.monotonic() - since_s)

    async def _send(self) -> None:
        """What could not be written at once."""
        with contextlib.suppress(WebSocketDisconnect):
            while (data := await self._line.next()) is not None:
                await (
                    self._websocket.send_text(data)
                    if isinstance(data, str)
                    else self._websocket.send_bytes(data)
                )
                self._measure(self._line.since_s)
            await self._close(self._line.closing or 1000)

    async def _close(self, code: int) -> None:
        self._code = code
        if self._websocket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(TimeoutError, RuntimeError):
                async with asyncio.timeout(CLOSE_S):
                    await self._websocket.close(code, reason_of(code))

    # --- receiving

    def _hear(self, data: str | bytes) -> None:
        try:
            self._conversation.receive(data)
        except Exception:  # the client was told, and the line closes
            logger.exception("a message broke its conversation")
        self._stop_handshake()

    def _stop_handshake(self) -> None:
        if self._handshake and self._conversation.hosted:
            self._handshake.reschedule(None)
            self._handshake = None

    async def _receive(self) -> None:
        """The handshake's deadline, and the end; what is between is heard at once."""
        try:
            async with asyncio.timeout(self._limits.handshake_s) as self._handshake:
                self._stop_handshake()
                ended = await self._websocket.receive()
            self._code = ended.get("code", 1006)
        except TimeoutError:
            self._line.fail(ErrorCode.BAD_HANDSHAKE, f"nothing began within {self._limits.handshake_s} s")
