"""`cuestream tensorrt`: an export of standard operators to TensorRT engines for the GPU that is here.

Each graph becomes a strongly typed network: its types are those of the export. What a graph writes in place (a cache, a
condition) has one size for each engine, since TensorRT's KVCacheUpdate wants it so; batches of streams, frames and code frames
are ranges of an optimization profile. Engines lie where `engine.backends.tensorrt` looks for them, by device, version and model.
An engine of other weights of the same geometry is refitted, which takes seconds, instead of being built anew.

Never run on a GPU by its authors: `docs/gpu.md` says what was tested, and how.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from engine.backends import providers
from engine.backends.cuda_memory import Cuda, CudaValue
from engine.backends.manifest import Manifest
from engine.backends.onnxruntime import PLACES
from engine.backends.providers import TENSORRT_NATIVE, WRITER, Range, Shape
from engine.backends.tensorrt import Plan, PlanBinding, TensorRTError, plan_file, require_tensorrt
from engine.errors import PackageError

WORKSPACE_BYTES = 4 << 30
"""Most that a kernel may use beside its tensors."""
TIMINGS_FILE = "timings.cache"
WRITES = {WRITER: "held", "step": "positions", "step_two": "positions", "prefill": "positions"}
"""The size that each graph writes in place by, by its name without `_unguided`."""
WARM_UPS, RUNS = 10, 200
LOGGED = 30
"""Lines of what a parser says that an error shows."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """positions: columns of a cache; held: tokens of a condition; places: streams that may share a step."""

    positions: int
    held: int
    places: int = PLACES

    def of(self, name: str) -> dict[str, int]:
        """What a graph writes in place."""
        written = WRITES.get(name.removesuffix("_unguided"))
        return {written: getattr(self, written)} if written else {}


@dataclass(frozen=True, slots=True)
class Built:
    """What is said of an engine. how: kept when it was there. p50_ms, p99_ms: of runs of the usual shapes, when it was run."""

    graph: str
    how: Literal["built", "refitted", "kept"]
    seconds: float
    layers: int
    plan_bytes: int
    device_bytes: int
    p50_ms: float | None = None
    p99_ms: float | None = None


def build(
    folder: Path,
    sizes: Sizes,
    measure: bool = False,
    report: Callable[[str], None] = lambda _: None,
    others: Sequence[int] = (),
) -> list[Built]:
    """Every engine of an exported model, and for conditions of `others` tokens what writes them. Raises MissingRuntime without
    TensorRT, cuda-bindings or a driver, PackageError for an export that is not of standard operators, and TensorRTError for what
    TensorRT refuses."""
    manifest = Manifest.read(folder)
    providers.check_export(TENSORRT_NATIVE, manifest)
    trt = require_tensorrt()
    wanted = [(name, sizes) for name in manifest.graphs]
    wanted += [(WRITER, replace(sizes, held=held)) for held in others]
    answers = []
    for name, of in wanted:
        report(name)
        answers.append(EngineBuilder(trt, manifest, of).engine(name, measure))
    return answers


class EngineBuilder:
    """Makes the engines of one model for one device."""

    def __init__(self, trt: Any, manifest: Manifest, sizes: Sizes) -> None:
        self._trt, self._manifest, self._sizes = trt, manifest, sizes
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        self.folder = providers.engine_folder(manifest, f"tensorrt-{trt.__version__}", providers.gpu())

    def engine(self, name: str, measure: bool = False) -> Built:
        """Find it, refit it or build it, and say what it is."""
        path, model = plan_file(self.folder, name, self._sizes.of(name)), self._model(name)
        geometry, began = self._geometry(name, model), time.perf_counter()
        how: Literal["built", "refitted", "kept"] = "kept"
        if not (path.is_file() and _geometry_of(path) == geometry):
            near = self._of_other_weights(path, geometry)
            plan = self._refitted(near, name, model) if near else self._built(name, model)
            how = "refitted" if near else "built"
            _write(path, plan)
            _about(path).write_text(json.dumps({"geometry": geometry}), encoding="utf-8")
        seconds = time.perf_counter() - began
        engine = self._read(path)
        timed = self._measured(name, engine) if measure else (None, None)
        size, memory = path.stat().st_size, int(engine.device_memory_size_v2)
        built = Built(name, how, seconds, int(engine.num_layers), size, memory, *timed)
        _about(path).write_text(
            json.dumps({"geometry": geometry, **asdict(built)}, indent=1), encoding="utf-8"
        )
        return built

    # --- building

    def _built(self, name: str, model: ir.Model) -> Any:
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(_bytes(model), self._manifest.graph(name)):
            raise TensorRTError(f"{name}: TensorRT cannot read this graph: {_said(parser)}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        config.set_flag(trt.BuilderFlag.REFIT)
        config.clear_flag(trt.BuilderFlag.TF32)  # products of floats are made of floats
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        timings = self.folder.parent / TIMINGS_FILE
        cache = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
        self._add_profile(name, builder, config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise TensorRTError(f"{name}: TensorRT builds no engine of this graph; what it logged says why")
        _write(timings, config.get_timing_cache().serialize())
        return plan

    def _add_profile(self, name: str, builder: Any, config: Any) -> None:
        shapes = self._shapes(name)
        if not shapes:
            return
        profile = builder.create_optimization_profile()
        for given, (least, usual, largest) in shapes.items():
            profile.set_shape(given, least, usual, largest)
        if config.add_optimization_profile(profile) < 0:
            raise TensorRTError(f"{name}: TensorRT refuses the ranges {shapes}")

    def _shapes(self, name: str) -> dict[str, tuple[Shape, Shape, Shape]]:
        """Of the inputs that vary: their least, usual and largest shapes."""
        shapes = self._ranged(name)
        return {given: each for given, each in shapes.items() if self._varies(name, given)}

    def _varies(self, name: str, given: str) -> bool:
        described = dict(providers.parsed(d) for d in self._manifest.graphs[name]["inputs"])
        return any(isinstance(side, str) and side not in self._sizes.of(name) for side in described[given])

    def _model(self, name: str) -> ir.Model:
        """The graph with the sizes of what it writes in place; its weights stay in their file."""
        model = ir.load(self._manifest.graph(name))
        sizes = self._sizes.of(name)
        for value in (*model.graph.inputs, *model.graph.outputs):
            if value.shape is not None:
                value.shape = ir.Shape([sizes.get(str(side), side) for side in value.shape])
        return model

    # --- refitting

    def _of_other_weights(self, path: Path, geometry: str) -> Path | None:
        """An engine of the same geometry for the same device and version."""
        others = sorted(self.folder.parent.glob(f"*/{path.name}"))
        return next((other for other in others if _geometry_of(other) == geometry), None)

    def _refitted(self, near: Path, name: str, model: ir.Model) -> Any:
        trt, engine = self._trt, self._read(near)
        refitter = trt.Refitter(engine, self._logger)
        parser = trt.OnnxParserRefitter(refitter, self._logger)
        if not parser.refit_from_bytes(_bytes(model), self._manifest.graph(name)):
            raise TensorRTError(f"{name}: TensorRT cannot refit from this graph: {_said(parser)}")
        if not refitter.refit_cuda_engine():
            missing = ", ".join(refitter.get_missing_weights())
            raise TensorRTError(f"{name}: TensorRT misses weights to refit: {missing}")
        return engine.serialize()

    def _geometry(self, name: str, model: ir.Model) -> str:
        """A digest of everything but what the weights are: operators, names, types, shapes, ranges."""
        graph = model.graph
        parts = [
            *((n.domain, n.op_type, _names(n.inputs), _names(n.outputs), _attributes(n)) for n in graph),
            *((v.name, str(v.dtype), str(v.shape)) for v in (*graph.inputs, *graph.outputs)),
            *((k, str(v.dtype), str(v.shape)) for k, v in sorted(graph.initializers.items())),
            sorted(self._shapes(name).items()),
            self._manifest.precision,
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    # --- looking at what was made

    def _read(self, path: Path) -> Any:
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise TensorRTError(f"{path}: TensorRT cannot read this engine; delete it and build it again")
        return engine

    def _measured(self, name: str, engine: Any) -> tuple[float, float]:
        """p50 and p99 of runs with usual shapes, everything on the device, from the launch to its end."""
        cuda = Cuda()
        binding = _bound(Plan(self._trt, cuda, engine, self._runtime), cuda, self._usual(name))
        seconds = []
        for _ in range(WARM_UPS + RUNS):
            began = time.perf_counter()
            binding.run(captured=True)
            cuda.wait()
            seconds.append(time.perf_counter() - began)
        p50, p99 = np.percentile(seconds[WARM_UPS:], (50, 99)) * 1000
        return float(p50), float(p99)

    def _usual(self, name: str) -> dict[str, Shape]:
        """The usual shapes of all inputs."""
        usual = {given: shapes[1] for given, shapes in self._ranged(name).items()}
        inputs = map(providers.parsed, self._manifest.graphs[name]["inputs"])
        still = ((given, shape) for given, shape in inputs if given not in usual)
        return usual | {given: tuple(int(side) for side in shape) for given, shape in still}

    def _ranged(self, name: str) -> dict[str, tuple[Shape, Shape, Shape]]:
        """Of the inputs with named dimensions, those that this engine fixes among them."""
        sizes = self._sizes
        known = providers.ranges(self._manifest.spec, name, sizes.places, sizes.held, sizes.positions)
        fixed: dict[str, Range] = {size: (value, value, value) for size, value in sizes.of(name).items()}
        return providers.shapes_of(self._manifest.graphs[name]["inputs"], known | fixed)


def _bound(plan: Plan, cuda: Cuda, inputs: Mapping[str, Shape]) -> PlanBinding:
    """Zeros of these shapes, and room for what is answered to them; what is updated in place lies where it is given."""
    binding, held = plan.io_binding(), dict[str, CudaValue]()
    for name, shape in inputs.items():
        kind = plan.kinds[name].type
        held[name] = CudaValue(cuda, shape, kind)
        binding.bind_input(name, "cuda", 0, kind, shape, held[name].data_ptr())
    for name, shape in binding.answered().items():
        kind = plan.kinds[name].type
        held[name] = held[plan.in_place[name]] if name in plan.in_place else CudaValue(cuda, shape, kind)
        binding.bind_output(name, "cuda", 0, kind, shape, held[name].data_ptr())
    binding.keep(held.values())
    return binding


def _bytes(model: ir.Model) -> bytes:
    return ir.serde.serialize_model(model).SerializeToString()


def _names(values: Any) -> list[str]:
    return [str(v.name) if v is not None else "" for v in values]


def _attributes(node: ir.Node) -> list[str]:
    return [f"{name}={attribute.value!r}" for name, attribute in sorted(node.attributes.items())]


def _said(parser: Any) -> str:
    """The errors of an OnnxParser or OnnxParserRefitter."""
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    return "; ".join(" ".join(str(error.desc()).split()) for error in errors[:LOGGED]) or "without a reason"


def _about(path: Path) -> Path:
    return path.with_suffix(".json")


def _geometry_of(path: Path) -> str | None:
    try:
        return str(json.loads(_about(path).read_text("utf-8"))["geometry"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, data: Any) -> None:
    """A reader finds the old file or the new one, whole."""
    fresh = path.with_suffix(f"{path.suffix}.new")
    try:
        fresh.write_bytes(bytes(memoryview(data)))
    except OSError as error:
        raise PackageError(f"{path}: cannot write the engine: {error}") from error
    fresh.replace(path)
