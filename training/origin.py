"""What the contents of a folder were made from, kept beside them: what was made from something else is not gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import PackageError

ORIGIN_FILE = "origin.json"

Origin = dict[str, Any]
"""Names and digests, numbers or lists."""


def claim(folder: Path, contents: str, origin: Origin) -> None:
    """Write down what a folder's contents, a pattern of names, are made from.

    Raises PackageError when there are contents already that were made from something else, or do not say from what.
    """
    path, wanted = folder / ORIGIN_FILE, json.dumps(origin)
    if not any(folder.glob(contents)):
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
        return
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if differs := _differs(found, json.loads(wanted)):
        another = f"was made from another {' and another '.join(differs)}"
        why = another if found else "does not say what it was made from"
        raise PackageError(f"{folder}: what is there {why}; choose another --out, or remove this folder")


def _differs(found: Origin, wanted: Origin) -> list[str]:
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names and numbers."""
    answer = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        answer.update(name.encode())
        answer.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return answer.hexdigest()[:16]
