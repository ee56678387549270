"""The worker's side of the pipe: a thread writes what is newest; what it replaced is seen by nobody. Sound is a line instead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread

from server.ingest.pipe import Kind, Record, pack

WAITING = {Kind.SOUND: 64}
"""Records that wait; of other kinds one."""


class Outlet:
    """file: the number of the pipe. left: called when nobody reads any more."""

    def __init__(self, file: int, left: Callable[[], object]) -> None:
        self._file, self._left = file, left
        self._waiting: dict[Kind, deque[Record]] = {}  # bound: WAITING of each kind, the newest
        self._busy = False
        self._change = Condition()
        Thread(target=self._work, daemon=True).start()

    def put(self, record: Record) -> None:
        with self._change:
            most = WAITING.get(record.kind, 1)
            self._waiting.setdefault(record.kind, deque(maxlen=most)).append(record)
            self._change.notify_all()

    def tell(self, record: Record) -> None:
        """The same, and it has been written when this returns."""
        self.put(record)
        with self._change:
            self._change.wait_for(lambda: not self._waiting and not self._busy)

    def _work(self) -> None:
        while True:
            with self._change:
                self._busy = False
                self._change.notify_all()
                self._change.wait_for(lambda: self._waiting)
                record, self._busy = self._next(), True
            try:
                self._write(pack(record))
            except OSError:
                self._left()

    def _next(self) -> Record:
        """Notes first, the other kinds in turn."""
        kind = Kind.NOTE if Kind.NOTE in self._waiting else next(iter(self._waiting))
        records = self._waiting.pop(kind)
        record = records.popleft()
        if records:
            self._waiting[kind] = records
        return record

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
