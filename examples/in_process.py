"""The engine in a program of its own, without a server: frames from numpy, the music for them into a WAV.

    pip install '.[cpu]'                     # in the root of this repository
    python examples/in_process.py music.wav
    python examples/in_process.py music.wav --seconds 30 --model procedural

It runs as fast as it can, and nothing is late: a step is 20 ms of music, whatever the clock says.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cuestream.players import find_player
from engine.errors import CuestreamError
from engine.media.pixels import resize
from engine.media.wav import WavWriter

SIZE = (180, 320)
FRAMES_A_SECOND = 10


def draw(at_s: float) -> np.ndarray:
    """A bright bar that crosses a coloured picture in two seconds; every four seconds another colour, which is a cut.
    uint8 [H, W, 3], red first."""
    picture = np.empty((*SIZE, 3), np.uint8)
    picture[:] = np.random.default_rng(int(at_s / 4)).integers(30, 160, 3)
    left = int(at_s % 2 / 2 * SIZE[1])
    picture[:, left : left + 40] = 255
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument(
        "--model", default="starter", help="also procedural, or the folder of an exported model"
    )
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()

    player = find_player(asked.model)
    stream = player.open(replace(player.defaults, seed=asked.seed))
    wanted = round(asked.seconds * player.code_rate)  # code frames: a step's are whole a few steps later
    with WavWriter(asked.output, player.sample_rate) as wav:
        while stream.frames < wanted:
            if stream.now % (player.code_rate // FRAMES_A_SECOND) == 0:
                stream.push(resize(draw(stream.now / player.code_rate), player.side))
            stream.advance()
            while chunk := stream.take():
                wav.append(chunk.samples)
        if rest := stream.close(wanted):
            wav.append(rest.samples)
    print(f"{wav.samples / player.sample_rate:.2f} s of {player.name}: {asked.output}")


if __name__ == "__main__":
    try:
        main()
    except (CuestreamError, ValueError) as error:  # no such model or folder, or a number that cannot be
        sys.exit(str(error))
