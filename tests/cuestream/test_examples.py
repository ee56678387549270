"""What README.md shows in Python, and the examples that need no server, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def test_the_readme_plays_in_a_process() -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    played: list[int] = []
    given = {"frame": np.zeros((90, 160, 3), np.uint8), "play": lambda samples: played.append(len(samples))}
    exec(text.replace('"starter"', '"synthetic"'), given)
    assert sum(played) == 320_000


def test_the_engine_plays_in_a_process_and_writes_all_of_it(tmp_path: Path) -> None:
    output = tmp_path / "music.wav"
    script = [sys.executable, ROOT / "examples" / "in_process.py", output]
    subprocess.run([*script, "--model", "random-tiny", "--seconds", "0.5"], cwd=ROOT, check=True, timeout=60)
    with av.open(str(output)) as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) == 16_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("in_process.py music.wav --model nodir", "nodir: no exported model of this name or path"),
        ("in_process.py nodir/music.wav --model synthetic", "nodir/music.wav: cannot be written"),
        ("renderer.py --server localhost:1 -o music.flac", "gave up after 3 attempts; ws://localhost:1/"),
        ("renderer.py --server somewhere -o music.flac", "an address such as host:8765 or http://host:8765"),
        ("many_files.py nodir music --server localhost:1", "nodir: No such file or directory"),
        ("many_files.py . music --server somewhere", "an address such as host:8765 or http://host:8765"),
    ],
)
def test_what_an_example_cannot_do_is_one_line(tmp_path: Path, words: str, said: str) -> None:
    pytest.importorskip("websockets", reason="these examples need the client")
    program, *options = words.split()
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / program, *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "sdk" / "python")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
