"""Checkpoints in a folder, so that a server that starts again goes on where the one before it was killed.

One file for each session, replaced as a whole by a thread of its own; the event loop and the engine never wait for the disk.
The folder also holds the key that signs resume handles: whoever can read it can take the sessions over, so it is the operator's
alone. A file survives the process, not a loss of power: nothing is synced.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from zlib import crc32

from engine.errors import CuestreamError, PackageError
from server.checkpoints.kept import Kept
from server.metrics import CheckpointResult, Metrics
from server.system.lock import Locked, lock
from server.system.replacing import replace

logger = logging.getLogger("uvicorn.error")
SUFFIX = ".session"
KEY_FILE = "handles.key"
LOCK_FILE = "lock"
KEY_BYTES = 32
STOP_S = 5.0


class ShelfError(CuestreamError):
    """The folder cannot be used."""


@dataclass(frozen=True, slots=True)
class ShelfLimits:
    """age_s: how old a checkpoint may be when its client comes back."""

    files: int
    age_s: float
    total_bytes: int = 512 * 1024 * 1024


class Shelf:
    """`open` and `close` around everything else, which the event loop calls. wall_s: seconds since the epoch.

    written: called by the shelf's thread with a session and the messages that its file knows, or that cannot be kept any more.
    model: the digest of the player, which goes on with nobody else's music.
    """

    def __init__(
        self,
        folder: Path,
        limits: ShelfLimits,
        metrics: Metrics,
        written: Callable[[str, int], object],
        model: str = "",
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._limits, self._metrics = folder, limits, metrics
        self._written, self._model, self._wall_s = written, model, wall_s
        self._waiting: dict[str, Kept] = {}  # bound: limits.files, and limits.total_bytes of files
        self._sizes: dict[str, int] = {}  # the thread's alone, once it runs
        self._orders: dict[str, Kept | None] = {}  # bound: one for each session, the newest; None removes
        self._change = Condition()
        self._stopping = self._busy = False
        self._fails = False  # the newest write did, and the log says so
        self._lock: int | None = None
        self._thread = Thread(target=self._run, name="checkpoints", daemon=True)

    def open(self) -> bytes:
        """Take the folder, read what is in it. Returns the key that signs handles. Raises ShelfError."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = lock(self._folder / LOCK_FILE)
            key = _key(self._folder / KEY_FILE)
            self._read()
        except Locked:
            raise ShelfError(f"another server keeps its checkpoints in {self._folder}") from None
        except OSError as error:
            raise ShelfError(f"checkpoints cannot be kept in {self._folder}: {error}") from error
        self._thread.start()
        return key

    def close(self) -> None:
        """Write what waits, let go of the folder; what is in it stays."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if self._lock is not None:
            os.close(self._lock)

    def put(self, kept: Kept) -> None:
        """Keep this instead of what was kept of the session."""
        self._order(kept.about.session, kept)

    def drop(self, session_id: str) -> None:
        """The session is over."""
        self._waiting.pop(session_id, None)
        self._order(session_id, None)

    def waiting(self, session_id: str) -> Kept | None:
        """What a server before this one left of a session, if it is not too old. It stays until `take` or its time is over."""
        self.sweep()
        return self._waiting.get(session_id)

    def take(self, session_id: str) -> None:
        """The session goes on here; its file is the next one's to replace."""
        self._waiting.pop(session_id, None)

    def sweep(self) -> None:
        """Forget the sessions whose clients did not come back in time."""
        old = [name for name, kept in self._waiting.items() if self._is_old(kept)]
        for name in old:
            self._count("expired")
            self.drop(name)

    @property
    def idle(self) -> bool:
        """Whether everything that was put is written."""
        with self._change:
            return not self._orders and not self._busy

    def _order(self, session_id: str, kept: Kept | None) -> None:
        with self._change:
            self._orders[session_id] = kept
            self._change.notify_all()

    def _is_old(self, kept: Kept) -> bool:
        return self._wall_s() - kept.about.saved_s > self._limits.age_s

    def _count(self, result: CheckpointResult) -> None:
        self._metrics.checkpoints.labels(result).inc()

    # --- the folder

    def _read(self) -> None:
        """The newest files; the others, and those of a write that was cut short, are removed."""
        found = sorted(self._files(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in self._files(f"*{SUFFIX}.new"):
            path.unlink()
        total = 0
        for path in found:
            size = path.stat().st_size
            kept = self._kept(path) if total + size <= self._limits.total_bytes else None
            if kept is None or len(self._waiting) >= self._limits.files:
                path.unlink()
                continue
            total += size
            self._waiting[kept.about.session] = kept
            self._sizes[kept.about.session] = size

    def _files(self, pattern: str) -> Iterator[Path]:
        """A folder of such a name is somebody else's."""
        for path in self._folder.glob(pattern):
            if path.is_file():
                yield path
            else:
                logger.warning("%s is left alone: it is not a file", path.name)

    def _kept(self, path: Path) -> Kept | None:
        try:
            kept = Kept.from_bytes(path.read_bytes())
        except PackageError as error:
            self._count("damaged")
            logger.warning("%s is removed: %s", path.name, error)
            return None
        if self._is_old(kept):
            self._count("expired")
            return None
        if kept.about.model not in ("", self._model):
            self._count("other_model")
            logger.warning("%s is removed: another model played it", path.name)
            return None
        return kept if path == self._path(kept.about.session) else None

    def _path(self, session_id: str) -> Path:
        """Names that differ by case alone, or mean a device of Windows (con, nul), have files of their own."""
        return self._folder / f"{session_id}-{crc32(session_id.encode()):08x}{SUFFIX}"

    # --- the thread

    def _run(self) -> None:
        while (orders := self._fetch()) is not None:
            for session_id, kept in orders.items():
                self._follow(session_id, kept)
            with self._change:
                self._busy = False

    def _fetch(self) -> dict[str, Kept | None] | None:
        with self._change:
            self._change.wait_for(lambda: self._orders or self._stopping)
            if not self._orders:
                return None
            orders, self._orders, self._busy = self._orders, {}, True
        return orders

    def _follow(self, session_id: str, kept: Kept | None) -> None:
        try:
            if kept is None:
                self._sizes.pop(session_id, None)
                self._path(session_id).unlink(missing_ok=True)
            else:
                began_s = time.perf_counter()
                self._count(self._write(session_id, kept.to_bytes()))
                self._metrics.checkpoint_s.observe(time.perf_counter() - began_s)
            self._fails = False
        except OSError as error:  # a full disk takes away the way back after a crash, and nothing else
            self._count("failed")
            if not self._fails:
                logger.error("%s cannot be written: %s", self._path(session_id).name, error.strerror)
            self._fails = True
        self._metrics.checkpoint_bytes.set(sum(self._sizes.values()))
        if kept is not None:
            self._written(session_id, kept.about.consumed)

    def _write(self, session_id: str, blob: bytes) -> CheckpointResult:
        """Replace the file as a whole; says what came of it."""
        others = {name: size for name, size in self._sizes.items() if name != session_id}
        if len(others) >= self._limits.files or sum(others.values()) + len(blob) > self._limits.total_bytes:
            return "no_room"
        _replace(self._path(session_id), blob)
        self._sizes[session_id] = len(blob)
        return "written"


def _replace(path: Path, blob: bytes) -> None:
    """As a whole or not at all; for its owner alone."""
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(blob)
    replace(new, path)


def _key(path: Path) -> bytes:
    """The key that is there, or a new one. Raises ShelfError when it is none."""
    if not path.exists():
        _replace(path, secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ShelfError(f"{path} is not a key of {KEY_BYTES} bytes; without it a new one is made")
    return key
