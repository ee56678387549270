"""Exported graphs on an NVIDIA GPU by ONNX Runtime: its CUDA provider, its TensorRT provider, the TensorRT-RTX plugin.

Caches and conditions stay in the device's memory, where the graphs write them in place; tokens, positions and frames go there
and logits come back. Each bound step has its own CUDA graph. Of the three, CUDA was run on a GPU: `docs/gpu.md` says what was
tested, and how.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends import providers
from engine.backends.base import F32, I64
from engine.backends.manifest import Manifest
from engine.backends.native import on_cpu
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.ort_places import Bound, OrtCaches, OrtCondition
from engine.backends.providers import CPU, CUDA, EXECUTION, TENSORRT, TENSORRT_NATIVE, TENSORRT_RTX, WRITER
from engine.backends.runtime import require_onnxruntime
from engine.errors import MissingRuntime

Array = NDArray[Any]

DEVICE = "cuda"
"""ONNX Runtime's name of the memory of NVIDIA's devices, whichever provider uses it."""
STEPS = ("step", "step_two")
GRAPH_NUMBER: dict[str, str] = {
    CUDA: "gpu_graph_id",
    TENSORRT: "gpu_graph_id",
    TENSORRT_RTX: "cuda_graph_annotation_id",
}
"""The run option that says which captured CUDA graph a run is."""
NOT_CAPTURED = -1
"""The number of a run that is none."""
MOST_CAPTURED = 1024
"""Graphs of a backend. A session gives none back before it is closed, that of a step which is no longer bound neither: steps that
are bound later are launched kernel by kernel."""


def open_backend(folder: Path, threads: int = 0, provider: str = CPU) -> OnnxBackend:
    """An exported model on the provider of that name. Raises what `engine.backends.providers.check` does."""
    if provider == CPU:
        return on_cpu(folder, threads)
    manifest = Manifest.read(folder)
    if provider == TENSORRT_NATIVE:
        from engine.backends.tensorrt import TensorRTBackend

        providers.check_export(provider, manifest)
        return TensorRTBackend(folder)
    providers.check(provider, require_onnxruntime(), manifest)
    return DeviceBackend(folder, threads, provider)


class DeviceArray:
    """Rows of a tensor in the device's memory. A slice is a view."""

    __slots__ = ("_first", "_value", "dtype", "shape")

    def __init__(self, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...], first: int = 0) -> None:
        """value: an OrtValue of at least first + shape[0] rows."""
        self._value, self.dtype, self.shape, self._first = value, dtype, shape, first

    @classmethod
    def zeros(cls, runtime: Any, shape: tuple[int, ...], kind: type[np.generic]) -> DeviceArray:
        """What lies there is part of products with weights of zero, so that it has to be a number."""
        host = np.zeros(shape, kind)
        return cls(runtime.OrtValue.ortvalue_from_numpy(host, DEVICE, 0), host.dtype, host.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> DeviceArray:
        first, end, step = rows.indices(len(self))
        assert step == 1
        return DeviceArray(self._value, self.dtype, (end - first, *self.shape[1:]), self._first + first)

    @property
    def address(self) -> int:
        each = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        return int(self._value.data_ptr()) + self._first * each

    def read(self) -> Array:
        """A copy on the host."""
        whole: Array = self._value.numpy()
        return whole[self._first : self._first + len(self)]

    def write(self, array: Array) -> None:
        """Every row. ONNX Runtime copies tensors whole, so a view costs a copy of all that it is a view of, both ways."""
        if len(array) == self._value.shape()[0]:
            self._value.update_inplace(np.ascontiguousarray(array))
            return
        whole = np.array(self._value.numpy())
        whole[self._first : self._first + len(self)] = array
        self._value.update_inplace(whole)


class DeviceBackend(OnnxBackend):
    """`OnnxBackend` with its memory on a GPU. Made by `open_backend`."""

    def __init__(self, folder: Path, threads: int, provider: str) -> None:
        super().__init__(folder, threads)
        self.provider = provider
        self._gpu = providers.gpu()
        self._plugged = providers.rtx_devices(self._runtime) if provider == TENSORRT_RTX else []
        self._numbers = chain(range(1, MOST_CAPTURED + 1), repeat(NOT_CAPTURED))
        self._still: dict[str, int] = {}
        self._writing: dict[Any, Any] = {}
        """What frames are bound to, by session: TensorRT makes an execution context of each binding, which takes time."""

    def ask_device(self) -> None:
        self._zeros((1,), np.float32).read()

    # --- memory

    def new_condition(self, frames: int) -> OrtCondition:
        self._still["held"] = frames * self.spec.vision.tokens
        return super().new_condition(frames)

    def new_caches(self, segments: int, guided: bool, positions: int) -> OrtCaches:
        self._still["positions"] = positions
        return super().new_caches(segments, guided, positions)

    def _project(self, condition: OrtCondition, slot: int, tokens: F32) -> None:
        session = self.session(WRITER)
        if session not in self._writing:
            self._writing[session] = session.io_binding()
        binding = self._writing[session]
        given: dict[str, Array] = {"tokens": np.ascontiguousarray(tokens), "slot": np.array([slot])}
        if self.spec.decoder.ages:
            given["ages"] = np.ascontiguousarray(condition.ages[slot : slot + len(tokens)])
        for name, array in given.items():
            self._bind_one(binding.bind_input, name, array)
        for part, arrays in (("key", condition.keys), ("value", condition.values)):
            self._bind_in_place(binding, part, arrays)
        session.run_with_iobinding(binding)

    def _zeros(self, shape: tuple[int, ...], kind: type[np.generic]) -> Any:
        return DeviceArray.zeros(self._runtime, shape, kind)

    def _near(self, array: Array) -> Any:
        return self._zeros(array.shape, array.dtype.type)

    def _read(self, array: Any) -> Array:
        whole: Array = array.read()
        return whole

    @contextmanager
    def _changing(self, array: Any) -> Iterator[Array]:
        whole = self._read(array)
        yield whole
        array.write(whole)

    def _bind_one(self, bind: Any, name: str, array: Any) -> None:
        if isinstance(array, DeviceArray):
            bind(name, DEVICE, 0, array.dtype.type, array.shape, array.address)
        else:
            super()._bind_one(bind, name, array)

    # --- runs

    def _launch(self, bound: Bound) -> None:
        given: tuple[I64, I64, I64] = (bound.tokens, bound.position, bound.frames)
        for near, host in zip(bound.near[:3], given, strict=True):
            near.write(host)
        bound.session.run_with_iobinding(bound.binding, bound.options)
        bound.logits[...] = bound.near[3].read()

    def _run_options(self) -> Any:
        """A captured graph replays the addresses that it was captured with, so that every bound step is a graph of its own."""
        options = self._runtime.RunOptions()
        options.add_run_config_entry(GRAPH_NUMBER[self.provider], str(next(self._numbers)))
        return options

    # --- sessions

    def session(self, name: str) -> Any:
        """Of a TensorRT provider, one for each size of what is written in place: that has to be part of the graph."""
        still = self._sizes(name)
        key = name if not still else f"{name} {still}"
        if key not in self._sessions:
            self._sessions[key] = self._open(name, self.manifest.graph(name))
        return self._sessions[key]

    def _sizes(self, name: str) -> dict[str, int]:
        writes = name.startswith((*STEPS, "prefill", WRITER))
        if self.provider == CUDA or not writes:
            return {}
        sizes = ("held",) if name == WRITER else ("positions",)
        return {size: self._still[size] for size in sizes}

    def _open(self, name: str, path: str) -> Any:
        options = self._make_options()
        for size, value in self._sizes(name).items():
            options.add_free_dimension_override_by_name(size, value)
        session = self._opened(path, options, self._asked(name, options))
        execution = EXECUTION[self.provider]
        if execution not in session.get_providers():
            raise MissingRuntime(
                f"ONNX Runtime opened {path} without {execution}, whose libraries (CUDA, cuDNN or TensorRT) it cannot load; "
                f"it has {', '.join(session.get_providers())}"
            )
        return session

    def _asked(self, name: str, options: Any) -> list[Any]:
        """Providers in the order in which they may take nodes. The plugin's are part of the options instead."""
        captured = name.startswith(STEPS)
        cuda = (EXECUTION[CUDA], providers.cuda_options(captured and self.provider == CUDA))
        if self.provider == CUDA:
            return [cuda, EXECUTION[CPU]]
        shapes = self._profiles(name)
        folder = providers.engine_folder(self.manifest, f"onnxruntime-{self._runtime.__version__}", self._gpu)
        if self.provider == TENSORRT:
            about = providers.tensorrt_options(folder, self.manifest.precision, shapes, captured)
            return [(EXECUTION[TENSORRT], about), cuda, EXECUTION[CPU]]
        options.add_provider_for_devices(self._plugged[:1], providers.rtx_options(folder, shapes, captured))
        return []

    def _profiles(self, name: str) -> tuple[str, str, str]:
        still = {size: (value, value, value) for size, value in self._sizes(name).items()}
        usual = providers.ranges(self.spec, name, self._places, **self._still)
        return providers.profiles(self.manifest.graphs[name]["inputs"], usual | still)
