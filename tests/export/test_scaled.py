"""Few bits in standard operators: graphs equal PyTorch with the same rounded matrices, and each provider says what it takes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from test_standard_operators import TOLERANCE, music

from engine.backends import providers
from engine.backends.devices import open_backend
from engine.backends.manifest import MANIFEST_FILE, Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from engine.errors import PackageError
from export.calibrate import matrices_of_a_step
from export.checkpoint import Package, load_model
from export.nearest import nearest
from export.onnx import DECODER, Precision, export
from export.quantise import digest, products
from export.scaled import KINDS, Scaled, by_scales, in_blocks, in_columns

FLOAT = np.dtype(np.float32)


def rounded(weight: np.ndarray, kind: str, floats: Any = FLOAT) -> Scaled:
    """weight [K, N]."""
    if kind == "int4":
        return in_blocks(nearest(torch.from_numpy(weight.T.copy())), floats)
    return in_columns(weight, kind, floats)


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.01), ("fp8", 0.04), ("int4", 0.15)])
@pytest.mark.parametrize("floats", [np.float32, np.float16])
def test_levels_times_scales_are_near_the_weights(kind: str, most: float, floats: Any) -> None:
    weight = np.random.default_rng(0).standard_normal((256, 96)).astype(np.float32) * 0.02
    weight[:, 5] = 0
    weight[:, 6] *= 1e-4  # fp16 holds its scale with few digits
    scaled = rounded(weight, kind, np.dtype(floats))
    assert scaled.levels.dtype == KINDS[kind].numpy()
    assert scaled.scales.dtype == floats
    got = scaled.floats()
    assert not got[:, 5].any()
    assert np.sqrt(np.mean((got - weight) ** 2)) <= most * np.sqrt(np.mean(weight**2))


@pytest.fixture(scope="module", params=["int8", "fp8", "int4"])
def scaled(
    request: pytest.FixtureRequest, standard_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The kind, and the float export with its decoder's matrices in few bits."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind)
    shutil.copytree(standard_folder, folder, dirs_exist_ok=True)
    for name in set(DECODER) & set(Manifest.read(folder).graphs):
        model = ir.load(folder / f"{name}.onnx")
        four = {digest(w.T.tobytes()): nearest(torch.from_numpy(w.T.copy())) for _, w in products(model)}
        done = by_scales(model, kind, four if kind == "int4" else None)
        assert done.bits == {4 if kind == "int4" else 8: 6 * 2 + 1}
        ir.save(model, folder / f"{name}.onnx")
    return kind, folder


def test_a_graph_of_few_bits_equals_pytorch_with_the_same_matrices(
    scaled: tuple[str, Path], tiny_package: Package
) -> None:
    kind, folder = scaled
    model = load_model(tiny_package)
    plain = music(TorchBackend(model))
    for _, matrix in matrices_of_a_step(model.decoder):
        weight = matrix.weight.detach().numpy().T
        matrix.weight.data = torch.from_numpy(rounded(weight, kind).floats().T.copy())
    expected, got = music(TorchBackend(model)), music(OnnxBackend(folder, threads=1))
    worst = [float(np.abs(a - b).max()) for a, b in zip(expected, got, strict=True)]
    assert max(worst) <= TOLERANCE, worst
    assert max(float(np.abs(a - b).max()) for a, b in zip(plain, got, strict=True)) > 100 * TOLERANCE


@pytest.mark.skipif(
    providers.EXECUTION[providers.CUDA] not in onnxruntime.get_available_providers(), reason="no CUDA device"
)
def test_a_gpu_answers_what_the_cpu_answers(scaled: tuple[str, Path]) -> None:
    _, folder = scaled
    alike = zip(
        music(OnnxBackend(folder, threads=1)), music(open_backend(folder, provider="cuda")), strict=True
    )
    assert max(float(np.abs(one - other).max()) for one, other in alike) <= 1e-3


def test_its_operators_are_standard(scaled: tuple[str, Path]) -> None:
    _, folder = scaled
    graph = onnx.load(folder / "step.onnx", load_external_data=False)
    assert {node.domain for node in graph.graph.node} == {""}
    onnx.checker.check_model(str(folder / "step.onnx"), full_check=True)


def test_an_export_has_its_decoders_matrices_in_few_bits_and_everything_else_in_half(
    tiny_package: Package, tmp_path: Path
) -> None:
    """Four bits that are rounded alone take no music."""
    weights = {name: w for name, w in tiny_package.weights.items() if not name.startswith("codec.")}
    mute = replace(tiny_package, spec=replace(tiny_package.spec, codec=None), weights=weights)
    export(mute, tmp_path, "int4", operators="standard", names=("step", "condition"), rounding="nearest")
    manifest = Manifest.read(tmp_path)
    assert (manifest.precision, manifest.label, manifest.operators) == ("int4", "int4 nearest", "standard")
    assert (manifest.cache_dtype, manifest.condition_dtype) == (np.float16, np.float16)
    assert list(manifest.quantised) == ["step"]
    assert manifest.quantised["step"]["by_bits"] == {"4": 13}
    session = onnxruntime.InferenceSession(manifest.graph("step"), providers=["CPUExecutionProvider"])
    assert {v.type for v in session.get_inputs() if v.name.startswith("self_")} == {"tensor(float16)"}


@pytest.mark.parametrize("precision", ["bf16", "fp8", "int8", "int4"])
def test_each_provider_says_which_of_them_it_takes(
    standard_folder: Path, tmp_path: Path, precision: str
) -> None:
    shutil.copytree(standard_folder, tmp_path, dirs_exist_ok=True)
    told = json.loads((tmp_path / MANIFEST_FILE).read_text())
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(told | {"precision": precision}))
    manifest = Manifest.read(tmp_path)
    for provider in (providers.CUDA, providers.TENSORRT_RTX, providers.TENSORRT_NATIVE):
        providers.check_export(provider, manifest)
    if precision in ("bf16", "int8"):
        providers.check_export(providers.TENSORRT, manifest)
    else:
        with pytest.raises(PackageError, match=rf"takes fp32, fp16, bf16, int8; this export is {precision}"):
            providers.check_export(providers.TENSORRT, manifest)


def test_onnxruntimes_tensorrt_is_told_which_types_it_may_use(tmp_path: Path) -> None:
    told = {
        precision: [
            options[f"trt_{kind}_enable"]
            for options in [providers.tensorrt_options(tmp_path, precision, ("", "", ""), captured=False)]
            for kind in ("fp16", "bf16", "int8")
        ]
        for precision in providers.FLAGGED
    }
    assert told == {
        "fp32": ["0", "0", "0"],
        "fp16": ["1", "0", "0"],
        "bf16": ["1", "1", "0"],
        "int8": ["1", "0", "1"],
    }


def test_fp8_is_not_made_of_onnxruntimes_operators(tiny_package: Package, tmp_path: Path) -> None:
    precision: Precision = "fp8"
    with pytest.raises(PackageError, match="fp8 is made for GPUs; expected --operators standard"):
        export(tiny_package, tmp_path, precision)
