"""The loop's side of recordings: which there are, and what each is to be told of its session. It touches no file.

A tape listens to its session as an endless sound does, with a resampler of its own, so its samples are those that are sent.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from engine.frames import F32
from server.audio.resampling import WIRE_RATE
from server.core.delivery import AudioOut, Delivery, Patience
from server.core.errors import SessionError
from server.metrics import Metrics
from server.protocol import messages as m
from server.protocol.limits import Limits
from server.protocol.media import Media
from server.protocol.values import EndReason, RecordedAudio
from server.recording.shelf import Recorded, Shelf, new_id
from server.recording.writer import Heard, Pictured, Told, Writer

if TYPE_CHECKING:
    from server.sessions.hosted import Hosted

EVERYTHING = Patience(credit=None, skip_behind=2**62, give_up_behind=2**62)
MOST_NOTES = 256
"""Events that wait for the next music, as in a pause."""
BEGINS = Told("recording")
"""Until the writer says something."""
STOP_S = 12.0
"""How long a server that ends waits for its recordings."""


class Recorder:
    """shelf: None where nothing is recorded. sign: makes the token of a recording's addresses, empty where none is needed."""

    def __init__(
        self,
        shelf: Shelf | None,
        limits: Limits,
        metrics: Metrics,
        sign: Callable[[str], str],
        about: dict[str, Any],
    ) -> None:
        """about: of the server, for every timeline's first line."""
        self.shelf, self._limits, self._metrics, self._sign, self._about = shelf, limits, metrics, sign, about
        self.tapes: dict[str, Tape] = {}  # bound: at_once, then SessionError

    def begin(self, hosted: Hosted, audio: RecordedAudio, video: bool) -> Tape:
        """Raises SessionError: recording_off, recording_refused."""
        if self.shelf is None:
            self._refuse(
                "off", "recording_off", "this server does not record; start it with --recordings FOLDER"
            )
        if hosted.tape:
            self._refuse("running", "recording_refused", "this session is being recorded already")
        most = self.shelf.limits.at_once
        if len(self.tapes) >= most:
            self._refuse("at_once", "recording_refused", f"{most} recordings are running, as many as may")
        tape = Tape(self, hosted, self.shelf, audio, self._limits if video else None)
        try:
            tape.start()
        except RuntimeError as error:  # no more threads
            self._refuse("not_started", "recording_refused", f"the recording cannot be started: {error}")
        self.tapes[tape.id] = tape
        self._metrics.recordings.set(len(self.tapes))
        return tape

    def _refuse(self, reason: str, code: str, text: str) -> NoReturn:
        self._metrics.recordings_refused.labels(reason).inc()
        raise SessionError(code, text)

    def head(self, tape: Tape) -> dict[str, Any]:
        hosted = tape.hosted
        return self._about | {
            "mode": "recording",
            "recording": tape.id,
            "session": hosted.id,
            "sample_rate": WIRE_RATE,
            "first_sample": tape.begin,
            "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "config": msgspec.to_builtins(hosted.config),
        }

    def paths(self, recording_id: str, names: Iterable[str]) -> tuple[str, ...]:
        """Where the files are fetched, as paths of this server."""
        token = self._sign(recording_id)
        return tuple(
            f"/v1/recordings/{recording_id}/{name}" + (f"?token={token}" if token else "") for name in names
        )

    def ended(self, tape: Tape, told: Told) -> None:
        del self.tapes[tape.id]
        self._metrics.recordings.set(len(self.tapes))
        self._metrics.recordings_ended.labels(told.reason or "failed").inc()
        self._metrics.recorded_bytes.inc(sum((told.files or {}).values()))
        self._metrics.recording_left_out.inc(told.left_out)
        if told.broke:
            self._metrics.films_broken.labels(told.broke).inc()

    async def stop(self) -> None:
        """Finish all of them."""
        for tape in list(self.tapes.values()):
            tape.end("session_ended")
        await asyncio.gather(*(asyncio.to_thread(tape.join, STOP_S) for tape in self.tapes.values()))


