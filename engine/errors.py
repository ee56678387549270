"""One family of errors: what a user can mend. A shell prints them as one line and exits with code 2."""

import re
from collections.abc import Callable

LOST = re.compile(
    r"CUDA.*(illegal memory access|illegal instruction|misaligned address|invalid program counter|device-side assert"
    r"|launch timed out|unspecified launch failure|hardware stack error|global/shared address space|ECC error|NVLink error"
    r"|hardware error|tensor memory not completely freed|context is destroyed|unknown error)",
    re.IGNORECASE,
)
"""What CUDA answers to every call of a process once it answered it to one, as PyTorch, Triton, ONNX Runtime and we pass it on."""


class CuestreamError(Exception):
    """Something that the user can mend; the message is one line and says what was expected and found."""


class MediaError(CuestreamError):
    """A video or audio file cannot be read or written."""


class PackageError(CuestreamError):
    """A model package or an exported model is missing, damaged, foreign or does not fit."""


class MissingRuntime(CuestreamError):
    """An optional library is not installed; the message names the extra that brings it."""


class DeviceLost(CuestreamError):
    """A device answers nothing more; another process may use it."""


def check_device(error: Exception, ask: Callable[[], object]) -> None:
    """Raises DeviceLost where it is not the work that failed, but the device.

    ask: the device for something small, which raises what it answers. Libraries have words of their own for what they met first
    (`CUBLAS_STATUS_EXECUTION_FAILED`), of a lost device and of a call that failed alike; a lost one fails again.
    """
    if LOST.search(str(error)):
        raise _lost(error) from error
    try:
        ask()
    except Exception as answer:
        if "out of memory" not in str(answer):
            raise _lost(answer) from error


def _lost(error: Exception) -> DeviceLost:
    return DeviceLost(f"the device is lost: {(str(error) or type(error).__name__).splitlines()[0]}")


class NoRoom(CuestreamError):
    """A device is full; `retry_s` says when to try again."""

    def __init__(self, message: str, retry_s: float) -> None:
        super().__init__(message, retry_s)  # what it is made of again where another process hears of it
        self.message, self.retry_s = message, retry_s

    def __str__(self) -> str:
        return f"{self.message}; try again in {self.retry_s:g} s"
