"""What a client is told of its session without having asked: state, memory, cuts, the age of its pictures. Each is told once."""

from __future__ import annotations

from collections.abc import Iterator

from server.audio.resampling import on_the_wire
from server.core.session import Session
from server.pictures.seeing import Stamps
from server.protocol import messages as m
from server.protocol.values import CutResponse
from server.sessions.memory_state import Remembering
from server.sessions.status import Ages, Health, Playback

Standing = tuple[Playback, Health, int]


class News:
    """Of one session. memory_s: how long after one word of the memory the next may come. `ages`: of the pictures in the music."""

    def __init__(self, core: Session, memory_s: float, now_s: float) -> None:
        step_ms = 1000 * core.config.hop / core.config.limits.rate
        self.ages = Ages(step_ms)
        self._core, self._memory_s, self._remembered_s = core, memory_s, now_s
        self._remembering = Remembering(step_ms)
        self._told: Standing | None = None

    def forget_told(self) -> None:
        """Another connection was told nothing yet."""
        self._told = None
        self._remembering.forget_told()

    def changed(self, now_s: float, standing: Standing, stamps: Stamps) -> Iterator[m.ServerMessage]:
        """State and memory, where they are not what was told."""
        if standing != self._told:
            self._told = standing
            yield m.State(*standing)
        if told := self._memory(now_s, stamps):
            yield told

    def _memory(self, now_s: float, stamps: Stamps) -> m.MemoryState | None:
        core, held = self._core, self._core.remembered
        due = now_s - self._remembered_s >= self._memory_s
        if held is None or held.take != core.playout.take or not due:
            return None
        self._remembered_s = now_s
        return self._remembering.state(held, stamps, core.playout.sounding(now_s) // core.config.hop)

    def cut(self, step: int, stamps: Stamps, response: CutResponse) -> m.SceneCut:
        """At a step of the music."""
        playout, config = self._core.playout, self._core.config
        ahead = step * config.hop - playout.played
        from_sample = on_the_wire(playout.ring.end + ahead, config.limits.rate)
        return m.SceneCut(stamps.at_us(playout.take, step), response, max(0, from_sample))

    def restored(self, samples: int, left_out: bool) -> m.WarningMessage:
        seconds = f"{samples / self._core.config.limits.rate:.2f} s"
        what = f"{seconds} of music are lost" if left_out else f"the last {seconds} of music were made again"
        said = f"the server was started again; {what}, without the pictures of that time"
        return m.WarningMessage("restored", said)