class Tape:
    """One recording of one session. `begin`: the wire's sample that is its first; `told`: how it stands, None at first.

    `films`: whether it has a film.
    """

    def __init__(
        self, recorder: Recorder, hosted: Hosted, shelf: Shelf, audio: RecordedAudio, video: Limits | None
    ) -> None:
        self.id, self.hosted = new_id(), hosted
        self.films = video is not None
        self.told: Told | None = None
        self.changed = asyncio.Event()
        """Set when it begins, ends or fails."""
        self.begun_by: str | UnsetType = UNSET
        self.ended_by: str | UnsetType = UNSET
        """Ids of the messages that began and ended it, until they are answered."""
        ring = hosted.core.playout.ring
        self._recorder = recorder
        self._delivery = Delivery(EVERYTHING, ring.end)
        self._feed = hosted.feed(ring.end)
        self.begin = self._next = self._feed.next
        self._lines: deque[dict[str, Any]] = deque(maxlen=MOST_NOTES)  # full: the oldest goes
        loop = asyncio.get_running_loop()

        def tell(told: Told) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._hear, told)

        self._writer = Writer(shelf, self.id, audio, video, recorder.head(self), tell)

    def start(self) -> None:
        self._writer.start()

    def tick(self, now_s: float) -> None:
        for out in self._delivery.take(self.hosted.core.playout, now_s):
            self._put(*self._feed.push(out), self._line(out))

    def picture(self, now_s: float, media: Media) -> None:
        """Of a session that plays; while nothing sounds nothing is recorded."""
        playout = self.hosted.core.playout
        if playout.clock:
            sample = self.hosted.wire_samples(playout.beside(now_s)) - self.begin
            self._writer.put(Pictured(max(0, sample), media))

    def note(self, line: dict[str, Any]) -> None:
        """For the timeline, with the next music."""
        self._lines.append(line | {"at_s": (self._next - self.begin) / WIRE_RATE})

    def end(self, reason: EndReason) -> None:
        """Once; later calls change nothing."""
        if self.hosted.tape is self:
            self.hosted.tape = None
            if reason == "session_ended":  # otherwise what the filter holds is not sent either
                self._put(*self._feed.flush())
            self._writer.finish(reason)

    def join(self, timeout_s: float) -> bool:
        return self._writer.join(timeout_s)

    def answers(self) -> list[m.RecordingState]:
        """How it stands, for each message that this answers: who began it hears what came first, everybody its end. One without
        an id where nobody waits."""
        state = self.state
        asked = [self.begun_by] if state.state == "recording" else [self.begun_by, self.ended_by]
        self.begun_by = UNSET
        waiting = [event_id for event_id in asked if event_id is not UNSET]
        return [msgspec.structs.replace(state, event_id=event_id) for event_id in waiting or (UNSET,)]

    @property
    def state(self) -> m.RecordingState:
        """For the websocket."""
        told = self.told or BEGINS
        paths = self._recorder.paths(self.id, told.files or ())
        reason = UNSET if told.reason is None else told.reason
        return m.RecordingState(self.id, told.state, self._samples(told), paths, reason, told.text)

    @property
    def recorded(self) -> Recorded:
        """The same for REST."""
        told = self.told or BEGINS
        files = told.files or {}
        return Recorded(
            recording_id=self.id,
            session_id=self.hosted.id,
            state=told.state,
            reason=told.reason,
            samples=self._samples(told),
            left_out_pictures=None if told.state == "recording" else told.left_out,
            text=told.text,
            files=files,
            paths=self._recorder.paths(self.id, files),
        )

    def _samples(self, told: Told) -> int:
        return max(told.samples, self._writer.samples)

    def _put(self, first: int, samples: F32, *lines: dict[str, Any]) -> None:
        samples = samples[max(0, self._next - first) :]
        if first > self._next:  # what was lost is silence
            samples = np.concatenate((np.zeros(first - self._next, np.float32), samples))
        self._writer.put(Heard(self._next - self.begin, samples, (*self._lines, *lines)))
        self._lines.clear()
        self._next += len(samples)

    def _line(self, out: AudioOut) -> dict[str, Any]:
        hosted, rate = self.hosted, self.hosted.core.config.limits.rate
        return {
            "start_s": (hosted.wire_samples(out.first_sample) - self.begin) / WIRE_RATE,
            "duration_s": len(out.samples) / rate,
            "first_sample": hosted.wire_samples(out.first_sample),
            **hosted.about(out),
            "concealed": out.concealed,
            "crossfade": out.crossfade,
        }

    def _hear(self, told: Told) -> None:
        before, self.told = self.told, told
        if before and before.state == told.state:
            if self.hosted.tape is self:  # otherwise its end is told soon
                self.hosted.recorded(self)
            return
        self.changed.set()
        if told.state != "recording":
            if self.hosted.tape is self:
                self.hosted.tape = None
            self._recorder.ended(self, told)
        self.hosted.recorded(self)
