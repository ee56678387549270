"""A path that leads nowhere is said at once: before PyTorch, which takes seconds to load, and before a model is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from cuestream.cli import main; main()"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export nodir -o new", "nodir: no such folder, and not a hub id of the form org/model"),
        ("export empty -o new", "empty: expected state_dict.bin (published) or spec.json (converted)"),
        ("export package -o new --codec nodir", "nodir: no such folder, and not a hub id"),
        ("export package -o package/spec.json", "package/spec.json: cannot be written"),
        ("convert nodir -o new", "nodir: no such folder, and not a hub id of the form org/model"),
        ("random tiny -o package/spec.json", "package/spec.json: cannot be written"),
        ("tensorrt nodir", "nodir: no exported model of this name or path"),
        ("verify package --against nowhere.npz", "nowhere.npz: no such file"),
        ("verify nodir --against package/spec.json", "nodir: no such folder, and not a hub id"),
        ("bench gpu --size nodir", "nodir: no exported model of this name or path"),
        ("bench gpu --export nodir", "nodir"),
        ("bench gpu --json nodir/gpu.json", "nodir/gpu.json: there is no such folder"),
        ("score nofile.mp4 -o scored.mp4 --model nodir", "nofile.mp4: no such file"),
    ],
)
def test_a_path_that_leads_nowhere_is_said_at_once(tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "spec.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"cuestream: {said}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
