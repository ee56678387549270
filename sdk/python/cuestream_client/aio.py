"""The client for asyncio: a `Session` on websockets.

    async with AsyncClient("http://127.0.0.1:8765") as client:
        await client.play()
        await client.push(frame)
        async for chunk in client.audio():
            ...

One task keeps the connection: it reads into bounded queues, writes what the session has to say, and connects again when the line
breaks. A picture is encoded in a worker thread, everything else is too short to matter to the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from email.message import Message
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from cuestream_client import messages as m
from cuestream_client import rest
from cuestream_client.closes import BROKEN, Patience
from cuestream_client.comeback import Next
from cuestream_client.control import check
from cuestream_client.errors import ClientError, Closed, Refused, Unreachable, Untrusted
from cuestream_client.invite import Invite, invited
from cuestream_client.latest import Latest
from cuestream_client.music import Chunk
from cuestream_client.pictures import Form, Frame, Pictures
from cuestream_client.session import Picture, Playout, Session, Wish
from cuestream_client.stats import Stats
from cuestream_client.ticket import read, written

QUEUED_CHUNKS = 1024
"""20 s of chunks of 20 ms; a server that keeps to its credit of at most 10 s never fills it."""
QUEUED_EVENTS = 256
TICK_S = 0.05
CONNECT_S = 10.0
MAX_MESSAGE = 1024 * 1024
END_S = 3.0
"""How long `aclose` waits for the server's goodbye."""
PATH = "/v1/stream"


