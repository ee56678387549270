"""Controls as changes of the mix, and a policy for a stream that runs: checked before anything is changed."""

from __future__ import annotations

import math
from dataclasses import replace

from engine.spec import StreamPolicy
from server.core.controls import Duck, Fade, Gain, MixControl, Mute
from server.core.errors import SessionError
from server.core.mixing import LOUDEST_DB, Mix, amplitude

LONGEST_RAMP_S = 60.0


def mixed(mix: Mix, control: MixControl, start: int, rate: int) -> Mix:
    """The mix with a ramp that begins at sample `start`. Raises SessionError for what is out of range."""
    if isinstance(control, Duck):
        return replace(mix, ducking=control.settings)
    if not 0 <= control.over_s <= LONGEST_RAMP_S:
        raise SessionError("bad_request", f"a ramp takes 0 to {LONGEST_RAMP_S:g} s, not {control.over_s!r}")
    length = int(control.over_s * rate)
    match control:
        case Gain(db=db):
            if not -math.inf <= db <= LOUDEST_DB:
                raise SessionError("bad_request", f"gain is at most {LOUDEST_DB:g} dB, not {db!r}")
            return replace(mix, gain=mix.gain.towards(amplitude(db), start, length, control.shape))
        case Fade(to=to):
            if not 0 <= to <= 1:
                raise SessionError("bad_request", f"a fade goes to a level from 0 to 1, not to {to!r}")
            return replace(mix, fade=mix.fade.towards(to, start, length, control.shape))
        case Mute(on=on):
            return replace(mix, mute=mix.mute.towards(0.0 if on else 1.0, start, length))


def check_change(before: StreamPolicy, after: StreamPolicy, room_s: float) -> None:
    """Raises SessionError for what a running stream cannot take over."""
    try:
        check_window(after, room_s)
    except ValueError as error:
        raise SessionError("bad_request", str(error)) from error
    if after.guided != before.guided:
        said = f"guidance cannot go from {before.guidance:g} to {after.guidance:g} in a running stream"
        raise SessionError("bad_request", said)


def check_window(policy: StreamPolicy, room_s: float) -> None:
    """Raises ValueError when it is longer than a session may ask for."""
    if policy.short_term_s > room_s:
        raise ValueError(
            f"this session has room for a window of {room_s:g} s, not of {policy.short_term_s:g} s"
        )
