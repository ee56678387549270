"""The fakes of all tests: a tiny seeded model, run by PyTorch and by its exported graphs, and the reference fixtures."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from numpy.typing import NDArray

if not torch.cuda.is_available():
    # Triton reads it when it is first imported, and torch.onnx imports it
    os.environ["TRITON_INTERPRET"] = "1"
# Read when numba is first imported. Two processes that fill one cache crash each other: a ufunc is loaded that is half written.
_numba = tempfile.TemporaryDirectory(prefix="numba-")
os.environ["NUMBA_CACHE_DIR"] = _numba.name

from torch.onnx._internal.exporter._registration import ONNXRegistry

from engine.backends.manifest import MANIFEST_FILE, SPEC_FILE
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from engine.errors import MissingRuntime
from export.checkpoint import Package, load_model
from export.graphs import Graph
from export.onnx import OPSET, Precision, export, trace
from export.quantise import digest
from export.random_model import nano_spec, random_package, tiny_spec
from training.composer.soundfont import ready

FIXTURES = Path(__file__).parent / "fixtures"
EYES = ("vision", "short_term", "long_term", "fuse", "condition")
SHORT_S = 2.0
"""Seconds of the short model's segments: 101 positions, so that a hand-over comes soon."""

settings.register_profile("unhurried", deadline=None)  # a test is not judged by the clock of a busy machine
settings.load_profile("unhurried")
torch.set_num_threads(
    1
)  # tiny tensors: a second thread costs 5 times on idle cores and 100 times on busy ones


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """A folder of that name, made by the first process of this run that wants it; nobody writes to it any more."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / "once" / name
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                fresh = folder.with_name(f"{name}-fresh")
                make(fresh)
                fresh.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session", autouse=True)
def traced_once(made_once: MadeOnce) -> Iterator[None]:
    """What torch.onnx does for seconds is done once: it reads its list of operators again for every graph, and exports in several
    precisions have some graphs alike."""

    def traced(graph: Graph, opset: int = OPSET) -> ir.Model:
        def make(folder: Path) -> None:
            folder.mkdir()
            ir.save(trace(graph, opset), folder / "graph.onnx")

        return ir.load(made_once(_named(graph, opset), make) / "graph.onnx")

    def refused(message: str, _: Any) -> Any:
        raise AssertionError(f"the graph would be traced a second time: {message}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        patch.setattr("torch.export.dynamic_shapes.refine_dynamic_shapes_from_suggested_fixes", refused)
        patch.setattr("export.onnx.trace", traced)
        yield


def _named(graph: Graph, opset: int) -> str:
    """By all that its trace depends on."""

    class ByContent(pickle.Pickler):
        def reducer_override(self, x: Any) -> Any:
            if isinstance(x, torch.Tensor):
                held = x.detach().reshape(-1).view(torch.uint8).numpy()
                return str, (f"{x.dtype} {tuple(x.shape)} {digest(held.tobytes())}",)
            return NotImplemented

    written = io.BytesIO()
    about = (graph.name, graph.input_names, graph.output_names, repr(graph.dynamic))
    ByContent(written).dump((opset, graph.module, graph.inputs, about))
    return f"{graph.name}-{digest(written.getvalue())[:16]}"


@pytest.fixture(scope="session")
def tiny_package() -> Package:
    return random_package(tiny_spec())


@pytest.fixture(scope="session")
def torch_backend(tiny_package: Package) -> TorchBackend:
    return TorchBackend(load_model(tiny_package))


@pytest.fixture(scope="session")
def tiny_folder(tiny_package: Package, made_once: MadeOnce) -> Path:
    """The tiny model, exported in float32."""
    return made_once("random-tiny", lambda folder: export(tiny_package, folder))


@pytest.fixture(scope="session")
def onnx_backend(tiny_folder: Path) -> OnnxBackend:
    return OnnxBackend(tiny_folder, threads=1)


@pytest.fixture(scope="session")
def standard_folder(tiny_package: Package, made_once: MadeOnce) -> Path:
    """The tiny model in float32 and in ONNX's own operators alone: what is not like it is in `models/random-tiny`."""
    names = ("vision", "condition", "condition_in_place", "step", "step_two", "prefill", "step_unguided")
    return made_once(
        "random-tiny-standard",
        lambda folder: export(tiny_package, folder, operators="standard", names=names),
    )


