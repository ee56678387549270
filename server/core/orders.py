"""What a session wants of its stream, and what it hears back: two records, the only things that cross between the threads.

Orders that were not fetched yet are merged, the newer wins, so what waits for the engine is one record for each session.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from engine.frames import U8
from engine.spec import StreamPolicy
from server.core.playout import Music


class Shown(msgspec.Struct, frozen=True, gc=False):
    """pixels: [S, S, 3]. step: of the take's music, at which the picture was captured."""

    pixels: U8
    step: int


class Orders(msgspec.Struct, frozen=True, gc=False):
    """None: as before.

    wanted: samples of the take's music that may be made. reset: begin a new take of this number, with the picture that is known.
    """

    reset: int | None = None
    policy: tuple[StreamPolicy, int] | None = None
    """And its revision."""
    frame: Shown | None = None
    turn: bool = False
    wanted: int | None = None
    rest: bool | None = None
    """Nobody is played to, until somebody is again."""
    snapshot: bool = False
    leave: bool = False

    def then(self, newer: Orders) -> Orders:
        """Both, as one."""
        same_take = newer.reset is None
        return Orders(
            self.reset if same_take else newer.reset,
            newer.policy or self.policy,
            newer.frame or self.frame,
            newer.turn or (self.turn and same_take),
            newer.wanted if newer.wanted is not None else (self.wanted if same_take else None),
            self.rest if newer.rest is None else newer.rest,
            self.snapshot or newer.snapshot,
            self.leave or newer.leave,
        )


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """What a take's stream holds of the video. Moments are steps; window: each with the step at which its frame was captured."""

    take: int
    window: tuple[tuple[int, int], ...]
    memory: tuple[int, ...]
    recalled: tuple[int, ...]


class Report(msgspec.Struct, frozen=True, gc=False):
    """music: in order. failed: why it plays no more. take: the one that the stream plays."""

    music: tuple[Music, ...] = ()
    cuts: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    """Those of them that a listener asked for."""
    memory: Remembered | None = None
    snapshot: bytes | None = None
    """Of the stream, taken after `music`."""
    refused: str | None = None
    """Why a policy was not taken over."""
    failed: str | None = None
    take: int = 0

    @property
    def is_news(self) -> bool:
        """Whether a session has anything to hear beside that a step was taken."""
        return bool(self.music or self.snapshot is not None or self.refused or self.failed)

    def then(self, newer: Report) -> Report:
        """Both, as one."""
        return replace(
            newer,
            music=self.music + newer.music,
            cuts=self.cuts + newer.cuts,
            asked=self.asked + newer.asked,
            memory=newer.memory or self.memory,
            snapshot=self.snapshot if newer.snapshot is None else newer.snapshot,
            refused=newer.refused or self.refused,
            failed=newer.failed or self.failed,
        )
