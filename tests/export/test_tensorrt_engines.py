"""Native TensorRT at its seam: the calls are the documented ones in their order, and an engine's answers are the CPU's.

Neither TensorRT nor a GPU is here: `fake_tensorrt` stands in for both. Promises have mutations beside them that it finds.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_tensorrt import FakeCudart, FakeTensorRT
from typer.testing import CliRunner

from cuestream.cli import app
from cuestream.players import ROOM_S, with_room
from engine.backends import cuda_memory, onnxruntime, providers
from engine.backends import tensorrt as native
from engine.backends.cuda_memory import Cuda, CudaError
from engine.backends.devices import open_backend
from engine.backends.manifest import MANIFEST_FILE
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.providers import Gpu
from engine.backends.tensorrt import TensorRTBackend, TensorRTError, require_tensorrt
from engine.errors import MissingRuntime, PackageError
from engine.library import find_model, recommended
from engine.sight import window_slots
from export import tensorrt as built
from export.tensorrt import EngineBuilder, Sizes, build
from server.settings import Settings

POSITIONS, FRAMES = 24, 4


@pytest.fixture
def cudart(monkeypatch: pytest.MonkeyPatch) -> FakeCudart:
    fake = FakeCudart()
    monkeypatch.setattr(cuda_memory, "import_module", lambda _: fake)
    return fake


@pytest.fixture
def trt(cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTensorRT:
    return installed(FakeTensorRT(cudart), monkeypatch, tmp_path)


def installed(fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTensorRT:
    monkeypatch.setattr(native, "import_module", lambda _: fake)
    monkeypatch.setattr(providers, "gpu", lambda: Gpu("NVIDIA H100 80GB HBM3", "9.0", 13000))
    monkeypatch.setenv(providers.ENGINES_VARIABLE, str(tmp_path / "engines"))
    return fake


@pytest.fixture(scope="module")
def sizes(standard_backend: OnnxBackend) -> Sizes:
    return Sizes(POSITIONS, FRAMES * standard_backend.spec.vision.tokens)


@pytest.fixture(scope="module")
def ready(standard_folder: Path, sizes: Sizes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first build leaves."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_memory, "import_module", lambda _: FakeCudart())
        installed(FakeTensorRT(FakeCudart()), patch, folder)
        build(standard_folder, sizes)
    return folder / "engines"


@pytest.fixture
def once(trt: FakeTensorRT, ready: Path, tmp_path: Path) -> FakeTensorRT:
    """After a first build."""
    shutil.copytree(ready, tmp_path / "engines")
    return trt


def random(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def begun(backend: Any) -> tuple[Any, Any]:
    spec = backend.spec
    condition = backend.new_condition(FRAMES)
    backend.write_condition(condition, 0, random(1, FRAMES, spec.vision.tokens, spec.decoder.width))
    return backend.new_caches(2, True, POSITIONS), condition


def column(at: int, segments: int = 1) -> Any:
    return np.random.default_rng(at).integers(0, 100, (segments, 1, 4))


def music(backend: Any) -> list[Any]:
    caches, condition = begun(backend)
    prompt = np.random.default_rng(9).integers(0, 100, (1, 5, 4))
    first = backend.step(caches, 0, condition, 3, prompt, np.array([0]))
    heard = [
        backend.step(caches, 0, condition, 1 + at, column(at, 2), np.array([5 + at, at])) for at in range(3)
    ]
    last = [backend.step(caches, 1, condition, 4, column(at), np.array([at])) for at in range(3, 6)]
    side = backend.spec.vision.image_size
    eyes = backend.encode_frames(np.full((1, side, side, 3), 90, np.uint8))
    return [
        first,
        *heard,
        *last,
        eyes,
        backend.read_caches(caches, 0, 8),
        backend.read_condition(condition, 4),
    ]


# --- building


def test_an_engine_is_built_by_the_documented_calls_in_their_order(
    trt: FakeTensorRT, standard_folder: Path, sizes: Sizes
) -> None:
    answers = build(standard_folder, sizes)
    # each engine learns from the timings of those before it
    assert [c[1] for c in trt.calls if c[0] == "create_timing_cache"] == list(range(len(answers)))
    begin = next(i for i, call in enumerate(trt.calls) if call == ("parse", "step")) - 3
    end = next(i for i, c in enumerate(trt.calls) if i > begin and c[0] == "build_serialized_network")
    found = trt.calls[begin : end + 1]
    layers = range(2)
    caches = [("set_shape", f"self_{part}_{i}") for part in ("key", "value") for i in layers]
    seen = [("set_shape", f"{part}_{i}") for part in ("key", "value") for i in layers]
    assert found == [
        ("Builder",),
        ("create_network", 1),
        ("OnnxParser",),
        ("parse", "step"),
        ("create_builder_config",),
        ("set_memory_pool_limit", "WORKSPACE"),
        ("set_flag", "REFIT"),
        ("clear_flag", "TF32"),
        ("create_timing_cache", found[8][1]),
        ("set_timing_cache",),
        ("create_optimization_profile",),
        ("set_shape", "tokens"),
        ("set_shape", "position"),
        *caches,
        *seen,
        ("set_shape", "frames"),
        ("add_optimization_profile",),
        ("build_serialized_network",),
    ]


def test_what_was_built_is_said(
    trt: FakeTensorRT, standard_folder: Path, sizes: Sizes, tmp_path: Path
) -> None:
    answers = {each.graph: each for each in build(standard_folder, sizes, measure=True)}
    assert {each.how for each in answers.values()} == {"built"}
    step = answers["step"]
    assert (step.layers, step.device_bytes) == (7, 4096)
    assert step.p50_ms is not None
    assert step.p99_ms is not None
    assert 0 < step.p50_ms <= step.p99_ms
    (said,) = (tmp_path / "engines").rglob(f"step-{POSITIONS}.json")
    assert json.loads(said.read_text())["plan_bytes"] == step.plan_bytes


def test_without_its_profile_no_engine_is_built(
    trt: FakeTensorRT, standard_folder: Path, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineBuilder, "_add_profile", lambda *_: None)
    with pytest.raises(TensorRTError, match="vision: TensorRT builds no engine"):
        build(standard_folder, sizes)


def test_a_profile_for_a_name_that_is_no_input_builds_nothing(
    trt: FakeTensorRT, standard_folder: Path, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = providers.shapes_of
    monkeypatch.setattr(providers, "shapes_of", lambda *a: {f"{k}s": v for k, v in right(*a).items()})
    monkeypatch.setattr(EngineBuilder, "_varies", lambda *_: True)
    with pytest.raises(TensorRTError, match="builds no engine"):
        build(standard_folder, sizes)


def test_a_cache_without_a_fixed_size_is_not_read(
    trt: FakeTensorRT, standard_folder: Path, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(built, "WRITES", {})
    with pytest.raises(TensorRTError, match=r"condition_in_place: TensorRT cannot read.*has to be static"):
        build(standard_folder, sizes)


def test_an_export_for_the_cpu_is_refused(trt: FakeTensorRT, sizes: Sizes) -> None:
    with pytest.raises(PackageError, match="--operators standard --precision fp16"):
        build(find_model("random-tiny"), sizes)


# --- the cache of plans


def test_an_engine_that_is_there_is_kept(once: FakeTensorRT, standard_folder: Path, sizes: Sizes) -> None:
    assert {each.how for each in build(standard_folder, sizes)} == {"kept"}
    assert once.calls == []


def test_other_sizes_or_another_version_are_other_engines(
    trt: FakeTensorRT,
    cudart: FakeCudart,
    standard_folder: Path,
    sizes: Sizes,
    monkeypatch: Any,
    tmp_path: Path,
) -> None:
    build(standard_folder, sizes)
    longer = {each.graph: each.how for each in build(standard_folder, Sizes(32, sizes.held))}
    assert longer["step"] == "built"
    assert longer["vision"] == "kept"
    installed(FakeTensorRT(cudart, "10.16.0.1"), monkeypatch, tmp_path)
    assert {each.how for each in build(standard_folder, sizes)} == {"built"}


@pytest.fixture
def other_weights(standard_folder: Path, tmp_path: Path) -> Path:
    """The same geometry; its large matrices are half of what they were."""
    folder = tmp_path / "other"
    shutil.copytree(standard_folder, folder)
    path = folder / "weights.bin"
    halved = np.frombuffer(path.read_bytes(), np.float32) / 2
    path.write_bytes(halved.tobytes())
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"weights": "f" * 64}))
    return folder


def test_new_weights_of_one_geometry_are_refitted(
    once: FakeTensorRT, other_weights: Path, sizes: Sizes
) -> None:
    assert {each.how for each in build(other_weights, sizes)} == {"refitted"}
    step = once.calls.index(("refit_from_bytes", "step"))
    assert [c[0] for c in once.calls[step - 1 : step + 2]] == [
        "Refitter",
        "refit_from_bytes",
        "refit_cuda_engine",
    ]
    assert not [c for c in once.calls if c[0] == "build_serialized_network"]
    expected, got = OnnxBackend(other_weights, 1), open_backend(other_weights, provider="tensorrt-native")
    for one, other in zip(music(expected), music(got), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# --- playing


@pytest.fixture
def engines(once: FakeTensorRT, standard_folder: Path) -> TensorRTBackend:
    backend = open_backend(standard_folder, provider="tensorrt-native")
    assert isinstance(backend, TensorRTBackend)
    return backend


def test_engines_answer_what_the_cpu_answers(engines: TensorRTBackend, standard_backend: OnnxBackend) -> None:
    for one, other in zip(music(standard_backend), music(engines), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_step_is_run_once_then_captured_then_launched(engines: TensorRTBackend, cudart: FakeCudart) -> None:
    caches, condition = begun(engines)
    rounds = []
    for at in range(3):
        cudart.calls.clear()
        engines.step(caches, 0, condition, 4, column(at), np.array([at]))
        rounds.append(list(cudart.calls))
    to, back = ["cudaMemcpyHostToDevice"] * 3, ["cudaMemcpyDeviceToHost", "wait"]
    assert rounds == [[*to, "execute", "captured", *back], *([[*to, "launch", *back]] * 2)]


def test_frames_of_all_streams_are_written_by_one_context(
    engines: TensorRTBackend, once: FakeTensorRT, standard_backend: OnnxBackend
) -> None:
    held = []
    for backend in (engines, standard_backend):
        conditions = [backend.new_condition(FRAMES) for _ in range(2)]
        for slot, condition in enumerate(conditions * 2):
            tokens = random(slot, 1 + slot % 2, backend.spec.vision.tokens, backend.spec.decoder.width)
            backend.write_condition(condition, slot // 2, tokens)
        held.append([backend.read_condition(condition, 2) for condition in conditions])
    np.testing.assert_allclose(*held, atol=1e-6)
    assert once.calls.count(("create_execution_context",)) == 1


def test_memory_is_given_back_with_what_it_was_for(engines: TensorRTBackend, cudart: FakeCudart) -> None:
    before = len(cudart.device)
    value = cuda_memory.CudaValue(engines._cuda, (3, 4), np.float32)
    assert not value.numpy().any()
    assert len(cudart.device) == before + 1
    del value
    assert len(cudart.device) == before


def test_a_graph_is_destroyed_with_its_step(
    engines: TensorRTBackend, cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that was bound longest ago makes room for the next one."""
    monkeypatch.setattr(onnxruntime, "MOST_BOUND", 1)
    caches, condition = begun(engines)
    for segment in (0, 1, 0):
        engines.step(caches, segment, condition, 4, column(0), np.array([0]))
        assert len(cudart.graphs) == 1
    assert cudart.calls.count("captured") == 3


