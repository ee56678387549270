"""The server's side of the processes that decode pictures: each begun when it is needed, and again when it broke.

Lives on the event loop. Pictures come by ways: a session's client is one, each peer or ingest that shows it something another.
All of a way go to one process, which answers in order; so what breaks one is the picture that it had not answered yet, and those
behind it go to the process after it.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from asyncio.subprocess import PIPE
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np

from engine.frames import U8
from server.pictures.wire import Answers, Asked, Forget, Job, LookBack, Picture, Ready, Seen
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import Media
from server.system.backoff import Backoff
from server.system.environment import APART, command_of, of_a_process
from server.system.records import packed

logger = logging.getLogger("uvicorn.error")
COMMAND = command_of("server.pictures.worker")
ERR = 2
MOST_TEXT_BYTES = 4096
"""Of an answer, beside pixels."""
MOST_SAID = 400
"""Bytes, the last ones that a process said beside its answers."""
BREAKING = 30
"""As bad as so many pictures that cannot be decoded is one that ends its decoder: pictures of others wait meanwhile."""
PAUSES_S = (0.1, 5.0)
"""Before the next start after one that failed, at first and at most."""
MOST_PATIENCE = 8
"""Times `silent_s` for a process that begins: Python's start takes so long where other programs have the processor."""

Done = Callable[[U8 | ProtocolError | None], None]
"""Takes pixels, [S, S, 3], or why there are none; None when the codec needs more first."""


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """Of the processes that decode pictures."""

    count: int = 1
    picture_s: float = 2.0
    """Of a processor, for one picture; the process ends then."""
    silent_s: float = 10.0
    """A process that has not answered a picture for so long, or has not begun, is killed; after each that had not begun the next
    one has twice as long for that."""
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
        job = Job(side, image_pixels, limits.memory_bytes, limits.picture_s)
        self._workers = [_Worker(job, limits.silent_s, monotonic, broke) for _ in range(limits.count)]

    @property
    def pids(self) -> list[int]:
        """Of the processes that are there now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def begin(self) -> None:
        """Before the first picture comes."""
        for worker in self._workers:
            worker.begin()

    def see(self, way: str, media: Media, done: Done, looked_at: bool = True) -> None:
        """At most one of a way at a time. looked_at: False where it is decoded for those that follow, and has no pixels."""
        size = None if media.size is None else (media.size.width, media.size.height)
        self._of(way).ask(Picture(way, media.kind, media.payload, size, looked_at), done)

    def look_back(self, way: str, done: Done) -> None:
        """The pixels of the newest picture, if it was not looked at; as `see`."""
        self._of(way).ask(LookBack(way), done)

    def forget(self, way: str) -> None:
        """Nothing comes by it any more."""
        self._of(way).forget(way)

    def look(self) -> None:
        """Kill what hangs. To be called now and then."""
        for worker in self._workers:
            worker.look()

    async def stop(self) -> None:
        """Nobody is answered any more."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _of(self, way: str) -> _Worker:
        return self._workers[zlib.crc32(way.encode()) % len(self._workers)]


@dataclass(slots=True)
class _Waiting:
    """A picture that is not answered yet. gone: its way has ended."""

    picture: Picture | LookBack
    done: Done
    gone: bool = False


