"""What a listener may turn while the music plays: a full `Config` comes from the server, a `ConfigPatch` from the client.

A patch names only what changes. The server answers with everything that now holds and a revision; every chunk of audio
carries the revision that made it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from server.protocol import values as v


class Duck(Struct, frozen=True):
    """The music steps back while the original sound is louder than `threshold_db`."""

    enabled: bool
    threshold_db: v.ThresholdDb
    depth_db: v.DepthDb
    attack_ms: v.AttackMs
    release_ms: v.ReleaseMs


class Config(Struct, frozen=True):
    """Everything that holds now. Every field is always there."""

    guidance: v.Guidance
    temperature: v.Temperature
    top_k: v.TopK
    top_p: v.TopP
    seed: v.Seed
    short_term_s: v.ShortTermS
    key: v.Key
    """The key signature that the music is held to, by its major scale. seed: the seed chooses it. free: none."""
    energy: v.Energy
    cut_response: v.CutResponse
    """ignore: cuts mean nothing. gentle: the old scene fades out of the window. follow: it leaves the window at once."""
    hold_scene: bool
    """The picture is held: newer ones are not looked at until this is false again."""
    gain_db: v.GainDb
    mute: bool
    """Silence, while the music goes on underneath."""
    fade_ms: v.FadeMs
    """How long a change of gain or mute takes, and the fades of pause, play, stop and end."""
    duck: Duck


DUCK = Duck(enabled=False, threshold_db=-35.0, depth_db=12.0, attack_ms=50, release_ms=600)
"""As a session begins: a voice is well above -35 dB of full scale, room noise below it."""
FADE_MS = 300


class DuckPatch(Struct, frozen=True):
    """The fields of `Duck` that change."""

    enabled: bool | UnsetType = UNSET
    threshold_db: v.ThresholdDb | UnsetType = UNSET
    depth_db: v.DepthDb | UnsetType = UNSET
    attack_ms: v.AttackMs | UnsetType = UNSET
    release_ms: v.ReleaseMs | UnsetType = UNSET


class ConfigPatch(Struct, frozen=True):
    """The fields of `Config` that change."""

    guidance: v.Guidance | UnsetType = UNSET
    temperature: v.Temperature | UnsetType = UNSET
    top_k: v.TopK | UnsetType = UNSET
    top_p: v.TopP | UnsetType = UNSET
    seed: v.Seed | UnsetType = UNSET
    short_term_s: v.ShortTermS | UnsetType = UNSET
    key: v.Key | UnsetType = UNSET
    energy: v.Energy | UnsetType = UNSET
    cut_response: v.CutResponse | UnsetType = UNSET
    hold_scene: bool | UnsetType = UNSET
    gain_db: v.GainDb | UnsetType = UNSET
    mute: bool | UnsetType = UNSET
    fade_ms: v.FadeMs | UnsetType = UNSET
    duck: DuckPatch | UnsetType = UNSET


def first_config(
    guidance: float,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    short_term_s: float,
    key: v.Key = "seed",
    energy: float = 0.0,
) -> Config:
    """What holds when a session begins: how the player plays by itself, cuts followed, nothing mixed."""
    return Config(
        guidance=guidance,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        short_term_s=short_term_s,
        key=key,
        energy=energy,
        cut_response="follow",
        hold_scene=False,
        gain_db=0.0,
        mute=False,
        fade_ms=FADE_MS,
        duck=DUCK,
    )


def merge(config: Config, patch: ConfigPatch) -> Config:
    """What holds after the patch."""
    changes = changed(patch)
    if isinstance(patch.duck, DuckPatch):
        changes["duck"] = msgspec.structs.replace(config.duck, **changed(patch.duck))
    return msgspec.structs.replace(config, **changes)


def changed(patch: ConfigPatch | DuckPatch) -> dict[str, Any]:
    """The fields that a patch names."""
    return {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not UNSET}
