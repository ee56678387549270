"""The process of one output: takes messages from its standard input, opens the target once, writes, and says how it goes.

It may hang in FFmpeg for as long as it likes; whoever started it ends it. When nobody does it ends by itself. It decodes pictures
that strangers sent, so the operating system bounds its memory.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import av
import msgspec
from av.error import FFmpegError

from engine.media.source import reason
from server.audio.resampling import WIRE_RATE
from server.output.preset import unseen
from server.output.reel import Reel, samples_of
from server.output.targets import HLS, Target
from server.output.wire import Heard, Job, Pictured, Report, Sounded, read
from server.system.confinement import confine
from server.system.environment import end_with_the_input, set_alarm, step_back
from server.system.srt import PROGRAM
from server.system.written_file import Written

NICE = 5
"""The engine comes first."""
ALONE_S = 60
"""A step may take so long; then nobody looks after this process any more."""
INTERLEAVE_US = "500000"
"""Sound is not held back for longer to wait for pictures."""
SRT_SENDER = (
    PROGRAM,
    "-nostdin",
    "-loglevel",
    "quiet",
    "-probesize",
    "65536",
    "-f",
    "mpegts",
    "-i",
    "pipe:0",
)


class Process:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._srt: subprocess.Popen[bytes] | None = None
        self._reel = Reel(job, self._open)
        self._told = Report("starting")
        self._made: Path | None = None
        self._file: Written | None = None

    def run(self, source: BinaryIO) -> None:
        try:
            self._run(source)
        except BaseException:
            self._leave_nothing_empty()
            raise
        finally:
            set_alarm(0)

    def _run(self, source: BinaryIO) -> None:
        opened = False
        while True:
            set_alarm(ALONE_S)
            message = read(source)
            if isinstance(message, Heard):
                self._reel.heard(message.first, samples_of(message.samples))
            elif isinstance(message, Pictured):
                self._reel.pictured(message.sample, message.media)
            elif isinstance(message, Sounded):
                self._reel.sounded(message.sample, message.sound)
            else:
                break
            opened = opened or self._told.state == "opening"
            if opened:
                self._tell("open")
        self._reel.close()
        if self._srt and self._srt.stdin:
            self._srt.stdin.close()
            if self._srt.wait():
                raise ConnectionError("the SRT sender failed")
        self._tell("done")

    def _open(self) -> tuple[Any, Written | None]:
        self._tell("opening")
        target = self._job.target
        file = self._created(target) if target.creates else None
        options = {"flush_packets": "1", "max_interleave_delta": INTERLEAVE_US} | target.options
        sink: Any = file or target.address
        if target.srt is not None:
            sink = self._srt_sender(target.address, target.srt)
        return av.open(sink, "w", format=target.form, options=options, io_open=_written), file

    def _created(self, target: Target) -> Written | None:
        """The file, None where it is a folder. Raises FileExistsError: it came after it was asked for. Links are not followed."""
        path = Path(target.address)
        if target.form == HLS:
            path.parent.mkdir()
            self._made = path.parent
            return None
        self._file, self._made = Written(path, "x"), path
        return self._file

    def _leave_nothing_empty(self) -> None:
        if self._made is None:
            return
        with suppress(OSError):
            if self._made.is_dir():
                self._made.rmdir()
            elif self._file and self._made.stat().st_size == 0:
                self._file.close()  # Windows removes no file that is open
                self._made.unlink()

    def _srt_sender(self, address: str, options: dict[str, str]) -> Any:
        """FFmpeg's own program, since PyAV's libraries come without SRT."""
        with unseen(options) as (words, files):
            command = [*SRT_SENDER, "-c", "copy", "-f", "mpegts", *words, address]
            self._srt = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=files
            )
        return self._srt.stdin

    def _tell(self, state: str) -> None:
        report = self.report(state)
        if report != self._told:
            self._told = report
            tell(report)

    def report(self, state: str, error: str = "") -> Report:
        reel = self._reel
        return Report(state, reel.left_out, reel.original_samples // WIRE_RATE, reel.lost_original, error)


def _written(path: str, flags: int, options: dict[str, str]) -> Written:
    """What is in the folder of a playlist."""
    return Written(path, "w")


def tell(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    end_with_the_input()
    step_back(NICE)
    job = read(sys.stdin.buffer)
    assert isinstance(job, Job)
    confine(job.memory_bytes, writes=True)
    process = Process(job)
    try:
        process.run(sys.stdin.buffer)
    except MemoryError:
        tell(process.report("error", f"it needs more than {job.memory_bytes >> 20} MiB"))
        return 1
    except (FFmpegError, OSError, ValueError) as error:
        # the address, with its keys, is not for others
        said = reason(error) if getattr(error, "strerror", None) else type(error).__name__
        tell(process.report("error", said))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
