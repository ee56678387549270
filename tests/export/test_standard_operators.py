"""An export in standard operators equals PyTorch, writes its caches in place, and says which runtime can take what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.backends.manifest import Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from engine.library import find_model
from export.onnx import OPSET as BEFORE
from export.standard import OPSET

TOLERANCE = 1e-5
"""Largest absolute difference in float32. Seen: logits 2.4e-6, conditions 5e-7."""
STANDARD = {""}
"""The name of ONNX's own domain."""
PROVIDERS: dict[str, set[str]] = {
    "cpu": {"", "com.microsoft"},
    "cuda": {""},  # its kernels of com.microsoft are others: see docs/gpu.md
    "tensorrt": {""},
    "tensorrt-rtx": {""},
}
"""Domains of operators that each provider is given."""


def random(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def music(backend: Any) -> list[Any]:
    """A prompt, then steps of one segment and of two, with frames coming and going; and what is held in the end."""
    spec, rng = backend.spec.decoder, np.random.default_rng(5)
    condition = backend.new_condition(4)
    backend.write_condition(condition, 0, random(3, 4, backend.spec.vision.tokens, spec.width))
    caches = backend.new_caches(2, True, 24)

    def step(segment: int, frames: int, position: Sequence[int], columns: int = 1) -> Any:
        tokens = rng.integers(0, spec.card, (len(position), columns, spec.codebooks))
        return backend.step(caches, segment, condition, frames, tokens, np.array(position))

    heard = [step(0, 4, [0], columns=5)]
    for at in range(4):
        heard += [step(0, 1 + at % 3, [5 + 2 * at, at]), step(0, 2, [6 + 2 * at])]
    heard.append(step(1, 3, [4]))
    held = backend.read_caches(caches, 0, 13)[..., : spec.head_dim]
    return [*heard, held]


def test_its_steps_equal_pytorch(torch_backend: TorchBackend, standard_backend: OnnxBackend) -> None:
    expected, got = music(torch_backend), music(standard_backend)
    worst = [float(np.abs(a - b).max()) for a, b in zip(expected, got, strict=True)]
    assert max(worst) <= TOLERANCE, worst
    assert min(float(np.abs(x).max()) for x in expected) > 0.1


def test_so_do_those_without_guidance(torch_backend: TorchBackend, standard_backend: OnnxBackend) -> None:
    answers = []
    for backend in (torch_backend, standard_backend):
        condition = backend.new_condition(2)  # type: ignore[attr-defined]
        backend.write_condition(
            condition, 0, random(3, 2, backend.spec.vision.tokens, backend.spec.decoder.width)
        )
        caches = backend.new_caches(1, False, 8)  # type: ignore[attr-defined]
        answers.append(
            [backend.step(caches, 0, condition, 2, np.full((1, 1, 4), at), np.array([at])) for at in range(3)]
        )
    np.testing.assert_allclose(*answers, atol=TOLERANCE)


COPIED = "in-place optimization not activated"
"""What ONNX Runtime says, as a warning, of a TensorScatter whose input and output are two places."""


def test_a_step_copies_no_cache(standard_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    backend = OnnxBackend(standard_folder, threads=1)
    backend._options.log_severity_level = 2
    condition, caches = backend.new_condition(2), backend.new_caches(2, True, 8)
    for at in range(2):
        backend.step(caches, 0, condition, 2, np.ones((1, 1, 4), np.int64), np.array([at]))
    assert COPIED not in capfd.readouterr().err
    held = {f"{p}_{i}": a for p in ("key", "value") for i, a in enumerate(getattr(condition, f"{p}s"))}
    tokens = random(0, 1, backend.spec.vision.tokens, backend.spec.decoder.width)
    backend.run("condition_in_place", {"tokens": tokens, "slot": np.array([0])} | held)
    assert COPIED in capfd.readouterr().err  # where outputs are not bound to the inputs, it is said


def test_a_condition_written_by_a_graph_is_the_one_that_the_host_writes(
    standard_backend: OnnxBackend,
) -> None:
    spec = standard_backend.spec
    tokens = random(1, 2, spec.vision.tokens, spec.decoder.width)
    by_host, by_graph = standard_backend.new_condition(5), standard_backend.new_condition(5)
    standard_backend.write_condition(by_host, 3, tokens)
    given: dict[str, Any] = {"tokens": tokens, "slot": np.array([3])}
    held = {
        f"{part}_{layer}": array
        for part, arrays in (("key", by_graph.keys), ("value", by_graph.values))
        for layer, array in enumerate(arrays)
    }
    answers = standard_backend.run("condition_in_place", given | held)
    for array, answer in zip((*by_host.keys, *by_host.values), answers, strict=True):
        np.testing.assert_allclose(array, answer, atol=TOLERANCE)
        assert np.abs(array).max() > 0.01


def test_bytes_are_cast_before_anything_else_is_done_to_them(standard_folder: Path) -> None:
    """TensorRT knows uint8 as the input of a cast alone."""
    graph = read(standard_folder, "vision").graph
    (picture,) = graph.input
    assert {node.op_type for node in graph.node if picture.name in node.input} <= {"Cast", "Shape"}


def read(folder: Path, name: str) -> Any:
    return onnx.load(Manifest.read(folder).graph(name), load_external_data=False)


def taken_whole(folder: Path) -> dict[str, set[str]]:
    """By provider: the graphs whose operators it is given."""
    domains = {
        name: {node.domain for node in read(folder, name).graph.node} for name in Manifest.read(folder).graphs
    }
    return {
        provider: {name for name, used in domains.items() if used <= known}
        for provider, known in PROVIDERS.items()
    }


STEPS = {f"{n}{s}" for n in ("step", "step_two", "prefill") for s in ("", "_unguided")}
ALIKE = {"vision", "short_term", "long_term", "fuse", "condition", "codec_recurrent", "codec_upsample"}


def test_each_provider_can_take_every_graph_of_standard_operators_whole(standard_folder: Path) -> None:
    everything = set(Manifest.read(standard_folder).graphs)
    assert taken_whole(standard_folder) == dict.fromkeys(PROVIDERS, everything)
    assert {"step", "step_two", "prefill", "condition_in_place"} <= everything


def test_of_the_other_export_only_a_cpu_takes_the_steps() -> None:
    assert taken_whole(find_model("random-tiny")) == dict.fromkeys(PROVIDERS, ALIKE) | {"cpu": ALIKE | STEPS}


def test_only_graphs_that_write_a_cache_need_the_newer_operators(standard_folder: Path) -> None:
    for name in Manifest.read(standard_folder).graphs:
        graph = read(standard_folder, name)
        newer = any(node.op_type == "TensorScatter" for node in graph.graph.node)
        assert newer == (name in STEPS | {"condition_in_place"})
        assert [x.version for x in graph.opset_import] == [OPSET if newer else BEFORE]


def test_every_cache_is_an_input_that_is_written_straight_into_an_output(standard_folder: Path) -> None:
    """What TensorRT asks of a cache that it updates in place."""
    graph = read(standard_folder, "step").graph
    inputs, outputs = {v.name for v in graph.input}, {v.name for v in graph.output}
    written = [node for node in graph.node if node.op_type == "TensorScatter"]
    assert {node.input[0] for node in written} == {name for name in inputs if name.startswith("self_")}
    assert {node.output[0] for node in written} == {f"new_{node.input[0]}" for node in written} <= outputs


def test_the_manifest_says_what_an_export_is_made_of(standard_folder: Path) -> None:
    assert Manifest.read(standard_folder).operators == "standard"
    assert Manifest.read(find_model("random-tiny")).operators == "onnxruntime"
