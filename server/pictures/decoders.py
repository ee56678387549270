"""The server's side of the processes that decode pictures: each begun when it is needed, and again when it broke.

Lives on the event loop. A session's pictures all go to one process, which answers in order; so what breaks one is the picture
that it had not answered yet, and those behind it go to the process after it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import zlib
from asyncio.subprocess import DEVNULL, PIPE
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np

from engine.frames import U8
from server.environment import of_a_process
from server.pictures.wire import Answers, Asked, Forget, Job, Picture, Seen, packed
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import Media

logger = logging.getLogger("uvicorn.error")
COMMAND = (sys.executable, "-m", "server.pictures.worker")
OUT = 1
MOST_TEXT_BYTES = 4096
"""Of an answer, beside pixels."""

Done = Callable[[U8 | ProtocolError | None], None]
"""Takes pixels, [S, S, 3], or why there are none; None when the codec needs more first."""


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """Of the processes that decode pictures."""

    count: int = 1
    picture_s: float = 10.0
    """A process that has not answered a picture for so long, or has not begun, is killed."""
    memory_bytes: int = 2 * 1024**3
    """Of each process; each session's video takes what its codec wants for the pictures that others refer to."""


class Decoders:
    """side: S. broke: is called whenever a process ended on its own or was killed because it hung."""

    def __init__(
        self,
        side: int,
        image_pixels: int,
        limits: DecoderLimits,
        monotonic: Callable[[], float],
        broke: Callable[[], object],
    ) -> None:
        job = Job(side, image_pixels, limits.memory_bytes)
        self._workers = [_Worker(job, limits.picture_s, monotonic, broke) for _ in range(limits.count)]

    @property
    def pids(self) -> list[int]:
        """Of the processes that are there now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def begin(self) -> None:
        """Before the first picture comes."""
        for worker in self._workers:
            worker.begin()

    def see(self, session_id: str, media: Media, done: Done) -> None:
        """At most one of a session at a time."""
        size = None if media.size is None else (media.size.width, media.size.height)
        self._of(session_id).ask(Picture(session_id, media.kind, media.payload, size), done)

    def forget(self, session_id: str) -> None:
        """The session has ended."""
        self._of(session_id).forget(session_id)

    def look(self) -> None:
        """Kill what hangs. To be called now and then."""
        for worker in self._workers:
            worker.look()

    async def stop(self) -> None:
        """Nobody is answered any more."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _of(self, session_id: str) -> _Worker:
        return self._workers[zlib.crc32(session_id.encode()) % len(self._workers)]


class _Worker(asyncio.SubprocessProtocol):
    """One process at a time."""

    def __init__(
        self, job: Job, picture_s: float, monotonic: Callable[[], float], broke: Callable[[], object]
    ) -> None:
        self._job, self._picture_s, self._monotonic, self._broke = job, picture_s, monotonic, broke
        self._asked: deque[tuple[Picture, Done]] = deque()  # not answered yet; bound: one of each session
        self._since_s = 0.0  # since when the first of them is the first
        self._answers = self._fresh()
        self._process: asyncio.SubprocessTransport | None = None
        self._life: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.get_pid() if self._process else None

    def begin(self) -> None:
        if self._life is None and not self._stopping:
            self._since_s = self._monotonic()
            self._life = asyncio.get_running_loop().create_task(self._live())

    def ask(self, picture: Picture, done: Done) -> None:
        if not self._asked:
            self._since_s = self._monotonic()
        self._asked.append((picture, done))
        self.begin()
        self._send(picture)

    def forget(self, session_id: str) -> None:
        self._send(Forget(session_id))

    def look(self) -> None:
        if self._asked and self._monotonic() - self._since_s > self._picture_s:
            self._kill()

    async def stop(self) -> None:
        self._stopping = True
        self._kill()
        if self._life:
            await self._life

    # --- one process

    async def _live(self) -> None:
        """From its start to its end, and the next one while somebody waits for an answer."""
        loop = asyncio.get_running_loop()
        self._ended.clear()
        try:
            await loop.subprocess_exec(
                lambda: self,
                *COMMAND,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env=of_a_process(),
                start_new_session=True,  # Ctrl-C is for the server
            )
            if self._stopping:
                self._kill()
            await self._ended.wait()
            said = "a picture broke its decoder, or took too long"
        except OSError as error:
            said = f"no decoder can be started: {error.strerror}"
        if self._process:
            self._process.close()
        self._process, self._answers, self._life = None, self._fresh(), None
        if self._stopping:
            return
        self._broke()
        logger.error("%s; %d others wait for the next decoder", said, max(0, len(self._asked) - 1))
        if self._asked:
            self._answer(ProtocolError(ErrorCode.DECODE_FAILED, said))
        if self._asked:
            self.begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast(asyncio.SubprocessTransport, transport)
        self._send(self._job)
        for picture, _ in self._asked:
            self._send(picture)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        try:
            for seen in self._answers.feed(data):
                self._answer(seen.error or self._pixels(seen))
        except (ValueError, IndexError, msgspec.MsgspecError):  # what it says is no answer
            self._kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            if self._process:
                self._process.kill()

    def _send(self, record: Asked) -> None:
        pipe = self._process.get_pipe_transport(0) if self._process else None
        if pipe is not None and not pipe.is_closing():
            cast(asyncio.WriteTransport, pipe).write(packed(record))

    def _answer(self, answer: U8 | ProtocolError | None) -> None:
        _, done = self._asked.popleft()
        self._since_s = self._monotonic()
        asyncio.get_running_loop().call_soon(done, answer)  # what it raises is no affair of the process

    def _pixels(self, seen: Seen) -> U8 | None:
        side = self._job.side
        return None if seen.pixels is None else np.frombuffer(seen.pixels, np.uint8).reshape(side, side, 3)

    def _fresh(self) -> Answers:
        return Answers(3 * self._job.side**2 + MOST_TEXT_BYTES)
