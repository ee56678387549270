"""Who plays, by name: the procedural composer, test tones, or a model that ships or lies in a folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.backends.base import Backend, Prepares
from engine.backends.providers import CPU, TORCH
from engine.errors import MediaError, MissingRuntime, NoRoom, PackageError
from engine.player import ModelPlayer, Player
from engine.spec import Effort, StreamPolicy
from engine.synthetic import SyntheticPlayer
from engine.threads import cores, tuned

PROCEDURAL, SYNTHETIC = "procedural", "synthetic"
"""Names before they are folders; ./procedural is the folder."""
ROOM_S = 30.0
"""How long a window the sessions of `cuestream serve` may ask for."""


def find_player(name: str, threads: int = 0, provider: str = CPU, places: int = 1) -> Player[Any]:
    """Raises PackageError or MissingRuntime when there is no such model, or something that it needs is not installed. provider:
    one of `engine.backends.providers.PROVIDERS`, which only a model has. places: streams that a GPU has to have room for."""
    if name == PROCEDURAL:
        from training.composer.player import ProceduralPlayer

        return ProceduralPlayer.installed()
    if name == SYNTHETIC:
        return SyntheticPlayer()
    from engine.backends.devices import open_backend
    from engine.keys import Keys
    from engine.library import find_model, find_package, recommended

    folder = find_package(name) if provider == TORCH else find_model(name)
    backend = _on_torch(folder, places) if provider == TORCH else open_backend(folder, threads, provider)
    decoder = backend.spec.decoder
    keys = Keys.load(folder, decoder.codebooks, decoder.card)
    return ModelPlayer(backend, recommended(folder, backend.spec), keys)


def _on_torch(folder: Path, places: int) -> Backend[Any, Any]:
    """The weights that lie beside an export, or a converted package. Raises PackageError where they do not fit the memory."""
    try:
        from torch import OutOfMemoryError

        from engine.backends.lockstep import LockstepBackend
        from export.checkpoint import load_model, load_package
    except ImportError as error:
        raise MissingRuntime(
            f"--provider {TORCH} needs PyTorch for CUDA, Triton and the export extra: pip install 'cuestream[export]' ({error})"
        ) from error
    model = load_model(load_package(str(folder)))
    try:
        return LockstepBackend(model, kept="int8", places=places)
    except OutOfMemoryError as error:
        raise PackageError(f"the weights of {folder} do not fit the memory of the GPU") from error


def threads_beside(name: str) -> int:
    """Threads for a model beside a server, which needs a core: what `cuestream tune` found, one fewer than there are at most."""
    from engine.library import find_package, read_spec

    most = max(1, len(cores()) - 1)
    if name in (PROCEDURAL, SYNTHETIC):
        return most
    found = tuned(read_spec(find_package(name)).digest)
    return min(found.count, most) if found else most


def in_pieces(player: Player[Any], steps: int) -> Player[Any]:
    """The same player; by itself it makes so many steps of music at once."""
    return _by(player, replace(player.defaults, chunk_steps=steps))


def at_effort(player: Player[Any], effort: Effort) -> Player[Any]:
    """The same player; by itself it does so much for a second of music."""
    return _by(player, player.defaults.at_effort(effort))


def _by(player: Player[Any], policy: StreamPolicy) -> Player[Any]:
    """The same player, whose defaults are these."""
    if isinstance(player, ModelPlayer):
        return replace(player, recommended=policy)
    same: Any = player
    return replace(same, defaults=policy)


def prepare(player: Player[Any], room_s: float) -> None:
    """Play before anybody listens, as the sessions of a server do whose windows may be lengthened to room_s: by the player's own
    guidance, then with what it needs where that is turned off, or on."""
    if isinstance(player, Prepares):
        player.prepare(player.defaults)
    if not (isinstance(player, ModelPlayer) and isinstance(player.backend, Prepares)):
        return
    usual = with_room(player.defaults, room_s)
    player.backend.prepare(usual)
    guidance = 1.0 if usual.guided else StreamPolicy().guidance
    with suppress(NoRoom):  # who asks for it is refused; the others have what they need
        player.backend.prepare(replace(usual, guidance=guidance))


def with_room(policy: StreamPolicy, room_s: float) -> StreamPolicy:
    """That of a stream whose window may be lengthened to room_s."""
    return replace(policy, short_term_s=max(room_s, policy.short_term_s))


def needs_whole_file(player: Player[Any]) -> ModelPlayer:
    """Raises MediaError when this one can only play live."""
    if not isinstance(player, ModelPlayer):
        raise MediaError(
            f"the {player.name} player is live only: it never sees a whole video; leave out --offline"
        )
    return player
