"""ONNX Runtime with a GPU that is none: its memory is host memory that only its addresses reach, its sessions run on the CPU.

What the documentation asks of a caller is checked: names and types of options, addresses inside of what was allocated, and the
same addresses at every run of one captured CUDA graph. Everything is recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

CUDA, TENSORRT, RTX = "CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"
OPTIONS = {
    CUDA: {"device_id", "use_tf32", "arena_extend_strategy", "enable_cuda_graph", "gpu_mem_limit"},
    TENSORRT: {
        "device_id",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
        "trt_fp16_enable",
        "trt_bf16_enable",
        "trt_int8_enable",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_profile_max_shapes",
        "trt_cuda_graph_enable",
    },
    RTX: {
        "nv_runtime_cache_path",
        "nv_profile_min_shapes",
        "nv_profile_opt_shapes",
        "nv_profile_max_shapes",
        "enable_cuda_graph",
    },
}
"""Documented ones that are used here; of the last two rows, those of the providers' own documentation and header."""


class Value:
    """An OrtValue on the device."""

    def __init__(self, runtime: FakeRuntime, array: Any) -> None:
        self._runtime, self._memory = runtime, array.copy()
        start = self._memory.ctypes.data
        runtime.allocated.append((start, start + self._memory.nbytes))
        runtime.kept.append(self._memory)

    def data_ptr(self) -> int:
        return int(self._memory.ctypes.data)

    def shape(self) -> list[int]:
        return list(self._memory.shape)

    def numpy(self) -> Any:
        self._runtime.crossed.append(("from", self._memory.nbytes))
        return self._memory.copy()

    def update_inplace(self, array: Any) -> None:
        assert isinstance(array, np.ndarray)
        assert array.flags.c_contiguous
        assert (array.shape, array.dtype) == (self._memory.shape, self._memory.dtype)
        self._runtime.crossed.append(("to", array.nbytes))
        self._memory[...] = array


class Options(onnxruntime.SessionOptions):
    """Real ones: a dimension that is overridden is overridden."""

    def __init__(self) -> None:
        super().__init__()
        self.plugged: tuple[list[Any], dict[str, str]] | None = None
        self.sizes: dict[str, int] = {}

    def add_provider_for_devices(self, devices: Any, options: Any) -> None:
        assert devices
        check_options(RTX, options)
        self.plugged = (list(devices), dict(options))

    def add_free_dimension_override_by_name(self, name: str, value: int) -> None:
        self.sizes[name] = value
        super().add_free_dimension_override_by_name(name, value)


class RunOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        assert isinstance(key, str)
        assert isinstance(value, str)
        self.entries[key] = value


class Binding:
    def __init__(self, runtime: FakeRuntime, real: Any) -> None:
        self._runtime, self.real = runtime, real
        self.addresses: dict[str, tuple[str, int]] = {}

    def bind_input(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int) -> None:
        self._bind(self.real.bind_input, name, device, number, kind, shape, address)

    def bind_output(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int) -> None:
        self._bind(self.real.bind_output, name, device, number, kind, shape, address)

    def _bind(
        self, bind: Any, name: str, device: str, number: int, kind: Any, shape: Any, address: int
    ) -> None:
        assert device in ("cpu", "cuda")
        assert number == 0
        end = address + int(np.prod(shape)) * np.dtype(kind).itemsize
        inside = any(low <= address and end <= high for low, high in self._runtime.allocated)
        assert inside == (device == "cuda"), f"{name}: {device} address that is not of that memory"
        bind(name, "cpu", 0, kind, shape, address)
        self.addresses[name] = (device, address)


class Session:
    def __init__(self, runtime: FakeRuntime, path: str, options: Any, providers: list[Any]) -> None:
        self._runtime, self.path, self.options = runtime, path, options
        self.asked: dict[str, dict[str, str]] = {}
        for provider in providers:
            name, about = provider if isinstance(provider, tuple) else (provider, {})
            check_options(name, about)
            self.asked[name] = about
        if options.plugged:
            self.asked[RTX] = options.plugged[1]
        self._real = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._graphs: dict[str, dict[str, tuple[str, int]]] = {}
        runtime.sessions.append(self)

    def get_providers(self) -> list[str]:
        return [n for n in self.asked if n not in self._runtime.unloadable] + ["CPUExecutionProvider"]

    def io_binding(self) -> Binding:
        return Binding(self._runtime, self._real.io_binding())

    def run(self, names: Any, given: Any) -> Any:
        return self._real.run(names, given)

    def run_with_iobinding(self, binding: Binding, options: RunOptions | None = None) -> None:
        numbers = list((options.entries if options else {}).values())
        self._runtime.runs.append((self.path, dict(options.entries) if options else {}))
        if numbers and numbers[0] != "-1":  # documented: nothing is captured in such a run
            captured = self._graphs.setdefault(numbers[0], binding.addresses)
            assert captured == binding.addresses, "a captured graph is replayed with other addresses"
            assert all(device == "cuda" for device, _ in captured.values()), "a captured graph reads the host"
        self._real.run_with_iobinding(binding.real)


class FakeRuntime:
    """The module. unloadable: providers that ONNX Runtime leaves out, since their libraries are missing."""

    __version__ = "1.32.0"
    RunOptions = RunOptions
    SessionOptions = Options

    def __init__(self, *unloadable: str) -> None:
        self.unloadable = unloadable
        self.allocated: list[tuple[int, int]] = []
        self.kept: list[Any] = []
        self.crossed: list[tuple[str, int]] = []
        self.sessions: list[Session] = []
        self.loaded: list[int] = []  # how many sessions there were when CUDA's libraries were loaded
        self.runs: list[tuple[str, dict[str, str]]] = []
        runtime = self

        class OrtValue:
            @staticmethod
            def ortvalue_from_numpy(array: Any, device: str, number: int) -> Value:
                assert (device, number) == ("cuda", 0)
                return Value(runtime, array)

        self.OrtValue = OrtValue

    def preload_dlls(self) -> None:
        print("Failed to load libcublasLt.so.13")
        self.loaded.append(len(self.sessions))

    def get_available_providers(self) -> list[str]:
        return [TENSORRT, CUDA, "CPUExecutionProvider"]

    def InferenceSession(self, path: str, options: Any, providers: list[Any]) -> Session:
        return Session(self, path, options, providers)


def check_options(provider: str, options: dict[str, str]) -> None:
    assert set(options) <= OPTIONS.get(provider, set()), f"{provider} has no option {sorted(options)}"
    assert all(isinstance(value, str) for value in options.values()), "every option is a text"
