"""A program that draws frames with numpy, as a game or a renderer does, and plays the music for them, or writes it to a file.

cuestream serve                                     # in another terminal
pip install './sdk/python[video,play]'              # in the root of this repository
python examples/renderer.py                         # plays; Ctrl-C ends it
python examples/renderer.py -o music.flac --seconds 10
"""

import argparse
import math
import sys
import threading
import time

import numpy as np

from cuestream_client import Client, ClientError
from cuestream_client.recorder import Recorder
from cuestream_client.speaker import Speaker
from cuestream_client.typed import address

HEIGHT, WIDTH = 180, 320
FRAME_S = 1 / 60
Y, X = np.mgrid[:HEIGHT, :WIDTH]


def draw(at_s: float) -> np.ndarray:
    """A ball that swings; each four seconds other colours, which is a cut. uint8 [H, W, 3], red first."""
    ground, ball = np.random.default_rng(int(at_s / 4)).integers(0, 256, (2, 3), np.uint8)
    x, y = 160 + 120 * math.sin(at_s * 1.7), 90 + 50 * math.sin(at_s * 2.9)
    inside = (X - x) ** 2 + (Y - y) ** 2 < 30**2
    return np.where(inside[..., None], ball, ground)


def hear(client: Client, sink: Recorder | Speaker) -> None:
    for chunk in client.audio(acknowledge=False):  # `follow` says what was heard
        sink.put(chunk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://127.0.0.1:8765", help="its address, or HOST:PORT")
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("-o", "--output", help="a .flac or .wav instead of the loudspeaker")
    asked = parser.parse_args()

    with Client(address(asked.server), config={"seed": 7}) as client:
        audio = client.session.audio
        with Recorder(asked.output, audio) if asked.output else Speaker(audio) as sink:
            client.follow(lambda: sink.playout)
            listener = threading.Thread(target=hear, args=(client, sink))
            listener.start()
            client.play()
            began = time.monotonic()
            try:
                while (at_s := time.monotonic() - began) < asked.seconds:
                    client.push(draw(at_s))  # takes the 12 a second that the server asks for
                    time.sleep(FRAME_S)
            except KeyboardInterrupt:
                pass
            client.end()  # fades; the listener hears the rest
            listener.join()


if __name__ == "__main__":
    try:
        main()
    except (ClientError, ValueError) as error:  # no server answers there, or that is no address
        sys.exit(str(error))
