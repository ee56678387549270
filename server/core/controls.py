"""What a listener may ask of a session while it plays, and what a session tells besides audio. Plain values, no wire format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from engine.spec import StreamPolicy
from server.core.mixing import Ducking, Shape


@dataclass(frozen=True, slots=True)
class Gain:
    db: float
    over_s: float = 0.05
    shape: Shape = "linear"


@dataclass(frozen=True, slots=True)
class Mute:
    on: bool
    over_s: float = 0.02


@dataclass(frozen=True, slots=True)
class Fade:
    """To a level from 0 to 1, beside the gain."""

    to: float
    over_s: float = 2.0
    shape: Shape = "equal_power"


@dataclass(frozen=True, slots=True)
class VerbFade:
    """How long the fades of play, pause and stop take."""

    over_s: float = 0.3


@dataclass(frozen=True, slots=True)
class Duck:
    """None: never."""

    settings: Ducking | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What the stream plays by from now on. Guidance cannot go from 1 to another value or back: the stream's caches have their
    rows. The window is at most what the session was opened with room for."""

    policy: StreamPolicy


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold the scene: frames that come are not looked at."""

    on: bool


@dataclass(frozen=True, slots=True)
class ChangeNow:
    """Turn to the newest picture as if a scene began with it."""


MixControl: TypeAlias = Gain | Mute | Fade | Duck
Control: TypeAlias = MixControl | Turn | VerbFade | Hold | ChangeNow


@dataclass(frozen=True, slots=True)
class Event:
    """kind: cut, warning, restored, slow_consumer, failed or expired."""

    kind: str
    about: dict[str, Any] = field(default_factory=dict)
