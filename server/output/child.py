"""An output's process from outside: fed through a pipe that is never waited for without an end, and ended when it hangs.

One thread calls it. Two of its own wait for the pipes, which not every system can do with a limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread

import msgspec

from engine.media.source import reason
from server.output.limits import OutputLimits
from server.output.wire import End, Job, Report, Sent
from server.system.environment import command_of, end_all_of, piped
from server.system.records import packed

LOOK_S = 0.1
PIECE_BYTES = 16 * 1024
"""Whether it takes anything is known of as many."""
COMMAND = command_of("server.output.process")


class Broken(Exception):
    """The process, or what it sends to, is of no use any more."""


class Child:
    """told: its newest report. due_s: gives the moment after which nothing is waited for, infinite at first."""

    def __init__(self, job: Job, limits: OutputLimits, due_s: Callable[[], float]) -> None:
        """Raises Broken."""
        self._limits, self._due_s = limits, due_s
        self.told = Report("starting")
        self.began = False
        """Whether there was something to send."""
        self._opened_s: float | None = None
        self._opening_s = float("inf")
        self._change = Condition()
        self._left = memoryview(b"")  # of a message, not taken yet
        self._said = b""  # not heard yet
        self._over = False
        self._threads: list[Thread] = []
        try:
            self._process = piped(COMMAND)
        except OSError as error:
            raise Broken(f"its process cannot be started: {reason(error)}") from None
        try:
            self._begin()
            self.send(job)
        except Broken:
            self.end()
            raise

    def _begin(self) -> None:
        for work in (self._feed, self._listen):
            thread = Thread(target=work, name="output pipe", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads
                raise Broken(f"its process cannot be listened to: {reason(error)}") from None
            self._threads.append(thread)

    @property
    def opened(self) -> bool:
        """Whether the target has answered, once."""
        return self._opened_s is not None

    @property
    def open_for_s(self) -> float:
        """Since the target answered; 0 before."""
        return 0.0 if self._opened_s is None else time.perf_counter() - self._opened_s

    def send(self, message: Sent) -> None:
        """Raises Broken: it ended, it does not open the target in time, or takes nothing for too long."""
        with self._change:
            self._left = memoryview(packed(message))
            left, moved_s = len(self._left), time.perf_counter()
            self._change.notify_all()
        while left:
            self.look()
            before, left = left, self._wait(lambda: not self._left)
            now_s = time.perf_counter()
            if left < before or self.told.state == "opening":  # which has a limit of its own
                moved_s = now_s
            if now_s - moved_s > self._limits.stall_s:
                raise Broken(f"the target took nothing for {self._limits.stall_s:g} s")
            if left and now_s > self._due_s():
                raise Broken(f"it was not finished within {self._limits.finish_s:g} s")

    def look(self) -> None:
        """Hear what it says. Raises Broken."""
        with self._change:
            *lines, self._said = self._said.split(b"\n")
        for line in lines:
            self.told = msgspec.json.decode(line, type=Report)
            if self._opened_s is None and self.told.state == "open":
                self._opened_s = time.perf_counter()
            self.began = self.began or self.told.state == "opening"
            self._opening_s = time.perf_counter() if self.told.state == "opening" else float("inf")
        if self.told.error:
            raise Broken(self.told.error)
        if self._process.poll() is not None and self.told.state != "done":
            raise Broken("its process ended")
        if time.perf_counter() - self._opening_s > self._limits.connect_s:
            raise Broken(f"the target did not answer within {self._limits.connect_s:g} s")

    def finish(self) -> None:
        """Until everything is written. Raises Broken."""
        self.send(End())
        while self.told.state != "done":
            self.look()
            if time.perf_counter() > self._due_s():
                raise Broken(f"it was not finished within {self._limits.finish_s:g} s")
            self._wait(lambda: False)

    def end(self) -> None:
        """Whatever it does."""
        with suppress(ProcessLookupError, PermissionError):
            end_all_of(self._process.pid)
        self._process.wait()
        with self._change:
            self._over = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def _wait(self, enough: Callable[[], bool]) -> int:
        """Until it says something, or for a moment. Bytes of the message that are left."""
        with self._change:
            self._change.wait_for(lambda: enough() or b"\n" in self._said, LOOK_S)
            return len(self._left)

    # --- the threads, until the process ends

    def _feed(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            while piece := self._next():
                written = os.write(self._process.stdin.fileno(), piece)
                with self._change:
                    self._left = self._left[written:]
                    self._change.notify_all()

    def _next(self) -> memoryview | None:
        with self._change:
            self._change.wait_for(lambda: self._left or self._over)
            return None if self._over else self._left[:PIECE_BYTES]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError):
            while data := os.read(self._process.stdout.fileno(), PIECE_BYTES):
                with self._change:
                    self._said += data
                    self._change.notify_all()
