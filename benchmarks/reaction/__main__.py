"""`python -m benchmarks.reaction`: how soon a flash before the camera is heard, in headless Chromium, by websocket and by WebRTC.

`cuestream serve --model synthetic` runs in a process of its own; its test tones click when the picture turns from dark to bright
or back. A page of it shows what a fake camera repeats from a file, first by one way, then by the other, and listens with an
AudioWorklet.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.asked import add_name_option, positive
from benchmarks.cores import Cores
from benchmarks.latency.figures import spread
from benchmarks.latency.served import serving
from benchmarks.reaction import camera
from benchmarks.reaction.chromium import Chromium, find_chromium
from benchmarks.reaction.window import WAYS, Seen, begin, leave, react
from cuestream.players import SYNTHETIC
from training.shell import in_one_line

COLUMNS = {
    "way": "way",
    "figure": "from the picture that the camera took",
    "count": "of",
    "p50_ms": "p50 ms",
    "p95_ms": "p95",
    "p99_ms": "p99",
    "max_ms": "max",
}
LEAST, MOST = 20, 30
"""Pictures from one turn to the next: 0.67 to 1 s."""
WITHIN_MS = 1000 * LEAST / camera.FPS
"""What comes later answers the next turn."""
TURNS, TURNS_IN_FILE = 120, 12
HERE = ("--ice-address", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Setting:
    """server: options of `cuestream serve`. page: of the player and the transport, as `begin` takes them."""

    server: tuple[str, ...] = ()
    page: dict[str, Any] = field(default_factory=dict)


SETTINGS = {
    "default": Setting(),
    "short": Setting(
        ("--lead-ms", "40", "--video-fps", "30"),
        {"comfort": {"targetS": 0.03, "leastS": 0.02, "excessS": 0.02, "settledS": 1}, "bufferMs": 0},
    ),
}


@in_one_line()
def main() -> None:
    options = arguments()
    setting = SETTINGS[options.setting]
    with serving(SYNTHETIC, 2, 1, 20, *HERE, *setting.server) as served, window() as browser:
        cores = Cores()
        seen = [play(browser, served.address, way, setting, options.turns) for way in options.ways]
        others = cores.others()
    rows = [row for each in seen for row in summary(each)]
    facts = {
        "camera_interval_ms": round(1000 / camera.FPS, 1),
        "server": " ".join(setting.server) or "as it comes",
        "page": setting.page,
        **{f"{each.way}_{name}": value for each in seen for name, value in about(each).items()},
        "others_cores": round(others, 2),
    }
    title = f"Reaction: {SYNTHETIC} tones, {camera.WIDTH}x{camera.HEIGHT} at {camera.FPS}, {options.setting} settings"
    report.print_table(title, COLUMNS, rows)
    for name, value in facts.items():
        print(f"{name}: {value}")
    path = report.result_path(options.name, default_name(options))
    report.write(path, rows, {**vars(options), **facts})
    print(f"wrote {path}")


def default_name(options: argparse.Namespace) -> str:
    """Of the setting, and of what is not as it comes."""
    ways = options.ways if set(options.ways) != set(WAYS) else ()
    turns = () if options.turns == TURNS else (f"{options.turns}-turns",)
    return "-".join(("reaction", options.setting, *ways, *turns))


@contextmanager
def window() -> Iterator[Chromium]:
    """A browser whose camera turns. Raises SystemExit without one."""
    path = find_chromium()
    if path is None:
        raise SystemExit("no Chromium: apt-get install chromium, or name one in CUESTREAM_CHROMIUM")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "camera.y4m"
        camera.write(file, camera.turning(camera.irregular(LEAST, MOST, TURNS_IN_FILE)))
        with Chromium(path, Path(folder) / "profile", file) as browser:
            yield browser


def play(browser: Chromium, address: str, way: str, setting: Setting, turns: int) -> Seen:
    begin(browser, address, way, **setting.page)
    seen = react(browser, way, turns, within_s=30 + 2 * turns * MOST / camera.FPS)
    leave(browser)
    return seen


def summary(seen: Seen) -> list[dict[str, Any]]:
    heard, told = seen.until("clicks", WITHIN_MS), seen.until("told", WITHIN_MS)
    parts = {
        "to the click that answers it": heard,
        "· until the page has it": seen.shown(),
        "· until the music is said to turn": told,
        "· from there to the click": heard - told,
        "· from the click in hand to the click": heard - seen.until("hands", WITHIN_MS),
    }
    known = {name: values[np.isfinite(values)] for name, values in parts.items()}
    return [{"way": seen.way, **spread(name, values / 1000)} for name, values in known.items() if len(values)]


def about(seen: Seen) -> dict[str, Any]:
    """What explains the figures: milliseconds, and how many of the turns were answered."""
    means = {
        "held_back_ms": seen.mean_ms("jitterBufferDelay", "jitterBufferEmittedCount"),
        "aimed_at_ms": seen.mean_ms("jitterBufferTargetDelay", "jitterBufferEmittedCount"),
        "encoding_ms": seen.mean_ms("totalEncodeTime", "framesEncoded"),
        "sending_ms": seen.mean_ms("totalPacketSendDelay", "packetsSent"),
        "level_ms": seen.after.get("level_ms"),
        "target_ms": seen.after.get("target_ms"),
    }
    counts = {
        name: seen.after[name]
        for name in ("underruns", "concealedSamples", "packetsLost")
        if name in seen.after
    }
    return {
        "turns": len(seen.turns),
        "answered": int(np.isfinite(seen.until("clicks", WITHIN_MS)).sum()),
        **{name: round(value, 1) for name, value in means.items() if value is not None},
        **counts,
        "beyond_the_player_ms": round(seen.output_ms, 1),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reaction", description=__doc__)
    parser.add_argument(
        "--setting", default="short", choices=tuple(SETTINGS), help="how the server and the page are set"
    )
    parser.add_argument(
        "--turns",
        type=positive,
        default=TURNS,
        help="of the picture by each way, from dark to bright or back",
    )
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