@pytest.fixture(scope="session")
def standard_backend(standard_folder: Path) -> OnnxBackend:
    return OnnxBackend(standard_folder, threads=1)


@pytest.fixture(scope="session", params=["torch", "onnx"])
def backend(request: pytest.FixtureRequest) -> Any:
    """A law that is about a backend holds for each of them."""
    return request.getfixturevalue(f"{request.param}_backend")


@pytest.fixture(scope="session")
def tiny_in(tiny_package: Package, made_once: MadeOnce) -> Callable[[Precision], Path]:
    """The tiny model in a precision of few bits."""
    return lambda precision: made_once(f"tiny-{precision}", lambda to: export(tiny_package, to, precision))


@pytest.fixture(scope="session")
def nano_package() -> Package:
    """A tiny model of the starter model's kind: motion, ages, oscillators."""
    return random_package(nano_spec())


@pytest.fixture(scope="session")
def nano_torch_backend(nano_package: Package) -> TorchBackend:
    return TorchBackend(load_model(nano_package))


@pytest.fixture(scope="session")
def nano_onnx_backend(nano_package: Package, made_once: MadeOnce) -> OnnxBackend:
    """Guided steps alone: `models/starter` has the others."""
    names = (*EYES, "step", "step_two", "prefill", "codec_oscillator")
    folder = made_once("random-nano", lambda folder: export(nano_package, folder, names=names))
    return OnnxBackend(folder, threads=1)


@pytest.fixture(scope="session", params=["torch", "onnx"])
def nano_backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"nano_{request.param}_backend")


@pytest.fixture(scope="session")
def short_package(tiny_package: Package) -> Package:
    """The tiny model as if it were trained on two seconds; its weights know nothing of that."""
    spec = tiny_package.spec
    return Package(replace(spec, decoder=replace(spec.decoder, trained_s=SHORT_S)), tiny_package.weights)


@pytest.fixture(scope="session")
def short_torch_backend(short_package: Package) -> TorchBackend:
    return TorchBackend(load_model(short_package))


@pytest.fixture(scope="session")
def short_onnx_backend(
    tiny_folder: Path, short_package: Package, tmp_path_factory: pytest.TempPathFactory
) -> OnnxBackend:
    """The tiny export under the short model's spec: the graphs only have more positions than it needs."""
    folder = tmp_path_factory.mktemp("short") / "random-tiny"
    shutil.copytree(tiny_folder, folder)
    (folder / SPEC_FILE).write_text(short_package.spec.to_json())
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["spec_digest"] = short_package.spec.digest
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return OnnxBackend(folder, threads=1)


@pytest.fixture(scope="session", params=["torch", "onnx"])
def short_backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"short_{request.param}_backend")


@pytest.fixture(scope="session")
def sound_font() -> Path:
    """What the procedural composer plays with; without it a test is skipped and says why."""
    try:
        return ready()
    except MissingRuntime as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pictures() -> Callable[[int, int], NDArray[np.uint8]]:
    """(count, seed) to uint8 [count, 56, 56, 3]: scenes of blocks that move slowly, with a cut every 60 frames."""

    def make(count: int, seed: int = 0) -> NDArray[np.uint8]:
        random = np.random.default_rng(seed)
        frames = []
        for i in range(count):
            if i % 60 == 0:
                scene = random.integers(0, 256, (7, 7, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            frames.append(np.roll(scene, i, axis=i // 60 % 2))
        return np.stack(frames)

    return make
