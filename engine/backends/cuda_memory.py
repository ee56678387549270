"""One stream of an NVIDIA device: memory there and pinned memory here, copies between them, captured graphs.

A thin layer over `cuda.bindings`, NVIDIA's own binding of the CUDA runtime: every call answers a status, and any but success is
an error here.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CuestreamError, MissingRuntime

Array = NDArray[Any]


class CudaError(CuestreamError):
    """A call of the CUDA runtime failed."""


class Cuda:
    """A stream of the current device, and what is allocated for it."""

    def __init__(self) -> None:
        """Raises MissingRuntime without cuda.bindings."""
        try:
            self._runtime = import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise MissingRuntime(
                f"native TensorRT needs cuda-bindings ({error}); install the extra: pip install 'cuestream[tensorrt]'"
            ) from error
        self._stream = self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)

    @property
    def stream(self) -> int:
        """Its handle, as TensorRT wants it."""
        return int(self._stream)

    def allocate(self, size: int, owner: Any) -> int:
        """The address of so many bytes of zeros, which live as long as their owner does."""
        address = int(self._call("cudaMalloc", size))
        weakref.finalize(owner, self._call, "cudaFree", address)
        self._call("cudaMemsetAsync", address, 0, size, self._stream)
        return address

    def pinned(self, shape: tuple[int, ...], kind: type[np.generic]) -> Array:
        """Zeros on the host that the device copies from and to by itself."""
        size = max(1, int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize)
        address = int(self._call("cudaMallocHost", size))
        room = (ctypes.c_char * size).from_address(address)
        weakref.finalize(room, self._call, "cudaFreeHost", address)
        count = int(np.prod(shape, dtype=np.int64))
        array: Array = np.frombuffer(memoryview(room), kind, count).reshape(shape)
        array[...] = 0
        return array

    def send(self, array: Array, address: int) -> None:
        """Begin to copy a contiguous array to the device."""
        self.copy_in(array.ctypes.data, address, array.nbytes)

    def fetch(self, address: int, array: Array) -> None:
        """Begin to copy to a contiguous array; `wait` says when it is there."""
        self.copy_out(address, array.ctypes.data, array.nbytes)

    def copy_in(self, source: int, address: int, size: int) -> None:
        """`send` by addresses."""
        self._copy(address, source, size, "cudaMemcpyHostToDevice")

    def copy_out(self, address: int, to: int, size: int) -> None:
        """`fetch` by addresses."""
        self._copy(to, address, size, "cudaMemcpyDeviceToHost")

    def wait(self) -> None:
        """Until everything that was begun is done."""
        self._call("cudaStreamSynchronize", self._stream)

    def captured(self, work: Callable[[], None], owner: Any) -> Any:
        """What `work` begins on the stream as one graph for `launch`, for as long as its owner lives; it is not done now."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        finally:
            graph = self._call("cudaStreamEndCapture", self._stream)
        try:
            ready = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        weakref.finalize(owner, self._call, "cudaGraphExecDestroy", ready)
        return ready

    def launch(self, graph: Any) -> None:
        """Begin what was captured."""
        self._call("cudaGraphLaunch", graph, self._stream)

    def _copy(self, to: int, source: int, size: int, kind: str) -> None:
        direction = getattr(self._runtime.cudaMemcpyKind, kind)
        self._call("cudaMemcpyAsync", to, source, size, direction, self._stream)

    def _call(self, name: str, *given: Any) -> Any:
        status, *answer = getattr(self._runtime, name)(*given)
        if int(status) != 0:
            _, said = self._runtime.cudaGetErrorString(status)
            text = said.decode(errors="replace") if isinstance(said, bytes) else said
            raise CudaError(f"CUDA's {name} answers {int(status)}: {text}")
        return answer[0] if answer else None


class CudaValue:
    """A tensor on the device, in the words of `engine.backends.devices.DeviceArray`."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], kind: type[np.generic]) -> None:
        self._cuda, self._shape, self._kind = cuda, shape, np.dtype(kind)
        self._address = cuda.allocate(max(1, int(np.prod(shape, dtype=np.int64)) * self._kind.itemsize), self)

    def data_ptr(self) -> int:
        return self._address

    def shape(self) -> list[int]:
        return list(self._shape)

    def numpy(self) -> Array:
        """A copy."""
        array = np.empty(self._shape, self._kind)
        self._cuda.fetch(self._address, array)
        self._cuda.wait()
        return array

    def update_inplace(self, array: Array) -> None:
        """The array may be changed once `wait` was called."""
        if (array.shape, array.dtype) != (self._shape, self._kind):
            raise ValueError(f"expected {self._kind} {self._shape}, found {array.dtype} {array.shape}")
        self._cuda.send(array, self._address)
