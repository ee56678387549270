"""The wire's configuration and the core's policy and controls: one into the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, cast

from engine.player import Player
from engine.spec import StreamPolicy
from server.core.controls import Control, Duck, Gain, Hold, MixControl, Mute, VerbFade
from server.core.errors import SessionError
from server.core.mixing import Ducking
from server.core.policies import check_change
from server.protocol.config import FADE_MS, Config, first_config
from server.protocol.values import SAFE_INTEGER, Key

CUTS: dict[str, Literal["ignore", "gentle", "forget"]] = {
    "ignore": "ignore",
    "gentle": "gentle",
    "follow": "forget",
}
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
        cast("Key", policy.key),
        policy.energy,
    )


def followed(fields: Iterable[str]) -> list[str]:
    """Fields of a policy by their names in the configuration."""
    return sorted("cut_response" if name == "on_cut" else name for name in fields)


def policy_of(config: Config, policy: StreamPolicy) -> StreamPolicy:
    """The policy with the configuration in it. Raises ValueError."""
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
    """What leads from one configuration to the other, beside the policy; None: from a new session."""
    found: list[Control] = list(_mixing(before, after))
    if (before.fade_ms if before else FADE_MS) != after.fade_ms:
        found.append(verb_fade(after))
    if (before.hold_scene if before else False) != after.hold_scene:
        found.append(Hold(after.hold_scene))
    return found


def verb_fade(config: Config) -> VerbFade:
    return VerbFade(max(FASTEST_MS, config.fade_ms) / 1000)


def turned(policy: StreamPolicy, config: Config, room_s: float, player: Player[Any]) -> StreamPolicy:
    """What a running stream of the player plays by with this configuration. Raises SessionError when it cannot."""
    try:
        after = policy_of(config, policy)
        check_change(policy, after, room_s)
        player.check(after)
    except ValueError as error:
        raise SessionError("bad_request", str(error)) from error
    return after


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
