"""The worker's side of the pipe: a thread writes what is newest; what it replaced is seen by nobody."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition, Thread

from server.ingest.pipe import Kind, Record, pack


class Outlet:
    """file: the number of the pipe. left: called when nobody reads any more."""

    def __init__(self, file: int, left: Callable[[], object]) -> None:
        self._file, self._left = file, left
        self._waiting: dict[Kind, Record] = {}  # bound: one of each kind, the newest
        self._busy = False
        self._change = Condition()
        Thread(target=self._work, daemon=True).start()

    def put(self, record: Record) -> None:
        with self._change:
            self._waiting[record.kind] = record
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
                kind = Kind.NOTE if Kind.NOTE in self._waiting else next(iter(self._waiting))
                record, self._busy = self._waiting.pop(kind), True
            try:
                self._write(pack(record))
            except OSError:
                self._left()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
