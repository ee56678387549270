"""Frames as they come to a session: checked, held out or stamped with the step of the music that they belong to."""

from __future__ import annotations

import numpy as np

from engine.frames import U8
from server.core.errors import SessionError
from server.core.orders import Shown


class Intake:
    """side: S of the frames."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.holds = False
        """The scene is held: nothing is looked at but a first picture."""
        self.begun = False
        """Whether a picture was looked at."""
        self._at_hand = False  # whether the engine has the newest one; that of a restored session has not
        self._last = (0, 0)  # take and step of the newest frame

    @property
    def looks(self) -> bool:
        """Whether the next picture is looked at."""
        return not (self.holds and self.begun)

    def begin_take(self) -> None:
        """Another music: it begins with the newest picture, or with the next one where that is not at hand."""
        self.begun = self._at_hand

    def frame(self, pixels: U8, take: int, sounding: int) -> Shown | None:
        """The frame with its step, None when nobody is to see it. sounding: the step of the take that sounds now.

        Raises SessionError when it is not as large as the player's eyes.
        """
        self._check(pixels)
        if not self.looks:
            return None
        self.begun = self._at_hand = True
        return Shown(pixels, self._captured(take, sounding))

    def _check(self, pixels: U8) -> None:
        side = self.side
        if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8:
            found = f"{pixels.dtype} {list(pixels.shape)}"
            raise SessionError("bad_request", f"a frame is uint8 [{side}, {side}, 3], not {found}")

    def _captured(self, take: int, sounding: int) -> int:
        """The step that sounds; it stands still while a client that came back hears again what it missed."""
        before = self._last[1] if self._last[0] == take else 0
        self._last = (take, max(sounding, before))
        return self._last[1]