def test_a_graph_that_cannot_be_made_leaves_nothing(cudart: FakeCudart) -> None:
    cuda = Cuda()
    cudart.full = True
    with pytest.raises(CudaError, match="cudaGraphInstantiate answers 2"):
        cuda.captured(lambda: None, cuda)
    assert not cudart.graphs


def test_an_engine_that_was_not_built_names_the_command(trt: FakeTensorRT, standard_folder: Path) -> None:
    backend = open_backend(standard_folder, provider="tensorrt-native")
    with pytest.raises(
        PackageError, match=r"no engine condition_in_place-200\.plan.*cuestream tensorrt .* --held 200"
    ):
        begun(backend)


def test_the_command_builds_what_sessions_and_scores_ask_for(
    trt: FakeTensorRT, standard_folder: Path
) -> None:
    """Without an option: conditions of the windows that `serve` has room for, and of the recommended one."""
    done = CliRunner().invoke(app, ["tensorrt", str(standard_folder)])
    assert done.exit_code == 0, done.output
    backend = open_backend(standard_folder, provider="tensorrt-native")
    spec, own = backend.spec, recommended(standard_folder, backend.spec)
    assert Settings().room_s == ROOM_S
    for slots in {window_slots(spec, policy) for policy in (with_room(own, ROOM_S), own)}:
        tokens = random(1, 1, spec.vision.tokens, spec.decoder.width)
        backend.write_condition(backend.new_condition(slots), 0, tokens)


