"""Where OBS on this machine keeps the port and password of its websocket, so that nobody has to type them."""

from __future__ import annotations

import configparser
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cuestream_client.secrets import without_secrets
from cuestream_client.typed import address

PORT = 4455
SECTION = "OBSWebSocket"


@dataclass(frozen=True, slots=True)
class Place:
    """url: of the websocket."""

    url: str
    password: str = field(default="", repr=False)


def find_place(url: str | None, password: str | None) -> Place:
    """What was said, and what OBS's own files say of the rest: only for an OBS on this machine. Raises ValueError."""
    url = None if url is None else address(url, "ws", PORT)
    if url is not None and urlsplit(url).scheme not in ("ws", "wss"):
        raise ValueError(
            f"an address such as ws://127.0.0.1:{PORT} was expected, found {without_secrets(url)!r}"
        )
    local = url is None or urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    kept = next(iter(found(folders())), Place(f"ws://127.0.0.1:{PORT}")) if local else Place("")
    return Place(url or kept.url, kept.password if password is None else password)


def folders() -> list[Path]:
    """Of the settings of OBS, the newest way to keep them first."""
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("APPDATA", home)) / "obs-studio"]
    if sys.platform == "darwin":
        return [home / "Library" / "Application Support" / "obs-studio"]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [config / "obs-studio", home / ".var/app/com.obsproject.Studio/config/obs-studio"]


def found(places: Iterable[Path]) -> Iterable[Place]:
    """OBS 30.2 and later keep a file of their own for it, earlier ones a part of `global.ini`."""
    for folder in places:
        newer, older = folder / "plugin_config" / "obs-websocket" / "config.json", folder / "global.ini"
        if newer.is_file():
            yield from _newer(newer)
        if older.is_file():
            yield from _older(older)


def _newer(path: Path) -> Iterable[Place]:
    try:
        held = json.loads(path.read_text("utf-8-sig"))
        asks = held.get("auth_required", True)
        yield _place(held.get("server_port", PORT), held.get("server_password", "") if asks else "")
    except (OSError, ValueError, AttributeError):
        return


def _older(path: Path) -> Iterable[Place]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text("utf-8-sig"))
        if parser.has_section(SECTION):
            held = parser[SECTION]
            asks = held.getboolean("AuthRequired", True)
            yield _place(held.getint("ServerPort", PORT), held.get("ServerPassword", "") if asks else "")
    except (OSError, ValueError, configparser.Error):
        return


def _place(port: object, password: object) -> Place:
    return Place(f"ws://127.0.0.1:{int(str(port))}", str(password))
