"""Weights of few bits: what rounding does to a matrix, a graph, and the music of the model that ships."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from engine import codec
from engine.backends.beside import Answered, Beside, Difference
from engine.backends.manifest import Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.errors import PackageError
from engine.keys import KEYS_FILE
from engine.library import carry, find_model, recommended
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from export.compare import compare, cross_entropy
from export.gptq import output_error, solved
from export.imagined import picture
from export.nearest import nearest
from export.onnx import ALL_KEEP, DECODER, Precision
from export.quantise import BLOCK, DOMAIN, rounded

WHOLE, PART = BLOCK * 3, BLOCK * 2 + 40


FEW: tuple[Precision, ...] = ("int8", "int4")
LSTM = "codec_recurrent"


@pytest.fixture(scope="module")
def exported(tiny_folder: Path, tiny_in: Callable[[Precision], Path]) -> dict[str, Path]:
    """One model in all of its precisions."""
    return {"fp32": tiny_folder, **{precision: tiny_in(precision) for precision in FEW}}


@pytest.fixture(params=FEW)
def folders(exported: dict[str, Path], request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """One model, in fp32 and in few bits."""
    return exported["fp32"], exported[request.param]


@pytest.mark.parametrize("inputs", [WHOLE, PART])
def test_rounding_moves_a_weight_by_half_a_step_at_most(inputs: int) -> None:
    weight = np.random.default_rng(0).standard_normal((inputs, 24)).astype(np.float32)
    weight[:, 3] = 0
    found = rounded(weight)
    again = found.floats(inputs)
    blocks = np.repeat(found.scales, BLOCK, axis=1)[:, :inputs].T
    assert np.all(np.abs(again - weight) <= blocks / 2 * 1.001 + 1e-7)
    assert not again[:, 3].any()


@pytest.mark.parametrize("inputs", [WHOLE, PART])
@pytest.mark.parametrize("bits", [8, 4])
def test_the_operator_reads_what_was_written(inputs: int, bits: int) -> None:
    """Its product is that of the rounded weights, but for the rounding of activations."""
    random = np.random.default_rng(1)
    weight = random.standard_normal((inputs, 32)).astype(np.float32)
    x = random.standard_normal((5, inputs)).astype(np.float32)
    matrix = rounded(weight) if bits == 8 else solved(torch.from_numpy(weight.T.copy()), torch.eye(inputs))
    assert matrix.bits == bits
    node = onnx.helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain=DOMAIN,
        K=inputs,
        N=32,
        bits=bits,
        block_size=matrix.block,
    )
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_tensor_value_info("x", floats, ["rows", inputs])],
        [onnx.helper.make_tensor_value_info("y", floats, ["rows", 32])],
        [onnx.numpy_helper.from_array(matrix.packed, "w"), onnx.numpy_helper.from_array(matrix.scales, "s")],
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": x})
    expected = x @ matrix.floats(inputs)
    assert np.linalg.norm(answer - expected) < 0.01 * np.linalg.norm(expected)  # 0.006 was seen


def test_the_manifest_says_what_was_done(folders: tuple[Path, Path]) -> None:
    plain, few = (Manifest.read(folder) for folder in folders)
    assert (plain.precision, plain.quantised, plain.cache_dtype) == ("fp32", {}, np.float32)
    assert (few.cache_dtype, few.condition_dtype) == (np.int8, np.int8)
    assert set(few.quantised) == set(few.graphs) - {*ALL_KEEP, "fuse"}  # a tiny one's matrices cost nothing
    for name, done in few.quantised.items():
        graph = onnx.load(few.graph(name), load_external_data=False).graph
        products = [node for node in graph.node if node.op_type == _operator(name)]
        assert len(products) * (2 if name == LSTM else 1) == done["matrices"] > 0
        if name == LSTM:
            assert (done["by_bits"], done["error"]) == ({"8": 4}, pytest.approx(0.012, abs=0.003))
            continue
        bits = Counter(_bits(node) for node in products)
        assert {str(n): count for n, count in bits.items()} == done["by_bits"]
        assert 0 < done["error"] < (0.02 if few.precision == "int8" else 0.15)
        if (
            name in DECODER and few.precision == "int4"
        ):  # so few of a tiny one's bear it: their errors are 0.015 to 0.06
            assert bits == {4: 2, 8: 11}
        assert done.get("rounding") == ("gptq" if name in DECODER and few.precision == "int4" else None)


def _operator(name: str) -> str:
    return (
        "MatMulNBits"
        if name in DECODER
        else "DynamicQuantizeLSTM"
        if name == LSTM
        else "DynamicQuantizeMatMul"
    )


def _bits(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "bits"), 8)


def test_few_bits_are_few_bytes(exported: dict[str, Path]) -> None:
    """All four graphs of the decoder share them; scales take a part, and pages the rest."""
    plain, eight, four = ((exported[p] / "weights.bin").stat().st_size for p in ("fp32", "int8", "int4"))
    numbers = Manifest.read(exported["int8"]).quantised["step"]["weights"]
    assert plain - eight > 2.7 * numbers
    assert eight - four > 0.4 * 2 * 64 * 64  # two matrices that bear four bits


def test_few_bits_stay_near(folders: tuple[Path, Path]) -> None:
    found = compare(*folders, seconds=2.0)
    assert found.steps > 80
    assert 0 < found.logit_error < (0.03 if folders[1].name.startswith("int8") else 0.1)
    assert found.top1_agreement > 0.9
    assert abs(found.cross_entropy_change) < 0.01
    assert 0 < found.feature_error < 0.05
    assert 0 < found.audio_error < 0.01  # the codec's LSTM; 0.0025 was seen


@pytest.mark.parametrize("piece", [1, 5, 60])
def test_an_lstm_of_few_bits_sounds_alike_in_any_pieces(folders: tuple[Path, Path], piece: int) -> None:
    """Frames of a piece share the scale of their activations, so that pieces sound the same but for their rounding; it does not
    add up from piece to piece."""
    plain, few = (OnnxBackend(folder) for folder in folders)
    spec, books = plain.spec.codec, plain.spec.decoder.codebooks
    assert spec is not None
    codes = np.random.default_rng(0).integers(0, plain.spec.decoder.card, (books, 300))
    whole, _ = codec.decode(plain, spec, codec.start(spec, books), codes, last=True)
    state, parts = codec.start(spec, books), []
    for at in range(0, 300, piece):
        samples, state = codec.decode(few, spec, state, codes[:, at : at + piece], last=at + piece == 300)
        parts.append(samples)
    wrong = (np.concatenate(parts) - whole).reshape(6, -1)
    errors = np.sqrt(np.square(wrong).mean(1)) / whole.std()
    assert errors.max() < 0.02
    assert errors[-1] < 2 * errors[:-1].mean()


def test_what_is_said_of_a_frame_depends_on_no_other(folders: tuple[Path, Path]) -> None:
    backend, random = OnnxBackend(folders[1]), np.random.default_rng(0)
    side = backend.spec.vision.image_size
    frames = np.stack([random.integers(0, most, (side, side, 3), np.uint8) for most in (8, 255)])
    features = backend.encode_frames(frames)
    short, memory = backend.look(features), backend.remember(features)
    tokens = backend.fuse(short, memory)
    for at in range(2):
        one = slice(at, at + 1)
        np.testing.assert_array_equal(backend.encode_frames(frames[one]), features[one])
        np.testing.assert_array_equal(backend.look(features[one]), short[one])
        np.testing.assert_array_equal(backend.remember(features[one]), memory[one])
        np.testing.assert_array_equal(backend.fuse(short[one], memory), tokens[one])


def test_a_frame_is_written_in_steps_of_what_floats_say(
    folders: tuple[Path, Path], pictures: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    backends = [OnnxBackend(folder) for folder in folders]
    features = backends[0].encode_frames(pictures(2, 1))
    tokens = backends[0].fuse(backends[0].look(features), backends[0].remember(features))
    written = []
    for backend in backends:
        condition = backend.new_condition(2)
        backend.write_condition(condition, 0, tokens)
        written.append([part.astype(np.float64) for part in (*condition.keys, *condition.values)])
    for floats, steps in zip(*written, strict=True):  # [1, H, N, d]
        scale = (floats * steps).sum(2, keepdims=True) / np.square(steps).sum(2, keepdims=True)
        assert np.linalg.norm(steps * scale - floats) < 0.03 * np.linalg.norm(floats)  # 0.019 was seen
        assert np.abs(steps).max() > 20


def test_segments_of_a_step_do_not_hear_each_other(folders: tuple[Path, Path]) -> None:
    backend, random = OnnxBackend(folders[1]), np.random.default_rng(0)
    spec = backend.spec.decoder
    condition = backend.new_condition(3)
    backend.write_condition(condition, 0, random.standard_normal((2, 50, spec.width)).astype(np.float32))
    columns = random.integers(0, spec.card, (2, 5, spec.codebooks))
    together, apart = (backend.new_caches(2, True, 16) for _ in range(2))
    for at in range(5):
        both = backend.step(together, 0, condition, 2, columns[:, at : at + 1], np.full(2, at))
        for segment in range(2):
            one = slice(segment, segment + 1)
            alone = backend.step(apart, segment, condition, 2, columns[one, at : at + 1], np.array([at]))
            np.testing.assert_allclose(alone[0], both[segment], atol=1e-5)


def test_errors_answer_for_each_other() -> None:
    """Where inputs go together, GPTQ's outputs are far nearer than those of weights that are each rounded to the nearest."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 256, generator=random)
    inputs = torch.randn(2000, 20, generator=random) @ torch.randn(20, 256, generator=random)
    inputs += 0.1 * torch.randn(inputs.shape, generator=random)
    moments = inputs.T @ inputs
    found = torch.from_numpy(solved(weight, moments).floats(256).T.copy())
    alone = torch.from_numpy(nearest(weight).floats(256).T.copy())
    errors = [output_error(weight, matrix, moments) for matrix in (found, alone)]
    direct = (inputs @ (found - weight).T).norm() / (inputs @ weight.T).norm()
    assert errors[0] == pytest.approx(float(direct), rel=1e-3)
    assert errors[0] < errors[1] / 4


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
