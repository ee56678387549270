"""Who plays, by name: the procedural composer, test tones, or a model that ships or lies in a folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.backends.providers import CPU
from engine.errors import MediaError
from engine.player import ModelPlayer, Player
from engine.synthetic import SyntheticPlayer

PROCEDURAL, SYNTHETIC = "procedural", "synthetic"
"""Names before they are folders; ./procedural is the folder."""


def find_player(name: str, threads: int = 0, provider: str = CPU) -> Player[Any]:
    """Raises PackageError or MissingRuntime when there is no such model, or something that it needs is not installed. provider:
    one of `engine.backends.providers.PROVIDERS`, which only a model has."""
    if name == PROCEDURAL:
        from training.composer.player import ProceduralPlayer

        return ProceduralPlayer.installed()
    if name == SYNTHETIC:
        return SyntheticPlayer()
    from engine.backends.devices import open_backend
    from engine.keys import Keys
    from engine.library import find_model, recommended

    folder = find_model(name)
    backend = open_backend(folder, threads, provider)
    decoder = backend.spec.decoder
    keys = Keys.load(folder, decoder.codebooks, decoder.card)
    return ModelPlayer(backend, recommended(folder, backend.spec), keys)


def in_pieces(player: Player[Any], most_steps: int) -> Player[Any]:
    """The same player; it makes music in pieces of so many steps, or of fewer where it did so by itself."""
    policy = player.defaults
    policy = replace(policy, chunk_steps=min(policy.chunk_steps, most_steps))
    if isinstance(player, ModelPlayer):
        return replace(player, recommended=policy)
    same: Any = player
    return replace(same, defaults=policy)


def needs_whole_file(player: Player[Any]) -> ModelPlayer:
    """Raises MediaError when this one can only play live."""
    if not isinstance(player, ModelPlayer):
        raise MediaError(
            f"the {player.name} player is live only: it never sees a whole video; leave out --offline"
        )
    return player