def test_a_damaged_engine_says_so(engines: TensorRTBackend) -> None:
    next(engines.plans.glob("vision.plan")).write_bytes(pickled_nothing())
    with pytest.raises(TensorRTError, match="cannot read this engine"):
        engines.session("vision")


def pickled_nothing() -> bytes:
    return b"\x80\x04."


def test_an_output_that_does_not_lie_where_its_input_does_is_refused(engines: TensorRTBackend) -> None:
    _, condition = begun(engines)
    binding = engines.session("condition_in_place").io_binding()
    for part, arrays in (("key", condition.keys), ("value", condition.values)):
        engines._bind(binding.bind_input, part, arrays)
        engines._bind(binding.bind_output, f"new_{part}", reversed(arrays))
    engines._bind_one(binding.bind_input, "tokens", random(1, 1, 50, 64))
    engines._bind_one(binding.bind_input, "slot", np.array([0]))
    with pytest.raises(ValueError, match="new_key_0 is updated in place and has to lie where key_0 does"):
        binding.run(captured=False)


def test_a_wrong_name_or_type_or_a_forgotten_one_is_refused(engines: TensorRTBackend) -> None:
    binding = engines.session("vision").io_binding()
    picture = np.zeros((1, 56, 56, 3), np.uint8)
    with pytest.raises(ValueError, match="no 'picture' among frames"):
        engines._bind_one(binding.bind_input, "picture", picture)
    with pytest.raises(ValueError, match="frames is uint8, not float32"):
        engines._bind_one(binding.bind_input, "frames", picture.astype(np.float32))
    with pytest.raises(ValueError, match="nothing is bound to features, frames, pixel_values"):
        binding.run(captured=False)


