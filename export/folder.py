"""Files that take the place of others when all of them are there.

Who plays a model has its weights mapped: files that were written over would take them away from under it. And what breaks off
leaves what was there before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from safetensors import SafetensorError

from engine.errors import PackageError


@contextmanager
def whole(folder: Path, last: str) -> Iterator[Path]:
    """A folder to write to, whose files go to `folder` at the end, `last` the very last of them. PackageError where a disk does
    not take them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new-", dir=folder) as fresh:
            yield Path(fresh)
            for path in sorted(Path(fresh).iterdir(), key=lambda path: path.name == last):
                path.replace(folder / path.name)
    except (OSError, SafetensorError) as error:
        raise PackageError(
            f"{folder}: cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from error


def check_folder(folder: Path) -> None:
    """Raises PackageError where no such folder can be made, or nothing be written to it. Nothing is made yet."""
    try:
        TemporaryFile(dir=next(each for each in (folder, *folder.parents) if each.exists())).close()
    except OSError as error:
        raise PackageError(f"{folder}: cannot be written: {error.strerror}") from error
