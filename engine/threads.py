"""How many threads run a model on this machine: what `cuestream tune` found here, else one for each core."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from errno import ENOENT
from itertools import accumulate
from math import inf, isinf
from pathlib import Path
from tempfile import TemporaryDirectory

FILE = "threads.json"
TOPOLOGY = Path("/sys/devices/system/cpu")
GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Control groups of Linux, of their second version."""


@dataclass(frozen=True, slots=True)
class Threads:
    """count: 0 takes one for each core. pinned: so many threads as there are cores, or fewer, stay on a core each."""

    count: int = 0
    pinned: bool = False

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 0:
            raise ValueError(f"expected a number of threads, found {self.count!r}")

    def __str__(self) -> str:
        return f"{self.count}{', pinned' if self.pinned else ''}"

    @property
    def places(self) -> list[int]:
        """The core of each thread but the caller's own; empty where the system places them, as it does too many."""
        others = cores()[1 : self.count]
        return others if self.pinned and len(others) == self.count - 1 else []


def cores() -> list[int]:
    """Logical processors that this process may use: one of each physical core first, then their siblings; no more than it is
    given time on."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    allowed = sorted(os.sched_getaffinity(0))
    seen, turns = Counter[tuple[str, str]](), dict[int, int]()
    for core in allowed:
        whole = _said(core, "physical_package_id"), _said(core, "core_id")
        turns[core] = seen[whole]
        seen[whole] += 1
    return sorted(allowed, key=lambda core: (turns[core], core))[: allowance()]


def allowance() -> int | None:
    """How many processors' time a container or a service is limited to (`docker run --cpus`, `CPUQuota`), whole ones. None
    without a limit. More threads use it up early in each tenth of a second, and all of them stand still for the rest."""
    least = min(map(_quota, _groups()))
    return None if isinf(least) else max(1, int(least))


def _groups() -> Iterator[Path]:
    """This process's own, and those that it lies in."""
    try:
        lines = OWN_GROUP.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return accumulate(Path(own).parts, Path, initial=GROUPS)


def _quota(group: Path) -> float:
    """Seconds of processors in a second, of "max 100000" or "150000 100000"."""
    try:
        most, period = map(int, (group / "cpu.max").read_text("utf-8").split())
    except (OSError, ValueError):
        return inf
    return most / period


def _said(core: int, part: str) -> str:
    """Of a machine that does not say, each processor is a core."""
    try:
        return (TOPOLOGY / f"cpu{core}" / "topology" / part).read_text("utf-8").strip()
    except OSError:
        return str(core)


def tuned(digest: str) -> Threads | None:
    """What was kept for this model on such a machine; None when nothing was, or it cannot be read."""
    try:
        return Threads(**json.loads(_file().read_text("utf-8"))[_key(digest)])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(digest: str, threads: Threads) -> Path:
    """For all later runs of this model on this machine. Returns where; raises OSError when it cannot be written there."""
    path = _file()
    try:
        held = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        held = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder:  # a full disk leaves what is known of other models
        fresh = Path(folder) / FILE
        fresh.write_text(json.dumps({**held, _key(digest): asdict(threads)}, indent=1), encoding="utf-8")
        fresh.replace(path)
    return path


def cache_folder() -> Path:
    """Where what was found out or made for this machine is kept: what CUESTREAM_CACHE names, else in the user's cache. Raises
    FileNotFoundError for a user who has no home, as in a container that is run under a number."""
    if named := os.environ.get("CUESTREAM_CACHE"):
        return Path(named)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "cuestream"
    try:
        return Path.home() / ".cache" / "cuestream"
    except RuntimeError as error:
        raise FileNotFoundError(ENOENT, "this user has no home folder", "~") from error


def _file() -> Path:
    return cache_folder() / FILE


def _key(digest: str) -> str:
    return f"{digest} on {len(cores())} of {platform.processor() or platform.machine()}"
