"""`python -m server.protocol.generate` writes what is made from the protocol's structs and tables; `--check` only compares.

The schemas and the vectors go to `docs/`, the types to `sdk/js/`. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from server.protocol.asyncapi import asyncapi
from server.protocol.golden import control_vectors, invalid_vectors, media_vectors
from server.protocol.typescript import protocol_schema, typescript

ROOT = Path(__file__).parents[2]


def artifacts() -> dict[str, str]:
    """Path below the repository's root to text."""
    return {
        "docs/protocol.schema.json": _json(protocol_schema()),
        "docs/asyncapi.json": _json(asyncapi()),
        "docs/golden/control.json": _json(control_vectors()),
        "docs/golden/media.json": _json(media_vectors()),
        "docs/golden/invalid.json": _json(invalid_vectors()),
        "sdk/js/src/protocol.ts": typescript(),
    }


def stale(root: Path = ROOT) -> list[str]:
    """Paths whose file is missing or differs."""
    return [path for path, text in artifacts().items() if _read(root / path) != text]


def write(root: Path = ROOT) -> None:
    for path, text in artifacts().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m server.protocol.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    chosen = parser.parse_args(arguments)
    if not chosen.check:
        write(chosen.root)
        return 0
    found = stale(chosen.root)
    for path in found:
        print(
            f"{path} is not what the protocol says; run python -m server.protocol.generate", file=sys.stderr
        )
    return 1 if found else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
