"""Holding the music to a key: which tokens may follow, by the pitch classes that each one sounds.

A model hears no more of itself than a segment, so whatever it was taught, over minutes its key would wander. Tokens of a codec
of parts have pitches of their own; those outside the key signature are left out of the draw, and the key stays for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from engine.errors import PackageError
from engine.spec import KEYS, StreamPolicy

KEYS_FILE = "keys.npz"
"""Beside a model whose tokens have pitches."""
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
UNUSED = 1 << 12
"""The bit of a token that no music was seen to use."""

Allowed = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Keys:
    """pitches: uint16 [K, card], bit p: pitch class p (0: C) sounds in the token. taught: signatures the seed may choose."""

    pitches: NDArray[np.uint16]
    taught: tuple[int, ...]

    def signature(self, key: str, seed: int) -> int | None:
        """The tonic of the major scale that the music is held to: as named, by the seed, or None for none."""
        if key == "seed":
            return self.taught[seed % len(self.taught)]
        return None if key == "free" else KEYS.index(key)

    def allowed(self, signature: int) -> Allowed:
        """[K, card]: the tokens that sound nothing outside the signature."""
        inside = sum(1 << (signature + tone) % 12 for tone in MAJOR_SCALE)
        return (self.pitches & np.uint16((UNUSED | 0xFFF) & ~inside)) == 0

    def save(self, folder: Path) -> None:
        np.savez_compressed(folder / KEYS_FILE, pitches=self.pitches, taught=np.array(self.taught))

    @classmethod
    def load(cls, folder: Path, codebooks: int, card: int) -> Keys | None:
        """None where the model has none. Raises PackageError when the file is damaged or another model's."""
        path = folder / KEYS_FILE
        if not path.is_file():
            return None
        try:
            with path.open("rb") as raw, np.load(raw) as file:
                keys = cls(file["pitches"].astype(np.uint16), tuple(file["taught"].tolist()))
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise PackageError(f"{path}: expected the pitches of tokens: {error}") from error
        if keys.pitches.shape != (codebooks, card) or not keys.taught:
            raise PackageError(f"{path}: expected pitches [{codebooks}, {card}] and keys that were taught")
        for signature in range(12):
            if not keys.allowed(signature).any(1).all():
                raise PackageError(f"{path}: no token of some codebook is left in {KEYS[signature]}")
        return keys


def check_unheld(player: str, policy: StreamPolicy) -> None:
    """Of a player that chooses its pitches itself. Raises ValueError."""
    if policy.key in KEYS:
        raise ValueError(f"{player} chooses its pitches itself; it cannot be held to {policy.key}")


def signature_of(keys: Keys | None, key: str, seed: int) -> int | None:
    """What a stream is held to. Raises ValueError for a named key where the tokens' pitches are not known."""
    if keys is None and key in KEYS:
        raise ValueError(f"the pitches of this model's tokens are not known; it cannot be held to {key}")
    return None if keys is None else keys.signature(key, seed)


def allowed_in(keys: Keys | None, signature: int | None) -> Allowed | None:
    """The tokens that may be drawn; None: all."""
    return None if keys is None or signature is None else keys.allowed(signature)
