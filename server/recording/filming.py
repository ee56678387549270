"""The film of a recording from outside: made by a process of its own, for its pictures are what strangers wrote.

Nothing waits for the process but `close`. Where it breaks or falls behind, the film ends with what was written, and the music
goes on.
"""

from __future__ import annotations

import logging
import subprocess
from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Literal, TypeAlias

import msgspec

from engine.frames import F32
from engine.media import source
from server.audio.resampling import WIRE_RATE
from server.protocol.limits import Limits
from server.protocol.media import Media
from server.recording.shelf import RecordingLimits
from server.recording.wire import End, Job, Music, Picture, Report, report_of
from server.system.environment import command_of, piped
from server.system.records import packed

logger = logging.getLogger("uvicorn.error")
Broke: TypeAlias = Literal["not_started", "behind", "hung", "broke", "failed"]
"""Why a film ended before its recording. failed: its process said what the disk or FFmpeg did."""
COMMAND = command_of("server.recording.process")
STALL_S = 10.0
"""At the end, a process that neither takes nor says anything for so long is killed."""
MOST_LINE = 4096
BYTES = 4
"""Of a sample in the pipe."""


class Filming:
    """Takes what `Film` takes. The process begins with the first picture; music before that is none of the film's."""

    def __init__(self, folder: Path, video: Limits, limits: RecordingLimits) -> None:
        self._job = Job(str(folder.absolute()), video.image_pixels, limits.film_memory_bytes)
        self._limits = limits
        self._change = Condition()
        self._waiting: deque[Picture | Music | End] = deque()  # bound: `_has_room`, `_most_samples`
        self._most_samples = 2 * limits.waiting_s * WIRE_RATE
        """What the writer held back comes at once, and as much may wait here."""
        self._pictures = self._bytes = self._samples = 0  # of them
        self._given = self._moves = 0
        self._told = Report()
        self._error = ""
        self._broke: Broke | None = None
        self._over = False  # the process says nothing more
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def error(self) -> str:
        """Why the film ended before its recording; empty where it did not."""
        with self._change:
            return self._error

    @property
    def lacks(self) -> str:
        """What there is to say of it at the end: why it ended before its recording, or is not there; empty where nothing is."""
        with self._change:
            if self._error or self._told.taken:
                return self._error
            return f"there is no film: {'no picture could be used' if self._given else 'no picture came'}"

    @property
    def broke(self) -> Broke | None:
        """The same in a word."""
        with self._change:
            return self._broke

    @property
    def left_out(self) -> int:
        """Pictures that are not in the film; those that wait are not yet."""
        with self._change:
            return max(0, self._given - self._told.taken)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def picture(self, sample: int, media: Media) -> None:
        """sample: of the recording, that sounded when the picture came."""
        with self._change:
            self._given += 1
            if self._process is None and not self._error:
                self._begin()
            if self._has_room(media):
                self._put(Picture(sample, media))

    def sound(self, first: int, samples: F32) -> None:
        """samples: [n], of the recording from `first` on."""
        with self._change:
            if self._process is None:
                return
            self._put(Music(first, samples.tobytes()))
            if self._samples > self._most_samples:
                self._break("behind", "it fell too far behind the music")

    def close(self) -> None:
        """When everything that waits is in it, or the process has ended otherwise."""
        with self._change:
            if self._process is None:
                return
            self._put(End())
            while not self._over:
                if not self._moves_on():
                    self._break("hung", f"it did not move for {STALL_S:g} s")
        with suppress(OSError), self._process:  # waited for by `_listen` too, which may not have come to it
            self._process.kill()

    # --- with the lock

    def _moves_on(self) -> bool:
        """Whether it takes or says something in time, or ends."""
        moves = self._moves
        return self._change.wait_for(lambda: self._over or self._moves > moves, STALL_S)

    def _begin(self) -> None:
        try:
            self._process = piped(COMMAND)
            for work in (self._feed, self._listen):
                Thread(target=work, args=(self._process,), name="film", daemon=True).start()
        except (OSError, RuntimeError) as error:  # no more processes, or no more threads
            self._over = True
            self._break("not_started", f"its process cannot be started: {source.reason(error)}")

    def _has_room(self, media: Media) -> bool:
        limits = self._limits
        room = limits.waiting_picture_bytes - self._bytes
        return self._pictures < limits.waiting_pictures and len(media.payload) <= room

    def _put(self, record: Picture | Music | End) -> None:
        if not self._error:
            self._waiting.append(record)
            self._weigh(record, 1)
            self._change.notify_all()

    def _weigh(self, record: Picture | Music | End, sign: int) -> None:
        if isinstance(record, Picture):
            self._pictures += sign
            self._bytes += sign * len(record.media.payload)
        elif isinstance(record, Music):
            self._samples += sign * len(record.samples) // BYTES

    def _break(self, broke: Broke, why: str) -> None:
        if self._broke:
            return
        self._broke = broke
        self._error = f"the film ended early: {why[:160]}"
        logger.error("the recording %s: %s", Path(self._job.folder).name, self._error)
        self._waiting.clear()
        if self._process:
            self._process.kill()
        self._change.notify_all()

    # --- the threads, until the process ends

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                pipe.write(packed(self._job))
                while record := self._next():
                    pipe.write(packed(record))
                    pipe.flush()
        except (OSError, ValueError):  # it ended, or `close` closed the pipe then; `_listen` knows why
            return

    def _next(self) -> Picture | Music | End | None:
        """None after the last one."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._over or self._error)
            if self._over or self._error:
                return None
            record = self._waiting.popleft()
            self._weigh(record, -1)
            self._moves += 1
            self._change.notify_all()
            return record

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            while not (self._told.done or self._told.error) and (said := pipe.readline(MOST_LINE)):
                try:
                    told = report_of(said)
                except msgspec.MsgspecError:
                    break
                with self._change:
                    taken = max(told.taken, self._told.taken)
                    self._told = msgspec.structs.replace(told, taken=taken)
                    self._moves += 1
                    self._change.notify_all()
        with self._change:
            self._over = True
            if not self._told.done:
                error = self._told.error
                self._break("failed" if error else "broke", error or "its process broke")
            self._change.notify_all()
        process.wait()
