"""The loop's side of outputs: which there are, and what each is to be told of its session. It touches no file and no network.

An output listens to its session as an endless sound does, and hears silence while nothing plays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from msgspec import Struct

from engine.frames import F32
from server.audio.original_sound import Sound
from server.audio.resampling import WIRE_RATE
from server.core.delivery import Delivery
from server.core.errors import SessionError
from server.core.mixing import LOUDEST_DB, QUIETEST_DB, amplitude
from server.metrics import Metrics
from server.output.limits import OutputLimits
from server.output.sender import Sender, State, Told
from server.output.targets import Allowed, Target, What, target_of
from server.output.wire import Heard, Pictured, Sounded, job_of
from server.protocol.limits import Limits
from server.protocol.media import Media
from server.protocol.messages import WarningMessage
from server.protocol.values import EndReason
from server.recording.tape import EVERYTHING
from server.system.disk import Room
from server.system.srt import NO_PROGRAM, is_there

if TYPE_CHECKING:
    from server.sessions.hosted import Hosted

SILENT_AFTER_S = 0.1
logger = logging.getLogger("uvicorn.error")
STOP_SPARE_S = 5.0
"""How much longer than `finish_s` a server that ends waits for its outputs."""


class OutputState(Struct, frozen=True):
    """How an output stands. url: without keys. delay_ms: how long pictures and their sound wait, null for music alone.

    original_gain_db: of their sound, null for music alone. original_s: seconds of it that are in the result.
    """

    url: str
    what: What
    delay_ms: int | None
    original_gain_db: float | None
    state: State
    reason: EndReason | None
    samples: int
    lost_samples: int
    left_out_pictures: int
    original_s: int
    lost_original_samples: int
    reconnects: int
    error: str


class Outputs:
    """folder: None where no files are written. hosts: that may be pushed to."""

    def __init__(
        self,
        folder: Room | None,
        hosts: tuple[str, ...],
        limits: OutputLimits,
        pictures: Limits,
        metrics: Metrics,
    ) -> None:
        self.limits, self._folder, self._pictures, self._metrics = limits, folder, pictures, metrics
        self._allowed = Allowed(hosts, folder.root if folder else None)
        self.running: set[Output] = set()  # bound: at_once, then SessionError

    @property
    def kinds(self) -> list[str]:
        """What may be done here."""
        return ["file", "hls"] * bool(self._allowed.folder) + ["rtmp", "srt"] * bool(self._allowed.hosts)

    def begin(
        self,
        hosted: Hosted,
        url: str,
        what: What,
        delay_ms: int | None = None,
        original_gain_db: float | None = None,
    ) -> Output:
        """delay_ms: None takes the one after which music knows a picture. original_gain_db: None is 0. Raises SessionError."""
        if len(self.running) >= self.limits.at_once:
            self._refuse("output_refused", f"{self.limits.at_once} outputs are running, as many as may")
        if hosted.output in self.running:
            self._refuse("output_refused", "this session has an output already")
        try:
            target = target_of(url, what, self._allowed)
            delay = delay_of(hosted, what, delay_ms, self.limits.delay_ms)
            gain_db = gain_of(what, original_gain_db)
        except SessionError as error:
            self._refuse(error.code, str(error))
        if target.creates and target.address in {each.target.address for each in self.running}:
            self._refuse("output_refused", "another session has an output of that name; choose another one")
        if target.srt is not None and not is_there():
            self._refuse("output_off", NO_PROGRAM)
        output = Output(self, hosted, target, what, delay, gain_db)
        try:
            output.start()
        except RuntimeError as error:  # no more threads
            self._refuse("output_refused", f"the output cannot be started: {error}")
        self.running.add(output)
        self._metrics.outputs.set(len(self.running))
        return output

    def sender(self, output: Output) -> Sender:
        delay_ms = output.delay_ms
        delay = None if delay_ms is None else delay_ms * WIRE_RATE // 1000
        original = amplitude(output.gain_db) if output.mixes and output.gain_db is not None else None
        job = job_of(output.target, self.limits, delay, original, self._pictures.image_pixels)
        loop = asyncio.get_running_loop()

        def tell(told: Told) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._ended, output, told)

        return Sender(job, self.limits, None if output.target.stays else self._folder, tell)

    def _refuse(self, code: str, text: str) -> NoReturn:
        self._metrics.outputs_refused.labels(code).inc()
        raise SessionError(code, text)

    def _ended(self, output: Output, told: Told) -> None:
        self.running.discard(output)
        output.ended.set()
        output.leave()
        if told.state == "failed":
            logger.error(
                "session %s: its output to %s has failed: %s",
                output.hosted.id,
                output.target.shown,
                told.error,
            )
            if output.hosted.line:
                output.hosted.line.say(WarningMessage("output", f"the output has failed: {told.error}"))
        self._metrics.outputs.set(len(self.running))
        self._metrics.outputs_ended.labels(told.reason or "failed").inc()
        self._metrics.output_reconnects.inc(told.reconnects)
        self._metrics.output_lost.inc(told.lost_samples)
        self._metrics.output_left_out.inc(told.left_out_pictures)
        self._metrics.output_original.inc(told.original_s)
        self._metrics.output_lost_original.inc(told.lost_original_samples)

    async def stop(self) -> None:
        """Finish all of them."""
        for output in list(self.running):
            output.finish("session_ended")
        most_s = self.limits.finish_s + STOP_SPARE_S
        await asyncio.gather(*(asyncio.to_thread(output.join, most_s) for output in self.running))


class Output:
    """One output of one session: a listener that has a turn in each tick. `ended`: set when everything is sent."""

    def __init__(
        self,
        outputs: Outputs,
        hosted: Hosted,
        target: Target,
        what: What,
        delay_ms: int | None,
        gain_db: float | None,
    ) -> None:
        self.hosted, self.target, self.what = hosted, target, what
        self.delay_ms, self.gain_db = delay_ms, gain_db
        self.ended = asyncio.Event()
        ring = hosted.core.playout.ring
        self._delivery = Delivery(EVERYTHING, ring.end)
        self._feed = hosted.feed(ring.end)
        self._expected = self._feed.next  # the wire's sample that comes next
        self._at = 0  # the output's sample that comes next
        self._heard_s: float | None = None  # until when there is sound
        self._silent = False  # what was put last was no music
        self._sender = outputs.sender(self)

    def start(self) -> None:
        """Raises RuntimeError where there is no thread for it."""
        self._sender.start()
        self.hosted.taps.append(self)
        self.hosted.output = self
        self.hosted.wake()

    def tick(self, now_s: float) -> None:
        self._heard_s = now_s if self._heard_s is None else self._heard_s
        for out in self._delivery.take(self.hosted.core.playout, now_s):
            if self._silent:
                self._silence(now_s)
            self._music(*self._feed.push(out))
            self._heard_s, self._silent = now_s, False
        if now_s - self._heard_s > SILENT_AFTER_S:
            self._silence(now_s)
            self._silent = True

    def _silence(self, until_s: float) -> None:
        assert self._heard_s is not None
        self._put(np.zeros(int((until_s - self._heard_s) * WIRE_RATE), np.float32))
        self._heard_s = until_s

    def picture(self, now_s: float, media: Media) -> None:
        if self.delay_ms is not None:
            sample = self._sample(now_s)
            self._sender.put(Pictured(max(0, sample), media))

    @property
    def shows(self) -> bool:
        """Whether pictures are in it, while it runs."""
        return self.delay_ms is not None and not self.ended.is_set()

    @property
    def mixes(self) -> bool:
        """Whether the original sound is in it, while it runs."""
        return self.gain_db is not None and self.gain_db > QUIETEST_DB and not self.ended.is_set()

    @property
    def held_s(self) -> float:
        """How much later original sound is heard here than it came."""
        return self.delay_ms / 1000 if self.mixes and self.delay_ms is not None else 0.0

    def original(self, now_s: float, sound: Sound, begins_s: float) -> None:
        """begins_s: when its first sample was captured."""
        if self.mixes:
            early = round((now_s - begins_s) * WIRE_RATE)
            sample = self._sample(now_s)
            self._sender.put(Sounded(sample - early, sound))

    def _sample(self, now_s: float) -> int:
        """Of the output, now."""
        playout = self.hosted.core.playout
        if playout.clock:
            return self._at + self.hosted.wire_samples(playout.beside(now_s)) - self._expected
        return self._at + (0 if self._heard_s is None else int((now_s - self._heard_s) * WIRE_RATE))

    def end(self) -> None:
        """Its session is over."""
        self._music(*self._feed.flush())
        self.finish("session_ended")

    def finish(self, reason: EndReason) -> None:
        """Once; later calls change nothing."""
        self._sender.finish(reason)

    def leave(self) -> None:
        """Its session hears no more of it."""
        if self in self.hosted.taps:
            self.hosted.taps.remove(self)

    def join(self, timeout_s: float) -> bool:
        return self._sender.join(timeout_s)

    @property
    def state(self) -> OutputState:
        told = self._sender.told
        return OutputState(
            self.target.shown,
            self.what,
            self.delay_ms,
            self.gain_db,
            told.state,
            told.reason,
            told.samples,
            told.lost_samples,
            told.left_out_pictures,
            told.original_s,
            told.lost_original_samples,
            told.reconnects,
            told.error,
        )

    def _music(self, first: int, samples: F32) -> None:
        samples = samples[max(0, self._expected - first) :]
        if first > self._expected:  # what was lost is silence
            samples = np.concatenate((np.zeros(first - self._expected, np.float32), samples))
        self._expected += len(samples)
        self._put(samples)

    def _put(self, samples: F32) -> None:
        if len(samples):
            self._sender.put(Heard(self._at, samples.tobytes()))
            self._at += len(samples)


def delay_of(hosted: Hosted, what: What, delay_ms: int | None, most: int) -> int | None:
    """Milliseconds, None for music alone. Raises SessionError."""
    if what == "music":
        if delay_ms is not None:
            raise SessionError("bad_request", "delay_ms is for pictures: what is 'mixed' then")
        return None
    wanted = answer_ms(hosted) if delay_ms is None else delay_ms
    if not 0 <= wanted <= most:
        raise SessionError("bad_request", f"expected delay_ms from 0 to {most}, found {wanted}")
    return wanted


def gain_of(what: What, gain_db: float | None) -> float | None:
    """Decibels, None for music alone. Raises SessionError."""
    if what == "music":
        if gain_db is not None:
            said = "original_gain_db is for the sound of pictures: what is 'mixed' then"
            raise SessionError("bad_request", said)
        return None
    wanted = 0.0 if gain_db is None else gain_db
    if not QUIETEST_DB <= wanted <= LOUDEST_DB:
        said = f"expected original_gain_db from {QUIETEST_DB:g} to {LOUDEST_DB:g}, found {wanted:g}"
        raise SessionError("bad_request", said)
    return wanted


def answer_ms(hosted: Hosted) -> int:
    """After which music that knows a picture sounds, when the engine keeps up: all that is made ahead, and a piece."""
    config = hosted.core.config
    return 1000 * (config.limits.high + config.policy.chunk_steps * config.hop) // config.limits.rate
