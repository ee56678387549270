"""Who runs the graphs inside ONNX Runtime, by name: what each provider needs, and the options that it is opened with.

Every option is a text, as ONNX Runtime wants it. What is missing is said before anything is opened, since ONNX Runtime itself
falls back to the CPU with no more than a warning.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module, util
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

from engine.backends.manifest import STANDARD, Manifest
from engine.errors import MissingRuntime, PackageError
from engine.spec import ModelSpec
from engine.threads import cache_folder

Provider = Literal["cpu", "cuda", "tensorrt", "tensorrt-rtx", "tensorrt-native", "torch"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
CPU, CUDA, TENSORRT, TENSORRT_RTX, TENSORRT_NATIVE, TORCH = PROVIDERS
"""The last two without ONNX Runtime: `engine.backends.tensorrt`; and without graphs, the weights themselves by PyTorch and Triton
in lock step (`engine.backends.lockstep`)."""
EXECUTION: dict[str, str] = {
    CPU: "CPUExecutionProvider",
    CUDA: "CUDAExecutionProvider",
    TENSORRT: "TensorrtExecutionProvider",
    TENSORRT_RTX: "NvTensorRTRTXExecutionProvider",
}
"""Their names in ONNX Runtime."""
RTX_PACKAGE, RTX_WHEEL = "onnxruntime_ep_nv_tensorrt_rtx", "onnxruntime-ep-nv-tensorrt-rtx-cu13"
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
WRITER = "condition_in_place"
"""The graph that writes a condition."""
PRECISIONS = ("fp32", "fp16", "bf16", "fp8", "int8", "int4")
"""Of exports that a GPU's providers take: those of standard operators."""
FLAGGED = ("fp32", "fp16", "bf16", "int8")
"""Of those that ONNX Runtime's TensorRT takes: it is told by flags which types it may use, and has none for the others."""
NOT_OF_CPUS = "bf16"
"""ONNX Runtime's CPU makes no products of it."""
ENGINES_VARIABLE = "CUESTREAM_ENGINES"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""

Range = tuple[int, int, int]
"""The least, the usual and the largest value of a dimension."""
Shape = tuple[int, ...]
MOST_RECALLED, MOST_COLUMNS, MOST_CODES = 64, 4096, 4096
"""Of frames, of columns of a prompt, and of code frames: shapes beyond them make a TensorRT provider build an engine anew, and
have no engine of our own."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the driver says of the first device."""

    name: str
    capability: str
    """Such as 9.0."""
    cuda: int

    @property
    def key(self) -> str:
        """For the name of a folder."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.name} sm{self.capability}")


def check(provider: str, runtime: Any, manifest: Manifest) -> None:
    """Raises ValueError for an unknown name, PackageError for an export that this provider cannot take, and MissingRuntime for
    what is not installed here."""
    if provider not in PROVIDERS:
        raise ValueError(f"expected one of the providers {', '.join(PROVIDERS)}, found {provider!r}")
    check_export(provider, manifest)
    if provider == CPU:
        return
    if provider == TENSORRT_RTX:
        if util.find_spec(RTX_PACKAGE) is None:
            raise MissingRuntime(
                f"--provider {provider} needs the plugin {RTX_WHEEL} beside onnxruntime; install the extra: "
                "pip install 'cuestream[tensorrt-rtx]'"
            )
    elif provider in EXECUTION and EXECUTION[provider] not in runtime.get_available_providers():
        raise MissingRuntime(
            f"--provider {provider} needs onnxruntime-gpu; this onnxruntime {runtime.__version__} has only "
            f"{', '.join(runtime.get_available_providers())}: pip uninstall onnxruntime, then pip install 'cuestream[gpu]'"
        )
    gpu()
    if provider in (CUDA, TENSORRT):
        load_cuda(runtime)


def load_cuda(runtime: Any) -> None:
    """CUDA's libraries as pip installs them, where nothing else would look for them. What cannot be loaded is not said here: it
    may be on the system's own path, and a session that was opened without it is an error (`engine.backends.devices`)."""
    with redirect_stdout(StringIO()):  # it prints
        runtime.preload_dlls()


