"""The Pythons that pip and make take are those that the package names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
ABOUT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMED = [int(each.rpartition("3.")[2]) for each in ABOUT["classifiers"]]
BEYOND = (min(NAMED) - 1, max(NAMED) + 1)

PRETENDED = """#!/bin/sh
exec "{python}" -c 'import sys; sys.version_info = (3, {minor}, 2); sys.argv[1] == "-c" and exec(sys.argv[2])' "$@"
"""


def test_pip_takes_the_pythons_that_are_named_and_no_others() -> None:
    takes = SpecifierSet(ABOUT["requires-python"])
    assert all(f"3.{minor}.0" in takes for minor in NAMED)
    assert not any(f"3.{minor}.0" in takes for minor in BEYOND)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("minor", [*NAMED, *BEYOND])
def test_make_takes_the_same_pythons_and_says_so_of_others(tmp_path: Path, minor: int) -> None:
    python = tmp_path / "python"
    python.write_text(PRETENDED.format(python=sys.executable, minor=minor))
    python.chmod(0o755)
    make = ["make", "-f", str(ROOT / "Makefile"), f"PYTHON={python}", ".venv/bin/python"]
    made = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=False)
    if minor in NAMED:
        assert (made.returncode, made.stderr) == (0, "")
    else:
        assert made.stderr.startswith(f"Cuestream runs on Python 3.{min(NAMED)} to 3.{max(NAMED)}; ")
