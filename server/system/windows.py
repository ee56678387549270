"""What Windows is asked for that Python has no words for. Nothing of it is there elsewhere.

Source: Microsoft, "Job Objects", JOBOBJECT_EXTENDED_LIMIT_INFORMATION, SetPriorityClass, timeBeginPeriod.
"""

from __future__ import annotations

import sys
from ctypes import Structure, c_int64, c_size_t, c_uint32, c_uint64

EXTENDED_LIMITS = 9
PROCESS_MEMORY, DIE_ON_EXCEPTION, END_ON_CLOSE = 0x100, 0x400, 0x2000


class ExtendedLimits(Structure):
    _fields_ = (
        ("process_time", c_int64),
        ("job_time", c_int64),
        ("flags", c_uint32),
        ("least_working_set", c_size_t),
        ("most_working_set", c_size_t),
        ("processes", c_uint32),
        ("affinity", c_size_t),
        ("priority_class", c_uint32),
        ("scheduling_class", c_uint32),
        ("io", c_uint64 * 6),
        ("process_memory", c_size_t),
        ("job_memory", c_size_t),
        ("peak_process_memory", c_size_t),
        ("peak_job_memory", c_size_t),
    )


def limits_of(memory_bytes: int) -> ExtendedLimits:
    """Of each process in a job, which end with its last handle."""
    flags = PROCESS_MEMORY | DIE_ON_EXCEPTION | END_ON_CLOSE
    return ExtendedLimits(flags=flags, process_memory=memory_bytes)


if sys.platform == "win32":
    from ctypes import WinDLL, WinError, byref, c_void_p, get_last_error, sizeof
    from subprocess import BELOW_NORMAL_PRIORITY_CLASS

    kernel = WinDLL("kernel32", use_last_error=True)
    kernel.GetCurrentProcess.restype = kernel.CreateJobObjectW.restype = c_void_p
    kernel.SetPriorityClass.argtypes = c_void_p, c_uint32
    kernel.SetInformationJobObject.argtypes = c_void_p, c_uint32, c_void_p, c_uint32
    kernel.AssignProcessToJobObject.argtypes = c_void_p, c_void_p

    def enter_job(memory_bytes: int) -> None:
        """This process and all that it starts; the handle stays open as long as it is there. Raises OSError."""
        job, limits = kernel.CreateJobObjectW(None, None), limits_of(memory_bytes)
        if not (
            job
            and kernel.SetInformationJobObject(job, EXTENDED_LIMITS, byref(limits), sizeof(limits))
            and kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess())
        ):
            raise WinError(get_last_error())

    def step_back() -> None:
        """What others do goes first."""
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)

    def count_milliseconds() -> None:
        """Timers of this process are exact to a millisecond; by default to a 64th of a second."""
        WinDLL("winmm").timeBeginPeriod(1)
