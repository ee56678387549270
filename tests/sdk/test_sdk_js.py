"""`@cuestream/client`: its own tests, types and packaging, and that the page's copy of it is what its source says.

Node and npm run them; without them, or where npm cannot install what it needs, they are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sdk" / "js"
INSTALL_S, RUN_S = 300, 240


def npm(*arguments: str, timeout_s: float = RUN_S) -> subprocess.CompletedProcess[str]:
    path = shutil.which("npm")
    if path is None:
        pytest.skip("no npm: apt-get install nodejs npm")
    return subprocess.run([path, *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=timeout_s)


def passes(*arguments: str) -> None:
    done = npm("run", "--silent", *arguments)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """What package-lock.json names is in node_modules; nothing is fetched when it is there already."""
    lock, stamp = PACKAGE / "package-lock.json", PACKAGE / "node_modules" / ".package-lock.json"
    if stamp.is_file() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    done = npm("ci", "--prefer-offline", timeout_s=INSTALL_S)
    if done.returncode:
        pytest.skip(f"npm ci failed: {(done.stderr.strip() or done.stdout.strip()).splitlines()[0]}")


def test_the_copy_that_the_page_uses_is_what_the_source_says() -> None:
    passes("check")


def test_the_types_hold() -> None:
    passes("types")


def test_its_own_tests_pass() -> None:
    passes("test")


def test_the_package_is_whole() -> None:
    passes("build")
    passes("lint")
