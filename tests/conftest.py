"""The fakes of all tests: a tiny seeded model, run by PyTorch and by its exported graphs, and the reference fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from export.checkpoint import Package, load_model
from export.onnx import export
from export.random_model import random_package, tiny_spec

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def tiny_package() -> Package:
    return random_package(tiny_spec())


@pytest.fixture(scope="session")
def torch_backend(tiny_package: Package) -> TorchBackend:
    return TorchBackend(load_model(tiny_package))


@pytest.fixture(scope="session")
def tiny_folder(tiny_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, exported in float32."""
    folder = tmp_path_factory.mktemp("random-tiny")
    export(tiny_package, folder)
    return folder


@pytest.fixture(scope="session")
def onnx_backend(tiny_folder: Path) -> OnnxBackend:
    return OnnxBackend(tiny_folder, threads=2)


@pytest.fixture(scope="session", params=["torch", "onnx"])
def backend(request: pytest.FixtureRequest) -> Any:
    """A law that is about a backend holds for each of them."""
    return request.getfixturevalue(f"{request.param}_backend")


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
