"""`cuestream live` without its terminal: a source up, the music into a speaker or a file, and what is known of both on a board.

source ─thread─► client ─► server ─► client ─this thread─► sink
                     └─events─thread─► Board
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cuestream_client import messages as m
from cuestream_client.client import Client
from cuestream_client.comeback import Next
from cuestream_client.errors import ClientError, Closed
from cuestream_client.music import Chunk
from cuestream_client.obs.places import Place
from cuestream_client.obs.watching import watch
from cuestream_client.recorder import Recorder, check_place
from cuestream_client.session import Playout
from cuestream_client.silence import Silence
from cuestream_client.sources import Pace, Source, check, frames
from cuestream_client.speaker import Speaker

CREDIT_MS = 1500
"""More than the server gives by itself: what is late waits in the player, where it is seen and shortened, not at the server."""
JOIN_S = 5.0
"""A camera may hold its thread for as long as a frame takes."""


class Sink(Protocol):
    """Where music goes."""

    @property
    def playout(self) -> Playout: ...
    @property
    def peak(self) -> float: ...
    def put(self, chunk: Chunk) -> None: ...
    def expect(self, more: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class LiveJob:
    """source: what to look at; a place of OBS is its program. name: of the session, so that others can hear it.

    output: a file instead of the speaker. silent: neither, it is heard elsewhere. seconds: stop after so much music, None goes on
    to the end of the source.
    """

    url: str
    source: Source | Place
    token: str | None = field(default=None, repr=False)
    name: str | None = None
    silent: bool = False
    output: Path | None = None
    device: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(slots=True)
class Board:
    """What the meters show; written by three threads, each field by one."""

    label: str = ""
    model: str = ""
    line: str = "connecting"
    playback: str = "stopped"
    health: str = "waiting"
    music_s: float = 0.0
    buffer_ms: float = 0.0
    underruns: int = 0
    clock_ppm: float = 0.0
    peak: float = 0.0
    age_ms: float | None = None
    latency: m.Latency | None = None
    pictures: int = 0
    cuts: int = 0
    resumed: int = 0
    said: str = ""

    def heard(self, chunk: Chunk, sink: Sink, music_s: float, now_us: int) -> None:
        playout = sink.playout
        self.music_s, self.peak = music_s, sink.peak
        self.buffer_ms, self.underruns, self.clock_ppm = (
            playout.buffer_ms,
            playout.underruns,
            playout.clock_ppm,
        )
        if chunk.source:
            self.age_ms = (now_us - chunk.source.newest_us) / 1000 + playout.buffer_ms

    def saw(self, event: m.ServerMessage | Next) -> None:
        match event:
            case m.State(playback=playback, health=health):
                self.playback, self.health = playback, health
            case m.SceneCut():
                self.cuts += 1
            case m.Latency():
                self.latency = event
            case m.SessionResumed():
                self.line, self.resumed = "connected", self.resumed + 1
            case m.SessionCreated(label=label, model=model):
                self.line, self.label, self.model = "connected", label, model
            case m.ErrorMessage(code=code, text=text) | m.WarningMessage(code=code, text=text):
                self.said = f"{code}: {text}"
            case m.SessionEnded(reason=reason):
                self.line = f"ended: {reason}"
            case Next(then=then, why=why, pause_s=pause_s, asked_s=asked_s) if then != "stop":
                after = f" in {pause_s:.0f} s" if asked_s else ""
                self.line = f"{then}{after}: {why}"


@dataclass(slots=True)
class Live:
    """One run. `run` plays until the source ends, `stop` is set or the seconds are over."""

    job: LiveJob
    board: Board = field(default_factory=Board)
    stop: threading.Event = field(default_factory=threading.Event)
    pace: Pace | None = None
    say: Callable[[str], object] = lambda _: None
    """Hears once of each reason why the line is not there."""
    _failure: ClientError | None = None
    _heard_by: Sink | None = None

    def run(self) -> None:
        """Raises ClientError, also where no music came; the board is as far as it came."""
        job = self.job
        if job.output:
            check_place(job.output)
        if isinstance(job.source, Source):
            check(job.source, held=job.seconds is not None)
        client = Client(job.url, token=job.token, name=job.name, config=job.config)
        with _thread(lambda: self._watch(client)), client, self._sink(client) as sink:
            client.follow(lambda: sink.playout)
            client.credit(CREDIT_MS)
            self._play(client, sink)
        if self._failure:
            raise self._failure
        if not self.board.music_s:
            raise ClientError("it ended before there was any music")

    def _sink(self, client: Client) -> Recorder | Speaker | Silence:
        job, audio = self.job, client.session.audio
        if job.output:
            return Recorder(job.output, audio)
        return Silence() if job.silent else Speaker(audio, job.device)

    def _play(self, client: Client, sink: Sink) -> None:
        self._heard_by = sink
        with _thread(lambda: self._look(client)):
            try:
                client.play()
                self._listen(client, sink)
            except ClientError:
                if not self._failure:  # that ended the session, and is what is to be told
                    raise
            finally:
                self.stop.set()
                client.close()

    def _listen(self, client: Client, sink: Sink) -> None:
        """The music into the sink, until it ends or there is enough."""
        for chunk in client.audio(acknowledge=False):
            sink.put(chunk)
            self.board.heard(chunk, sink, chunk.end / client.session.audio.sample_rate, client.now_us)
            enough = self.job.seconds is not None and self.board.music_s >= self.job.seconds
            if enough or self.stop.is_set():
                return

    def _look(self, client: Client) -> None:
        """Frames up; where the source ends the session is ended with its fade, and `_listen` hears the rest."""
        try:
            if isinstance(self.job.source, Place):
                watch(self.job.source, client, self.stop, self._shown, self._lost)
            else:
                self._show(client, self.job.source)
        except Closed:
            return
        except ClientError as error:
            self._failure = error
        with contextlib.suppress(ClientError):
            client.end()

    def _show(self, client: Client, source: Source) -> None:
        for frame in frames(source, self.stop, self.pace, held=self.job.seconds is not None):
            at_us = client.now_us
            if client.wants(at_us):
                client.show(frame.to_ndarray(format="rgb24"), at_us)
                self._shown()

    def _shown(self) -> None:
        self.board.pictures += 1

    def _lost(self, why: str) -> None:
        self.board.said = why

    def _watch(self, client: Client) -> None:
        """From the first attempt to connect on; there is somebody to hear the music as soon as some is played."""
        told = set[str]()
        for event in client.events():
            self.board.saw(event)
            if isinstance(event, m.State) and self._heard_by:
                self._heard_by.expect(event.playback == "playing")
            if isinstance(event, Next) and event.then != "stop" and event.why not in told:
                told.add(event.why)
                after = f" in {event.pause_s:.0f} s" if event.asked_s else ""
                self.say(f"connecting again{after}: {event.why}")
        if self._heard_by:
            self._heard_by.expect(False)


@contextlib.contextmanager
def _thread(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(JOIN_S)
