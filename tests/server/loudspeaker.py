"""A sound output without a sound card: PulseAudio with one sink that plays to nobody, and a socket that gives what it plays.

Firefox needs one. Where there is none its AudioContext stays suspended, while Chromium plays to nothing by itself.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import numpy as np

from engine.frames import F32

RATE = 48_000
STARTED_S = 20.0
ANSWER_S = 20.0
SOUND_S = 0.2
"""Of what is looked at."""


def find_pulseaudio() -> str | None:
    return shutil.which("pulseaudio")


class Loudspeaker:
    """folder: an empty one of its own, with a short name: sockets lie in it."""

    def __init__(self, path: str, folder: Path) -> None:
        self._ear = folder / "ear"
        self.address = f"unix:{folder / 'line'}"
        """Of the server, for whoever plays to it."""
        parts = (
            f"module-native-protocol-unix socket={folder / 'line'} auth-anonymous=1",
            f"module-null-sink sink_name=room rate={RATE} channels=2",
            f"module-simple-protocol-unix socket={self._ear} record=true playback=false source=room.monitor "
            f"rate={RATE} format=float32le channels=2",
        )
        flags = ["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        self._process = subprocess.Popen(
            [path, *flags, *(word for part in parts for word in ("-L", part))],
            env=os.environ | {"HOME": str(folder), "PULSE_RUNTIME_PATH": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end_s = time.monotonic() + STARTED_S
        while not self._ear.exists():
            if self._process.poll() is not None or time.monotonic() > end_s:
                self.close()
                raise RuntimeError("PulseAudio did not start")
            time.sleep(0.02)

    def __enter__(self) -> Loudspeaker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def hear(self) -> F32:
        """What sounds from now on, for a moment. [n, 2]"""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_S)
            line.connect(str(self._ear))
            with line.makefile("rb") as sound:
                return np.frombuffer(sound.read(int(SOUND_S * RATE) * 8), "<f4").reshape(-1, 2)
