"""What the README of the Python client shows, and the examples that use it, run as they stand, against this server; only its
address is the test's.
"""

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

ROOT = Path(__file__).parents[2]
SDK, EXAMPLES = ROOT / "sdk" / "python", ROOT / "examples"
RUN_S = 30.0
ADDRESS = "http://127.0.0.1:8765"
CARD = '''"""A sound card that plays into nothing."""
import threading
import numpy as np

class PortAudioError(Exception): ...

def query_devices(device, kind):
    return {"default_low_output_latency": 0.009}

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


def begun(folder: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """A Python of its own in this folder, whose sound card is there."""
    (folder / "sounddevice.py").write_text(CARD)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{SDK}{os.pathsep}{folder}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_examples_of_the_readme_run_to_their_end(serve: Serve, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (SDK / "README.md").read_text(), re.DOTALL)
    assert all(ADDRESS in text for text in examples)
    film(tmp_path / "film.mp4")
    (tmp_path / "picture.jpg").write_bytes(jpeg(1))
    with serve(player=SyntheticPlayer(), idle_s=2) as served:
        runs = [begun(tmp_path, "-c", text.replace(ADDRESS, served.http)) for text in examples]
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


def test_the_examples_run_to_their_end(serve: Serve, tmp_path: Path) -> None:
    """In real time, all at once; with their beginning that is some seconds."""
    videos, music = tmp_path / "videos", tmp_path / "music"
    videos.mkdir()
    film(videos / "one.mp4")
    film(videos / "two.mp4")
    (videos / "no film.mp4").write_text("hello")
    with serve(player=SyntheticPlayer()) as served:
        typed = served.http.removeprefix("http://")
        draws = [EXAMPLES / "renderer.py", "--server", typed, "--seconds", "0.6"]
        runs = [
            begun(tmp_path, *draws),
            begun(tmp_path, *draws, "-o", "music.flac"),
            begun(tmp_path, EXAMPLES / "many_files.py", videos, music, "--server", typed),
        ]
        said = [[text.decode() for text in run.communicate(timeout=RUN_S)] for run in runs]
        assert (
            served.host.metrics.registry.get_sample_value("cuestream_sessions_opened_total") == 4
        )  # none for what is no film
    assert [run.returncode for run in runs] == [0, 0, 1]
    assert [errors.count("\n") for _, errors in said] == [0, 0, 1]
    assert "no film.mp4: " in said[2][1]
    assert sorted(path.name for path in music.iterdir()) == ["one.mp4.flac", "two.mp4.flac"]
    for path in (tmp_path / "music.flac", *music.iterdir()):
        assert seconds_of(path) > 0.3


def seconds_of(path: Path) -> float:
    with av.open(str(path)) as file:
        return sum(frame.samples for frame in file.decode(audio=0)) / 48_000
