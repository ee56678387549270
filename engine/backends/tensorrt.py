"""The model as TensorRT engines, built by `cuestream tensorrt` (see `export.tensorrt`): no ONNX Runtime, no PyTorch.

Caches and conditions stay on the device and are updated in place: TensorRT's KVCacheUpdate wants its output where its input is.
Every bound step has an execution context of its own, since a captured CUDA graph may not outlive a change of its context, and is
launched as one graph from its second run on. Never run on a GPU by its authors: `docs/gpu.md` says what was tested, and how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends import providers
from engine.backends.cuda_memory import Cuda, CudaValue
from engine.backends.devices import DeviceArray, DeviceBackend
from engine.backends.ort_places import Bound
from engine.backends.providers import TENSORRT_NATIVE
from engine.errors import CuestreamError, MissingRuntime, PackageError

Array = NDArray[Any]

LEAST_VERSION = (10, 15)
"""The first one that updates a cache in place."""


class TensorRTError(CuestreamError):
    """TensorRT refused something; what it logged stands before this."""


def require_tensorrt() -> Any:
    """The tensorrt module. Raises MissingRuntime when it is not there or too old."""
    try:
        trt = import_module("tensorrt")
    except ImportError as error:
        raise MissingRuntime(
            f"native TensorRT needs tensorrt ({error}); install the extra: pip install 'cuestream[tensorrt]'"
        ) from error
    found = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if found < LEAST_VERSION:
        raise MissingRuntime(
            f"expected TensorRT {'.'.join(map(str, LEAST_VERSION))} or later, which updates caches in place, "
            f"found {trt.__version__}"
        )
    return trt


def plan_file(folder: Path, name: str, sizes: Mapping[str, int]) -> Path:
    """Where the engine of a graph lies; sizes: of what it writes in place."""
    return folder / f"{'-'.join([name, *map(str, sizes.values())])}.plan"


class TensorRTBackend(DeviceBackend):
    """The engines of an exported model of standard operators."""

    def __init__(self, folder: Path) -> None:
        self._trt, self._cuda = require_tensorrt(), Cuda()
        self._logger = self._trt.Logger(self._trt.Logger.WARNING)
        super().__init__(folder, 0, TENSORRT_NATIVE)
        self.plans = providers.engine_folder(self.manifest, f"tensorrt-{self._trt.__version__}", self._gpu)

    def _need_runtime(self) -> Any:
        return self._trt

    def _open(self, name: str, path: str) -> Plan:
        sizes = self._sizes(name)
        file = plan_file(self.plans, name, sizes)
        if not file.is_file():
            asked = "".join(
                f" --{'positions' if size == 'positions' else 'held'} {value}"
                for size, value in sizes.items()
            )
            raise PackageError(
                f"{self.manifest.folder}: no engine {file.name} for {self._gpu.key} and TensorRT {self._trt.__version__}; "
                f"build it: cuestream tensorrt {self.manifest.folder}{asked}"
            )
        runtime = self._trt.Runtime(self._logger)
        engine = runtime.deserialize_cuda_engine(file.read_bytes())
        if engine is None:
            raise TensorRTError(f"{file}: TensorRT cannot read this engine; delete it and build it again")
        return Plan(self._trt, self._cuda, engine, runtime)

    def _zeros(self, shape: tuple[int, ...], kind: type[np.generic]) -> Any:
        return DeviceArray(CudaValue(self._cuda, shape, kind), np.dtype(kind), shape)

    def _host(self, shape: tuple[int, ...], kind: type[np.generic]) -> Array:
        return self._cuda.pinned(shape, kind)

    def _run_options(self) -> Any:
        return True  # captured

    def _launch(self, bound: Bound) -> None:
        """One wait for the device, at the end."""
        for near, host in zip(bound.near, (bound.tokens, bound.position, bound.frames), strict=False):
            self._cuda.send(host, near.address)
        bound.session.run_with_iobinding(bound.binding, bound.options)
        self._cuda.fetch(bound.near[3].address, bound.logits)
        self._cuda.wait()


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where an input or output lies: on the device, or on the host, from or to where it is copied."""

    on_host: bool
    kind: np.dtype[Any]
    shape: tuple[int, ...]
    address: int

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.kind.itemsize


class Plan:
    """An engine, in the words of an ONNX Runtime session."""

    def __init__(self, trt: Any, cuda: Cuda, engine: Any, runtime: Any) -> None:
        """runtime: which made the engine and has to outlive it."""
        self.trt, self.cuda, self.engine, self._runtime = trt, cuda, engine, runtime
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        given = trt.TensorIOMode.INPUT
        self.inputs = [name for name in names if engine.get_tensor_mode(name) == given]
        self.outputs = [name for name in names if name not in self.inputs]
        self.kinds = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}
        aliases = ((name, engine.get_aliased_input_tensor(name)) for name in self.outputs)
        self.in_place = {name: alias for name, alias in aliases if alias is not None}
        self._alone: PlanBinding | None = None

    def io_binding(self) -> PlanBinding:
        return PlanBinding(self)

    def run_with_iobinding(self, binding: PlanBinding, captured: bool | None = None) -> None:
        binding.run(bool(captured))

    def run(self, wanted: Sequence[str] | None, given: Mapping[str, Array]) -> list[Array]:
        """Host arrays in and out: the outputs that are wanted, or all of them in order."""
        self._alone = self._alone or self.io_binding()
        return self._alone.run_on_host(wanted or self.outputs, given)


