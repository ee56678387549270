"""All sessions of a server, their clock and the engine's thread. Lives on one event loop; the engine works in `Runner`'s thread.

A tick polls every session that has something due: its next chunk, by the absolute clock of its playout, or what a client said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.errors import NoRoom
from engine.player import Player
from server.config import SessionConfig
from server.hosted import Hosted, House
from server.metrics import Metrics
from server.orders import Orders, Report
from server.protocol import messages as m
from server.protocol.config import Config, ConfigPatch, merge
from server.runner import Runner
from server.secrets import Door, new_session_id
from server.session import Session
from server.settings import Settings
from server.ticker import Ticker
from server.turning import config_of, policy_of
from server.voices import Voice

IDLE_S = 1.0
RETRY_S = 5.0
STATES = ("created", "waiting", "playing", "paused", "stopped", "detached", "expired")


class Draining(Exception):
    """The server takes no more sessions."""


class Host:
    """player: who plays for everybody."""

    def __init__(
        self, player: Player[Any], settings: Settings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.player, self.settings, self.monotonic = player, settings, monotonic
        self.metrics = Metrics()
        self.door = Door(settings.api_key, settings.limits.resume_window_s)
        self._pool = ThreadPoolExecutor(settings.decoders, "pictures")
        self._house = House(settings, self._pool, self.metrics, self.door, self._wake, monotonic)
        self.sessions: dict[str, Hosted] = {}  # bound: settings.max_sessions, then NoRoom
        self.draining = False
        self._runner: Runner | None = None
        self._ticker: Ticker | None = None
        self._placed: dict[str, tuple[int, int]] = {}

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._runner = Runner(self.monotonic, loop.call_soon_threadsafe, self._heard)
        self._runner.start()
        self._ticker = Ticker(self.monotonic, self._tick, self.metrics.loop_lag.observe, loop)

    async def stop(self) -> None:
        assert self._runner is not None
        assert self._ticker is not None
        self._ticker.stop()
        for hosted in self.sessions.values():
            hosted.leave()
        await asyncio.to_thread(self._runner.stop)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def config(self) -> Config:
        """How a session plays when nothing is chosen."""
        return config_of(self.player.defaults)

    @property
    def step_share(self) -> float:
        """Time of a step of all sessions over its music; 0 before it was measured."""
        if self._runner is None or not self.sessions:
            return 0.0
        return self._runner.voices.batcher.times.expected_s(len(self.sessions)) * self.player.code_rate

    # --- sessions

    @property
    def is_alive(self) -> bool:
        """Whether the engine's thread works."""
        return self._runner is not None and self._runner.error is None

    def admit(self) -> None:
        """Raises Draining, or NoRoom with the time to ask again."""
        if self.draining or not self.is_alive:
            raise Draining
        waiting = self.door.invited_ids(self.monotonic()) - self.sessions.keys()
        if len(self.sessions) + len(waiting) >= self.settings.max_sessions:
            raise NoRoom(f"{self.settings.max_sessions} sessions are open", RETRY_S)

    def find(self, session_id: str) -> Hosted | None:
        """A session that is open."""
        hosted = self.sessions.get(session_id)
        return None if hosted is None or hosted.gone else hosted

    def invite(self) -> tuple[str, str]:
        """A session's id and the secret that opens it. Raises Draining, NoRoom."""
        self.admit()
        session_id = new_session_id()
        return session_id, self.door.invite(session_id, self.monotonic())

    def open(self, session_id: str, patch: ConfigPatch | None) -> Hosted:
        """Raises Draining, NoRoom, and ValueError when the patch does not fit the player."""
        self.admit()
        assert self._runner is not None
        now_s, player, room_s = self.monotonic(), self.player, self.settings.room_s
        config = merge(self.config, patch) if patch else self.config
        policy = policy_of(config, player.defaults)
        plain = SessionConfig(policy, player.side, player.sample_rate // player.code_rate)
        core = Session(self.settings.session(plain), now_s)
        self._runner.open(session_id, lambda: Voice(player, policy, room_s=room_s))
        hosted = Hosted(session_id, core, config, self._house, now_s)
        self.sessions[session_id] = hosted
        self._wake()
        self.metrics.opened.inc()
        return hosted

    # --- time

    def _wake(self) -> None:
        if self._ticker:
            self._ticker.wake()

    def _tick(self) -> float:
        """Poll who is due; returns when the next one is."""
        assert self._runner is not None
        now_s, batch = self.monotonic(), dict[str, Orders]()
        for hosted in [hosted for hosted in self.sessions.values() if hosted.due_s <= now_s]:
            orders = hosted.tick(now_s, lambda: self.step_share)
            if hosted.gone:
                del self.sessions[hosted.id]
                later, _ = hosted.core.poll(now_s)
                orders = orders.then(later, False) if orders and later else later or orders
            if orders:
                batch[hosted.id] = orders
            self._count(hosted)
        if batch:
            self._runner.order_all(batch, False)
        return min((hosted.due_s for hosted in self.sessions.values()), default=now_s + IDLE_S)

    def _heard(self, reports: dict[str, Report]) -> None:
        for session_id, report in reports.items():
            if hosted := self.sessions.get(session_id):
                hosted.core.heard(report)
                if hosted.core.state == "waiting":
                    hosted.wake()

    def _count(self, hosted: Hosted) -> None:
        counts = hosted.core.playout.counts
        placed, concealed = self._placed.get(hosted.id, (0, 0))
        self.metrics.placed.inc(counts["placed_samples"] - placed)
        self.metrics.concealed.inc(counts["concealed_samples"] - concealed)
        self._placed[hosted.id] = (counts["placed_samples"], counts["concealed_samples"])
        if hosted.gone:
            del self._placed[hosted.id]

    def measure(self) -> None:
        """Bring the gauges to what is now."""
        states = [hosted.core.shown_state for hosted in self.sessions.values()]
        for state in STATES:
            self.metrics.sessions.labels(state).set(states.count(state))
        self.metrics.real_time_factor.set(self.step_share)

    # --- the end

    async def drain(self, within_s: float) -> None:
        """Take no more, tell everybody, wait until they left or the time is over, then close what is left."""
        self.draining = True
        for hosted in self.sessions.values():
            if hosted.line:
                hosted.line.say(m.GoAway(min(86_400_000, int(within_s * 1000)), "draining"))
        until_s = self.monotonic() + within_s
        while self.monotonic() < until_s and any(hosted.line for hosted in self.sessions.values()):
            await asyncio.sleep(0.05)
        for hosted in self.sessions.values():
            if hosted.line:
                hosted.line.hang_up(1001)
