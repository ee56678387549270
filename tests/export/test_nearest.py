"""Four bits by rounding alone: no level is nearer, in a matrix and in each graph of an export that commands reach."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from benchmarks.models import add_model_options, model_folder
from cuestream.cli import app
from engine.backends.manifest import MANIFEST_FILE, Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.errors import PackageError
from engine.library import find_model
from export.calibrate import MARGIN, QUICK_STEPS, STEPS, calibrate, matrices_of_a_step
from export.checkpoint import Package, load_model
from export.compare import compare
from export.gptq import solved
from export.nearest import SHRUNK, nearest
from export.onnx import DECODER, export
from export.quantise import BLOCK, LEAST_WEIGHTS, Rounded

WHOLE, PART, SMALL = BLOCK * 3, BLOCK * 2 + 40, 48
LEVELS = np.arange(16)
SIZES = ["--size", "tiny", "--precision", "int4", "--rounding", "nearest"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def kept(cache: Path, *options: str) -> Path:
    """The folder that a benchmark with these options measures."""
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    return model_folder(parser.parse_args([*options, "--cache", str(cache)]))


@pytest.fixture(scope="module")
def folder(cache: Path) -> Path:
    """The tiny model, as benchmarks export it."""
    return kept(cache, *SIZES)


def left_over(weight: NDArray[np.float32], four: Rounded) -> NDArray[np.float32]:
    """weight [N, K]. How much farther each weight is from its level than from the nearest of its block's sixteen, [N, K]."""
    steps = np.repeat(four.scales, four.block, axis=1)[:, : weight.shape[1]]
    distances = np.abs((LEVELS - 8) * steps[..., None] - weight[..., None])
    moved = np.abs(four.floats(weight.shape[1]).T - weight)
    return np.asarray((moved - distances.min(-1)) / steps)


