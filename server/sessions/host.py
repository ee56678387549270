"""All sessions of a server, their clock and the engine's thread. Lives on one event loop; the engine works in `Runner`'s thread.

A tick polls every session that has something due: its next chunk, by the absolute clock of its playout, or what a client said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, get_args

from cuestream import __version__
from engine.errors import NoRoom
from engine.player import Player, ask_device
from engine.spec import StreamPolicy
from server.access.admission import Admission
from server.access.secrets import HANDLE_SPARE_S, Door, Identity, new_session_id
from server.checkpoints.shelf import Shelf, ShelfLimits
from server.core.config import SessionConfig
from server.core.orders import Orders, Report
from server.core.policies import check_window
from server.core.session import Session, ShownState
from server.engine_thread.runner import Runner
from server.engine_thread.switching import take_short_turns
from server.engine_thread.voices import Voice
from server.metrics import Metrics, Page
from server.output.outputs import Outputs
from server.pictures.decoders import Decoders
from server.protocol import messages as m
from server.protocol.config import Config, ConfigPatch, merge
from server.protocol.errors import ErrorCode
from server.recording.shelf import Shelf as Recordings
from server.recording.tape import Recorder
from server.sessions.hosted import Hosted
from server.sessions.schedule import Agenda
from server.sessions.shared import Shared
from server.sessions.ticker import Ticker
from server.settings import Settings
from server.system.disk import Room
from server.wire_controls import config_of, policy_of

logger = logging.getLogger("uvicorn.error")
IDLE_S = 1.0
LOOK_ROUND_S = 0.05
SCALERS = 2
"""Ticks come more often with many sessions; what goes through all of them does not."""
RETRY_S = 5.0
VACATE_S = 2.0
"""How long the engine may take to forget a session."""
COLLECT_S = 5.0
"""From the end of something until its garbage is collected: by then nobody holds it any more, the engine neither."""
DEAD_AFTER_S = 30.0
"""A step that hangs for so long will not end: the process is to be started again."""
STATES: tuple[ShownState, ...] = get_args(ShownState)


class Draining(Exception):
    """The server takes no more sessions."""


class Hanging(Exception):
    """The engine's step does not end; nobody is let in meanwhile."""


