"""Controls as changes of the mix or of the stream's policy, checked before anything is changed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from engine.spec import StreamPolicy
from server.core.controls import (
    CutResponse,
    Duck,
    Energy,
    Fade,
    Gain,
    Guidance,
    Key,
    MixControl,
    Mute,
    PolicyControl,
    Seed,
    Temperature,
    TopK,
    TopP,
    Window,
)
from server.core.errors import SessionError
from server.core.mixing import LOUDEST_DB, Mix, amplitude

CUTS: dict[str, Literal["ignore", "gentle", "forget"]] = {
    "ignore": "ignore",
    "gentle": "gentle",
    "follow": "forget",
}
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


def changed(policy: StreamPolicy, control: PolicyControl, room_s: float) -> StreamPolicy:
    """The policy with the control in it. Raises SessionError for what a running stream cannot take over."""
    try:
        after = _changed(policy, control)
        check_window(after, room_s)
    except (ValueError, TypeError, KeyError) as error:
        raise SessionError("bad_request", f"{error}") from error
    if after.guided != policy.guided:
        said = f"guidance cannot go from {policy.guidance:g} to {after.guidance:g} in a running stream"
        raise SessionError("bad_request", said)
    return after


def check_window(policy: StreamPolicy, room_s: float) -> None:
    """Raises ValueError when it is longer than a session may ask for."""
    if policy.short_term_s > room_s:
        raise ValueError(
            f"this session has room for a window of {room_s:g} s, not of {policy.short_term_s:g} s"
        )


def _changed(policy: StreamPolicy, control: PolicyControl) -> StreamPolicy:
    match control:
        case Guidance(scale=scale):
            return replace(policy, guidance=scale)
        case Temperature(value=temperature):
            return replace(policy, temperature=temperature)
        case TopK(value=top_k):
            return replace(policy, top_k=top_k)
        case TopP(value=top_p):
            return replace(policy, top_p=top_p)
        case Seed(value=seed):
            return replace(policy, seed=seed)
        case Key(to=key):
            return replace(policy, key=key)
        case Window(short_term_s=seconds):
            return replace(policy, short_term_s=seconds)
        case Energy(value=energy):
            return replace(policy, energy=energy)
        case CutResponse(to=to):
            return replace(policy, on_cut=CUTS[to])
