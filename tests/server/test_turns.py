"""The loop's thread takes short turns, and nothing else about it changes."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from threading import Thread

import pytest

from server.engine_thread.switching import ATTRIBUTES, SET_ATTRIBUTES, TURN_NS, take_short_turns

GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}


def attributes() -> tuple[int, ...]:
    """Of this thread."""
    found = ctypes.create_string_buffer(ATTRIBUTES.size)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(GET_ATTRIBUTES[platform.machine()], 0, found, ATTRIBUTES.size, 0):
        raise OSError(ctypes.get_errno(), "sched_getattr")
    return ATTRIBUTES.unpack(found.raw)


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SET_ATTRIBUTES,
    reason="a thread of Linux, on a machine whose system calls we know",
)
def test_a_thread_that_takes_short_turns_keeps_its_priority() -> None:
    seen = []

    def turn() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 3)  # of this thread, in Linux
        before = attributes()
        taken = take_short_turns()
        seen.extend((before, taken, attributes()))

    thread = Thread(target=turn)
    thread.start()
    thread.join()
    before, taken, after = seen
    assert taken
    assert (after[1], after[3]) == (before[1], before[3]) == (os.SCHED_OTHER, 3)
    if before[5]:  # the kernel tells of turns
        assert after[5] == TURN_NS


def test_where_the_system_call_is_not_known_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "another")
    assert not take_short_turns()
