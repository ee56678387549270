"""The server's side: a worker for each session that is fed, begun again when it fails, gone with the session.

Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Coroutine
from math import inf
from typing import Any, Literal

import msgspec

from engine.media.source import IN_USE, reason
from server.audio.original_sound import Sound
from server.ingest.address import parse
from server.ingest.checking import FILE
from server.ingest.pipe import SOUND_RATE, Broken, Job, Kind, Note, Record, read, read_note
from server.pictures.seeing import Watching
from server.protocol import messages as m
from server.protocol.errors import ErrorCode, quotable
from server.protocol.media import Kind as Codec
from server.protocol.media import Media, Size, StreamId
from server.sessions.host import Host
from server.sessions.hosted import Hosted
from server.system.backoff import Backoff
from server.system.environment import APART, command_of, end_all_of, of_a_process

logger = logging.getLogger("uvicorn.error")
START_S, MOST_START_S = 10.0, 80.0
"""Until Python runs in the worker, on a busy machine, at first and at most: after each worker that was not heard in time the next
ones have twice as long."""
NOT_STARTED = (OSError, RuntimeError)
"""No more processes, or no more threads to wait for one."""
FAR_S = 10.0
"""The moment of sound is no further from now, whatever a worker says."""
U32 = 0xFFFFFFFF

State = Literal["connecting", "listening", "playing", "waiting", "ended", "failed", "stopped"]
OVER = ("ended", "failed", "stopped")


class FeedState(msgspec.Struct, frozen=True):
    """How an ingest stands. url: as `shown_of`, without keys. text: what was last said of it. failures: in a row."""

    url: str
    listen: bool
    state: State
    text: str
    pictures: int
    failures: int


class Feeding:
    """A session that is fed from an address. `state`, `text`: how it stands, and what was last said of it. `failure`: of the
    newest attempt, none once it plays."""

    def __init__(self, host: Host, hosted: Hosted, url: str, listen: bool, failure: str = "") -> None:
        """failure: of the one before, which the log does not say again."""
        self._host, self._hosted, self.url, self._listen = host, hosted, url, listen
        self.state: State = "connecting"
        self.text = ""
        self.failure = self._logged = failure
        self.pictures = 0
        self._failures = 0
        """In a row."""
        self._start_s = START_S  # that a worker has
        self._shown_s = inf  # since when this attempt has pictures
        limits = host.settings.ingest
        self._backoff = Backoff(limits.backoff_s, limits.most_backoff_s)
        self._seq = 0
        self._way: Watching | None = None  # from the first picture on
        self.pid: int | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def over(self) -> bool:
        return self.state in OVER

    def about(self) -> FeedState:
        url = self.url if self.url.startswith(FILE) else parse(self.url).shown
        return FeedState(url, self._listen, self.state, self.text, self.pictures, self._failures)

    def end(self) -> None:
        """Its worker is killed."""
        if not self.over:
            self.state = "stopped"
        if not self._task.cancelling():  # once, so that it has the time to see its worker end
            self._task.cancel()

    async def gone(self) -> None:
        """Until its worker is."""
        await asyncio.wait([self._task])

    # --- attempts

    async def _run(self) -> None:
        metrics = self._host.metrics
        metrics.ingests.inc()
        try:
            while not self.over:
                note = await self._attempt()
                metrics.ingest_attempts.labels(note.what).inc()
                played_s = max(0.0, self._host.monotonic() - self._shown_s)
                self._take(note)
                if not self.over:
                    await asyncio.sleep(self._pause_s(played_s))
        finally:
            metrics.ingests.dec()
            if self._way:
                self._hosted.leave_way(self._way)

    def _pause_s(self, played_s: float) -> float:
        """The longer, the more attempts failed; but whoever publishes next may be the right one.

        played_s: how long the attempt had pictures; whoever published them may begin again at once.
        """
        limits = self._host.settings.ingest
        if self._listen:
            return 0.0 if played_s else min(limits.most_backoff_s, limits.backoff_s)
        return self._backoff.after(played_s)

    def _take(self, note: Note) -> None:
        """How an attempt ended, and what follows from it."""
        self.text = quotable(note.text)
        if note.what == "ended" and note.over:
            self.state = "ended"
            return
        self._failures += 1
        text = self.failure = quotable(note.text or "the stream ended")
        if note.what == "forbidden":
            self.state = "failed"
            self._tell(ErrorCode.INGEST_FORBIDDEN_URL, text)
        elif note.over:
            self.state = "failed"
            self._tell(ErrorCode.INGEST_FAILED, text)
        elif not self._listen and self._failures >= self._host.settings.ingest.attempts:
            self.state = "failed"
            self._tell(ErrorCode.INGEST_FAILED, f"given up after {self._failures} attempts: {text}")
        else:
            self.state = "waiting"
            if self._failures == 1:
                listens = self._listen and IN_USE not in text
                then = "the next one is waited for" if listens else "it is tried again"
                self._tell(ErrorCode.INGEST_FAILED, f"{text}; {then}")

    def _tell(self, code: ErrorCode, text: str) -> None:
        self.text = quotable(text)
        if self.failure != self._logged:
            logger.warning("session %s: the ingest of %s: %s", self._hosted.id, self.about().url, self.text)
        if self._hosted.line:
            self._hosted.line.say(m.ErrorMessage(str(code), self.text, False))

    async def _attempt(self) -> Note:
        self._shown_s = inf
        starting = asyncio.ensure_future(_start())
        try:
            try:
                process = await asyncio.shield(starting)
            except NOT_STARTED as error:
                return Note("failed", f"its worker cannot be started: {reason(error)}")
            self.pid = process.pid
            return await self._follow(process)
        finally:
            with contextlib.suppress(*NOT_STARTED):
                process = await starting  # also when it is told to end while it starts
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    end_all_of(process.pid)
                await process.wait()

    async def _follow(self, process: Process) -> Note:
        """Until it says that it ends, or is silent for too long."""
        assert process.stdin is not None
        assert process.stdout is not None
        limits, job = self._host.settings.ingest, self._job()
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        patience_s: float | None = self._start_s + limits.connect_s
        heard = False
        try:
            while True:
                async with asyncio.timeout(patience_s):
                    record = await self._next(process.stdout, job.edge)
                heard = True
                if record is None:
                    return Note("failed", "its worker was killed, or took too much memory or time")
                if (note := self._heard(record)) and note.what not in ("listening", "opened"):
                    return note
                patience_s = None if self.state == "listening" else limits.silence_s
        except TimeoutError:
            if not heard:
                self._start_s = min(2 * self._start_s, MOST_START_S)
            return Note("failed", f"no picture for {patience_s:g} s")
        except Broken as error:
            return Note("failed", f"its worker broke: {error}")

    async def _next(self, reader: asyncio.StreamReader, edge: int) -> Record | None:
        """The next record but those of sound, which are no sign of pictures."""
        while (record := await read(reader, edge)) and record.kind is Kind.SOUND:
            self._hear(record)
        return record

    def _hear(self, record: Record) -> None:
        now_s = self._host.monotonic()
        begins_s = max(now_s - FAR_S, min(now_s + FAR_S, record.time_us / 1e6))
        sound = Sound("ingest", Codec.PCM_S16, SOUND_RATE, record.width, record.payload, record.height == 1)
        self._hosted.original(now_s, sound, begins_s + self._host.settings.picture_age_s)

    def _job(self) -> Job:
        settings = self._host.settings
        limits = settings.ingest
        return Job(
            url=self.url,
            listen=self._listen,
            edge=settings.video_edge,
            fps=settings.video_fps,
            private=limits.private,
            files=str(limits.files) if limits.files else None,
            image_pixels=settings.limits.image_pixels,
            packet_bytes=limits.packet_bytes,
            connect_s=limits.connect_s,
            silence_s=limits.silence_s,
            memory_bytes=limits.memory_bytes,
            cpu_s=limits.cpu_s,
        )

    def _heard(self, record: Record) -> Note | None:
        if record.kind is Kind.NOTE:
            note = read_note(record.payload)
            if note.what == "listening":
                self.state = "listening"
            elif note.what == "opened":
                self.state, self.text = "connecting", quotable(note.text)
            return note
        if record.kind is Kind.PICTURE:
            self._show(record)
        return None

    def _show(self, record: Record) -> None:
        """As a picture that a client sent."""
        host, now_s = self._host, self._host.monotonic()
        if self.state != "playing":
            self.state, self._shown_s = "playing", now_s
            if self._failures and self._hosted.line:
                said = "the video's address is read again"
                self._hosted.line.say(m.WarningMessage("ingest_reconnected", said))
        self._failures, self.failure, self._logged = 0, "", ""
        self.pictures += 1
        self._seq = (self._seq + 1) & U32
        size = Size(record.width, record.height)
        picture = Media(Codec.RGB24, StreamId.VIDEO, self._seq, int(now_s * 1e6), record.payload, size=size)
        host.metrics.frames.labels("taken").inc()
        host.metrics.ingest_pictures.inc()
        self._way = self._way or self._hosted.watch()
        self._hosted.picture(now_s, picture, self._way)


def _start() -> Coroutine[Any, Any, Process]:
    """A worker. Its errors are what it says of them; FFmpeg would say more than anybody reads."""
    return asyncio.create_subprocess_exec(
        *command_of("server.ingest.worker"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=of_a_process(),
        **APART,
    )
