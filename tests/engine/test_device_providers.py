"""The backend of a GPU, on a GPU that is none: it answers what the CPU answers, and asks ONNX Runtime for what is documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fake_gpu_runtime import CUDA, RTX, TENSORRT, FakeRuntime

from engine.backends import devices, providers
from engine.backends import onnxruntime as backends
from engine.backends.base import StepCall
from engine.backends.devices import DeviceBackend, open_backend
from engine.backends.manifest import Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.providers import Gpu, parsed, profiles, ranges
from engine.errors import MissingRuntime, PackageError
from engine.library import find_model
from engine.player import ModelPlayer, ask_device

GPUS = ("cuda", "tensorrt", "tensorrt-rtx")
EXECUTION = {"cuda": CUDA, "tensorrt": TENSORRT, "tensorrt-rtx": RTX}
CARD = "fake-gpu"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    return installed(monkeypatch, tmp_path, FakeRuntime())


def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime: FakeRuntime) -> FakeRuntime:
    for module in (devices, backends):
        monkeypatch.setattr(module, "require_onnxruntime", lambda: runtime)
    monkeypatch.setattr(providers, "gpu", lambda: Gpu("NVIDIA H100 80GB HBM3", "9.0", 13000))
    monkeypatch.setattr(providers, "rtx_devices", lambda _: [CARD])
    monkeypatch.setattr(providers.util, "find_spec", lambda _: True)
    monkeypatch.setenv(providers.ENGINES_VARIABLE, str(tmp_path / "engines"))
    return runtime


def random(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def begun(backend: Any, seed: int = 1) -> tuple[Any, Any]:
    """Caches and a condition of four frames, the last one overwritten."""
    spec = backend.spec
    condition = backend.new_condition(4)
    tokens = random(seed, 4, spec.vision.tokens, spec.decoder.width)
    backend.write_condition(condition, 0, tokens)
    backend.write_condition(condition, 3, tokens[:1])
    return backend.new_caches(2, True, 24), condition


def column(at: int, segments: int = 1) -> Any:
    return np.random.default_rng(at).integers(0, 100, (segments, 1, 4))


def music(backend: Any) -> list[Any]:
    caches, condition = begun(backend)
    prompt = np.random.default_rng(9).integers(0, 100, (1, 5, 4))
    first = backend.step(caches, 0, condition, 3, prompt, np.array([0]))
    heard = [
        backend.step(caches, 0, condition, 1 + at, column(at, 2), np.array([5 + at, at])) for at in range(3)
    ]
    last = backend.step(caches, 1, condition, 4, column(7), np.array([3]))
    return [first, *heard, last, backend.read_caches(caches, 0, 8), backend.read_condition(condition, 4)]


@pytest.mark.parametrize("provider", GPUS)
def test_it_answers_what_the_cpu_answers(
    runtime: FakeRuntime, standard_folder: Path, standard_backend: OnnxBackend, provider: str
) -> None:
    backend = open_backend(standard_folder, provider=provider)
    assert isinstance(backend, DeviceBackend)
    for one, other in zip(music(standard_backend), music(backend), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert {EXECUTION[provider]} <= {name for s in runtime.sessions for name in s.asked}


@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="no CUDA device")
def test_a_gpu_answers_what_the_cpu_answers(standard_folder: Path, standard_backend: OnnxBackend) -> None:
    for one, other in zip(
        music(standard_backend), music(open_backend(standard_folder, provider="cuda")), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_streams_that_share_a_step_answer_what_each_answers_alone(
    runtime: FakeRuntime, standard_folder: Path, standard_backend: OnnxBackend
) -> None:
    together = open_backend(standard_folder, provider="cuda")
    alone, shared = ([begun(b, seed) for seed in (1, 2)] for b in (standard_backend, together))
    for at in range(3):
        asked = [
            [StepCall(caches, 0, condition, 2, column(at + 10 * i), np.array([at]))]
            for i, (caches, condition) in enumerate(shared)
        ]
        got = together.step_all([call for (call,) in asked])
        for i, (caches, condition) in enumerate(alone):
            expected = standard_backend.step(caches, 0, condition, 2, column(at + 10 * i), np.array([at]))
            np.testing.assert_allclose(got[i], expected, atol=1e-5)
    assert runtime.runs[-1][0].endswith("step_two.onnx")


def test_what_is_put_back_goes_on_as_before(runtime: FakeRuntime, standard_folder: Path) -> None:
    backend = open_backend(standard_folder, provider="cuda")
    caches, condition = begun(backend)
    for at in range(4):
        backend.step(caches, 1, condition, 4, column(at), np.array([at]))
    held, seen = backend.read_caches(caches, 1, 4), backend.read_condition(condition, 4)
    again, other = backend.new_caches(2, True, 24), backend.new_condition(4)
    backend.write_caches(again, 1, held)
    backend.write_held_condition(other, seen)
    answers = [
        backend.step(c, 1, k, 4, column(4), np.array([4])) for c, k in ((caches, condition), (again, other))
    ]
    np.testing.assert_array_equal(*answers)
    assert not backend.read_caches(again, 0, 4).any()  # another segment's rows are as they were


def test_a_step_moves_tokens_in_and_logits_out_and_nothing_else(
    runtime: FakeRuntime, standard_folder: Path
) -> None:
    backend = open_backend(standard_folder, provider="cuda")
    caches, condition = begun(backend)
    runtime.crossed.clear()
    logits = backend.step(caches, 0, condition, 4, column(0), np.array([0]))
    assert runtime.crossed == [("to", 4 * 8), ("to", 8), ("to", 8), ("from", logits.nbytes)]


def test_a_device_that_may_be_lost_is_asked_for_a_number(runtime: FakeRuntime, standard_folder: Path) -> None:
    backend = open_backend(standard_folder, provider="cuda")
    runtime.crossed.clear()
    ask_device(ModelPlayer(backend))
    assert runtime.crossed[-1] == ("from", 4)


def test_every_bound_step_is_a_captured_graph_of_its_own(runtime: FakeRuntime, standard_folder: Path) -> None:
    backend = open_backend(standard_folder, provider="cuda")
    caches, condition = begun(backend)
    for at in range(3):
        backend.step(caches, 0, condition, 4, column(at), np.array([at]))
        backend.step(caches, 1, condition, 4, column(at), np.array([at]))
    numbers = [run[1]["gpu_graph_id"] for run in runtime.runs if run[0].endswith("step.onnx")]
    assert numbers == ["1", "2"] * 3
    captured = {Path(s.path).stem: s.asked[CUDA]["enable_cuda_graph"] for s in runtime.sessions}
    assert captured == {"condition_in_place": "0", "step": "1", "step_two": "1"}


def test_a_session_keeps_only_so_many_graphs_and_plays_on_without_more(
    runtime: FakeRuntime, standard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is bound again is a graph again, and ONNX Runtime gives none back."""
    monkeypatch.setattr(devices, "MOST_CAPTURED", 2)
    monkeypatch.setattr(backends, "MOST_BOUND", 1)
    backend = open_backend(standard_folder, provider="cuda")
    caches, condition = begun(backend)
    for at in range(2):
        backend.step(caches, 0, condition, 4, column(at), np.array([at]))
        backend.step(caches, 1, condition, 4, column(at), np.array([at]))
    numbers = [run[1]["gpu_graph_id"] for run in runtime.runs if run[0].endswith("step.onnx")]
    assert numbers == ["1", "2", "-1", "-1"]


