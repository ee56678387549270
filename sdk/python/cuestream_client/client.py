"""The client for programs without asyncio: the async one in a thread of its own.

    with Client("http://127.0.0.1:8765") as client:
        client.play()
        client.push(frame)
        for chunk in client.audio():
            ...

Its queues are those of the async client; this shell adds none. Methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent import futures
from types import TracebackType
from typing import Any, Self, TypeVar

from cuestream_client import messages as m
from cuestream_client.aio import AsyncClient
from cuestream_client.closes import Patience
from cuestream_client.comeback import Next
from cuestream_client.errors import Closed
from cuestream_client.invite import Invite
from cuestream_client.music import Chunk
from cuestream_client.pictures import Form, Frame
from cuestream_client.session import Playout, Session
from cuestream_client.stats import Stats

T = TypeVar("T")
DEAF_S = 0.2
"""Windows hears Ctrl-C only between waits."""


class Client:
    """See the module; arguments and errors are those of `AsyncClient`."""

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
    ) -> None:
        self._client = AsyncClient(
            url,
            token=token,
            name=name,
            invite=invite,
            ticket=ticket,
            config=config,
            audio=audio,
            pictures=pictures,
            patience=patience,
            tls=tls,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cuestream", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._thread.start()

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> m.SessionCreated | m.SessionResumed:
        """Begin, or go on. Returns when the session stands. Raises Refused or Unreachable."""
        return self._wait(self._client.connect())

    def close(self) -> None:
        """End the session, the connection and the thread. Who waits for `audio` or `events` comes to their end."""
        try:
            self._wait(self._client.aclose())
        except Closed:
            return
        finally:
            self._stop_loop()

    def detach(self) -> None:
        """Leave the session to whoever has its `ticket`; take that before."""
        self._wait(self._client.detach())

    def _stop_loop(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(_others_done(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def session(self) -> Session:
        """What is known of the session: `created`, `config`, `video`, `counts`. To be read, not to be called."""
        return self._client.session

    @property
    def urls(self) -> Mapping[str, Any]:
        """Where the session is heard and turned otherwise, by kind; once it was invited, or asked for by its name."""
        return self._client.urls

    @property
    def now_us(self) -> int:
        """The clock of pictures, microseconds."""
        return self._client.now_us

    @property
    def ticket(self) -> str | None:
        """See `AsyncClient.ticket`."""
        return self._client.ticket

    @property
    def stats(self) -> Stats:
        """What was counted so far."""
        return self._client.stats

    @property
    def dropped(self) -> dict[str, int]:
        """What full queues and the rate of pictures cost, by name."""
        return self._client.dropped

    def push(self, frame: Frame, at_us: int | None = None) -> bool:
        """Show a frame. False: it came sooner than the server wants frames, and cost nothing. One that is shown is encoded here,
        in milliseconds."""
        at_us = self.now_us if at_us is None else at_us
        if not self.wants(at_us):
            return False
        self.show(frame, at_us)
        return True

    def wants(self, at_us: int) -> bool:
        """Whether a frame of that moment is wanted; counts as shown. For whoever has to make a frame first, to `show` it."""
        return self._client.wants(at_us)

    def show(self, frame: Frame, at_us: int) -> None:
        """Show a frame whether or not it is time for one. Raises Closed when the session is over."""
        picture = self._client.encode(frame, at_us)
        self._wait(self._client.send_picture(picture))

    def play(self) -> None:
        self._wait(self._client.play())

    def pause(self) -> None:
        self._wait(self._client.pause())

    def stop(self) -> None:
        self._wait(self._client.stop())

    def reset_context(self) -> None:
        self._wait(self._client.reset_context())

    def update(self, **changes: Any) -> None:
        """Turn what is named, such as gain_db=-6. Raises ValueError with the field that is wrong."""
        self._wait(self._client.update(**changes))

    def scene_change(self, at_us: int | None = None) -> None:
        self._wait(self._client.scene_change(at_us))

    def credit(self, credit_ms: int) -> None:
        self._wait(self._client.credit(credit_ms))

    def record(self, audio: m.RecordedAudio = "flac", video: bool = False) -> None:
        """See `AsyncClient.record`."""
        self._wait(self._client.record(audio, video))

    def stop_recording(self) -> None:
        self._wait(self._client.stop_recording())

    def end(self, fade_ms: int | None = None) -> None:
        """Fade out and end; `audio` goes on to the last sample and stops."""
        self._wait(self._client.end(fade_ms))

    def report(self, playout: Playout) -> None:
        """What was heard, by whoever plays `audio(acknowledge=False)`."""
        self._client.report(playout)

    def follow(self, playout: Callable[[], Playout]) -> None:
        """Ask a player what was heard, whenever the server is to be told; called in the client's thread, and short."""
        self._client.follow(playout)

    def audio(self, acknowledge: bool = True) -> Iterator[Chunk]:
        """The music, to its end. acknowledge: asking for the next chunk says that this one was heard."""
        with contextlib.suppress(Closed):  # `close` was called: the end
            while (chunk := self._wait(self._client.next_chunk())) is not None:
                yield chunk
                if acknowledge:
                    self.report(Playout(chunk.session, chunk.end))

    def events(self) -> Iterator[m.ServerMessage | Next]:
        """What the server says, and what became of the connection (`Next`), to the end."""
        with contextlib.suppress(Closed):
            while (event := self._wait(self._client.next_event())) is not None:
                yield event

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the client's loop. What the caller interrupts is cancelled there. Raises Closed after `close`."""
        with self._lock:
            if self._closed:
                work.close()
                raise Closed("the client is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while not futures.wait((future,), DEAF_S).done:
                pass
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _others_done() -> None:
    """Whatever still runs on this loop ends: the queues are closed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
