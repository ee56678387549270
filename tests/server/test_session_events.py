"""Whatever comes in whatever order: no unexpected error, no sample twice, none left out but where it says so."""

from __future__ import annotations

import numpy as np
import pytest
from rig import Rig, black, check_in_order, rig

from engine.spec import StreamPolicy
from server.core.controls import ChangeNow, Duck, Fade, Gain, Hold, Mute, Turn
from server.core.delivery import AudioOut
from server.core.errors import SessionError
from server.core.mixing import Ducking

SEQUENCES, LENGTH = 4_000, 8
CONTROLS = (
    Gain(-3.0), Gain(99.0), Mute(True), Mute(False), Fade(0.5), Duck(Ducking()), Duck(None),
    *(Turn(StreamPolicy(**play)) for play in (
        {"guidance": 5.0}, {"guidance": 1.0}, {"temperature": 0.0}, {"seed": 9}, {"short_term_s": 5.0}, {"short_term_s": 99.0},
        {"on_cut": "ignore"},
    )),
    Hold(True), Hold(False), ChangeNow(),
)  # fmt: skip


class Attachment:
    """The chunks of one attachment, and what they have to obey."""

    def __init__(self) -> None:
        self.chunks: list[AudioOut] = []
        self.first: int | None = None


def do(played: Rig, random: np.random.Generator, attachments: list[Attachment]) -> None:
    """One random event, then some ticks of an engine of random speed."""
    session, now = played.session, played.now
    heard = attachments[-1].chunks[-1].first_sample if attachments[-1].chunks else 0
    event = int(random.integers(0, 13))
    try:
        if event == 0:
            session.play(now)
        elif event == 1:
            session.pause(now)
        elif event == 2:
            session.stop(now)
        elif event == 3:
            session.reset_context(now)
        elif event == 4:
            session.detach(now)
        elif event in (5, 6):
            sample = max(0, heard + int(random.integers(-20_000, 2000)))
            session.resume(now, sample)
            attachments.append(Attachment())
            attachments[-1].first = sample
        elif event == 7:
            session.attach(now)
            attachments.append(Attachment())
        elif event == 8:
            session.frame(now, black(int(random.choice([8, 8, 8, 9]))))
        elif event == 9:
            session.report(int(random.integers(0, 50_000)))
        elif event == 10:
            session.original_level(float(random.uniform(-80, 0)))
        else:
            session.control(now, CONTROLS[random.integers(len(CONTROLS))])
    except SessionError as error:
        played.codes.add(error.code)
    speed = float(random.choice([0.0, 0.4, 1.0, 4.0]))
    played.speed = lambda _: speed
    played.acknowledges = bool(random.random() < 0.8)
    played.now += float(
        random.choice([0, 0, 0, 0, 0.3, 1.5, 5.0, 40.0], p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.05, 0.04, 0.01])
    )
    had = len(played.chunks)
    for _ in range(int(random.integers(1, 6))):
        played.tick()
    attachments[-1].chunks += played.chunks[had:]


@pytest.mark.parametrize("part", range(4))
def test_random_events_break_nothing(part: int) -> None:
    """4,000 sequences in all, each of 8 events with up to 5 ticks after each."""
    made_up = expired = 0
    for seed in range(part * SEQUENCES // 4, (part + 1) * SEQUENCES // 4):
        random, played = np.random.default_rng(seed), rig()
        attachments = [Attachment()]
        for _ in range(LENGTH):
            do(played, random, attachments)
        for attachment in attachments:
            if attachment.chunks:
                check_in_order(attachment.chunks, attachment.first)
                assert all(np.isfinite(chunk.samples).all() for chunk in attachment.chunks)
        assert played.session.playout.ready <= played.session.config.limits.high
        assert played.codes <= {"bad_request", "session_expired"}
        made_up += played.session.playout.counts["concealed_samples"] > 0
        expired += played.session.state == "expired"
    assert made_up > 100
    assert expired > 10