class _Worker(asyncio.SubprocessProtocol):
    """One process at a time."""

    def __init__(
        self, job: Job, silent_s: float, monotonic: Callable[[], float], broke: Callable[[], object]
    ) -> None:
        self._job, self._silent_s, self._monotonic, self._broke = job, silent_s, monotonic, broke
        self._asked: deque[_Waiting] = deque()  # bound: one of each way, and of each that ended meanwhile
        self._since_s = 0.0  # since when the first of them is the first
        self._answers = self._fresh()
        self._process: asyncio.SubprocessTransport | None = None
        self._ready, self._said = False, b""
        self._backoff = Backoff(*PAUSES_S)
        self._pause_s, self._patience_s = 0.0, silent_s  # of the next start
        self._timer: asyncio.TimerHandle | None = None  # until it
        self._life: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.get_pid() if self._process else None

    def begin(self) -> None:
        if not (self._life or self._timer or self._stopping):
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._start)

    def ask(self, picture: Picture | LookBack, done: Done) -> None:
        if not self._asked:
            self._since_s = self._monotonic()
        self._asked.append(_Waiting(picture, done))
        self.begin()
        self._send(picture)

    def forget(self, way: str) -> None:
        for waiting in self._asked:
            waiting.gone = waiting.gone or waiting.picture.way == way
        self._send(Forget(way))

    def look(self) -> None:
        patience_s = self._silent_s if self._ready else self._patience_s
        if self._asked and self._monotonic() - self._since_s > patience_s:
            self._kill()

    async def stop(self) -> None:
        self._stopping = True
        self._kill()
        if self._timer:
            self._timer.cancel()
        if self._life:
            await self._life

    # --- one process

    def _start(self) -> None:
        self._timer, self._life = None, asyncio.get_running_loop().create_task(self._live())

    async def _live(self) -> None:
        """From its start to its end, and the next one while somebody waits for an answer."""
        self._ended.clear()
        self._since_s = self._monotonic()
        why = await self._run()
        if self._process:
            self._process.close()
        ready, self._ready = self._ready, False
        self._process, self._answers, self._life = None, self._fresh(), None
        if self._stopping:
            return
        self._broke()
        if not ready:
            self._not_begun(f"no decoder can be started: {why}")
        elif not self._asked:
            logger.error("the decoder of pictures ended, %s", why)
        else:
            said = "a picture broke its decoder, or took too long"
            logger.error("%s, %s; %d others wait for the next one", said, why, len(self._asked) - 1)
            self._answer(ProtocolError(ErrorCode.DECODE_FAILED, said, weight=BREAKING))
        if self._asked:
            self.begin()

    async def _run(self) -> str:
        """Start a process and wait for its end; why it ended."""
        self._said = b""
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: self,
                *COMMAND,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=of_a_process(),
                **APART,
            )
        except OSError as error:
            return error.strerror or str(error)
        except Exception as error:  # the next one may begin
            return f"{type(error).__name__}: {error}"
        if self._stopping:
            self._kill()
        await self._ended.wait()
        status = self._process.get_returncode() if self._process else None
        said = self._said.decode(errors="replace").strip().rpartition("\n")[2]
        return f"exit status {status}" + (f": {said}" if said else "")

    def _not_begun(self, said: str) -> None:
        """That is nobody's picture's fault. Who waited asks again with a newer one."""
        logger.error(said)
        self._pause_s = self._backoff.after()
        self._patience_s = min(2 * self._patience_s, MOST_PATIENCE * self._silent_s)
        for _ in range(len(self._asked)):
            self._answer(ProtocolError(ErrorCode.DECODE_FAILED, said, weight=0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast(asyncio.SubprocessTransport, transport)
        self._send(self._job)
        self._asked = deque(waiting for waiting in self._asked if not waiting.gone)
        for waiting in self._asked:
            self._send(waiting.picture)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == ERR:
            self._said = (self._said + data)[-MOST_SAID:]
            return
        try:
            for answer in self._answers.feed(data):
                if isinstance(answer, Ready):
                    self._ready, self._pause_s, self._patience_s = True, 0.0, self._silent_s
                    self._backoff.reset()
                    self._since_s = self._monotonic()  # no picture is to blame for a slow start
                else:
                    self._answer(answer.error or self._pixels(answer))
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
        done = self._asked.popleft().done
        self._since_s = self._monotonic()
        asyncio.get_running_loop().call_soon(done, answer)  # what it raises is no affair of the process

    def _pixels(self, seen: Seen) -> U8 | None:
        side = self._job.side
        return None if seen.pixels is None else np.frombuffer(seen.pixels, np.uint8).reshape(side, side, 3)

    def _fresh(self) -> Answers:
        return Answers(3 * self._job.side**2 + MOST_TEXT_BYTES)
