"""The probe for TensorRT-RTX says what it found; a crash and a hang are answers; what it does with a device is run on a CPU."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from benchmarks import rtx_probe
from benchmarks.rtx_probe import attempt, conclusion, graph, standard_graphs
from engine.library import find_model

DRIVER = {
    "try": "driver",
    "ok": True,
    "answer": {"name": "NVIDIA X", "compute_capability_major": 9, "compute_capability_minor": 0},
}


def test_only_graphs_of_standard_operators_are_tried(standard_folder: Path) -> None:
    names = [path.name for path in standard_graphs([find_model("random-tiny"), standard_folder])]
    assert names == ["vision.onnx", "codec_upsample.onnx", "vision.onnx", "step.onnx"]


@pytest.mark.parametrize("name", ["vision", "step"])
def test_a_graph_is_run_on_a_device_and_compared(
    standard_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The CPU's own provider stands in for the plugin's: it is chosen by device in the same way."""
    monkeypatch.setattr(rtx_probe, "_registered", lambda wheel: (onnxruntime, "CPUExecutionProvider"))
    monkeypatch.setattr(rtx_probe, "RUNS", 2)
    found = graph(Path(), standard_folder / f"{name}.onnx")
    assert found["providers"] == ["CPUExecutionProvider"]
    assert set(found["nodes"]) == {"CPUExecutionProvider"}
    assert max(found["apart"].values()) == 0 < min(found["largest"].values())
    assert found["ms"]["p99"] >= found["ms"]["p50"] > 0


def test_devices_are_listed_as_json_with_the_plugins_own_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx_probe, "_registered", lambda wheel: (onnxruntime, "CPUExecutionProvider"))
    found = json.loads(json.dumps(rtx_probe.devices(Path())))
    assert [device["provider"] for device in found if device["own"]] == ["CPUExecutionProvider"]


def test_a_plugin_that_lists_no_device_is_an_answer(
    standard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtx_probe, "_registered", lambda wheel: (onnxruntime, "Another"))
    with pytest.raises(RuntimeError, match="Another lists no device"):
        graph(Path(), standard_folder / "step.onnx")


def test_a_try_that_cannot_load_the_driver_says_which_library_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rtx_probe, "DRIVER", "libno-such-driver.so.1")
    with pytest.raises(OSError, match=r"libno-such-driver\.so\.1"):
        rtx_probe.driver(Path())


def test_a_try_that_raises_gives_its_last_words(tmp_path: Path) -> None:
    found = attempt(30.0, "targets", tmp_path)
    assert not found["ok"]
    assert found["error"].startswith("FileNotFoundError")
    assert "tensorrt_rtx_provider_options.h" in found["error"]


def test_a_crash_is_recorded_by_its_signal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = subprocess.CompletedProcess([], -11, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert attempt(30.0, "graph", tmp_path)["error"] == "SIGSEGV"


def test_a_hang_is_recorded_and_the_time_left_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hang(*_: Any, timeout: float, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("x", timeout, stderr=b"said before")

    monkeypatch.setattr(subprocess, "run", hang)
    late = attempt(5.0, "graph", tmp_path)
    assert (late["error"], late["stderr"]) == ("no answer in 5 s", "said before")
    assert "not tried" in attempt(0.5, "graph", tmp_path)["error"]


def listed(own: bool) -> dict[str, Any]:
    return {"try": "devices", "ok": True, "answer": [{"own": own}]}


def tried(ok: bool, nodes: dict[str, int]) -> dict[str, Any]:
    return {"try": "graph", "ok": ok, "error": "no kernel", "answer": {"nodes": nodes}}


@pytest.mark.parametrize(
    ("tries", "said"),
    [
        ([{"try": "driver", "ok": False, "error": "libcuda.so.1: gone"}], "cannot be said here: libcuda"),
        ([DRIVER, listed(False)], r"no: .*lists no device on NVIDIA X \(9\.0\)"),
        ([DRIVER, listed(True), tried(True, {"NvTensorRTRTXExecutionProvider": 3})], "yes: 1 of 1 graphs"),
        ([DRIVER, listed(True), tried(True, {"CPUExecutionProvider": 3})], "no graph ran.*took no node"),
        ([DRIVER, listed(True), tried(False, {})], "no graph ran.*no kernel"),
    ],
)
def test_the_conclusion_is_drawn_from_what_was_seen(tries: list[dict[str, Any]], said: str) -> None:
    assert re.match(said, conclusion(tries))
