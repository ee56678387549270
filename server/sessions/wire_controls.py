"""The wire's configuration and the core's policy and controls: one into the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

from engine.player import Player
from engine.spec import StreamPolicy
from server.core.controls import (
    Control,
    CutResponse,
    Duck,
    Energy,
    Gain,
    Guidance,
    Hold,
    Key,
    MixControl,
    Mute,
    PolicyControl,
    Seed,
    Temperature,
    TopK,
    TopP,
    VerbFade,
    Window,
)
from server.core.errors import SessionError
from server.core.mixing import Ducking
from server.core.policies import CUTS, changed
from server.protocol.config import FADE_MS, Config, first_config
from server.protocol.values import SAFE_INTEGER
from server.protocol.values import Key as KeyName

POLICY: dict[str, Callable[[Any], PolicyControl]] = {
    "guidance": Guidance,
    "temperature": Temperature,
    "top_k": TopK,
    "top_p": TopP,
    "seed": Seed,
    "short_term_s": Window,
    "key": Key,
    "energy": Energy,
    "cut_response": CutResponse,
}
"""Fields of the configuration, and the controls that turn them."""
FASTEST_MS = 10
"""No change of a level takes less, so that none clicks."""


def config_of(policy: StreamPolicy) -> Config:
    """How the player plays by itself, cuts followed."""
    return first_config(
        policy.guidance,
        policy.temperature,
        policy.top_k,
        policy.top_p,
        policy.seed & SAFE_INTEGER,
        policy.short_term_s,
        cast("KeyName", policy.key),
        policy.energy,
    )


def followed(fields: Iterable[str]) -> list[str]:
    """Fields of a policy by their names in the configuration."""
    return sorted("cut_response" if name == "on_cut" else name for name in fields)


def policy_of(config: Config, policy: StreamPolicy) -> StreamPolicy:
    """What a new stream plays by. Raises ValueError."""
    return replace(
        policy,
        guidance=config.guidance,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=config.seed,
        short_term_s=config.short_term_s,
        key=config.key,
        energy=config.energy,
        on_cut=CUTS[config.cut_response],
    )


def controls(before: Config | None, after: Config) -> list[Control]:
    """What leads from one configuration to the other; None: from a new stream that plays by `policy_of`."""
    mixing: list[Control] = list(_mixing(before, after))
    if (before.fade_ms if before else FADE_MS) != after.fade_ms:
        mixing.append(verb_fade(after))
    if before is None:
        return [*mixing, *([Hold(True)] if after.hold_scene else [])]
    held: list[Control] = [Hold(after.hold_scene)] if before.hold_scene != after.hold_scene else []
    return [*_policy(before, after), *mixing, *held]


def verb_fade(config: Config) -> VerbFade:
    return VerbFade(max(FASTEST_MS, config.fade_ms) / 1000)


def check(before: Config, after: Config, policy: StreamPolicy, room_s: float, player: Player[Any]) -> None:
    """Raises SessionError when a running stream of the player cannot take it over; nothing was changed then."""
    for control in _policy(before, after):
        policy = changed(policy, control, room_s)
    try:
        player.check(policy)
    except ValueError as error:
        raise SessionError("bad_request", str(error)) from error


def _policy(before: Config, after: Config) -> Iterator[PolicyControl]:
    for name, control in POLICY.items():
        if getattr(before, name) != getattr(after, name):
            yield control(getattr(after, name))


def _mixing(before: Config | None, after: Config) -> Iterator[MixControl]:
    over_s = verb_fade(after).over_s
    if (before.gain_db if before else 0.0) != after.gain_db:
        yield Gain(after.gain_db, over_s)
    if (before.mute if before else False) != after.mute:
        yield Mute(after.mute, over_s)
    duck = after.duck
    if before is None or before.duck != duck:
        attack_s, release_s = duck.attack_ms / 1000, duck.release_ms / 1000
        settings = Ducking(duck.threshold_db, -duck.depth_db, attack_s, release_s)
        yield Duck(settings if duck.enabled else None)