class AsyncClient:
    """See the module. url: ws, wss, http or https; without a path it is /v1/stream. token: goes into a header, never an address.

    name: of the session, so that others can hear it there; the server draws one when it is left out.
    invite: instead of these three: asks a backend of yours for what `rest.invitation` gave there, for each session that begins.
    ticket: of a client that left its session (`detach`); where that waits no more, another one begins.
    config: what to turn from the start, as `update` takes it. audio: how the music should come, PCM. pictures: how frames travel;
    raw ones where the server allows them. tls: whom to trust at wss, the system's authorities when it is left out.
    """

    def __init__(
        self,
        url: str = "",
        *,
        token: str | None = None,
        name: str | None = None,
        invite: Invite | None = None,
        ticket: str | None = None,
        config: dict[str, Any] | None = None,
        audio: m.AudioFormat | None = None,
        pictures: Form = "jpeg",
        patience: Patience | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        wish = Wish(audio or Wish().audio, m.patch({} if config is None else config))
        if invite and (url or token or name):
            raise ValueError(
                "invite says where the session is, and brings its token and its name: give it alone"
            )
        left = None if ticket is None else read(ticket, time.time())
        place = url if invite else address(url)
        self.session = Session(place, wish, patience, clock, random.random, left)
        rest.bearing(token)
        self.urls: Mapping[str, Any] = left.urls if left else {}
        """Where the session is heard and turned otherwise, by kind; once it was invited, or asked for by its name."""
        self._token, self._name, self._tls, self._invite = token, name, tls, invite
        self._pictures = Pictures(pictures)
        self._chunks: Latest[Chunk] = Latest(QUEUED_CHUNKS)  # full: the oldest goes, a gap in the indices
        self._events: Latest[m.ServerMessage | Next] = Latest(QUEUED_EVENTS)  # full: the oldest goes
        self._wake = asyncio.Event()
        self._first = asyncio.Event()
        self._stands: m.SessionCreated | m.SessionResumed | None = None
        self._goodbye = CloseCode.NORMAL_CLOSURE
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._word: str | None = None  # the server's, for why the last connection did not come about
        self._playout: Callable[[], Playout] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def connect(self) -> m.SessionCreated | m.SessionResumed:
        """Begin, or go on. Returns when the session stands. Raises Refused or Unreachable."""
        if self._task is not None:
            raise Closed("a client connects once; make another one")
        self._check()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._over)
        try:
            await self._first.wait()
        except BaseException:
            self._leave()
            raise
        if self._stands is None:
            raise self._failure or Closed("the session ended before it began")
        return self._stands

    async def aclose(self) -> None:
        """End the session at once and the connection with it; what was received can still be read. One that was not
        connected yet cannot be connected any more."""
        if self._task is None:
            return self._over(None)
        try:
            if not self._task.done() and self.session.state == "open":
                with contextlib.suppress(ClientError):
                    await self.end(fade_ms=0)
                    await asyncio.wait((self._task,), timeout=END_S)
        finally:
            self._leave()
        await asyncio.wait((self._task,))

    async def detach(self) -> None:
        """Leave the session to whoever has its `ticket`; take that before."""
        self._goodbye = CloseCode.GOING_AWAY
        self._leave()
        if self._task:
            await asyncio.wait((self._task,))

    # --- up

    async def push(self, frame: Frame, at_us: int | None = None) -> bool:
        """Show a frame, captured now or `at_us` (`now_us`). False: it came sooner than the server wants frames. Raises Closed."""
        at_us = self.now_us if at_us is None else at_us
        if not self.wants(at_us):
            return False
        await self.send_picture(await asyncio.to_thread(self.encode, frame, at_us))
        return True

    def wants(self, at_us: int) -> bool:
        """Whether a frame of that moment is wanted; counts as shown. Raises Closed when the session is over."""
        self._check()
        return self._pictures.passes(at_us, self.session.video)

    def encode(self, frame: Frame, at_us: int) -> Picture:
        """Takes milliseconds; from any thread. Raises ValueError for what is no picture or larger than the server takes."""
        picture = self._pictures.prepare(frame, at_us, self.session.video)
        self.session.check(picture)
        return picture

    async def send_picture(self, picture: Picture) -> None:
        """Send a picture; one that still waits is dropped. Raises Closed when the session is over."""
        self._check()
        self.session.push(picture)
        self._wake.set()

    async def play(self) -> None:
        await self.send(m.Playback("play"))

    async def pause(self) -> None:
        await self.send(m.Playback("pause"))

    async def stop(self) -> None:
        await self.send(m.Playback("stop"))

    async def reset_context(self) -> None:
        await self.send(m.Playback("reset_context"))

    async def update(self, **changes: Any) -> None:
        """Turn what is named, such as gain_db=-6 or duck={"enabled": True}. Raises ValueError with the field that is wrong."""
        await self.send(m.SessionUpdate(m.patch(changes)))

    async def scene_change(self, at_us: int | None = None) -> None:
        await self.send(m.SceneChange() if at_us is None else m.SceneChange(at_us))

    async def credit(self, credit_ms: int) -> None:
        await self.send(m.FlowCredit(credit_ms))

    async def record(self, audio: m.RecordedAudio = "flac", video: bool = False) -> None:
        """Have the server record the session; `events` brings a RecordingState when it begins, and when it is finished. Raises
        ValueError for a format that there is not."""
        await self.send(m.Recording("start", audio, video))

    async def stop_recording(self) -> None:
        await self.send(m.Recording("stop"))

    async def end(self, fade_ms: int | None = None) -> None:
        """Fade out and end; `audio` goes on to the last sample and stops."""
        await self.send(m.SessionEnd() if fade_ms is None else m.SessionEnd(fade_ms))

    async def send(self, message: m.ClientMessage) -> None:
        """Any control message; it waits for the connection. Raises Closed or TooMuch, ValueError with a field that is wrong."""
        self._check()
        check(message)
        self.session.send(message)
        self._wake.set()

    def report(self, playout: Playout) -> None:
        """What was heard, by whoever plays `audio(acknowledge=False)`."""
        self.session.report(playout)

    def follow(self, playout: Callable[[], Playout]) -> None:
        """Ask a player what was heard, whenever the server is to be told; instead of `report`."""
        self._playout = playout

    # --- down

    async def audio(self, acknowledge: bool = True) -> AsyncIterator[Chunk]:
        """The music, to its end. acknowledge: asking for the next chunk says that this one was heard, so that more may come;
        False when `report` says it. Raises Refused or Unreachable when the session was lost for good."""
        while (chunk := await self.next_chunk()) is not None:
            yield chunk
            if acknowledge:
                self.report(Playout(chunk.session, chunk.end))

    async def next_chunk(self) -> Chunk | None:
        """The next stretch of music, None after the last. Nothing is acknowledged. Raises ClientError where nobody connected."""
        if self._task is None:
            raise ClientError(
                "connect first, by `with` or `connect`: no music comes to a client that did not"
            )
        chunk = await self._chunks.get()
        if chunk is None and self._failure:
            raise self._failure
        return chunk

    async def events(self) -> AsyncIterator[m.ServerMessage | Next]:
        """What the server says, and what became of the connection (`Next`), to the end."""
        while (event := await self.next_event()) is not None:
            yield event

    async def next_event(self) -> m.ServerMessage | Next | None:
        return await self._events.get()

    @property
    def now_us(self) -> int:
        """The clock of pictures, microseconds."""
        return self.session.now_us

    @property
    def ticket(self) -> str | None:
        """To go on with this session in another client, also of another process, for as long as it waits (`resume_window_s`). A
        secret: who has it has the session. None where nobody could go on with it."""
        ticket = self.session.ticket
        return None if ticket is None else written(replace(ticket, urls=dict(self.urls)), time.time())

    @property
    def stats(self) -> Stats:
        """What was counted so far."""
        return Stats.of(self.session)

    @property
    def dropped(self) -> dict[str, int]:
        """What full queues and the rate of pictures cost, by name."""
        return {
            "chunks": self._chunks.dropped,
            "events": self._events.dropped,
            "frames": self._pictures.gate.dropped,
            "pictures": self.session.counts["replaced_pictures"],
        }

    # --- the connection

    def _leave(self) -> None:
        self.session.close()
        if self._task:
            self._task.cancel()

    def _check(self) -> None:
        if self.session.state == "over":
            raise self._failure or Closed("the session is over")

    async def _run(self) -> None:
        try:
            while (following := await self._connection()).then != "stop":
                self._events.put(following)
                await asyncio.sleep(following.pause_s)
            self._events.put(following)
            self._failure = self._failure or _failure(following, self.session, self._word)
        except Exception as error:  # whoever asks next is told
            self._failure = error

    def _over(self, _: object) -> None:
        """Also of a task that was cancelled before it began."""
        self.session.close()
        self._chunks.close()
        self._events.close()
        self._first.set()

    async def _connection(self) -> Next:
        """One connection from its beginning to what follows it."""
        self._word = None
        try:
            token = await self._bearer()
            async with _Connecting(
                self.session.url,
                subprotocols=[Subprotocol(m.SUBPROTOCOL)],
                additional_headers=rest.bearing(token),
                ssl=(self._tls or True) if self.session.url.startswith("wss:") else None,
                compression=None,
                max_size=MAX_MESSAGE,
                open_timeout=CONNECT_S,
                ping_interval=10,
                ping_timeout=10,
                close_timeout=1,
            ) as line:
                if line.subprotocol != m.SUBPROTOCOL:
                    return self.session.refused(400, f"{self.session.url}: not a server of {m.SUBPROTOCOL}")
                await self._talk(line)
        except Refused as error:
            return self._refused(error)
        except Untrusted as error:
            return self._untrusted(error)
        except Unreachable as error:
            return self.session.refused(None, str(error))
        except InvalidStatus as error:
            answer, body = error.response, bytes(error.response.body or b"")
            status, reason = answer.status_code, answer.reason_phrase
            headers = Message()  # whose `get` knows what comes twice, as a proxy's Date beside the server's
            for field, value in answer.headers.raw_items():
                headers[field] = value
            return self._refused(rest.refusal(self.session.url, status, reason, body, headers))
        except InvalidProxyStatus as error:
            status, reason = error.response.status_code, error.response.reason_phrase
            return self.session.refused(
                status, f"{self.session.url}: the proxy on the way answered HTTP {status} {reason}"
            )
        except InvalidProxy as error:
            self._failure = Unreachable(f"{self.session.url}: the proxy on the way: {error}")
            return self.session.impossible(str(self._failure))
        except ProxyError as error:
            return self.session.refused(None, f"{self.session.url}: the proxy on the way: {error}")
        except InvalidHandshake as error:
            if isinstance(error, InvalidMessage) and not self.session.begins:
                # It broke off on the way to where our session is.
                return self.session.refused(None, f"{self.session.url}: {error}")
            return self.session.refused(400, f"{self.session.url}: not a server of {m.SUBPROTOCOL}: {error}")
        except (OSError, TimeoutError) as error:
            why = f"{self.session.url}: {str(error) or 'no answer'}"
            return (
                self._untrusted(Untrusted(why))
                if rest.is_untrusted(error)
                else self.session.refused(None, why)
            )
        code = line.close_code
        return self.session.lost(BROKEN if code is None else code, line.close_reason or "")

    def _refused(self, error: Refused) -> Next:
        self._word = error.word
        return self.session.refused(error.code, error.text, error.retry_s)

    def _untrusted(self, error: Untrusted) -> Next:
        """A session that stood is asked for again: a network on the way may put itself between, for a while."""
        if self.session.sessions:
            return self.session.refused(None, str(error))
        self._failure = error
        return self.session.impossible(str(error))

    async def _bearer(self) -> str | None:
        """The token; for a new session that is invited, or has a name, the secret that opens it. Raises ClientError."""
        if not self.session.begins or not (self._invite or self._name is not None):
            return self._token
        if self._invite:
            made = await invited(self._invite, CONNECT_S)
            self.session.begin_at(made["urls"]["ws"])
        else:
            # The request's own limit begins anew with every byte of its answer.
            async with asyncio.timeout(CONNECT_S):
                about = (self.session.url, self._name, self._token, self._tls)
                made = await asyncio.to_thread(rest.invitation, *about)
        self.urls = made["urls"]
        return str(made["client_secret"]["value"])

    async def _talk(self, line: ClientConnection) -> None:
        self.session.opened()
        writer = asyncio.create_task(self._write(line))
        writer.add_done_callback(lambda task: None if task.cancelled() else line.transport.abort())
        try:
            async for raw in line:
                self._take(raw)
        except ConnectionClosed:
            pass  # the code says what follows
        except asyncio.CancelledError:
            await line.close(self._goodbye)
            raise
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer

    async def _write(self, line: ClientConnection) -> None:
        """`send` waits while the line is full; meanwhile a newer picture replaces the one that waits."""
        while True:
            self._wake.clear()
            if self._playout:
                self.session.report(self._playout())
            self.session.tick()
            while (raw := self.session.take()) is not None:
                await line.send(raw)
            if self.session.wants_to_leave:
                await line.close(1001)
            if self.session.is_unanswered:
                line.transport.abort()
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it can swallow a cancel.
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()

    def _take(self, raw: str | bytes) -> None:
        seen = self.session.receive(raw)
        if isinstance(seen, Chunk):
            self._chunks.put(seen)
        elif seen is not None:
            self._events.put(seen)
            self._wake.set()
            if isinstance(seen, m.SessionCreated | m.SessionResumed):
                self._stands = seen
                self._first.set()


class _Connecting(connect):
    """It follows a redirect within one place, and no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        if isinstance(exc, InvalidStatus) and 300 <= (status := exc.response.status_code) < 400:
            to = urljoin(self.uri, exc.response.headers.get("Location", ""))
            if away := rest.led_away(self.uri, to, status):
                return away
        return super().process_redirect(exc)


def address(url: str) -> str:
    """A websocket's address: as it is, or that of a server, which may lie below a path. Raises ValueError for what is none."""
    schemes = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
    parts = rest.parted(url)
    below = parts.path.rstrip("/")
    is_whole = below.endswith(PATH) or (below and parts.scheme in ("ws", "wss"))
    path = parts.path if is_whole else below + PATH
    return parts._replace(scheme=schemes[parts.scheme], path=path).geturl()


def _failure(following: Next, session: Session, word: str | None) -> ClientError | None:
    """What a program should hear of an end that nobody asked for."""
    if session.has_ended or session.ending or following.code == 1000:
        return None
    if following.gave_up:
        return Unreachable(following.why)
    return Refused(following.code, following.why, following.asked_s or None, word)