def test_shapes_beyond_the_profile_are_refused(engines: TensorRTBackend) -> None:
    with pytest.raises(TensorRTError, match=r"refuses frames of shape \(65, 56, 56, 3\)"):
        engines.encode_frames(np.zeros((65, 56, 56, 3), np.uint8))


def test_an_engine_that_copies_its_caches_is_refused(
    cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, standard_folder: Path, ready: Path
) -> None:
    installed(FakeTensorRT(cudart, in_place=False), monkeypatch, tmp_path)
    shutil.copytree(ready, tmp_path / "engines")
    with pytest.raises(TensorRTError, match=r"copies .* instead of updating it in place"):
        begun(open_backend(standard_folder, provider="tensorrt-native"))


# --- what is missing


def test_without_tensorrt_the_extra_is_named() -> None:
    if "tensorrt" in sys.modules:
        pytest.skip("TensorRT is installed")
    with pytest.raises(MissingRuntime, match=r"needs tensorrt .*cuestream\[tensorrt\]"):
        require_tensorrt()


def test_without_the_binding_of_cuda_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(cuda_memory, "import_module", missing)
    with pytest.raises(MissingRuntime, match=r"needs cuda-bindings .*cuestream\[tensorrt\]"):
        Cuda()


def test_an_older_tensorrt_is_refused(
    cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(FakeTensorRT(cudart, "10.9.0.34"), monkeypatch, tmp_path)
    with pytest.raises(MissingRuntime, match=r"expected TensorRT 10\.15 or later.*found 10\.9\.0\.34"):
        require_tensorrt()


def test_a_failed_call_of_cuda_is_an_error_with_its_name(cudart: FakeCudart) -> None:
    cuda = Cuda()
    cudart.full = True
    with pytest.raises(CudaError, match="cudaMalloc answers 2: cudaErrorMemoryAllocation"):
        cuda_memory.CudaValue(cuda, (4,), np.float32)
