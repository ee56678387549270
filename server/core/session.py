"""One listener's session as a state machine: called with the time and what happened, it answers with what is to be done.

    frames, verbs, controls, reports of the client ─►  Session  ─► orders for the engine's thread (`Orders`)
    reports of the engine (`Report`)               ─►           ─► audio and events for the client (`poll`)

    created ─play─► waiting ─ready─► playing ─pause─► paused ─play─► waiting      any ─► expired
                       ▲                └──stop──► stopped ─play─► waiting

Whether a client is attached is beside the state: without one the music goes on for `grace_s`, then time stands still, and after
`resume_s` the session expires. It does no I/O, no model work and reads no clock: `now_s`, monotonic, is an argument.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from engine.frames import U8
from engine.spec import StreamPolicy
from server.core.checkpoint import Checkpoint
from server.core.config import SessionConfig
from server.core.controls import ChangeNow, Control, Event, Hold, Turn, VerbFade
from server.core.degrade import Degradation
from server.core.delivery import AudioOut, Delivery
from server.core.errors import SessionError
from server.core.intake import Intake
from server.core.orders import Orders, Remembered, Report
from server.core.playout import Playout
from server.core.policies import check_change, mixed

State = Literal["created", "waiting", "playing", "paused", "stopped", "expired"]
ShownState = Literal["created", "waiting", "playing", "paused", "stopped", "detached", "expired"]
MOST_EVENTS = 64
NOTHING = Orders()
MOST_REMADE_S = 2.0
"""Music that a restored session makes again before it sounds; it costs the engine as much as music that is heard."""
CHECKPOINT_S = 1.0
"""Placed samples that a checkpoint keeps, for a client that had not heard them."""


class Session:
    """See the module. Every method but `poll` only notes what happened; none waits."""

    def __init__(self, config: SessionConfig, now_s: float, placed: int = 0) -> None:
        self.config, self.policy = config, config.policy
        self.state: State = "created"
        self.playout = Playout(config.limits, placed)
        self.delivery: Delivery | None = None
        self.degradation = Degradation()
        self.checkpoint: Checkpoint | None = None
        """The newest snapshot; older ones are gone."""
        self.policy_revision = 0
        self.take = 0
        self.verb_fade_s = VerbFade().over_s
        self.remembered: Remembered | None = None
        """What the stream holds of the video, by the newest report."""
        self.intake = Intake(config.side)
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)  # full: the oldest is dropped
        self._orders = NOTHING  # bound: one record, merged
        self.left_s: float | None = now_s  # when the client left; None while it is here
        self._frozen = False
        self._stop_at: tuple[int, State] | None = None  # where the fade of a verb ends, and what is then
        self._again = False  # `play` came while the music was being stopped
        self._lost = 0  # samples that a client of a restored session may have heard, and that are not known
        self._floor = placed  # a restored session places up to here without waiting for the clock
        self._wanted = (0, 0)  # of which take how much the engine was told last
        self._snapshot_s = now_s
        self._least_left = math.inf  # samples, since `_degrade` last looked

    # --- the client

    @property
    def shown_state(self) -> ShownState:
        """What a client or an operator is told."""
        away = self.left_s is not None and self.state not in ("created", "expired")
        return "detached" if away else self.state

    def attach(self, now_s: float) -> None:
        """A client, the first or another one instead of it, listens from what is placed next."""
        self._alive(now_s)
        self._come_back(now_s, Delivery(self.config.patience, self.playout.ring.end, self.playout.counts))

    def detach(self, now_s: float) -> None:
        """The client is gone; it may come back."""
        if self.left_s is None and self.state != "expired":
            self.left_s, self.delivery = now_s, None

    def resume(self, now_s: float, played_through: int) -> None:
        """The client is back and heard the samples before this one. Raises SessionError: session_expired, bad_request."""
        self._alive(now_s)
        if not 0 <= played_through <= self.newest:
            raise SessionError(
                "bad_request", f"played through {played_through}, but {self.newest} were placed"
            )
        if self._lost:
            self._tell_restored(played_through)
        self._floor = max(self._floor, played_through)
        delivery = Delivery(self.config.patience, played_through, self.playout.counts)
        ring, most = self.playout.ring, self.config.max_catch_up_s * self.config.limits.rate
        if played_through < ring.first or ring.end - played_through > most:
            delivery.move_to(max(ring.first, ring.end - self.config.limits.chunk))
        self._come_back(now_s, delivery)

    @property
    def newest(self) -> int:
        """No client can have heard this sample or one after it."""
        return max(self.playout.ring.end, self._floor) + self._lost

    @property
    def parked(self) -> bool:
        """Time stands still until the client is back."""
        return self._frozen

    def _tell_restored(self, played_through: int) -> None:
        """What the client heard beyond the checkpoint is made again, unheard; of much of it only the index goes on."""
        again, self._lost = max(0, played_through - self.playout.ring.end), 0
        left_out = again > MOST_REMADE_S * self.config.limits.rate
        if left_out:
            self.playout.jump(played_through)
        if again:
            self._events.append(Event("restored", {"samples": again, "left_out": left_out}))

    def _come_back(self, now_s: float, delivery: Delivery) -> None:
        if self._frozen:
            self._order(Orders(rest=False))
        self.left_s, self._frozen, self.delivery = None, False, delivery
        if self.state == "playing":
            self.playout.start(now_s, min(delivery.cursor, self.playout.ring.end))

    def is_over(self, now_s: float) -> bool:
        """Whether it has ended, or waited too long for its client."""
        self._expire(now_s)
        return self.state == "expired"

    def _alive(self, now_s: float) -> None:
        if self.is_over(now_s):
            said = f"the session ended; it waits {self.config.resume_s:g} s for a client that comes back"
            raise SessionError("session_expired", said)

    def report(self, played_through: int) -> None:
        """The client played the samples before this one: credit for more. Raises SessionError when it cannot have."""
        if self.delivery:
            self.delivery.report(played_through)

    def frame(self, now_s: float, pixels: U8) -> None:
        """A picture of now, [S, S, 3]. Raises SessionError when it is not as large as the player's eyes."""
        sounding = self.playout.sounding(now_s) // self.config.hop if self.playout.take == self.take else 0
        if (shown := self.intake.frame(pixels, self.take, sounding)) and self.state != "expired":
            self._order(Orders(frame=shown))

    # --- verbs and controls

    def play(self, now_s: float) -> None:
        self._alive(now_s)
        if self._stop_at and self._stop_at[1] == "stopped":
            self._again = True
        elif self._stop_at:
            self._stop_at = None
            self._fade(1.0)
        if self.state not in ("waiting", "playing"):
            self.state = "waiting"

    def pause(self, now_s: float) -> None:
        """Fade out, then let no time pass; what was made ahead is heard after `play`."""
        self._alive(now_s)
        self._end_in("paused")

    def stop(self, now_s: float) -> None:
        """Fade out, then forget the music; `play` begins another one."""
        self._alive(now_s)
        self._end_in("stopped")

    def reset_context(self, now_s: float) -> None:
        """Another music, crossfaded, as if the session had begun with the picture of now."""
        self._alive(now_s)
        self._begin_take(heard=self.state in ("playing", "paused"))

    def close(self) -> None:
        """End it for good."""
        self.state, self.delivery = "expired", None
        self.playout.freeze()
        self._order(Orders(leave=True))

    def _end_in(self, state: State) -> None:
        if self._stop_at and self._stop_at[1] == "stopped":
            self._again = False  # a music that is being stopped is forgotten, whatever is asked meanwhile
        elif self.state == "playing":
            limits = self.config.limits
            chunks = -(-int(self.verb_fade_s * limits.rate) // limits.chunk)
            self._stop_at = (self.playout.ring.end + chunks * limits.chunk, state)
            self._fade(0.0)
        elif self.state == "waiting" or (self.state == "paused" and state == "stopped"):
            self._ended(state)

    def _ended(self, state: State) -> None:
        self.state, self._stop_at = state, None
        self.playout.freeze()
        if state == "stopped":
            self._begin_take(heard=False)
            self.state, self._again = "waiting" if self._again else state, False

    def _begin_take(self, heard: bool) -> None:
        """heard: there is music that the new one is crossfaded from."""
        self.take += 1
        self.intake.begin_take()
        if not heard:
            self.playout.begin_take(self.take)
        self._order(Orders(reset=self.take))

    def _fade(self, level: float) -> None:
        mix, end = self.playout.mix, self.playout.ring.end
        length = int(self.verb_fade_s * self.config.limits.rate)
        self.playout.mix = replace(mix, verb=mix.verb.towards(level, end, length))

    def control(self, now_s: float, control: Control) -> None:
        """Heard from the next chunk (gain-like) or decoder step on. Raises SessionError and changes nothing when it cannot be."""
        self._alive(now_s)
        if isinstance(control, Hold):
            self.intake.holds = control.on
        elif isinstance(control, ChangeNow):
            self._order(Orders(turn=True))
        elif isinstance(control, VerbFade):
            self.verb_fade_s = control.over_s
        elif isinstance(control, Turn):
            check_change(self.policy, control.policy, self.config.longest_window_s)
            self._set_policy(control.policy)
        else:
            playout = self.playout
            playout.mix = mixed(playout.mix, control, playout.ring.end, self.config.limits.rate)
            playout.mix_revision += 1

    def original_level(self, level_db: float) -> None:
        """How loud the original sound is now, for ducking."""
        playout = self.playout
        playout.mix = playout.mix.hear(level_db, playout.ring.end, self.config.limits.rate)

    def _set_policy(self, policy: StreamPolicy) -> None:
        self.policy = policy
        self.policy_revision += 1
        self._order(Orders(policy=(self.degradation.policy(policy), self.policy_revision)))

    def _order(self, orders: Orders) -> None:
        self._orders = self._orders.then(orders)

    # --- the engine

    def heard(self, now_s: float, report: Report) -> None:
        """What the engine's thread made of the orders."""
        if self.state == "expired":
            return
        if report.music:
            self._note_left(now_s)
        for piece in report.music:
            self.playout.add(piece)
        self.remembered = report.memory or self.remembered
        self._events.extend(
            Event("cut", {"step": step, "asked": step in report.asked}) for step in report.cuts
        )
        if report.refused:
            self._events.append(Event("warning", {"message": report.refused}))
        if report.snapshot is not None:
            self._keep(report.snapshot, report.take)
        if report.failed:
            self._events.append(Event("failed", {"message": report.failed}))
            self.close()

    def _keep(self, blob: bytes, take: int) -> None:
        playout = self.playout
        if not playout.take == self.take == take or self._stop_at:
            return  # a take or the end of one is on its way; the next second brings another
        sounded, spans = playout.newest(int(CHECKPOINT_S * self.config.limits.rate))
        state = "waiting" if self.state == "playing" else self.state
        assert state != "expired"
        self.checkpoint = Checkpoint(
            state=state,
            stream=blob,
            policy=self.policy,
            placed=playout.ring.end,
            take=playout.take,
            played=playout.played,
            music=tuple(playout.waiting),
            sounded=sounded,
            spans=spans,
            mix=playout.mix,
            mix_revision=playout.mix_revision,
            policy_revision=self.policy_revision,
        )

    @classmethod
    def restored(
        cls, config: SessionConfig, checkpoint: Checkpoint, now_s: float, lost_s: float = 2.0
    ) -> Session:
        """Go on where a checkpoint was taken; its stream is to be restored too (`Voice.restore`). The client resumes.

        lost_s: for how long music may have been played after the checkpoint.
        """
        session = cls(config, now_s, checkpoint.placed - len(checkpoint.sounded))
        session.playout.put_back(checkpoint.sounded, checkpoint.spans)
        session.policy, session.checkpoint, session.state = checkpoint.policy, checkpoint, checkpoint.state
        session._lost = int(lost_s * config.limits.rate)
        session.take, session.policy_revision = checkpoint.take, checkpoint.policy_revision
        session.playout.begin_take(checkpoint.take)
        session.playout.played = checkpoint.played
        session.playout.mix, session.playout.mix_revision = checkpoint.mix, checkpoint.mix_revision
        session.playout.waiting.extend(checkpoint.music)
        session.intake.begun = checkpoint.taken > 0
        return session

    # --- time

    def poll(self, now_s: float) -> tuple[Orders | None, list[AudioOut | Event]]:
        """To be called each chunk or so: what the engine is to do, and what the client is to be sent, in order."""
        if self.is_over(now_s):
            orders = self.orders()
            return (orders if orders and orders.leave else None), self._drain(now_s)
        self._leave_alone(now_s)
        self._catch_up()
        self._begin(now_s)
        self._place(now_s)
        self._degrade(now_s)
        self._want(now_s)
        self._snapshot(now_s)
        return self.orders(), self._drain(now_s)

    def orders(self) -> Orders | None:
        """What the engine is to do; `poll` says it too, each is said once."""
        orders, self._orders = self._orders, NOTHING
        return None if orders == NOTHING else orders

    def _expire(self, now_s: float) -> None:
        if self.state == "expired" or self.left_s is None or now_s - self.left_s <= self.config.resume_s:
            return
        self._events.append(Event("expired"))
        self.close()

    def _leave_alone(self, now_s: float) -> None:
        """After the grace nobody is played to: time stands still until the client is back."""
        if self.left_s is None or self._frozen or now_s < (end := self.left_s + self.config.grace_s):
            return
        self._place(end)
        self._frozen = True
        self.playout.freeze()
        self._order(Orders(rest=True, snapshot=self._keeps))

    def _catch_up(self) -> None:
        """Place what the client of a restored session has heard already."""
        playout = self.playout
        while (
            self.state == "waiting"
            and playout.ring.end < self._floor
            and playout.ready >= self.config.limits.chunk
        ):
            playout.place_one()

    def _begin(self, now_s: float) -> None:
        """Sound, as soon as enough is ready."""
        playout = self.playout
        caught_up = playout.ring.end >= self._floor
        if self.state != "waiting" or self._frozen or not caught_up or playout.ready < self.config.limits.low:
            return
        self.state = "playing"
        cursor = self.delivery.cursor if self.delivery else playout.ring.end
        playout.start(now_s, min(cursor, playout.ring.end))
        if playout.mix.verb.after != 1.0:
            self._fade(1.0)

    @property
    def chunk_due_s(self) -> float | None:
        """When the next chunk is to be placed; None while none is placed by the clock."""
        clock = self.playout.clock
        by_clock = self.state == "playing" and clock is not None and not self._frozen
        return clock.due_s(self.playout.ring.end) if by_clock and clock else None

    def _place(self, now_s: float) -> None:
        if self._stop_at is None:
            self.playout.place(now_s)
            return
        at, state = self._stop_at
        while (
            self.playout.ring.end < at
            and self.playout.clock
            and self.playout.clock.position(now_s) >= self.playout.ring.end
        ):
            self.playout.place_one()
        if self.playout.ring.end >= at:
            self._ended(state)

    def _note_left(self, now_s: float) -> None:
        """How much music is left, where time passes."""
        if self.playout.clock is not None:
            self._least_left = min(self._least_left, self.playout.left(now_s))

    def _degrade(self, now_s: float) -> None:
        self._note_left(now_s)
        left, self._least_left = self._least_left / self.config.late, math.inf
        if self.state != "playing" or self._frozen:
            return
        before, self.degradation = (
            self.degradation,
            self.degradation.seen(now_s, left, self.playout.concealing),
        )
        if self.degradation.level == before.level:
            return
        if self.degradation.policy(self.policy) != before.policy(self.policy):
            self._order(Orders(policy=(self.degradation.policy(self.policy), self.policy_revision)))

    def _want(self, now_s: float) -> None:
        if self.state not in ("waiting", "playing") or self._frozen:
            return
        playout, limits = self.playout, self.config.limits
        samples = playout.wanted(now_s) if playout.take == self.take else limits.high
        piece = self.config.policy.chunk_steps * self.config.hop
        wanted = (self.take, samples // piece * piece)  # the engine makes whole pieces
        if wanted != self._wanted:
            self._wanted = wanted
            self._order(Orders(wanted=wanted[1]))

    def _snapshot(self, now_s: float) -> None:
        if not self._frozen and now_s - self._snapshot_s >= self.config.snapshot_every_s:
            self.ask_snapshot(now_s)

    def ask_snapshot(self, now_s: float) -> None:
        """Have a checkpoint made now; `checkpoint` is another one then."""
        self._snapshot_s = now_s
        self._order(Orders(snapshot=True))

    @property
    def _keeps(self) -> bool:
        return self.config.snapshot_every_s < float("inf")

    def _drain(self, now_s: float) -> list[AudioOut | Event]:
        outputs: list[AudioOut | Event] = list(self._audio(now_s))
        outputs += self._events
        self._events.clear()
        return outputs

    def _audio(self, now_s: float) -> Iterator[AudioOut]:
        if self.delivery is None:
            return
        try:
            yield from self.delivery.take(self.playout, now_s)
        except SessionError as error:
            self._events.append(Event(error.code, {"message": str(error)}))
            self.detach(now_s)