def test_one_number_for_two_bound_steps_would_be_found(
    runtime: FakeRuntime, standard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend(standard_folder, provider="cuda")
    monkeypatch.setattr(backend, "_numbers", iter([5, 5]))
    caches, condition = begun(backend)
    backend.step(caches, 0, condition, 4, column(0), np.array([0]))
    with pytest.raises(AssertionError, match="replayed with other addresses"):
        backend.step(caches, 1, condition, 4, column(0), np.array([0]))


def test_tensorrt_is_given_ranges_of_shapes_and_a_folder_of_this_device_version_and_model(
    runtime: FakeRuntime, standard_folder: Path, tmp_path: Path
) -> None:
    backend = open_backend(standard_folder, provider="tensorrt")
    begun(backend)
    session = next(s for s in runtime.sessions if s.path.endswith("step_two.onnx"))
    about, manifest = session.asked[TENSORRT], Manifest.read(standard_folder)
    assert session.options.sizes == {"positions": 24}  # a cache that is written in place has one size
    assert list(session.asked) == [TENSORRT, CUDA, "CPUExecutionProvider"]
    for which, streams in (("min", 1), ("opt", 1), ("max", 8)):
        shapes = about[f"trt_profile_{which}_shapes"].split(",")
        assert f"tokens:{streams}x2x4" in shapes
        assert f"self_key_1:{4 * streams}x4x24x16" in shapes
        assert {shape.split(":")[0] for shape in shapes} == {
            parsed(i)[0] for i in manifest.graphs["step_two"]["inputs"]
        }
    folder = Path(about["trt_engine_cache_path"])
    assert folder.is_dir()
    parts = folder.relative_to(tmp_path / "engines").parts
    assert parts[:2] == ("NVIDIA-H100-80GB-HBM3-sm9.0", "onnxruntime-1.32.0")
    assert parts[2] == f"{manifest.spec.digest}-{manifest.weights[:16]}-fp32"
    assert len(manifest.weights) == 64
    assert about["trt_fp16_enable"] == "0"


def test_the_plugin_is_chosen_by_its_device(runtime: FakeRuntime, standard_folder: Path) -> None:
    backend = open_backend(standard_folder, provider="tensorrt-rtx")
    caches, condition = begun(backend)
    backend.step(caches, 0, condition, 4, column(0), np.array([0]))
    assert {tuple(s.options.plugged[0]) for s in runtime.sessions} == {(CARD,)}
    assert runtime.runs[-1][1] == {"cuda_graph_annotation_id": "1"}


def test_every_dimension_of_every_graph_has_a_range(runtime: FakeRuntime, standard_folder: Path) -> None:
    backend = open_backend(standard_folder, provider="tensorrt")
    shipped = Manifest.read(find_model("random-tiny")).graphs | Manifest.read(find_model("starter")).graphs
    for name, graph in (shipped | backend.manifest.graphs).items():
        least, usual, largest = profiles(graph["inputs"], ranges(backend.spec, name, 8))
        assert least.count(":") == usual.count(":") == largest.count(":")


def test_ranges_hold_what_is_asked_of_them() -> None:
    inputs = ["a: float[rows, 4, held]", "b: int64[1]", "c: int64[rows]"]
    known = {"rows": (2, 4, 8), "held": (5, 6, 7)}
    assert profiles(inputs, known) == ("a:2x4x5,c:2", "a:4x4x6,c:4", "a:8x4x7,c:8")
    with pytest.raises(KeyError, match="held"):
        profiles(inputs, {"rows": (2, 4, 8)})


def test_nothing_longer_than_its_cache_or_condition_is_in_a_range(standard_backend: OnnxBackend) -> None:
    spec = standard_backend.spec
    known = [
        ranges(spec, name, 8, held=200, positions=24) for name in ("prefill", "condition_in_place", "vision")
    ]
    assert known[0]["columns"] == (2, 24, 24)
    assert known[1]["frames"] == (1, 1, 4)
    assert known[2]["frames"] == (1, 1, 64)


# --- what is missing


def test_cuda_as_pip_installs_it_is_loaded_before_a_session_wants_it(
    runtime: FakeRuntime, standard_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And silently: what is not there may be on the system's own path."""
    for provider in ("cuda", "tensorrt"):
        music(open_backend(standard_folder, provider=provider))
    assert runtime.loaded[0] == 0
    assert len(runtime.loaded) == 2
    assert capsys.readouterr().out == ""


def test_a_provider_that_this_onnxruntime_lacks_names_the_wheel(standard_folder: Path) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(MissingRuntime, match=r"--provider cuda needs onnxruntime-gpu.*cuestream\[gpu\]"):
        open_backend(standard_folder, provider="cuda")


@pytest.mark.parametrize("provider", GPUS)
def test_an_export_for_the_cpu_is_refused_and_the_right_one_named(provider: str) -> None:
    with pytest.raises(PackageError, match=r"--operators standard --precision fp16"):
        open_backend(find_model("random-tiny"), provider=provider)


@pytest.mark.parametrize("provider", GPUS)
def test_without_a_driver_its_library_is_named(
    standard_folder: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.setattr(devices, "require_onnxruntime", FakeRuntime)
    monkeypatch.setattr(providers.util, "find_spec", lambda _: True)
    monkeypatch.setattr(providers, "DRIVER", "libno-such-driver.so.1")
    with pytest.raises(
        MissingRuntime, match=r"NVIDIA driver's libno-such-driver\.so\.1 is not on this machine"
    ):
        open_backend(standard_folder, provider=provider)


def test_without_the_plugin_its_wheel_is_named(
    standard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers.util, "find_spec", lambda _: None)
    with pytest.raises(MissingRuntime, match="onnxruntime-ep-nv-tensorrt-rtx-cu13"):
        open_backend(standard_folder, provider="tensorrt-rtx")


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    standard_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch, tmp_path, FakeRuntime(CUDA))
    backend = open_backend(standard_folder, provider="cuda")
    with pytest.raises(MissingRuntime, match="without CUDAExecutionProvider, whose libraries"):
        begun(backend)


def test_an_unknown_provider_is_refused(standard_folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"cpu, cuda, tensorrt, tensorrt-rtx, tensorrt-native, torch, found 'rocm'"
    ):
        open_backend(standard_folder, provider="rocm")


def test_the_cpu_stays_what_it_was(standard_folder: Path) -> None:
    assert type(open_backend(standard_folder)) is OnnxBackend


class PluginRuntime:
    """Of an onnxruntime: what registers the plugin. finds: devices that the plugin then lists."""

    def __init__(self, finds: int, error: str = "") -> None:
        self.finds, self.error, self.registered = finds, error, list[tuple[str, str]]()

    def get_ep_devices(self) -> list[Any]:
        return [Device(RTX)] * (self.finds if self.registered else 0) + [Device("CPUExecutionProvider")]

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if self.error:
            raise RuntimeError(self.error)
        self.registered.append((name, path))


class Device:
    def __init__(self, ep_name: str) -> None:
        self.ep_name = ep_name


class Plugin:
    @staticmethod
    def get_ep_name() -> str:
        return RTX

    @staticmethod
    def get_library_path() -> str:
        return "/somewhere/plugin.so"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "import_module", lambda _: Plugin)
    monkeypatch.setattr(providers, "gpu", lambda: Gpu("NVIDIA H100 80GB HBM3", "9.0", 13000))


@pytest.mark.usefixtures("plugin")
def test_the_plugin_is_registered_once() -> None:
    runtime = PluginRuntime(finds=1)
    assert len(providers.rtx_devices(runtime)) == len(providers.rtx_devices(runtime)) == 1
    assert runtime.registered == [(RTX, "/somewhere/plugin.so")]


@pytest.mark.usefixtures("plugin")
def test_a_device_that_the_plugin_does_not_take_is_named() -> None:
    with pytest.raises(MissingRuntime, match=r"no device of this machine \(NVIDIA-H100-80GB-HBM3-sm9.0\)"):
        providers.rtx_devices(PluginRuntime(finds=0))


@pytest.mark.usefixtures("plugin")
def test_a_plugin_that_cannot_be_loaded_says_why() -> None:
    with pytest.raises(MissingRuntime, match=r"cannot be loaded: libcuda\.so\.1: cannot open"):
        providers.rtx_devices(PluginRuntime(0, "libcuda.so.1: cannot open"))
