"""The client is published on its own: it knows nothing of the server, and optional libraries only when they are used; what its
README shows has types."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SDK = Path(__file__).parents[2] / "sdk" / "python"
LAZY = ("av", "sounddevice", "rich", "typer")
OURS = ("server", "engine", "cuestream", "export", "training", "kernels")


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a Python of its own, which finds the SDK first."""
    environment = os.environ | {"PYTHONPATH": str(SDK)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("cuestream_client", LAZY + OURS),
        ("cuestream_client.live", LAZY + OURS),
        ("cuestream_client.command", OURS),
    ],
)
def test_importing_brings_only_what_it_says(module: str, foreign: tuple[str, ...], tmp_path: Path) -> None:
    done = run(f"import sys, {module}; print(*[name for name in {foreign} if name in sys.modules])", tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_the_command_without_its_libraries_is_one_line(tmp_path: Path) -> None:
    code = "import runpy, sys; sys.modules['typer'] = None; runpy.run_module('cuestream_client', run_name='__main__')"
    done = run(code, tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("cuestream-client: the command needs typer")
    assert line.endswith("pip install 'cuestream-client[cli]'")


def test_it_is_given_out_with_its_licence() -> None:
    assert (SDK / "LICENSE").read_bytes() == (SDK.parents[1] / "LICENSE").read_bytes()


@pytest.mark.parametrize("readme", [SDK / "README.md", SDK.parent / "js" / "README.md"])
def test_its_readme_links_to_nothing_that_the_package_lacks(readme: Path) -> None:
    """PyPI and npm show it alone."""
    links = re.findall(r"\]\(([^)]*)\)", readme.read_text("utf-8"))
    assert [link for link in links if not link.startswith(("#", "https://"))] == []


def test_the_examples_of_the_readme_have_types(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (SDK / "README.md").read_text(), re.DOTALL)
    files = [tmp_path / f"example{at}.py" for at in range(len(examples))]
    for file, text in zip(files, examples, strict=True):
        file.write_text(text)
    strict = ("mypy", "--strict", "--config-file=", "--follow-imports=silent")
    done = subprocess.run(
        [sys.executable, "-m", *strict, *map(str, files)],
        cwd=tmp_path,  # its cache, too
        env=os.environ | {"MYPYPATH": str(SDK)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(examples)} source files" in done.stdout
    assert len(examples) >= 3
