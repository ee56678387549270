"""Weights of eight bits: what rounding does to a matrix, a graph, and the music of the model that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from engine.backends.beside import Answered, Beside, Difference
from engine.backends.manifest import Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.errors import PackageError
from engine.keys import KEYS_FILE
from engine.library import carry, find_model, recommended
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from export.checkpoint import Package
from export.compare import compare, cross_entropy
from export.imagined import picture
from export.onnx import DECODER, export
from export.quantise import BLOCK, DOMAIN, rounded, unrounded

WHOLE, PART = BLOCK * 3, BLOCK * 2 + 40


@pytest.fixture(scope="module")
def folders(
    tiny_package: Package, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """One model, in fp32 and in int8."""
    folder = tmp_path_factory.mktemp("int8")
    export(tiny_package, folder, "int8")
    return tiny_folder, folder


@pytest.mark.parametrize("inputs", [WHOLE, PART])
def test_rounding_moves_a_weight_by_half_a_step_at_most(inputs: int) -> None:
    weight = np.random.default_rng(0).standard_normal((inputs, 24)).astype(np.float32)
    weight[:, 3] = 0
    packed, scales = rounded(weight)
    again = unrounded(packed, scales, inputs)
    blocks = np.repeat(scales, BLOCK, axis=1)[:, :inputs].T
    assert np.all(np.abs(again - weight) <= blocks / 2 * 1.001 + 1e-7)
    assert not again[:, 3].any()


@pytest.mark.parametrize("inputs", [WHOLE, PART])
def test_the_operator_reads_what_was_written(inputs: int) -> None:
    """Its product is that of the rounded weights, but for the rounding of activations."""
    random = np.random.default_rng(1)
    weight = random.standard_normal((inputs, 32)).astype(np.float32)
    x = random.standard_normal((5, inputs)).astype(np.float32)
    packed, scales = rounded(weight)
    node = onnx.helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain=DOMAIN, K=inputs, N=32, bits=8, block_size=BLOCK
    )
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info("x", floats, ["rows", inputs])],
        [onnx.helper.make_tensor_value_info("y", floats, ["rows", 32])],
        [onnx.numpy_helper.from_array(packed, "w"), onnx.numpy_helper.from_array(scales, "s")],
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": x})
    expected = x @ unrounded(packed, scales, inputs)
    assert np.linalg.norm(answer - expected) < 0.01 * np.linalg.norm(expected)  # 0.006 was seen


def test_the_manifest_says_what_was_done(folders: tuple[Path, Path]) -> None:
    plain, eight = (Manifest.read(folder) for folder in folders)
    assert (plain.precision, plain.quantised, plain.cache_dtype) == ("fp32", {}, np.float32)
    assert (eight.precision, eight.cache_dtype, eight.condition_dtype) == ("int8", np.int8, np.float32)
    assert set(eight.quantised) == set(DECODER)
    for name, done in eight.quantised.items():
        graph = onnx.load(eight.graph(name), load_external_data=False).graph
        products = [node for node in graph.node if node.op_type == "MatMulNBits"]
        assert len(products) == done["matrices"] > 0
        assert 0 < done["error"] < 0.01


def test_four_graphs_share_a_quarter_of_the_bytes(folders: tuple[Path, Path]) -> None:
    plain, eight = (folder / "weights.bin" for folder in folders)
    done = Manifest.read(folders[1]).quantised
    numbers = done["step"]["weights"]
    saved = plain.stat().st_size - eight.stat().st_size
    assert saved > 2.7 * numbers  # of 4 bytes a weight; scales take an eighth of one, pages the rest


def test_eight_bits_stay_near(folders: tuple[Path, Path]) -> None:
    found = compare(*folders, seconds=2.0)
    assert found.steps > 80
    assert 0 < found.logit_error < 0.03  # 0.014 was seen
    assert found.top1_agreement > 0.9
    assert abs(found.cross_entropy_change) < 0.01
    assert found.feature_error == found.audio_error == 0


def test_caches_of_eight_bits_are_put_back_bit_for_bit(
    folders: tuple[Path, Path], pictures: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    backend = OnnxBackend(folders[1])
    one = ScoreStream(backend, StreamPolicy(seed=3))
    frames = pictures(12, 1)

    def play(stream: ScoreStream, at: int) -> None:
        stream.push(frames[at])
        for _ in range(5):
            stream.advance()

    for at in range(6):
        play(one, at)
    other = ScoreStream.restore(backend, one.snapshot())
    for stream in (one, other):
        for at in range(6, 12):
            play(stream, at)
    assert len(one.segments.columns) > 50
    np.testing.assert_array_equal(one.segments.columns, other.segments.columns)
    held = [backend.read_caches(s.segments.caches, s.segments.leading.slot, 60) for s in (one, other)]
    assert held[0].dtype == np.int8
    np.testing.assert_array_equal(*held)


def test_an_export_is_itself(folders: tuple[Path, Path]) -> None:
    found = compare(folders[0], folders[0], seconds=1.0)
    assert (found.logit_error, found.top1_agreement, found.cross_entropy_change) == (0, 1, 0)


def test_columns_of_a_prompt_are_as_near_as_steps(folders: tuple[Path, Path]) -> None:
    """`prefill` reads many columns with the same weights as `step`."""
    eight = OnnxBackend(folders[1])
    spec = eight.spec.decoder
    columns = np.random.default_rng(0).integers(0, spec.card, (1, 6, spec.codebooks))
    condition = eight.new_condition(2)
    eight.write_condition(
        condition, 0, np.random.default_rng(1).standard_normal((2, 50, spec.width)).astype(np.float32)
    )
    whole = eight.step(eight.new_caches(1, True, 16), 0, condition, 2, columns, np.zeros(1, np.int64))
    caches = eight.new_caches(1, True, 16)
    for at in range(6):
        last = eight.step(caches, 0, condition, 2, columns[:, at : at + 1], np.array([at]))
    error = Difference()
    error.note(whole, last)
    assert error.relative < 0.02  # activations are rounded row by row; 0.004 was seen


def test_two_models_are_not_compared(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two models"):
        compare(folders[0], find_model("starter"), 1.0)
    with pytest.raises(PackageError, match="manifest"):
        compare(folders[0], tmp_path / "nothing", 1.0)


def test_an_export_is_played_as_its_package_is(tmp_path: Path) -> None:
    starter = find_model("starter")
    carry(starter, tmp_path)
    spec = Manifest.read(starter).spec
    assert recommended(tmp_path, spec) == recommended(starter, spec)
    assert (tmp_path / KEYS_FILE).read_bytes() == (starter / KEYS_FILE).read_bytes()


def test_cross_entropy_leaves_the_special_token_out() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32))
    steps = [Answered(logits, logits, np.array([0, 3])), Answered(logits, logits, np.array([1, 2]))]
    expected = -(np.log(0.5) + np.log(0.25) + np.log(0.6)) / 3
    assert cross_entropy(steps, [logits, logits]) == pytest.approx(expected, abs=1e-6)


def test_pictures_move_and_cut_and_are_the_same_again() -> None:
    first, next_, cut = (picture(64, step, 50, 0) for step in (0, 5, 150))
    np.testing.assert_array_equal(first, picture(64, 0, 50, 0))
    moved, changed = (np.abs(other.astype(int) - first).mean() for other in (next_, cut))
    assert 0 < moved < 15 < changed


def test_beside_plays_what_the_first_one_plays(folders: tuple[Path, Path]) -> None:
    backends = [OnnxBackend(folder) for folder in folders]
    frames = np.random.default_rng(0).integers(
        0, 255, (1, *[backends[0].spec.vision.image_size] * 2, 3), np.uint8
    )
    np.testing.assert_array_equal(Beside(*backends).encode_frames(frames), backends[0].encode_frames(frames))
