"""What a listener may ask of a session while it plays, and what a session tells besides audio. Plain values, no wire format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

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
class Guidance:
    """Not from 1 to another value or back: the stream's caches have their rows."""

    scale: float


@dataclass(frozen=True, slots=True)
class Temperature:
    value: float


@dataclass(frozen=True, slots=True)
class TopK:
    """0: off."""

    value: int


@dataclass(frozen=True, slots=True)
class TopP:
    """0: off; otherwise it replaces top-k."""

    value: float


@dataclass(frozen=True, slots=True)
class Seed:
    value: int


@dataclass(frozen=True, slots=True)
class Key:
    """As `StreamPolicy.key`."""

    to: str


@dataclass(frozen=True, slots=True)
class Energy:
    """As `StreamPolicy.energy`."""

    value: float


@dataclass(frozen=True, slots=True)
class Window:
    """At most what the session was opened with room for."""

    short_term_s: float


@dataclass(frozen=True, slots=True)
class CutResponse:
    to: Literal["ignore", "gentle", "follow"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold the scene: frames that come are not looked at."""

    on: bool


@dataclass(frozen=True, slots=True)
class ChangeNow:
    """Turn to the newest picture as if a scene began with it."""


MixControl: TypeAlias = Gain | Mute | Fade | Duck
PolicyControl: TypeAlias = Guidance | Temperature | TopK | TopP | Seed | Window | Key | Energy | CutResponse
Control: TypeAlias = MixControl | PolicyControl | VerbFade | Hold | ChangeNow


@dataclass(frozen=True, slots=True)
class Event:
    """kind: state, degraded, cut, resumed, warning, slow_consumer, failed or expired."""

    kind: str
    about: dict[str, Any] = field(default_factory=dict)
