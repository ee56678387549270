"""A process of our own: how it is started, and what it needs of our environment. Keys stand in the rest of that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "TZ",
    "SYSTEMROOT",  # of Windows: without it there are no sockets
    "TEMP",
    "TMP",
)
MOST_FILES = 10_240
"""Where there is no limit: macOS says so, and takes no more."""
ROOT = Path(__file__).parents[2]
APART: dict[str, Any] = {"start_new_session": True}
if sys.platform == "win32":
    APART = {"creationflags": subprocess.CREATE_NO_WINDOW}
"""How a process is started that Ctrl-C, which is for the server, does not reach."""


def of_a_process() -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}


def command_of(module: str) -> tuple[str, ...]:
    """Runs a module of ours, and none of the folder that the server was started in (-P)."""
    return (sys.executable, "-P", "-m", module)


def end_all_of(pid: int) -> None:
    """Of a process that began APART: it and what it started, which on Windows its job ends. Raises ProcessLookupError or
    PermissionError when it ended before."""
    if sys.platform == "win32":
        os.kill(pid, signal.SIGTERM)  # ends it at once
    else:
        os.killpg(pid, signal.SIGKILL)


def step_back(by: int) -> None:
    """What others do goes first. by: niceness; Windows knows one step alone."""
    if sys.platform == "win32":
        from server.system import windows

        windows.step_back()
    else:
        os.nice(by)


def open_as_many_files_as_may() -> None:
    """A connection is one, too. The soft limit, often 1,024, is for programs that wait by `select`; the hard one is meant."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else hard
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def end_with_the_input() -> None:
    """For a process that ends when its input does. A signal that is sent to all of the server's processes is the server's to
    answer."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def set_alarm(seconds: int) -> None:
    """This process ends by itself when it is not called again so soon; 0: it does not. Windows knows nothing of the kind."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def end_after(processor_s: float) -> None:
    """This process ends when it used so much more of a processor, however busy the machine is; 0: it does not. Windows knows
    nothing of the kind."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, processor_s)  # the signal at its end ends us


def piped(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """What is told by its input and answers by its output. Raises OSError."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=of_a_process(),
        **APART,
    )
