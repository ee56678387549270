"""What README.md shows in Python, and the examples that need no server, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

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
