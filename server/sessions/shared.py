"""What the sessions of a server share, and who may stand beside a session's client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from engine.player import Player
from server.access.secrets import Door
from server.checkpoints.shelf import Shelf
from server.metrics import Metrics
from server.pictures.decoders import Decoders
from server.recording.tape import Recorder
from server.settings import Settings


class Listener(Protocol):
    """Somebody who hears a session beside its client."""

    def tick(self, now_s: float) -> None: ...

    def end(self) -> None:
        """The session is over."""


class Feeder(Protocol):
    """What the server itself reads for a session."""

    def end(self) -> None:
        """The session is over."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sessions of a server share. decoders: of pictures. shelf: where checkpoints are kept, if they are.

    epoch_s: when the clock that gives `now_s` was 0, in seconds since the epoch, as the machine's clock is set now. wake: look
    after a session now. hurry: let its orders not wait for that. monotonic: seconds of that clock.
    """

    player: Player[Any]
    settings: Settings
    decoders: Decoders
    metrics: Metrics
    door: Door
    recorder: Recorder
    shelf: Shelf | None
    epoch_s: Callable[[], float]
    wake: Callable[[str], None]
    hurry: Callable[[str], None]
    monotonic: Callable[[], float]
