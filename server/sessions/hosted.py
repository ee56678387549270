"""A session as the server holds it: the core, who is connected to it, and what the wire says of it. Lives on the event loop.

websocket ─ message, picture ─►  Hosted  ─ controls, frames ─►  core (`Session`)
websocket ◄─ events, music   ──  Hosted  ◄─ poll, each tick ──  core ◄─ reports ── engine's thread
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from math import inf
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from engine.frames import U8
from server.access.secrets import Identity, new_identity
from server.audio.feed import Feed
from server.audio.original_sound import Loudest, Sound, level_db
from server.audio.resampling import WIRE_RATE, aligned, on_the_wire
from server.audio.speaker import DEFAULT, Outlet, Speaker
from server.checkpoints.kept import About, Kept
from server.core.controls import ChangeNow, Control, Event, Fade, Turn
from server.core.delivery import AudioOut
from server.core.errors import SessionError
from server.core.orders import Orders
from server.core.session import Session
from server.output.outputs import Output
from server.pictures.seeing import Stamps, Watching
from server.protocol import messages as m
from server.protocol.config import Config, ConfigPatch, merge
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import Media
from server.protocol.values import RecordedAudio
from server.recording.tape import Tape
from server.sessions.lifetime import CLOSES, Ended, Lifetime, Reason
from server.sessions.notices import News
from server.sessions.outbox import Line
from server.sessions.shared import Feeder, Listener, Shared
from server.sessions.status import Health, Playback, Revisions, health_of, playback_of
from server.wire_controls import controls, turned, verb_fade

logger = logging.getLogger("uvicorn.error")
LISTENED_S, IDLE_S = 0.01, 0.1
"""How often a session is looked after that others listen to, or that does not play by the clock."""
HEARD_ALL_S = 0.25
"""A faded session stays so much longer, so that its last samples are placed and sent."""
FOREVER_S = 10**9
MOST_CHANGES = 8
"""Scene changes that were asked for and did not come yet; one more and the oldest is forgotten."""
KEPT_PICTURES = 64
"""Capture times that a checkpoint keeps; the music may go on knowing older ones, of which it then says the oldest of these."""


class Hosted:
    """`gone`: it ended, and the host may forget it. `line`, `speaker`: the client that is connected, if one is."""

    def __init__(
        self,
        session_id: str,
        core: Session,
        config: Config,
        shared: Shared,
        now_s: float,
    ) -> None:
        self.id, self.core, self.config, self.settings = session_id, core, config, shared.settings
        self.identity = new_identity(session_id)
        self.gone = self.restarts = False
        self.line: Line | None = None
        self.speaker: Outlet | None = None
        self.consumed = 0
        """Control messages that the session has seen."""
        self.kept_consumed = 0
        """Those of them that a server after this one would know."""
        self.form = DEFAULT
        self.original_rate = WIRE_RATE
        """Samples a second of the original sound that its client sends."""
        self.revisions = Revisions()
        self.taps: list[Listener] = []  # bound: http_audio.MOST_LISTENERS
        self.tape: Tape | None = None
        """What records it."""
        self.output: Output | None = None
        """What sends it on, or did."""
        self.feeder: Feeder | None = None
        """What shows it pictures beside its client."""
        self._shared, self._stamps, self._loudest = shared, Stamps(), Loudest()
        self._seen = Counter[str]()
        self._ways: list[Watching] = []  # bound: its client's, and one of each peer and ingest
        self._opened_ways = count()
        self.watching = self.watch()
        """The client's own pictures."""
        self._news = News(core, shared.settings.limits.memory_ms / 1000, now_s)
        self._life = Lifetime.begin(shared.settings.limits, now_s)
        self._second_s = self._ticked_s = now_s
        self._asked: deque[str] = deque(maxlen=MOST_CHANGES)  # event ids of changes that the engine knows
        self._changes: deque[tuple[int, str | None]] = deque(maxlen=MOST_CHANGES)  # that wait for a picture
        self._checkpoint = core.checkpoint
        self._end_asked: str | UnsetType = UNSET

    def begin(self, now_s: float) -> None:
        """As the configuration says; before anything else."""
        for control in controls(None, self.config):
            self.core.control(now_s, control)
        self.revisions.note(self.core)

    @classmethod
    def restored(cls, kept: Kept, core: Session, shared: Shared, now_s: float) -> Hosted:
        """As it was kept; its client is about to resume."""
        about = kept.about
        hosted = cls(about.session, core, about.config, shared, now_s)
        hosted.consumed = hosted.kept_consumed = about.consumed
        hosted.form, hosted.revisions = about.form, Revisions(about.revisions)
        hosted.original_rate = about.original_rate
        hosted.identity = Identity(about.session, about.nonce)
        hosted._stamps = Stamps(kept.checkpoint.take, about.pictures)
        hosted._life.began_s -= about.lasted_s
        core.intake.holds = about.config.hold_scene
        core.control(now_s, verb_fade(about.config))
        return hosted

    def keep(self, now_s: float) -> bool:
        """Put the newest checkpoint on the shelf, with what the client was told by now. Right after the core heard of it.
        Returns whether there was a newer one than before."""
        checkpoint, shelf = self.core.checkpoint, self._shared.shelf
        if (
            shelf is None
            or checkpoint is None
            or checkpoint is self._checkpoint
            or self.gone
            or self.restarts
        ):
            return False
        self._checkpoint = checkpoint
        about = About(
            session=self.id,
            saved_s=self._shared.epoch_s() + now_s,
            lasted_s=now_s - self._life.began_s,
            consumed=self.consumed,
            config=self.config,
            form=self.form,
            revisions=tuple(self.revisions.made),
            pictures=self._stamps.newest(checkpoint.take, KEPT_PICTURES),
            original_rate=self.original_rate,
            nonce=self.identity.nonce,
            model=self._shared.player.digest,
        )
        shelf.put(Kept(about, checkpoint))
        return True

    def restart(self) -> None:
        """It goes on from its newest checkpoint in the next server: nobody is to hear more of it, and no other one is taken."""
        if self.restarts:
            return
        self.restarts = True
        if self.line:
            self.line.fail(ErrorCode.RESTARTING, "the server restarts; the session goes on after it")

    # --- the connection

    def attach(self, now_s: float, line: Line, form: m.AudioFormat) -> None:
        """The first client."""
        self.form = form
        self.core.attach(now_s)
        assert self.core.delivery is not None
        self._connect(line, Speaker(self.feed(self.core.delivery.cursor), form))

    def resume(self, now_s: float, line: Line, received: int, played: int) -> int:
        """A client that was here before; returns the first sample that it will get. Raises SessionError."""
        rate = self.core.config.limits.rate
        if received > self.wire_samples(self.core.newest):
            raise SessionError("bad_request", f"received through {received}, but so much was never sent")
        heard, acknowledged = aligned(received, rate), aligned(min(played, received), rate)
        self.core.resume(now_s, heard)
        delivery = self.core.delivery
        assert delivery is not None
        delivery.acknowledged -= heard - acknowledged
        speaker = Speaker(Feed(self.core.playout.ring, rate, received), self.form)
        if delivery.cursor != heard:
            speaker.feed.jump(delivery.cursor)
        self._connect(line, speaker)
        return speaker.feed.next

    def join(self, now_s: float, line: Line, outlet: Callable[[Feed], Outlet]) -> int:
        """A client that hears what comes from now on at its transport's own pace, without credit: the first one, or one that
        was here before. Returns the first sample that it will get. Raises SessionError."""
        if self.core.state == "created":
            self.core.attach(now_s)
        else:
            self.core.resume(now_s, self.core.playout.ring.end)
        cursor = self._deliver_without_credit()
        self._connect(line, outlet(self.feed(cursor)))
        return self.wire_samples(cursor)

    def play_to_nobody(self, now_s: float) -> None:
        """Without a client, from its first picture on: its music is heard elsewhere."""
        self.core.attach(now_s)
        self._deliver_without_credit()
        self.playback(now_s, "play")

    def _deliver_without_credit(self) -> int:
        """Nobody will report what was played. Returns the first sample that is delivered."""
        delivery = self.core.delivery
        assert delivery is not None
        delivery.patience = replace(delivery.patience, credit=None)
        return delivery.cursor

    def stay(self) -> None:
        """It ends neither for its length nor because nothing happens: the operator wants it open."""
        self._life.limits = replace(self._life.limits, session_s=FOREVER_S, idle_s=FOREVER_S)

    def detach(self, now_s: float, line: Line, left: bool) -> None:
        """This connection is over; another one may have the session already. left: the client said that it goes for good."""
        if self.line is not line:
            return
        self.line = None
        self.core.detach(now_s)
        if left:
            self.leave("left")

    def feed(self, cursor: int) -> Feed:
        """For a listener from this input sample on."""
        return Feed(self.core.playout.ring, self.core.config.limits.rate, self.wire_samples(cursor))

    def wire_samples(self, cursor: int) -> int:
        return on_the_wire(cursor, self.core.config.limits.rate)

    def _connect(self, line: Line, speaker: Outlet) -> None:
        if self.line:
            self.line.fail(ErrorCode.SESSION_SUPERSEDED, "another connection resumed this session")
        self.line, self.speaker = line, speaker
        self._second_s = -inf  # what it comes back with is told at once
        self._news.forget_told()

    # --- what a client asks

    def watch(self) -> Watching:
        """Another way for pictures; two videos have two decoders."""
        settings, shared = self.settings, self._shared
        name = f"{self.id}/{next(self._opened_ways)}"
        way = Watching(
            name,
            settings.limits,
            settings.video_fps,
            shared.decoders,
            self._show,
            self.refuse,
            self._seen,
        )
        self._ways.append(way)
        return way

    def leave_way(self, way: Watching) -> None:
        """Nothing comes by it any more."""
        way.stop()
        self._ways.remove(way)

    def picture(self, now_s: float, media: Media, way: Watching | None = None) -> None:
        """way: from `watch`; None: the client's own."""
        self._life.pictured_s = now_s
        (way or self.watching).picture(now_s, media)
        if self.tape:
            self.tape.picture(now_s, media)
        if self.output:
            self.output.picture(now_s, media)

    @property
    def copying(self) -> tuple[Tape | None, Output | None]:
        """What copies pictures now: it begins with a keyframe, and is cut at keyframes."""
        film = self.tape if self.tape and self.tape.films else None
        shown = self.output if self.output and self.output.shows else None
        return film, shown

    def original(self, now_s: float, sound: Sound, begins_s: float | None = None) -> None:
        """The video's own sound: the music steps back under it, and an output may mix it in.

        begins_s: when its first sample was captured, by the same clock; None: it was captured until now.
        """
        held_s = 0.0
        if self.output:
            self.output.original(now_s, sound, now_s - sound.seconds if begins_s is None else begins_s)
            held_s = self.output.held_s
        self.core.original_level(self._loudest.of(now_s, level_db(sound), held_s))

    def _show(self, came_s: float, pixels: U8, at_us: int) -> None:
        playout = self.core.playout
        looks = self.core.intake.looks
        if looks:
            step = playout.sounding(came_s) // self.core.config.hop
            self._stamps.add(playout.take, step, at_us)
        self.core.frame(came_s, pixels)
        if looks and self._changes:
            waited = list(self._changes)
            self._changes.clear()
            for change in waited:
                self.change(came_s, *change)
        self._shared.hurry(self.id)
        self._shared.metrics.frames.labels("shown").inc()

    def refuse(self, came_s: float, error: ProtocolError) -> None:
        """A picture that came then."""
        self._shared.metrics.frames.labels("refused").inc()
        self._shared.metrics.errors.labels(str(error.code)).inc()
        if self.line:
            self.line.refuse(error, came_s)

    def update(self, now_s: float, patch: ConfigPatch) -> m.SessionUpdated:
        """All of the patch, or none of it. Raises SessionError."""
        after = merge(self.config, patch)
        core = self.core
        policy = turned(core.policy, after, core.config.longest_window_s, self._shared.player)
        changes: list[Control] = [] if policy == core.policy else [Turn(policy)]
        for control in changes + controls(self.config, after):
            core.control(now_s, control)
        self.config = after
        self.revisions.note(self.core)
        self._note({"config": msgspec.to_builtins(patch)})
        self.wake()
        return self.updated()

    def updated(self) -> m.SessionUpdated:
        return m.SessionUpdated(self.revisions.newest, self.config)

    def playback(self, now_s: float, action: str) -> m.State:
        verbs = {
            "play": self.core.play,
            "pause": self.core.pause,
            "stop": self.core.stop,
            "reset_context": self.core.reset_context,
        }
        verbs[action](now_s)
        self._note({"playback": action})
        self.wake()
        self._life.active_s = now_s
        return self.state()

    def state(self) -> m.State:
        return m.State(*self._standing())

    def _standing(self) -> tuple[Playback, Health, int]:
        core = self.core
        return playback_of(core), health_of(core, self.watching.counts["shown"] > 0), core.degradation.level

    def change(self, now_s: float, at_us: int = 0, event_id: str | None = None) -> None:
        """To another scene, now, or with the first picture that was captured at `at_us` or after."""
        if at_us > self._stamps.newest_us:
            self._changes.append((at_us, event_id))
            return
        if event_id is not None:
            self._asked.append(event_id)
        self.core.control(now_s, ChangeNow())
        self.wake()

    def reported(self, report: m.PlayoutReport) -> None:
        """Raises SessionError."""
        self._news.ages.buffer_ms = report.buffer_ms
        self.core.report(aligned(report.played_through_sample, self.core.config.limits.rate))

    def credit(self, credit_ms: int) -> None:
        """Where there is credit at all."""
        if self.core.delivery and self.core.delivery.patience.credit is not None:
            credit = credit_ms * self.core.config.limits.rate // 1000
            self.core.delivery.patience = replace(self.core.delivery.patience, credit=credit)

    def record(self, audio: RecordedAudio, video: bool) -> Tape:
        """Raises SessionError. The client is told when the files are open, and when they are finished."""
        self.tape = self._shared.recorder.begin(self, audio, video)
        return self.tape

    def recorded(self, tape: Tape) -> None:
        """How a recording of this session stands now."""
        for answer in tape.answers():
            self._say(answer)

    def _note(self, line: dict[str, Any]) -> None:
        if self.tape:
            self.tape.note(line)

    def end(self, now_s: float, fade_ms: int | None = None, event_id: str | UnsetType = UNSET) -> None:
        """Fade out; the last words follow, and answer this event. Who asks again may only have it end sooner."""
        playing = self.core.state == "playing"
        fade_s = (self.config.fade_ms if fade_ms is None else fade_ms) / 1000
        end_s = now_s + fade_s + HEARD_ALL_S if playing else now_s
        if self._life.end_s is not None and self._life.end_s <= end_s:
            return
        self._life.end_s = end_s
        if event_id is not UNSET:
            self._end_asked = event_id
        if playing:
            self.core.control(now_s, Fade(0.0, fade_s))

    # --- time

    def wake(self) -> None:
        """Something happened: look after it now."""
        self._shared.wake(self.id)

    def tick(self, now_s: float, step_share: float) -> tuple[float, Orders | None]:
        """Send what is due; returns when to come again, and what the engine is to do.

        step_share: the time of a step over its music.
        """
        for way in self._ways:
            way.tick(now_s)
        orders, outputs = self.core.poll(now_s)
        for output in outputs:
            if isinstance(output, AudioOut):
                self._sound(output)
            else:
                self._event(output)
        for tap in list(self.taps):
            tap.tick(now_s)
        if self.tape:
            self.tape.tick(now_s)
        self._tell_news(now_s)
        if now_s - self._second_s >= 1:
            self._second_s = now_s
            self._each_second(now_s, step_share)
        self._end_in_time(now_s)
        self._ticked_s = now_s
        return self._next_s(now_s), orders

    def _next_s(self, now_s: float) -> float:
        """When the next chunk is due, or who listens beside its client is to be served."""
        chunk_s = self.core.chunk_due_s
        next_s = now_s + IDLE_S if chunk_s is None else chunk_s
        return min(next_s, now_s + LISTENED_S) if self.taps else next_s

    def _sound(self, out: AudioOut) -> None:
        self._news.ages.note(out.age_steps)
        if self.line is None or self.speaker is None:
            return
        monotonic, metrics = self._shared.monotonic, self._shared.metrics
        before, began_s = self.speaker.sent, monotonic()
        newest_us = self._stamps.at_us(out.take, out.newest_step)
        made = list(self.speaker.say(out, newest_us, self.revisions.of(out)))
        metrics.encoding.observe(monotonic() - began_s)
        due_s = began_s if out.due_s is None else out.due_s
        for data in made:
            self.line.put(data, max(due_s, self._ticked_s))
        metrics.sent.inc(self.speaker.sent - before)
        metrics.picture_age.observe(self._age_s(out))

    def _age_s(self, out: AudioOut) -> float:
        """Of the newest picture that it knew."""
        return out.age_steps * self.core.config.hop / self.core.config.limits.rate

    def about(self, out: AudioOut) -> dict[str, Any]:
        """What is known of a chunk, for a timeline."""
        return {
            "newest_us": self._stamps.at_us(out.take, out.newest_step),
            "newest_step": out.newest_step,
            "age_s": self._age_s(out),
            "segment": out.segment,
            "seed": out.seed,
            "take": out.take,
            "revision": self.revisions.of(out),
        }

    def _event(self, event: Event) -> None:
        match event.kind:
            case "cut":
                self._tell_cut(**event.about)
            case "warning":
                self._say(m.WarningMessage("refused", event.about["message"][:1024]))
            case "restored":
                self._say(self._news.restored(event.about["samples"], event.about["left_out"]))
            case "slow_consumer":
                self._fail(ErrorCode.SLOW_CONSUMER, event.about["message"])
            case "failed":
                logger.error("session %s: its music cannot go on: %s", self.id, event.about["message"])
                self.break_off(event.about["message"], "generator_failed")
            case "expired":
                self.leave("expired")

    def _tell_cut(self, step: int, asked: bool) -> None:
        """One that was asked for answers everybody who asked by now."""
        message = self._news.cut(step, self._stamps, self.config.cut_response)
        self._note({"cut_us": message.at_us, "from_sample": message.from_sample})
        if not (asked and self._asked):
            self._say(message)
            return
        for event_id in self._asked:
            self._say(msgspec.structs.replace(message, event_id=event_id))
        self._asked.clear()

    def _tell_news(self, now_s: float) -> None:
        if self.line:
            for told in self._news.changed(now_s, self._standing(), self._stamps):
                self._say(told)

    def _each_second(self, now_s: float, step_share: float) -> None:
        if self.core.state == "playing" and (told := self._news.ages.latency(step_share)):
            self._say(told)
        if self.core.state in ("waiting", "playing"):
            self._life.active_s = now_s
        window_ms = self.settings.limits.resume_window_s * 1000
        consumed = self.consumed if self._shared.shelf is None else self.kept_consumed
        self._say(m.ResumeHandle(self._shared.door.handle(self.identity, now_s), True, window_ms, consumed))

    def _end_in_time(self, now_s: float) -> None:
        if (left_ms := self._life.warning_ms(now_s)) is not None:
            self._say(m.GoAway(left_ms, "session_limit"))
        if (reason := self._life.due(now_s)) is None:
            return
        if reason == "session_limit":
            said = f"a session lasts {self.settings.limits.session_s} s"
            self._say(m.ErrorMessage(str(ErrorCode.SESSION_LIMIT), said, True))
        self._finish(reason)

    def _finish(self, reason: Reason) -> None:
        if self.line and self.speaker:
            for data in self.speaker.end():
                self.line.put(data)
            event_id = self._end_asked if reason == "asked" else UNSET
            self._say(m.SessionEnded(reason, self.speaker.next, event_id=event_id))
            self.line.hang_up(CLOSES[reason])
        self.leave(reason)

    def break_off(self, text: str, why: Literal["generator_failed", "internal"] = "internal") -> None:
        """End it for good, and say why."""
        self._fail(ErrorCode(why), text)
        self.leave(why)

    def leave(self, why: Ended) -> None:
        """End it for good, once; whoever is connected has been told."""
        if self.gone:
            return
        self.gone = True
        self._shared.metrics.ended.labels(why).inc()
        self.wake()
        for tap in self.taps:
            tap.end()
        if self.tape:
            self.tape.end("session_ended")
        if self.feeder:
            self.feeder.end()
        for way in self._ways:
            way.stop()
        self.core.close()

    def _say(self, message: m.ServerMessage) -> None:
        if self.line:
            self.line.say(message)

    def _fail(self, code: ErrorCode, text: str) -> None:
        if self.line:
            self.line.fail(code, text[:240])
