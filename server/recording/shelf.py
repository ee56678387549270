"""The folder of recordings: one folder for each, its name and limits. Called in the writers' threads, but for `new_id`.

FOLDER/20261125-194515-kX3f.../music.flac timeline.jsonl film.mp4 about.json
"""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from server.protocol.values import EndReason
from server.system.disk import GB, Lack, Room
from server.system.replacing import replace

State: TypeAlias = Literal["recording", "finished", "failed", "interrupted"]
"""interrupted: its server was killed."""
ABOUT = "about.json"
DIGITS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""Of an id, as they sort."""
ID = re.compile(r"\d{8}-\d{6}-[A-Za-z0-9_-]{16}")
FILES = {
    "music.flac": "audio/flac",
    "music.wav": "audio/wav",
    "music.opus": "audio/ogg",
    "film.mp4": "video/mp4",
    "film.webm": "video/webm",
    "timeline.jsonl": "application/x-ndjson",
}
"""Every file that a recording may have, and what it is."""


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """How much may be recorded. An operator may change each."""

    length_s: float = 12 * 3600.0
    """Of one recording; then it is finished. A session lasts as long, but for that of `--ingest`, which has no end."""
    at_once: int = 4
    folder_bytes: int = 20 * GB
    """All that lies in the folder; when it is full, nothing begins and what runs is finished."""
    free_bytes: int = GB // 2
    """What stays free on the disk, the same."""
    waiting_s: float = 10.0
    """Music that may wait for the disk; then the recording ends as failed."""
    waiting_pictures: int = 128
    waiting_picture_bytes: int = 128 * 1024**2
    """Pictures that may wait; those that come then are left out and counted."""
    film_memory_bytes: int = 2 * 1024**3
    """Of the process that makes a film."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a recording. samples: at 48 kHz, and left_out_pictures: None where they were not counted, or not yet. text:
    what failed, of it or its film."""

    recording_id: str
    session_id: str | None = None
    state: State = "recording"
    reason: EndReason | None = None
    samples: int | None = None
    left_out_pictures: int | None = None
    text: str = ""


class Recorded(About, frozen=True, kw_only=True):
    """A recording as REST answers it, whether it runs or not. files: bytes of each. paths: where they are fetched at this server;
    both once it ended."""

    files: dict[str, int] = {}
    paths: tuple[str, ...] = ()


class Full(Exception):
    """No room for a recording."""

    def __init__(self, reason: Lack) -> None:
        super().__init__(FULL[reason])
        self.reason = reason


FULL = {
    "quota": "the folder of recordings is full",
    "disk": "too little is free on the disk of the recordings",
}


class Shelf:
    """root: it is made when it is missing. Raises NoFolder."""

    def __init__(self, root: Path, limits: RecordingLimits) -> None:
        self._room = Room(root, "recordings", limits.folder_bytes, limits.free_bytes)
        self.root, self.limits = root, limits

    def place(self, recording_id: str) -> Path:
        return self.root / recording_id

    def check_room(self) -> None:
        """Raises Full."""
        if lacking := self._room.lack():
            raise Full(lacking)

    def ids(self, before: str | None = None) -> list[str]:
        """Of all recordings that lie here, or of those that are older than one, the newest first."""
        names: list[str] = []
        with suppress(FileNotFoundError):  # it went away, and is made again with the next one
            names = os.listdir(self.root)
        found = (name for name in names if ID.fullmatch(name))
        return sorted((name for name in found if before is None or name < before), reverse=True)

    def keep(self, about: About) -> None:
        """What is known of a recording from now on, as a whole or not at all. Raises OSError."""
        path = self.place(about.recording_id) / ABOUT
        new = path.with_name(f"{ABOUT}.new")
        try:
            with new.open("wb") as file:
                file.write(msgspec.json.encode(about) + b"\n")
                file.flush()
                os.fsync(file.fileno())  # otherwise a loss of power may leave an empty one
            replace(new, path)
        finally:
            new.unlink(missing_ok=True)

    def about(self, recording_id: str) -> Recorded | None:
        """What is known of a recording, but for its paths; None when there is none. Of one that was cut off: what is left."""
        if not ID.fullmatch(recording_id) or not (folder := self.place(recording_id)).is_dir():
            return None
        try:
            kept = msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
        except (OSError, ValueError):
            kept = About(recording_id=recording_id)
        told = msgspec.structs.asdict(kept) | {"recording_id": recording_id, "files": files_of(folder)}
        if kept.state == "recording":
            told["state"] = "interrupted"
        return Recorded(**told)

    def file(self, recording_id: str, name: str) -> Path | None:
        """A file of a recording, None for any other name."""
        path = self.place(recording_id) / name
        return path if ID.fullmatch(recording_id) and name in FILES and path.is_file() else None


def new_id() -> str:
    """Sorts by the moment at which it was made, to a quarter of a millisecond, and cannot be guessed."""
    now_s = time.time()
    high, low = divmod(int(now_s % 1 * 4096), 64)
    moment = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now_s))}-{DIGITS[high]}{DIGITS[low]}"
    return moment + secrets.token_urlsafe(12)[2:]


def files_of(folder: Path) -> dict[str, int]:
    """The files that may be fetched, and their bytes."""
    sizes = {}
    for name in FILES:
        with suppress(OSError):  # most are not there, and somebody may remove one meanwhile
            sizes[name] = (folder / name).stat().st_size
    return sizes
