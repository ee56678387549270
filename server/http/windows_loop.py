"""The event loop of Windows with timers that are exact to a millisecond; by default they come with the system's clock tick, every
64th of a second, and up to one too early.

Python 3.13 and later read an exact clock by themselves. uvicorn makes the loop by its name; nothing of it is there elsewhere.
"""

from __future__ import annotations

import asyncio
import sys
import time

if sys.platform == "win32":
    from server.system.windows import count_milliseconds

    class WindowsLoop(asyncio.ProactorEventLoop):
        def __init__(self) -> None:
            super().__init__()
            self._clock_resolution = time.get_clock_info(
                "perf_counter"
            ).resolution  # what is due so soon is due now
            count_milliseconds()

        def time(self) -> float:
            return time.perf_counter()
