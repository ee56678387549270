"""An output's process from outside: fed through a pipe that is never waited for without an end, and ended when it hangs.

One thread calls it; POSIX, for a pipe is waited for by poll.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from server.output.limits import OutputLimits
from server.output.wire import End, Job, Report, Sent, pack
from server.system.environment import command_of, piped

LOOK_S = 0.1
COMMAND = command_of("server.output.process")


class Broken(Exception):
    """The process, or what it sends to, is of no use any more."""


class Child:
    """told: its newest report. due_s: gives the moment after which nothing is waited for, infinite at first."""

    def __init__(self, job: Job, limits: OutputLimits, due_s: Callable[[], float]) -> None:
        self._limits, self._due_s = limits, due_s
        self.told = Report("starting")
        self.began = self.opened = False
        """Whether there was something to send, and whether the target has answered, once."""
        self._heard = b""
        self._opening_s = float("inf")
        self._process = piped(COMMAND)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self.send(job)

    def send(self, message: Sent) -> None:
        """Raises Broken: it ended, it does not open the target in time, or takes nothing for too long."""
        left = memoryview(pack(message))
        moved_s = time.monotonic()
        while left:
            self.look()
            with suppress(BlockingIOError, BrokenPipeError):
                left = left[os.write(self._in, left) :]
                moved_s = time.monotonic()
                continue
            self._wait(LOOK_S)
            now_s = time.monotonic()
            if self.told.state == "opening":  # which has a limit of its own
                moved_s = now_s
            if now_s - moved_s > self._limits.stall_s:
                raise Broken(f"the target took nothing for {self._limits.stall_s:g} s")
            if now_s > self._due_s():
                raise Broken(f"it was not finished within {self._limits.finish_s:g} s")

    def look(self) -> None:
        """Hear what it says. Raises Broken."""
        with suppress(BlockingIOError):
            while data := os.read(self._out, 65536):
                self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            self.told = msgspec.json.decode(line, type=Report)
            self.opened = self.opened or self.told.state == "open"
            self.began = self.began or self.told.state == "opening"
            self._opening_s = time.monotonic() if self.told.state == "opening" else float("inf")
        if self.told.error:
            raise Broken(self.told.error)
        if self._process.poll() is not None and self.told.state != "done":
            raise Broken("its process ended")
        if time.monotonic() - self._opening_s > self._limits.connect_s:
            raise Broken(f"the target did not answer within {self._limits.connect_s:g} s")

    def finish(self) -> None:
        """Until everything is written. Raises Broken."""
        self.send(End())
        while self.told.state != "done":
            self.look()
            if time.monotonic() > self._due_s():
                raise Broken(f"it was not finished within {self._limits.finish_s:g} s")
            self._wait(LOOK_S, reading=True)

    def end(self) -> None:
        """Whatever it does."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def _wait(self, timeout_s: float, reading: bool = False) -> None:
        """Until it says something or, unless only that is wanted, takes something."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            if not reading:
                selector.register(self._in, selectors.EVENT_WRITE)
            selector.select(timeout_s)