def gpu() -> Gpu:
    """The first device. Raises MissingRuntime without a driver or without a device."""
    try:
        cuda = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise MissingRuntime(
            f"the NVIDIA driver's {DRIVER} is not on this machine ({error}); a GPU's provider needs it"
        ) from error
    if status := cuda.cuInit(0):
        raise MissingRuntime(f"{DRIVER} finds no NVIDIA GPU: cuInit answers {status}")
    version, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetName(name, len(name), 0)
    major, minor = (_attribute(cuda, number) for number in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
    return Gpu(name.value.decode(errors="replace"), f"{major}.{minor}", version.value)


def rtx_devices(runtime: Any) -> list[Any]:
    """The devices of the TensorRT-RTX plugin, which is registered for it. Raises MissingRuntime when there are none."""
    plugin = import_module(RTX_PACKAGE)
    name = plugin.get_ep_name()
    if name not in {device.ep_name for device in runtime.get_ep_devices()}:
        try:
            runtime.register_execution_provider_library(name, plugin.get_library_path())
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            raise MissingRuntime(f"{RTX_WHEEL} cannot be loaded: {' '.join(str(error).split())}") from error
    found = [device for device in runtime.get_ep_devices() if device.ep_name == name]
    if not found:
        raise MissingRuntime(
            f"TensorRT-RTX takes no device of this machine ({gpu().key}); it is made for compute capability 8.6, 8.9, "
            "and 12.0 or later: --provider cuda, or tensorrt"
        )
    return found


def cuda_options(captured: bool) -> dict[str, str]:
    """captured: one CUDA graph for each bound step. Products of floats are made of floats, not of TF32."""
    return {
        "device_id": "0",
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": _flag(captured),
    }


def tensorrt_options(
    folder: Path, precision: str, profiles: tuple[str, str, str], captured: bool
) -> dict[str, str]:
    """folder: of engines and timings; profiles: of least, usual and largest shapes; precision: of the export."""
    least, usual, largest = profiles
    return {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": _flag(precision != "fp32"),
        "trt_bf16_enable": _flag(precision == "bf16"),
        "trt_int8_enable": _flag(precision == "int8"),
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": usual,
        "trt_profile_max_shapes": largest,
        "trt_cuda_graph_enable": _flag(captured),
    }


def rtx_options(folder: Path, profiles: tuple[str, str, str], captured: bool) -> dict[str, str]:
    """See `tensorrt_options`; TensorRT-RTX follows the types of the graph alone."""
    least, usual, largest = profiles
    return {
        "nv_runtime_cache_path": str(folder),
        "nv_profile_min_shapes": least,
        "nv_profile_opt_shapes": usual,
        "nv_profile_max_shapes": largest,
        "enable_cuda_graph": _flag(captured),
    }


def engine_folder(manifest: Manifest, version: str, device: Gpu) -> Path:
    """Where engines of this model, this version and this device are kept; made when it is not there. An engine holds weights, and
    none of these names may change under it."""
    root = os.environ.get(ENGINES_VARIABLE) or cache_folder() / "engines"
    model = f"{manifest.spec.digest}-{manifest.weights[:16]}-{manifest.precision}"
    folder = Path(root) / device.key / version / model
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def ranges(spec: ModelSpec, name: str, places: int, held: int = 0, positions: int = 0) -> dict[str, Range]:
    """Of every dimension that varies in a graph, by the names that `export.graphs` gives them. places: streams that share a step;
    held: tokens of the largest condition, and positions of a cache, where they are known: nothing longer is written there."""
    tokens, window = spec.vision.tokens, spec.window_slots
    rows = (2 if name.startswith("step_two") else 1) * (1 if name.endswith("_unguided") else 2)
    columns, frames = positions or MOST_COLUMNS, MOST_RECALLED
    if name == WRITER and held:
        frames = held // tokens
    return {
        "streams": (1, 1, places),
        "rows": (rows, rows, rows * places),
        "held": (tokens, window * tokens, max(2 * window * tokens, held)),
        "frames": (1, 25, MOST_CODES) if name.startswith("codec") else (1, 1, frames),
        "recalled": (1, spec.long_short.recalled, MOST_RECALLED),
        "columns": (2, min(64, columns), columns),
        "positions": (8, spec.trained_steps, MOST_COLUMNS),
        "padded": (8, 32, MOST_CODES),
        "read": (8, 32, MOST_CODES),
    }


def profiles(inputs: Sequence[str], ranges: Mapping[str, Range]) -> tuple[str, str, str]:
    """Least, usual and largest shapes of a graph's inputs, which are written as in the manifest: `name: type[shape]`. Inputs
    whose shape never varies are left out. Raises KeyError for a dimension of which nothing is known."""
    shapes = shapes_of(inputs, ranges)
    least, usual, largest = (
        ",".join(f"{name}:{'x'.join(map(str, each[which]))}" for name, each in shapes.items())
        for which in range(3)
    )
    return least, usual, largest


def shapes_of(inputs: Sequence[str], ranges: Mapping[str, Range]) -> dict[str, tuple[Shape, Shape, Shape]]:
    """The same as shapes, by input."""
    found = {}
    for described in inputs:
        name, shape = parsed(described)
        if not all(isinstance(side, int) for side in shape):
            least, usual, largest = (
                tuple(side if isinstance(side, int) else ranges[side][which] for side in shape)
                for which in range(3)
            )
            found[name] = (least, usual, largest)
    return found


def parsed(described: str) -> tuple[str, list[int | str]]:
    """The name and the shape of `name: type[shape]`, dimensions that vary by their names."""
    match = re.fullmatch(r"(\w+): \w+\[(.*)\]", described)
    if match is None:
        raise ValueError(f"expected name: type[shape], found {described!r}")
    sides = [side for side in match.group(2).split(", ") if side]
    return match.group(1), [int(side) if side.isdigit() else side for side in sides]


def check_export(provider: str, manifest: Manifest) -> None:
    """Raises PackageError for an export that this provider does not take."""
    if provider == CPU:
        if manifest.precision == NOT_OF_CPUS:
            raise PackageError(
                f"{manifest.folder}: this export is {NOT_OF_CPUS}, of which ONNX Runtime's CPU makes no products; make another "
                "with --precision fp16"
            )
        return
    if manifest.operators != STANDARD:
        raise PackageError(
            f"{manifest.folder}: --provider {provider} takes exports of standard operators; this one is {manifest.precision} in "
            "ONNX Runtime's own operators, which only its CPU has; make another: "
            "cuestream export PACKAGE -o FOLDER --operators standard --precision fp16"
        )
    taken = FLAGGED if provider == TENSORRT else PRECISIONS
    if manifest.precision not in taken:
        raise PackageError(
            f"{manifest.folder}: --provider {provider} takes {', '.join(taken)}; this export is {manifest.precision}, which "
            f"{CUDA}, {TENSORRT_RTX} and {TENSORRT_NATIVE} take"
        )


def _attribute(cuda: Any, number: int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), number, 0)
    return value.value


def _flag(on: bool) -> str:
    return "1" if on else "0"
