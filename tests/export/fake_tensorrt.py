"""TensorRT and the CUDA runtime without a GPU: their documented names and types, and a device whose memory is the host's.

An "engine" is the ONNX graph that it was built from, run by ONNX Runtime on the CPU at the addresses that it is given. What the
documentation of TensorRT 10.15 and of cuda.bindings asks of a caller is checked; anything else is an AttributeError. Calls are
recorded in order.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

KINDS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2


class FakeCudart:
    """`cuda.bindings.runtime`: every call answers (status, ...)."""

    cudaStreamNonBlocking = 1

    class cudaMemcpyKind(IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    class cudaStreamCaptureMode(IntEnum):
        cudaStreamCaptureModeThreadLocal = 1

    def __init__(self) -> None:
        self.device: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.calls: list[str] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs: dict[int, Any] = {}
        """Captured ones and such as can be launched, until they are destroyed."""
        self.made, self.full = 0, False

    def cudaMalloc(self, size: int) -> tuple[Status, int | None]:
        assert self.capturing is None, "memory is allocated while a graph is captured"
        return (Status.cudaErrorMemoryAllocation, None) if self.full else self._take(self.device, size)

    def cudaMallocHost(self, size: int) -> tuple[Status, int | None]:
        return self._take(self.pinned, size)

    def cudaFree(self, address: int) -> tuple[Status]:
        del self.device[address]
        return (Status.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> tuple[Status]:
        del self.pinned[address]
        return (Status.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Status, int]:
        assert flags == self.cudaStreamNonBlocking
        return Status.cudaSuccess, 77

    def cudaMemsetAsync(self, address: int, value: int, size: int, stream: int) -> tuple[Status]:
        self.view(address, size)[:] = value
        return (Status.cudaSuccess,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: int) -> tuple[Status]:
        assert isinstance(kind, self.cudaMemcpyKind)
        assert self.capturing is None
        self.calls.append(kind.name)
        device = to if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice else source
        self.view(device, size)
        raw(to, size)[:] = raw(source, size)
        return (Status.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Status]:
        self.calls.append("wait")
        return (Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Status]:
        assert isinstance(mode, self.cudaStreamCaptureMode)
        self.capturing = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Status, Any]:
        work, self.capturing = self.capturing, None
        return Status.cudaSuccess, self._graph(work)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Status, int | None]:
        if self.full:
            return Status.cudaErrorMemoryAllocation, None
        self.calls.append("captured")
        return Status.cudaSuccess, self._graph(tuple(self.graphs[graph]))

    def cudaGraphDestroy(self, graph: int) -> tuple[Status]:
        assert isinstance(self.graphs.pop(graph), list)
        return (Status.cudaSuccess,)

    def cudaGraphExecDestroy(self, graphExec: int) -> tuple[Status]:
        assert isinstance(self.graphs.pop(graphExec), tuple)
        return (Status.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Status]:
        self.calls.append("launch")
        for work in self.graphs[graph]:
            work()
        return (Status.cudaSuccess,)

    def _graph(self, work: Any) -> int:
        self.made += 1
        self.graphs[self.made] = work
        return self.made

    def cudaGetErrorString(self, status: Status) -> tuple[Status, bytes]:
        return Status.cudaSuccess, status.name.encode()

    def view(self, address: int, size: int) -> Any:
        """Memory of the device alone."""
        assert any(start <= address and address + size <= start + len(m) for start, m in self.device.items())
        return raw(address, size)

    @staticmethod
    def _take(room: dict[int, Any], size: int) -> tuple[Status, int]:
        assert isinstance(size, int)
        memory = np.full(size, 0xFF, np.uint8)  # nobody may lean on zeros that were not asked for
        room[memory.ctypes.data] = memory
        return Status.cudaSuccess, memory.ctypes.data


def raw(address: int, size: int) -> Any:
    import ctypes

    return np.frombuffer((ctypes.c_ubyte * size).from_address(address), np.uint8)


class Severity(IntEnum):
    WARNING = 2


class Said:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class FakeTensorRT:
    """The `tensorrt` module. in_place: whether engines update caches in place, as from 10.15 on."""

    class NetworkDefinitionCreationFlag(IntEnum):
        STRONGLY_TYPED = 0

    class MemoryPoolType(Enum):
        WORKSPACE = 0

    class BuilderFlag(Enum):
        REFIT = 0
        TF32 = 1

    class ProfilingVerbosity(Enum):
        DETAILED = 0

    class TensorIOMode(Enum):
        INPUT = 0
        OUTPUT = 1

    def __init__(self, cudart: FakeCudart, version: str = "10.15.1.29", in_place: bool = True) -> None:
        self.__version__, self._cudart, self._in_place = version, cudart, in_place
        self.calls: list[tuple[Any, ...]] = []
        fake = self

        class Logger:
            WARNING = Severity.WARNING

            def __init__(self, min_severity: Severity) -> None:
                assert isinstance(min_severity, Severity)

        class Network:
            __slots__ = ("model", "path")

        class Builder:
            def __init__(self, logger: Logger) -> None:
                assert isinstance(logger, Logger)
                fake.note("Builder")

            def create_network(self, flags: int = 0) -> Network:
                assert flags == 1 << int(fake.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
                fake.note("create_network", flags)
                return Network()

            def create_builder_config(self) -> Config:
                fake.note("create_builder_config")
                return Config()

            def create_optimization_profile(self) -> Profile:
                fake.note("create_optimization_profile")
                return Profile()

            def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
                fake.note("build_serialized_network")
                assert config.set
                varying = {
                    n for n, s in inputs_of(network.model).items() if any(isinstance(x, str) for x in s)
                }
                shapes = config.profiles[0].shapes if config.profiles else {}
                if varying != set(shapes):
                    return None  # an input that varies needs its range, and no other name has one
                for name, ranges in shapes.items():
                    told = inputs_of(network.model)[name]
                    assert all(len(r) == len(told) for r in ranges)
                    assert all(
                        isinstance(t, str) or {t} == set(r)
                        for t, r in zip(told, zip(*ranges, strict=True), strict=True)
                    )
                    assert all(a <= b <= c for a, b, c in zip(*ranges, strict=True))
                return pickle.dumps(
                    (network.model, network.path, shapes, sorted(f.name for f in config.flags))
                )

        class Config:
            __slots__ = ("cache", "flags", "profiles", "profiling_verbosity", "set")

            def __init__(self) -> None:
                self.flags, self.profiles, self.set = {fake.BuilderFlag.TF32}, list[Any](), False
                self.cache: TimingCache | None = None

            def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
                assert isinstance(pool, fake.MemoryPoolType)
                assert isinstance(pool_size, int)
                fake.note("set_memory_pool_limit", pool.name)
                self.set = True

            def set_flag(self, flag: Any) -> None:
                assert isinstance(flag, fake.BuilderFlag)
                fake.note("set_flag", flag.name)
                self.flags.add(flag)

            def clear_flag(self, flag: Any) -> None:
                assert isinstance(flag, fake.BuilderFlag)
                fake.note("clear_flag", flag.name)
                self.flags.discard(flag)

            def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
                fake.note("create_timing_cache", len(serialized_timing_cache))
                return TimingCache(bytes(memoryview(serialized_timing_cache)))

            def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
                assert ignore_mismatch is False
                fake.note("set_timing_cache")
                self.cache = cache
                return True

            def get_timing_cache(self) -> TimingCache | None:
                return self.cache

            def add_optimization_profile(self, profile: Profile) -> int:
                fake.note("add_optimization_profile")
                self.profiles.append(profile)
                return len(self.profiles) - 1

        class TimingCache:
            def __init__(self, held: bytes) -> None:
                self._held = held

            def serialize(self) -> bytes:
                return self._held + b"t"

        class Profile:
            def __init__(self) -> None:
                self.shapes: dict[str, tuple[Any, Any, Any]] = {}

            def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
                assert isinstance(input, str)
                fake.note("set_shape", input)
                self.shapes[input] = (tuple(min), tuple(opt), tuple(max))

        class OnnxParser:
            def __init__(self, network: Network, logger: Logger) -> None:
                assert isinstance(network, Network)
                assert isinstance(logger, Logger)
                fake.note("OnnxParser")
                self._network, self._errors = network, list[Said]()

            def parse(self, model: bytes, path: str | None = None) -> bool:
                assert isinstance(model, bytes)
                fake.note("parse", Path(str(path)).stem)
                self._errors = [Said(e) for e in unreadable(model)]
                self._network.model, self._network.path = model, path
                return not self._errors

            @property
            def num_errors(self) -> int:
                return len(self._errors)

            def get_error(self, index: int) -> Said:
                return self._errors[index]

        class Runtime:
            def __init__(self, logger: Logger) -> None:
                assert isinstance(logger, Logger)

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
                try:
                    return Engine(fake, fake._cudart, bytes(memoryview(serialized_engine)))
                except pickle.UnpicklingError:
                    return None

        class Refitter:
            def __init__(self, engine: Engine, logger: Logger) -> None:
                assert isinstance(logger, Logger)
                assert "REFIT" in engine.flags, "an engine that was not built for it cannot be refitted"
                fake.note("Refitter")
                self.engine, self.fresh = engine, None

            def refit_cuda_engine(self) -> bool:
                fake.note("refit_cuda_engine")
                return self.fresh is not None and self.engine.take(self.fresh)

            def get_missing_weights(self) -> list[str]:
                return ["all of them"] if self.fresh is None else []

        class OnnxParserRefitter:
            num_errors = 0

            def __init__(self, refitter: Refitter, logger: Logger) -> None:
                assert isinstance(refitter, Refitter)
                self._refitter = refitter

            def refit_from_bytes(self, model: bytes, path: str | None = None) -> bool:
                fake.note("refit_from_bytes", Path(str(path)).stem)
                self._refitter.fresh = (model, path)
                return True

        self.Logger, self.Builder, self.OnnxParser, self.Runtime = Logger, Builder, OnnxParser, Runtime
        self.Refitter, self.OnnxParserRefitter = Refitter, OnnxParserRefitter

    @staticmethod
    def nptype(kind: Any) -> Any:
        return kind

    def note(self, *call: Any) -> None:
        self.calls.append(call)


class Engine:
    num_layers, device_memory_size_v2 = 7, 4096

    def __init__(self, fake: FakeTensorRT, cudart: FakeCudart, plan: bytes) -> None:
        self._fake, self.cudart, self._plan = fake, cudart, plan
        self.model, self._path, self.shapes, self.flags = pickle.loads(plan)
        self._open()

    def _open(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        folder = str(Path(self._path).parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        self.session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        self.kinds = {
            v.name: KINDS[v.type] for v in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self.given = [v.name for v in self.session.get_inputs()]
        self.names = [*self.given, *(v.name for v in self.session.get_outputs())]

    def take(self, fresh: tuple[bytes, str]) -> bool:
        self.model, self._path = fresh
        self._open()
        return True

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = self._fake.TensorIOMode
        return mode.INPUT if name in self.given else mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.kinds[name]

    def get_aliased_input_tensor(self, name: str) -> str | None:
        alias = name.removeprefix("new_")
        return alias if self._fake._in_place and alias != name and alias in self.given else None

    def create_execution_context(self) -> Context:
        self._fake.note("create_execution_context")
        return Context(self)

    def serialize(self) -> bytes:
        return pickle.dumps((self.model, self._path, self.shapes, self.flags))


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name in self._engine.given
        low, _, high = self._engine.shapes.get(name, (shape, shape, shape))
        self._shapes[name] = tuple(shape)
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        nothing = {n: np.zeros(self._shapes[n], self._engine.kinds[n]) for n in self._engine.given}
        return tuple(self._engine.session.run([name], nothing)[0].shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert isinstance(memory, int)
        self._addresses[name] = memory
        return name in self._engine.names

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.given if name not in self._shapes]

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == 77
        if set(self._addresses) != set(self._engine.names):
            return False
        if self._engine.cudart.capturing is not None:
            addresses, shapes = dict(self._addresses), dict(self._shapes)
            self._engine.cudart.capturing.append(lambda: self._run(addresses, shapes))
            return True
        self._engine.cudart.calls.append("execute")
        self._run(self._addresses, self._shapes)
        return True

    def _run(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
        binding = self._engine.session.io_binding()
        for name, address in addresses.items():
            shape = shapes.get(name) or self.get_tensor_shape(name)
            kind = np.dtype(self._engine.kinds[name])
            self._engine.cudart.view(address, int(np.prod(shape)) * kind.itemsize)
            bind = binding.bind_input if name in self._engine.given else binding.bind_output
            bind(name, "cpu", 0, kind.type, shape, address)
        self._engine.session.run_with_iobinding(binding)


def inputs_of(model: bytes) -> dict[str, list[int | str]]:
    graph = onnx.load_model_from_string(model).graph
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in graph.input
    }


def unreadable(model: bytes) -> list[str]:
    """What a parser would not take: operators of other domains, and caches of no fixed size, or that are no inputs."""
    told, graph = inputs_of(model), onnx.load_model_from_string(model).graph
    foreign = [f"no importer for {n.domain}.{n.op_type}" for n in graph.node if n.domain]
    written = [n.input[0] for n in graph.node if n.op_type == "TensorScatter"]
    loose = [
        f"{c}: the cache's sequence has to be static"
        for c in written
        if isinstance(told.get(c, ["", "", ""])[2], str)
    ]
    return [*foreign, *loose]
