"""Where exported models are found: a folder by its path, or one that ships with Cuestream by its name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from engine.backends.manifest import MANIFEST_FILE, SPEC_FILE
from engine.errors import PackageError
from engine.keys import KEYS_FILE
from engine.spec import ModelSpec, StreamPolicy

POLICY_FILE = "policy.json"
"""Beside a model: what its makers recommend where it is not `StreamPolicy`'s default."""

DEFAULT_MODEL = "starter"
"""Trained by us on data that we make (`training/`), small enough to ship."""

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


def find_package(name: str) -> Path:
    """The folder of a converted package, or else of an exported model, beside which its weights may lie. Raises PackageError."""
    path = Path(name)
    return path if (path / SPEC_FILE).is_file() else find_model(name)


def read_spec(folder: Path) -> ModelSpec:
    """Of a converted package or of an exported model, whose other files are left alone. Raises PackageError."""
    try:
        return ModelSpec.from_json((folder / SPEC_FILE).read_text("utf-8"))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PackageError(f"{folder}: {SPEC_FILE} is missing or damaged: {error}") from error


def recommended(folder: Path, spec: ModelSpec) -> StreamPolicy:
    """How a model is best played. Raises PackageError when its `policy.json` is none."""
    path, plain = folder / POLICY_FILE, StreamPolicy(guidance=spec.decoder.guidance)
    if not path.is_file():
        return plain
    try:
        return replace(plain, **json.loads(path.read_text("utf-8")))
    except (TypeError, ValueError, OSError) as error:
        raise PackageError(f"{path}: expected fields of StreamPolicy: {error}") from error


def carry(package: Path, folder: Path) -> None:
    """What a package says of how it is played goes with what is made of it: the policy, and the pitches of its tokens. Those of
    another model that lay there are removed."""
    if package.resolve() == folder.resolve():
        return
    for name in (POLICY_FILE, KEYS_FILE):
        (folder / name).unlink(missing_ok=True)
        if (package / name).is_file():
            shutil.copyfile(package / name, folder / name)


def shipped() -> list[str]:
    """Names of the models that ship."""
    return sorted({m.parent.name for shelf in SHELVES for m in shelf.glob(f"*/{MANIFEST_FILE}")})