class Host:
    """player: who plays for everybody. Takes the folder of checkpoints, if there is one: raises ShelfError."""

    def __init__(
        self, player: Player[Any], settings: Settings, monotonic: Callable[[], float] = time.perf_counter
    ) -> None:
        self.player, self.settings, self.monotonic = player, settings, monotonic
        self.metrics = Metrics()
        self.page = Page(self.metrics, self.measure, monotonic)
        self.shelf, signing = self._open_shelf()
        self.door = Door(settings.api_key, settings.limits.resume_window_s, signing, self._epoch_s)
        self.admission = Admission(self.door, settings.limits, self.metrics, monotonic)
        self.pool = ThreadPoolExecutor(SCALERS, "pictures")
        """Makes WebRTC's pictures smaller."""
        pixels, broke = settings.limits.image_pixels, self.metrics.decoders_broken.inc
        self.decoders = Decoders(player.side, pixels, settings.decoders, monotonic, broke)
        recordings = Recordings(settings.recordings, settings.recording) if settings.recordings else None
        about = {"cuestream": __version__, "model": player.name, "label": player.label}
        self.recorder = Recorder(recordings, settings.limits, self.metrics, self.door.downloading, about)
        output, folder = settings.output, None
        if settings.outputs:
            root = settings.outputs.resolve()
            folder = Room(root, "outputs", output.folder_bytes, output.free_bytes)
        self.outputs = Outputs(folder, settings.push_hosts, output, settings.limits, self.metrics)
        self._shared = Shared(
            player,
            settings,
            self.decoders,
            self.metrics,
            self.door,
            self.recorder,
            self.shelf,
            self._epoch_s,
            self._wake,
            self._hurry,
            monotonic,
        )
        self.sessions: dict[str, Hosted] = {}  # bound: settings.max_sessions, then NoRoom; and max_parked
        self.draining = self._broken = False
        self._hung_s: float | None = None  # since when a step was seen to hang
        self.on_broken: Callable[[], object] = lambda: None
        """Called once, on the loop, when the engine ended by itself or hangs for good: nothing will play here any more."""
        self.collect: Callable[[], object] = lambda: None
        """Called on the loop when sessions or connections have left garbage behind."""
        self._collect_s: float | None = None
        self._look_round_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: Runner | None = None
        self._ticker: Ticker | None = None
        self._agenda = Agenda()
        self._hurried: set[str] = set()  # sessions whose orders are not to wait for their next chunk
        self._counted: dict[str, Counter[str]] = {}  # of each session, what the metrics know
        self._step_share = 0.0

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._runner = Runner(self.monotonic, self._post, self._heard, partial(ask_device, self.player))
        take_short_turns()  # and with it the engine's thread, which begins now
        self._runner.start()
        late, chunk_s = self.metrics.loop_lag.observe, self.settings.chunk_ms / 1000
        self._ticker = Ticker(self.monotonic, self._tick, late, self._loop, chunk_s)

    async def stop(self) -> None:
        assert self._runner is not None
        self.end_all()
        await asyncio.gather(self.recorder.stop(), self.outputs.stop())
        try:
            await asyncio.to_thread(self._runner.stop)
        except TimeoutError as error:
            logger.error("%s; it is left behind", error)
        if self.shelf:
            await asyncio.to_thread(self.shelf.close)
        await self.decoders.stop()
        self.pool.shutdown(wait=False, cancel_futures=True)

    @property
    def config(self) -> Config:
        """How a session plays when nothing is chosen."""
        return config_of(self.player.defaults)

    @property
    def step_share(self) -> float:
        """Time of a step of all sessions over its music; 0 before it was measured."""
        if self._runner is None or not self._playing:
            return 0.0
        return self._runner.voices.batcher.times.expected_s(self._playing) * self.player.code_rate

    @property
    def busy(self) -> float:
        """Share of its time that the event loop lately spent on the sessions; see `Ticker`."""
        return self._ticker.busy if self._ticker else 0.0

    @property
    def _playing(self) -> int:
        """Sessions that somebody listens to, or did two seconds ago."""
        return sum(not hosted.core.parked for hosted in self.sessions.values())

    # --- sessions

    @property
    def is_alive(self) -> bool:
        """Whether the engine's thread works, or may still come back to work."""
        return self._runner is not None and self._runner.error is None and self.hangs_s <= DEAD_AFTER_S

    @property
    def hangs_s(self) -> float:
        """For how long a step has been taking too long."""
        return 0.0 if self._runner is None else self._runner.hangs_s(self.monotonic())

    def admit(self, session_id: str | None = None, known: bool = False) -> None:
        """session_id: whose own invitation takes no place. known: it played here before, and is not kept out because the server
        is busy.

        Raises Draining, Hanging, or NoRoom with the time to ask again.
        """
        if self.draining or not self.is_alive:
            raise Draining
        if self.hangs_s:
            raise Hanging
        self._check_room(session_id)
        if not known and self.busy > self.settings.most_busy:
            raise NoRoom(f"{self._playing} sessions are as much as this server can send in time", RETRY_S)

    def _check_room(self, session_id: str | None) -> None:
        """A session that waits for its client takes no time of the engine, and no place. Raises NoRoom."""
        assert self._runner is not None
        waiting = self.door.invited_ids(self.monotonic()) - self.sessions.keys() - {session_id}
        if self._playing + len(waiting) >= self.settings.max_sessions:
            raise NoRoom(f"{self.settings.max_sessions} sessions are open", RETRY_S)
        self._runner.voices.batcher.admit()

    def find_again(self, session_id: str, nonce: str | None = None) -> Hosted | None:
        """A session for the client that comes back to it: open here, or kept by a server before this one.

        nonce: as in `Identity`, None where the name is all that the client goes by.
        Raises NoRoom when its place was taken meanwhile, Draining (also where it goes on in the next server), Hanging; it still
        waits then.
        """
        hosted = self.find(session_id)
        if hosted is None:
            return self._restore(session_id, nonce)
        if hosted.core.is_over(self.monotonic()) or nonce not in (None, hosted.identity.nonce):
            return None
        if hosted.restarts:
            raise Draining
        if hosted.core.parked:
            self._check_room(session_id)
        return hosted

    def _epoch_s(self) -> float:
        """When `monotonic` was 0. Never kept: clocks are set, and a machine's sleep does not count in `monotonic`."""
        return time.time() - self.monotonic()

    def _restore(self, session_id: str, nonce: str | None) -> Hosted | None:
        kept = self.shelf.waiting(session_id) if self.shelf else None
        if kept is None or nonce not in (None, kept.about.nonce):
            return None
        self.admit(session_id, known=True)
        assert self.shelf is not None
        assert self._runner is not None
        now_s, player, room_s = self.monotonic(), self.player, self.settings.room_s
        checkpoint = kept.checkpoint
        lost_s = max(0.0, self._epoch_s() + now_s - kept.about.saved_s) + 1.0
        core = Session.restored(self._config(checkpoint.policy), checkpoint, now_s, lost_s)

        def voice() -> Voice:
            return Voice(player, checkpoint.policy, room_s=room_s, checkpoint=checkpoint)

        self._runner.open(session_id, voice)
        self.shelf.take(session_id)
        self.metrics.checkpoints.labels("restored").inc()
        return self._take_in(Hosted.restored(kept, core, self._shared, now_s))

    def find(self, session_id: str) -> Hosted | None:
        """A session that is open."""
        hosted = self.sessions.get(session_id)
        return None if hosted is None or hosted.gone else hosted

    def holds(self, session_id: str) -> bool:
        """Whether a session is open, or kept for its client."""
        kept = self.shelf is not None and self.shelf.waiting(session_id) is not None
        return kept or self.find(session_id) is not None

    def forget(self, session_id: str) -> bool:
        """Whether a session was kept for its client, which finds it no more."""
        if self.shelf is None or self.shelf.waiting(session_id) is None:
            return False
        self.shelf.drop(session_id)
        return True

    def awaits(self, session: Identity) -> bool:
        """Whether a client may come back to it: it is open here, or kept by a server before this one."""
        if hosted := self.find(session.session_id):
            return hosted.identity == session
        kept = self.shelf.waiting(session.session_id) if self.shelf else None
        return kept is not None and kept.about.nonce == session.nonce

    async def vacate(self, session_id: str) -> None:
        """Until a session of this id that ended is forgotten, here and by the engine, and another may have it. Raises Hanging."""
        assert self._runner is not None
        until_s = self.monotonic() + VACATE_S
        while session_id in self.sessions or self._runner.knows(session_id):
            if self.monotonic() >= until_s:
                raise Hanging
            await asyncio.sleep(LOOK_ROUND_S)

    def invite(self, session_id: str | None = None) -> tuple[str, str]:
        """A session's id and the secret that opens it. Raises what `admit` raises."""
        self.admit(session_id)
        session_id = session_id or new_session_id()
        return session_id, self.door.invite(session_id, self.monotonic())

    def open(self, session_id: str, patch: ConfigPatch | None) -> Hosted:
        """Its secret is used up then. Raises what `admit` raises, and ValueError when the patch does not fit the player."""
        self.admit(session_id)
        assert self._runner is not None
        now_s, player, room_s = self.monotonic(), self.player, self.settings.room_s
        config = merge(self.config, patch) if patch else self.config
        policy = policy_of(config, player.defaults)
        check_window(policy, max(room_s, player.defaults.short_term_s))
        player.check(policy)
        core = Session(self._config(policy), now_s)
        self._runner.open(session_id, lambda: Voice(player, policy, room_s=room_s))
        hosted = self._take_in(Hosted(session_id, core, config, self._shared, now_s))
        hosted.begin(now_s)
        self.door.withdraw(session_id)
        self.metrics.opened.inc()
        return hosted

    def _take_in(self, hosted: Hosted) -> Hosted:
        """It is looked after from now on."""
        self.sessions[hosted.id] = hosted
        self._wake(hosted.id)
        return hosted

    def _config(self, policy: StreamPolicy) -> SessionConfig:
        player = self.player
        hop, limits = player.sample_rate // player.code_rate, self.settings.playout
        return self.settings.session(SessionConfig(policy, player.side, hop, limits))

    def _open_shelf(self) -> tuple[Shelf | None, bytes | None]:
        """And the key of its handles."""
        settings = self.settings
        if settings.checkpoints is None:
            return None, None
        files = settings.max_sessions + settings.max_parked
        age_s = settings.limits.resume_window_s + HANDLE_SPARE_S
        limits = ShelfLimits(files, age_s, settings.checkpoint_bytes)
        shelf = Shelf(settings.checkpoints, limits, self.metrics, self._written, self.player.digest)
        return shelf, shelf.open()

    def _written(self, session_id: str, consumed: int) -> None:
        """On the shelf's thread."""
        self._post(self._note_written, session_id, consumed)

    def _post(self, call: Callable[..., object], *about: object) -> None:
        """From another thread to the loop; when that has ended, nobody is to be told any more."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *about)

    def _note_written(self, session_id: str, consumed: int) -> None:
        if hosted := self.sessions.get(session_id):
            hosted.kept_consumed = consumed

    # --- time

    def _wake(self, session_id: str) -> None:
        self._agenda.put(session_id, 0.0)
        if self._ticker:
            self._ticker.wake()

    def _hurry(self, session_id: str) -> None:
        self._hurried.add(session_id)
        if self._ticker:
            self._ticker.wake()

    def _tick(self) -> float:
        """Poll who is due; returns when the next one is."""
        assert self._runner is not None
        now_s = self.monotonic()
        batch: dict[str, Orders] = {}
        for hosted in self._known(self._agenda.take(now_s)):
            if orders := self._poll(hosted, now_s):
                batch[hosted.id] = orders
        for hosted in self._known(self._hurried - batch.keys()):
            if orders := hosted.core.orders():
                batch[hosted.id] = orders
        self._hurried.clear()
        if batch:
            self._runner.order(batch)
        if now_s >= self._look_round_s:
            self._look_round_s = now_s + LOOK_ROUND_S
            self._look_round(now_s)
        next_s = self._agenda.next_s
        return now_s + IDLE_S if next_s is None else next_s

    def _known(self, session_ids: Iterable[str]) -> list[Hosted]:
        return [self.sessions[session_id] for session_id in session_ids if session_id in self.sessions]

    def _poll(self, hosted: Hosted, now_s: float) -> Orders | None:
        try:
            next_s, orders = hosted.tick(now_s, self._step_share)
        except Exception:
            logger.exception("a session broke; the others play on")
            hosted.break_off("something went wrong here; the session is over")
            next_s, orders = now_s, None
        if not hosted.gone:
            self._agenda.put(hosted.id, next_s)
            return orders
        self._count(hosted)
        del self.sessions[hosted.id], self._counted[hosted.id]
        self._agenda.drop(hosted.id)
        self.litter()
        if self.shelf:
            self.shelf.drop(hosted.id)
        later = hosted.core.orders()
        return orders.then(later) if orders and later else later or orders

    def litter(self) -> None:
        """Something is over whose parts refer to each other in rings: megabytes of sound, caches and codecs with their threads.
        The garbage collector counts objects, of which these are few, so by itself it would come after hundreds of sessions."""
        if self._collect_s is None:
            self._collect_s = self.monotonic() + COLLECT_S

    def _look_round(self, now_s: float) -> None:
        """At what no single session has to do with."""
        if self._collect_s is not None and now_s >= self._collect_s:
            self._collect_s = None
            self.collect()
        self._step_share = self.step_share
        self._evict()
        self._watch()
        self.decoders.look()
        if self.shelf:
            self.shelf.sweep()

    def _watch(self) -> None:
        """Tell everybody once when a step hangs, what they hear meanwhile is made up; and the server when nothing will play."""
        if not self.hangs_s:
            self._hung_s = None
        elif self._hung_s is None:
            self._hung_s = self.monotonic()
            self.metrics.hangs.inc()
            logger.error("a step of the engine does not end")
            said = "the engine does not answer; what is heard is made up until it does"
            self.tell(m.ErrorMessage(str(ErrorCode.GENERATOR_LATE), said, False))
        if not self._broken and (why := self._why_broken()):
            self._broken = True
            logger.error("%s, and the server ends", why)
            self.on_broken()

    def _why_broken(self) -> str | None:
        assert self._runner is not None
        if error := self._runner.error:
            return f"the engine ended: {type(error).__name__}: {error}"
        # as long as it was watched: a process that stood still itself finds that a step took all that time
        hung_s = 0.0 if self._hung_s is None else self.monotonic() - self._hung_s
        return "a step of the engine will not end" if hung_s > DEAD_AFTER_S else None

    def tell(self, message: m.ServerMessage) -> None:
        """Say it to everybody who is connected."""
        for hosted in self.sessions.values():
            if hosted.line:
                hosted.line.say(message)

    def _evict(self) -> None:
        """Of the sessions without a client, those that wait longest end when there are too many."""
        parked = [hosted for hosted in self.sessions.values() if hosted.core.parked and not hosted.gone]
        parked.sort(key=lambda hosted: hosted.core.left_s or 0.0, reverse=True)
        for hosted in parked[self.settings.max_parked :]:
            hosted.leave("evicted")

    def _heard(self, reports: dict[str, Report]) -> None:
        assert self._runner is not None
        if self._runner.error is not None and self.restarts:
            return  # what failed here goes on in the next server
        now_s = self.monotonic()
        for session_id, report in reports.items():
            if hosted := self.sessions.get(session_id):
                hosted.core.heard(now_s, report)
                if hosted.keep(now_s) and self.draining:
                    hosted.restart()
                if hosted.core.state == "waiting":
                    hosted.wake()

    def _count(self, hosted: Hosted) -> None:
        counts, metrics = hosted.core.playout.counts + hosted.watching.counts, self.metrics
        new = counts - self._counted.get(hosted.id, Counter())
        self._counted[hosted.id] = counts
        metrics.placed.inc(new["placed_samples"])
        metrics.concealed.inc(new["concealed_samples"])
        metrics.left_out.inc(new["skipped_samples"])
        for result in ("too_many", "dropped"):
            metrics.frames.labels(result).inc(new[result])

    def measure(self) -> None:
        """Bring the gauges, and what is counted for each session, to what is now."""
        for hosted in self.sessions.values():
            self._count(hosted)
        states = [hosted.core.shown_state for hosted in self.sessions.values()]
        for state in STATES:
            self.metrics.sessions.labels(state).set(states.count(state))
        self.metrics.hanging.set(self.hangs_s)
        self.metrics.real_time_factor.set(self.step_share)
        self.metrics.busy.set(self.busy)

    # --- the end

    @property
    def restarts(self) -> bool:
        """Whether its sessions go on in the server that is started after it."""
        return self.shelf is not None

    def end_all(self) -> None:
        """Time stops, and everybody who listens comes to the end; what is kept on the shelf stays there."""
        if self._ticker:
            self._ticker.stop()
        for hosted in self.sessions.values():
            hosted.leave("stopped")