class PlanBinding:
    """A context of an engine, and where its inputs and outputs lie."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._cuda = plan, plan.cuda
        self._context = plan.engine.create_execution_context()
        if self._context is None:
            raise TensorRTError("TensorRT has no room for another context of this engine")
        self._tensors: dict[str, Tensor] = {}
        self._staged: dict[str, CudaValue] = {}
        self._kept: list[CudaValue] = []
        self._graph: Any = None

    def bind_input(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int) -> None:
        """As in ONNX Runtime. Raises ValueError for a name or a type that the engine does not have."""
        self._bind(self._plan.inputs, name, device, kind, shape, address)

    def bind_output(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int) -> None:
        """See `bind_input`."""
        self._bind(self._plan.outputs, name, device, kind, shape, address)

    def run(self, captured: bool) -> None:
        """Everything that is bound to the host is there when this returns; the rest is on its way on the stream."""
        if self._graph is not None:
            self._cuda.launch(self._graph)
            return
        self._place()
        self._execute()
        self._bring_back()
        if captured:  # behind a plain run, which settles what TensorRT puts off after a change of shapes
            self._graph = self._cuda.captured(self._execute, self)

    def answered(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the outputs, once every input is bound."""
        for name in self._plan.inputs:
            self._set_shape(name)
        return {name: tuple(self._context.get_tensor_shape(name)) for name in self._plan.outputs}

    def keep(self, values: Iterable[CudaValue]) -> None:
        """Memory that lives as long as this does."""
        self._kept = list(values)

    def run_on_host(self, wanted: Sequence[str], given: Mapping[str, Array]) -> list[Array]:
        for name, array in given.items():
            self.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        answers = {}
        for name, shape in self.answered().items():
            answers[name] = np.empty(shape, self._plan.kinds[name])
            self.bind_output(name, "cpu", 0, answers[name].dtype, shape, answers[name].ctypes.data)
        self.run(captured=False)
        return [answers[name] for name in wanted]

    def _bind(
        self, known: Sequence[str], name: str, device: str, kind: Any, shape: Any, address: int
    ) -> None:
        if name not in known:
            raise ValueError(f"the engine has no {name!r} among {', '.join(known)}")
        if np.dtype(kind) != self._plan.kinds[name]:
            raise ValueError(f"the engine's {name} is {self._plan.kinds[name]}, not {np.dtype(kind)}")
        self._tensors[name] = Tensor(device == "cpu", np.dtype(kind), tuple(shape), address)

    def _place(self) -> None:
        """Tell the context every shape and address. Raises ValueError for what is missing or lies in the wrong place."""
        if missing := {*self._plan.inputs, *self._plan.outputs} - set(self._tensors):
            raise ValueError(f"nothing is bound to {', '.join(sorted(missing))}")
        for output, given in self._plan.in_place.items():
            if self._tensors[output].address != self._tensors[given].address:
                raise ValueError(f"{output} is updated in place and has to lie where {given} does")
        self._check_apart()
        for name in self._plan.inputs:
            self._set_shape(name)
        for name, tensor in self._tensors.items():
            address = self._stage(name, tensor) if tensor.on_host else tensor.address
            self._granted(self._context.set_tensor_address(name, address), f"the address of {name}")
        if unknown := self._context.infer_shapes():
            raise TensorRTError(f"TensorRT cannot infer shapes from what it was told: {', '.join(unknown)}")

    def _check_apart(self) -> None:
        """An output that TensorRT does not update in place may not lie where an input does."""
        taken = {self._tensors[name].address: name for name in self._plan.inputs}
        for output in set(self._plan.outputs) - set(self._plan.in_place):
            if (given := taken.get(self._tensors[output].address)) is not None:
                raise TensorRTError(
                    f"this engine copies {given} to {output} instead of updating it in place; build it with TensorRT "
                    f"{'.'.join(map(str, LEAST_VERSION))} or later"
                )

    def _set_shape(self, name: str) -> None:
        if name not in self._tensors:
            raise ValueError(f"nothing is bound to {name}")
        shape = self._tensors[name].shape
        self._granted(self._context.set_input_shape(name, shape), f"{name} of shape {shape}")

    def _stage(self, name: str, tensor: Tensor) -> int:
        """Room on the device for what is bound to the host; inputs are on their way there."""
        held = self._staged.get(name)
        if held is None or tuple(held.shape()) != (max(1, tensor.nbytes),):
            held = self._staged[name] = CudaValue(self._cuda, (max(1, tensor.nbytes),), np.uint8)
        if name in self._plan.inputs and tensor.nbytes:
            self._cuda.copy_in(tensor.address, held.data_ptr(), tensor.nbytes)
        return held.data_ptr()

    def _execute(self) -> None:
        self._granted(self._context.execute_async_v3(self._cuda.stream), "to run")

    def _bring_back(self) -> None:
        to_host = [name for name in self._plan.outputs if self._tensors[name].on_host]
        for name in to_host:
            tensor = self._tensors[name]
            self._cuda.copy_out(self._staged[name].data_ptr(), tensor.address, tensor.nbytes)
        if to_host:
            self._cuda.wait()

    def _granted(self, granted: bool, what: str) -> None:
        if not granted:
            raise TensorRTError(f"TensorRT refuses {what}")
