"""Where exported models are found: a folder by its path, or one that ships with Cuestream by its name."""

from __future__ import annotations

from pathlib import Path

from engine.backends.manifest import MANIFEST_FILE
from engine.errors import PackageError

DEFAULT_MODEL = "random-tiny"
"""Random weights, so noise and not music, until the trained starter model ships."""

_HERE = Path(__file__).parent
SHELVES = (_HERE / "_models", _HERE.parent / "models")
"""Inside an installed package, and in a checkout."""


def find_model(name: str) -> Path:
    """The folder of an exported model. Raises PackageError naming the models that ship."""
    path = Path(name)
    if (path / MANIFEST_FILE).is_file():
        return path
    for shelf in SHELVES:
        if name in shipped() and (shelf / name).is_dir():
            return shelf / name
    if path.exists():
        raise PackageError(
            f"{name}: expected an exported model with a {MANIFEST_FILE} (see cuestream export)"
        )
    raise PackageError(
        f"{name}: no exported model of this name or path; those that ship are {', '.join(shipped())}"
    )


def shipped() -> list[str]:
    """Names of the models that ship."""
    return sorted({m.parent.name for shelf in SHELVES for m in shelf.glob(f"*/{MANIFEST_FILE}")})
