"""Work that may hang, such as asking for the addresses of a name: away from the event loop and from the threads of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """So many threads at most; what is too much waits for its turn. Nobody waits for a thread at the end of the process."""

    def __init__(self, most: int) -> None:
        self._turn = asyncio.Semaphore(most)

    async def do(self, work: Callable[[], T]) -> T:
        """What it returns or raises. Who is cancelled meanwhile leaves a thread behind that keeps its turn."""
        await self._turn.acquire()
        loop, done = asyncio.get_running_loop(), Future[T]()
        done.set_running_or_notify_cancel()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._turn.release)

        try:
            Thread(target=run, daemon=True).start()
        except RuntimeError:
            self._turn.release()
            raise
        return await asyncio.wrap_future(done)
