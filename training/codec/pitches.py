"""`python -m training.codec.pitches models/starter`: pitch classes of each token of a codec of parts, for `engine.keys`.

The composer's pieces in all keys go through the codec; a token has the pitch classes of the notes that it was used for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from engine.keys import UNUSED, Keys
from engine.model.oscillator import compressed
from training import starter
from training.codec.amplitudes import amplitudes
from training.codec.learner import CodecModel
from training.codec.sounds import SOUNDS_FILE, Sounds
from training.codec.tokens import tokens
from training.composer.arrangement import PARTS, PERCUSSION
from training.composer.composer import Note
from training.parts import codec_of
from training.pieces import compose, imagine
from training.shell import in_one_line

TAUGHT = (0, 2, 4, 5, 7, 9)
"""Signatures that the seed chooses among: those of the keys that the starter's decoder was taught in."""
PIECES, STEPS = 120, 1500
SOUNDS_IN = 0.5
"""Share of a token's uses in which a pitch class must sound to be one of its own."""


def keys_of(codec: CodecModel, sounds: Sounds) -> Keys:
    """A pass over `PIECES` pieces; seeds from 0, all twelve signatures."""
    size = codec.spec.codebook_size
    sounding = np.zeros((len(PARTS), size, 12))
    used = np.zeros((len(PARTS), size))
    for seed in range(PIECES):
        notes = compose(imagine(seed, STEPS), seed, range(12))
        codes = tokens(codec, compressed(torch.from_numpy(amplitudes(notes, sounds))))
        for step, each in enumerate(pitch_classes(notes)):
            for part, pitches in enumerate(each):
                used[part, codes[part, step]] += 1
                sounding[part, codes[part, step], list(pitches)] += 1
    share = sounding / np.maximum(1, used)[..., None]
    bits = ((share >= SOUNDS_IN) << np.arange(12)).sum(-1) | np.where(used > 0, 0, UNUSED)
    bits[PERCUSSION] = 0
    return Keys(bits.astype(np.uint16), TAUGHT)


def pitch_classes(notes: Iterable[list[Note]]) -> Iterable[list[set[int]]]:
    """At each step, those of each part's notes that sound, or that sounded last: they ring on. None of percussion."""
    on: list[set[int]] = [set() for _ in PARTS]
    last: list[set[int]] = [set() for _ in PARTS]
    for step in notes:
        for note in step:
            if note.part != PERCUSSION:
                (on[note.part].add if note.on else on[note.part].discard)(note.key)
        last = [{key % 12 for key in keys} or before for keys, before in zip(on, last, strict=True)]
        yield last


@in_one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "model", type=Path, help="a folder with the codec and its encoder; the table is put there"
    )
    parser.add_argument("--sounds", type=Path, default=Path("training/runs/codec") / SOUNDS_FILE)
    args = parser.parse_args()
    keys = keys_of(codec_of(args.model), Sounds.load(starter.CODEC, args.sounds))
    keys.save(args.model)
    print(f"tokens of each part that music uses: {((keys.pitches & UNUSED) == 0).sum(1).tolist()}")


if __name__ == "__main__":
    main()