@pytest.mark.parametrize("inputs", [WHOLE, PART, SMALL])
def test_no_level_is_nearer(inputs: int) -> None:
    weight = torch.randn(24, inputs, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    found = nearest(weight)
    assert found.bits == 4
    assert np.abs(left_over(weight.numpy(), found)).max() < 1e-5
    assert not found.floats(inputs).T[3].any()


@pytest.mark.parametrize("inputs", [WHOLE, PART, SMALL])
def test_it_is_gptq_of_inputs_that_do_not_go_together(inputs: int) -> None:
    """Where no input can make good what another one's rounding changed, both say the same, bit for bit."""
    weight = torch.randn(24, inputs, generator=torch.Generator().manual_seed(1))
    alone, together = nearest(weight), solved(weight, torch.eye(inputs))
    np.testing.assert_array_equal(alone.packed, together.packed)
    np.testing.assert_array_equal(alone.scales, together.scales)


def test_of_the_scales_that_are_tried_none_moves_a_block_less() -> None:
    weight = torch.randn(8, WHOLE, generator=torch.Generator().manual_seed(2))
    blocks = weight.numpy().reshape(8, -1, BLOCK)
    found = nearest(weight)
    moved = np.square(found.floats(WHOLE).T.reshape(blocks.shape) - blocks).sum(-1)
    for share in SHRUNK:
        step = (np.abs(blocks).max(-1) * share / 7.5)[..., None]
        other = np.square(np.clip(np.rint(blocks / step), -8, 7) * step - blocks).sum(-1)
        assert np.all(moved <= other * (1 + 1e-5))


@pytest.mark.parametrize("graph", DECODER)
def test_an_export_holds_its_models_weights_at_the_nearest_level(
    folder: Path, tiny_package: Package, graph: str
) -> None:
    held = matrices(Path(Manifest.read(folder).graph(graph)))
    decoder = load_model(tiny_package).decoder
    weights = [m.weight.detach().numpy() for _, m in matrices_of_a_step(decoder)]
    assert len(held) == len(weights) == 13
    for weight in (weight for weight in weights if weight.size >= LEAST_WEIGHTS):
        alike = [four for four in held if len(four.packed) == len(weight)]
        four = min(alike, key=lambda four: _distance(weight, four))
        assert four.bits == 4
        assert np.abs(left_over(weight, four)).max() < 1e-5
        held.remove(four)
    assert not held


def matrices(path: Path) -> list[Rounded]:
    """What a graph's products by few bits read."""
    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    bits = [next(a.i for a in node.attribute if a.name == "bits") for node in products]
    return [
        Rounded(arrays[node.input[1]], arrays[node.input[2]], n)
        for node, n in zip(products, bits, strict=True)
    ]


def _distance(weight: NDArray[np.float32], four: Rounded) -> float:
    """Infinite from a matrix of another width."""
    inputs = weight.shape[1]
    if four.packed.shape[1] * four.block < inputs or four.floats(inputs).T.shape != weight.shape:
        return float("inf")
    return float(np.linalg.norm(four.floats(inputs).T - weight))


def test_the_manifest_and_info_say_so(folder: Path) -> None:
    manifest = Manifest.read(folder)
    assert (manifest.precision, manifest.label) == ("int4", "int4 nearest")
    assert (manifest.cache_dtype, manifest.condition_dtype) == (np.int8, np.int8)
    for name, done in manifest.quantised.items():
        expected = ("nearest", {"4": 13}) if name in DECODER else (None, {"8": done["matrices"]})
        assert (done.get("rounding"), done["by_bits"]) == expected
    answer = CliRunner().invoke(app, ["info", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert "int4 nearest" in answer.output


def test_a_quick_calibration_hears_as_loud_music(tiny_package: Package) -> None:
    """Its five scenes are the same. Seen: 0.57 to 1.31 of the long one's scales, 0.91 in the median; MARGIN covers 0.67."""
    model = load_model(tiny_package)
    for part in ("heard", "seen"):
        quick, long = (
            torch.stack([torch.stack((x.keys, x.values)) for x in getattr(calibrate(model, steps=n), part)])
            for n in (QUICK_STEPS, STEPS)
        )
        shares = quick / long
        assert 0.8 < float(shares.median()) < 1.1
        assert float((shares < 1 / MARGIN).float().mean()) < 0.1


def test_every_graph_is_there(folder: Path, tiny_folder: Path) -> None:
    assert set(Manifest.read(folder).graphs) == set(Manifest.read(tiny_folder).graphs)


def test_it_plays(folder: Path, tiny_folder: Path) -> None:
    """Worse than GPTQ, by little here."""
    found = compare(tiny_folder, folder, seconds=2.0)
    assert found.steps > 80
    assert 0.02 < found.logit_error < 0.3
    assert found.top1_agreement > 0.6
    assert 0 < found.audio_error < 0.01  # the codec is not in four bits


def test_steps_and_a_prompt_read_the_same_weights(folder: Path) -> None:
    backend, random = OnnxBackend(folder, threads=1), np.random.default_rng(0)
    spec = backend.spec.decoder
    condition = backend.new_condition(2)
    backend.write_condition(condition, 0, random.standard_normal((2, 50, spec.width)).astype(np.float32))
    columns = random.integers(0, spec.card, (1, 6, spec.codebooks))
    whole = backend.step(backend.new_caches(1, True, 16), 0, condition, 2, columns, np.zeros(1, np.int64))
    caches = backend.new_caches(1, True, 16)
    for at in range(6):
        last = backend.step(caches, 0, condition, 2, columns[:, at : at + 1], np.array([at]))
    assert np.linalg.norm(whole - last) < 0.02 * np.linalg.norm(whole)  # rows are rounded one by one


def test_benchmarks_keep_it_apart_and_make_it_once(folder: Path, cache: Path) -> None:
    assert folder == cache / "random-tiny-int4-nearest"
    made = (folder / MANIFEST_FILE).stat().st_mtime_ns
    assert kept(cache, *SIZES) == folder
    assert (folder / MANIFEST_FILE).stat().st_mtime_ns == made
    assert [path.name for path in cache.iterdir()] == [folder.name]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("rounding", ["gptq", "nearest"])
def test_only_four_bits_are_rounded_in_ways(
    tiny_package: Package, tmp_path: Path, precision: str, rounding: str
) -> None:
    with pytest.raises(PackageError, match=f"--rounding {rounding}.*expected --precision int4.*{precision}"):
        export(tiny_package, tmp_path / "made", precision, rounding=rounding)
    with pytest.raises(PackageError, match="expected --precision int4"):
        kept(tmp_path / "cache", "--size", "tiny", "--precision", precision, "--rounding", rounding)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["random", "tiny"], ["export", str(find_model("starter"))]])
def test_commands_refuse_it_too(command: list[str], tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "made"), "--rounding", "nearest"])
    assert isinstance(answer.exception, PackageError)
    assert "expected --precision int4, found fp32" in str(answer.exception)
    assert not list(tmp_path.iterdir())
