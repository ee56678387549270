"""What the README of the Python client shows runs as it stands, against this server; only its address is the test's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
from served import Serve
from shell_client import ask, jpeg

from engine.synthetic import SyntheticPlayer

SDK = Path(__file__).parents[2] / "sdk" / "python"
RUN_S = 30.0
ADDRESS = "http://127.0.0.1:8765"
CARD = '''"""A sound card that plays into nothing."""
import threading
import numpy as np

class PortAudioError(Exception): ...

class OutputStream:
    def __init__(self, rate, *, device, channels, dtype, latency, callback):
        self._out, self._fill, self._closed = np.empty((rate // 100, channels), dtype), callback, threading.Event()
    def start(self):
        threading.Thread(target=self._play).start()
    def close(self):
        self._closed.set()
    def _play(self):
        while not self._closed.wait(0.01):
            self._fill(self._out, len(self._out), None, None)
'''


def film(path: Path, seconds: int = 1) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(25 * seconds):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 9 * number % 256, np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_the_examples_of_the_readme_run_to_their_end(serve: Serve, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (SDK / "README.md").read_text(), re.DOTALL)
    assert all(ADDRESS in text for text in examples)
    film(tmp_path / "film.mp4")
    (tmp_path / "picture.jpg").write_bytes(jpeg(1))
    (tmp_path / "sounddevice.py").write_text(CARD)
    with serve(player=SyntheticPlayer(), idle_s=2) as served:
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", text.replace(ADDRESS, served.http)],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(SDK)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for text in examples
        ]
        said = [run.communicate(timeout=RUN_S) for run in runs]
        status, metrics = ask("GET", f"{served.http}/metrics")
    assert status == 200
    (seen,) = re.findall(r'^cuestream_inbound_frames_total{result="shown"} (\S+)$', metrics, re.MULTILINE)
    assert [(run.returncode, errors.decode()) for run, (_, errors) in zip(runs, said, strict=True)] == [
        (0, "") for _ in examples
    ]
    assert (
        float(seen) >= 6
    )  # the film is looked at for its second, 12 times at most, and the pictures of the others once
