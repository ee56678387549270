"""One recording in a thread of its own: it takes what the loop puts, writes it, keeps the limits and finishes the files.

`put` never waits. When the disk is slower than the music for `waiting_s` the recording ends as failed, with what was written.
"""

from __future__ import annotations

import errno
import json
import logging
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Literal

from engine.frames import F32
from engine.media import source
from server.audio.resampling import WIRE_RATE
from server.protocol.limits import Limits
from server.protocol.media import Media
from server.protocol.values import EndReason, RecordedAudio
from server.recording.filming import Broke, Filming
from server.recording.shelf import About, Full, Shelf, files_of
from server.recording.sound import Sound
from server.system.written_file import Written

logger = logging.getLogger("uvicorn.error")
LOOK_EVERY = WIRE_RATE
"""Samples between two looks at the room that is left: a second."""


@dataclass(frozen=True, slots=True)
class Heard:
    """samples: [n] at 48 kHz, of the recording from `first` on; lines: what the timeline says of them."""

    first: int
    samples: F32
    lines: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Pictured:
    """sample: of the recording, that sounded when the picture came."""

    sample: int
    media: Media


@dataclass(frozen=True, slots=True)
class Told:
    """How a recording stands: begun, or finished for a reason. text: what failed, of it or its film. broke: how its film did."""

    state: Literal["recording", "finished", "failed"]
    reason: EndReason | None = None
    samples: int = 0
    files: dict[str, int] | None = None
    left_out: int = 0
    text: str = ""
    broke: Broke | None = None


class Writer:
    """head: the timeline's first line. tell: called in the thread, once when the files are open and once at the end,
    and in between when the film ends early."""

    def __init__(
        self,
        shelf: Shelf,
        recording_id: str,
        audio: RecordedAudio,
        video: Limits | None,
        head: dict[str, Any],
        tell: Callable[[Told], None],
    ) -> None:
        """video: limits of the pictures, None without a film."""
        self._shelf, self._limits = shelf, shelf.limits
        self._id, self._audio, self._video, self._head, self._tell = recording_id, audio, video, head, tell
        self._session_id: str = head["session"]
        self._waiting: deque[Heard | Pictured] = deque()  # bound: waiting_s of music, `_has_room`
        self._waiting_samples = self._waiting_pictures = self._waiting_bytes = 0
        self._left_out = 0
        self._film: Filming | None = None
        self._reason: EndReason | None = None
        self._change = Condition()
        self.samples = 0
        """Written."""
        self._thread = Thread(target=self._run, name="recording", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Heard | Pictured) -> None:
        """Nothing is taken any more once it is finishing."""
        with self._change:
            if self._reason is not None:
                return
            if isinstance(item, Heard):
                self._waiting_samples += len(item.samples)
                if self._waiting_samples > self._limits.waiting_s * WIRE_RATE:
                    self._reason = "failed"
            elif self._has_room(item.media):
                self._waiting_pictures += 1
                self._waiting_bytes += len(item.media.payload)
            else:
                self._left_out += 1
                return
            self._waiting.append(item)
            self._change.notify()

    def _has_room(self, media: Media) -> bool:
        room = self._limits.waiting_picture_bytes - self._waiting_bytes
        return self._waiting_pictures < self._limits.waiting_pictures and len(media.payload) <= room

    def finish(self, reason: EndReason) -> None:
        """Write what waits, then end."""
        with self._change:
            self._reason = self._reason or reason
            self._change.notify()

    def join(self, timeout_s: float) -> bool:
        """Whether it ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the thread

    def _run(self) -> None:
        folder = self._shelf.place(self._id)
        try:
            self._shelf.check_room()
            folder.mkdir()
            self._shelf.keep(About(recording_id=self._id, session_id=self._session_id))
            told = self._write(folder)
            _check_that_it_is_there(folder)
        except Full as full:
            told = Told("failed", full.reason, text=str(full))
        except Exception as error:  # whatever it is, somebody waits for the end
            told = self._failed(error)
        with self._change:
            self._reason = self._reason or told.reason
            self._waiting.clear()
        if folder.is_dir():
            try:
                self._shelf.keep(self._about(told))
            except OSError as error:
                told = told if told.state == "failed" else self._failed(error)
            told = replace(told, files=files_of(folder))
        self._tell(told)

    def _failed(self, error: Exception) -> Told:
        unforeseen = not isinstance(error, OSError)
        logger.error("the recording %s failed: %s", self._id, error, exc_info=unforeseen)
        return self._told("failed", "failed", source.reason(error))

    def _told(self, state: Literal["finished", "failed"], reason: EndReason, text: str) -> Told:
        """At the end."""
        left_out, broke = (self._film.left_out, self._film.broke) if self._film else (0, None)
        return Told(state, reason, self.samples, None, self._left_out + left_out, text, broke)

    def _about(self, told: Told) -> About:
        return About(
            recording_id=self._id,
            session_id=self._session_id,
            state=told.state,
            reason=told.reason,
            samples=told.samples,
            left_out_pictures=told.left_out,
            text=told.text,
        )

    def _write(self, folder: Path) -> Told:
        with ExitStack() as stack:
            if self._video:
                self._film = film = Filming(folder, self._video, self._limits)
                stack.callback(film.close)  # after the music is finished, for it may take a while
            timeline = stack.enter_context(Written(folder / "timeline.jsonl", "w"))
            sound = Sound(folder / f"music.{self._audio}", self._audio)
            stack.callback(sound.close)
            _line(timeline, self._head)
            self._tell(Told("recording"))
            reason = self._fill(folder, timeline, sound)
            _line(timeline, {"end": reason, "duration_s": self.samples / WIRE_RATE})
        if reason == "failed":
            return self._told("failed", reason, "the disk was too slow")
        return self._told("finished", reason, self._film.lacks if self._film else "")

    def _fill(self, folder: Path, timeline: Written, sound: Sound) -> EndReason:
        """Write until it is to end; why."""
        film, looked, error = self._film, 0, ""
        most = int(self._limits.length_s * WIRE_RATE)
        while True:
            items, reason = self._fetch()
            for item in items:
                if isinstance(item, Pictured):
                    if film:
                        film.picture(item.sample, item.media)
                    continue
                samples = item.samples[: most - item.first]
                sound.write(samples)
                self.samples = sound.samples
                if film:
                    film.sound(item.first, samples)
                for line in item.lines:
                    _line(timeline, line)
                if self.samples >= most:
                    return "length"
            if reason:
                return reason
            if film and film.error != error:
                error = film.error
                self._tell(Told("recording", text=error))
            if self.samples - looked >= LOOK_EVERY:
                looked = self.samples
                try:
                    self._shelf.check_room()
                except Full as full:
                    return full.reason
                _check_that_it_is_there(folder)

    def _fetch(self) -> tuple[list[Heard | Pictured], EndReason | None]:
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._reason)
            items = list(self._waiting)
            self._waiting.clear()
            self._waiting_samples = self._waiting_pictures = self._waiting_bytes = 0
            return items, self._reason


def _check_that_it_is_there(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder went away", str(folder))


def _line(timeline: Written, value: dict[str, Any]) -> None:
    with timeline.part():
        timeline.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
