"""What benchmarks are asked for: what cannot be is one line, said before anything is made; results do not take others' names."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("websockets", reason="the benchmarks need cuestream[serve]")
pytest.importorskip("prometheus_client", reason="the benchmarks need cuestream[serve]")

from benchmarks import report, room, score, step, streams, trace
from benchmarks.latency import __main__ as latency
from benchmarks.reaction import __main__ as reaction
from engine.backends.manifest import Manifest
from engine.library import find_model
from engine.spec import ModelSpec

MAINS = {
    "step": step.main,
    "score": score.main,
    "room": room.main,
    "streams": streams.main,
    "trace": trace.main,
    "latency": latency.main,
    "reaction": reaction.main,
}
COMMITTED = {path.stem for path in report.RESULTS.glob("*.json")}


def asked(monkeypatch: pytest.MonkeyPatch, name: str, *options: str) -> None:
    """Called as `python -m benchmarks.NAME OPTIONS`; it ends before it measures."""
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit) as stop:
        MAINS[name]()
    assert stop.value.code == 2


@pytest.mark.parametrize(
    "words",
    [
        "step --repeats 0",
        "step --segments 3",
        "step --threads 0",
        "score --music-s 0",
        "room --repeats -1",
        "streams --streams 0",
        "trace --seconds 0",
        "trace --seconds nan",
        "latency --seconds 0",
        "latency --sessions 0",
        "reaction --turns 0",
    ],
)
def test_a_number_that_cannot_be_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    _, option, *_ = words.split()
    asked(monkeypatch, *words.split())
    assert f"error: argument {option}: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["step", "score", "room", "streams", "trace", "latency"])
def test_a_model_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    asked(monkeypatch, name, "--model", "nonesuch", "--threads", "1")
    assert capsys.readouterr().err.startswith("error: nonesuch: no exported model of this name or path")


def test_a_contender_that_nobody_is_is_refused_before_anything_is_exported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step, "model_folder", pytest.fail)
    asked(monkeypatch, "step", "--only", "cuestream", "nonsense")
    assert "cuestream native, cuestream onnxruntime" in capsys.readouterr().err


def test_contenders_have_the_names_that_may_be_chosen() -> None:
    assert tuple(step.contenders(find_model("starter"), 1)) == step.NAMES
    assert step.chosen(["openvino int4", "native"]) == ["cuestream native", "openvino int4"]
    assert step.chosen(None) == list(step.NAMES)


def manifest(size: str, precision: str, rounding: str = "") -> Manifest:
    known = Manifest.read(find_model("starter"))
    spec: ModelSpec = replace(known.spec, name=size)
    quantised = {"step": {"rounding": rounding}} if rounding else {}
    return replace(known, spec=spec, precision=precision, quantised=quantised)


def test_results_are_named_by_what_was_measured() -> None:
    """The names of the README's commands, and others for other runs."""
    fp32, int4 = manifest("random-small", "fp32"), manifest("random-small", "int4", "gptq")
    ours = {
        report.result_name("step", fp32),
        report.result_name("step", int4),
        report.result_name("room", int4),
        report.result_name("score", fp32),
        report.result_name("score", int4, "light"),
        report.result_name("score", manifest("starter", "fp32"), ""),
        report.result_name("trace", manifest("starter", "fp32"), "fast", ""),
        report.result_name("streams", manifest("starter", "fp32")),
    }
    assert len(ours) == 8
    assert ours <= COMMITTED
    others = {
        report.result_name("step", manifest("starter", "fp32")),
        report.result_name("step", manifest("random-small", "int8")),
        report.result_name("step", manifest("random-small", "int4", "nearest")),
        report.result_name("room", fp32),
    }
    assert others == {"step-starter", "step-small-int8", "step-small-int4-nearest", "room-small"}
    assert not others & COMMITTED


def test_only_a_run_that_was_given_a_name_is_kept_with_the_tree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    run = ("--model", "random-tiny", "--threads", "1", "--streams", "1", "--steps", "2", "--patience", "0")
    monkeypatch.setattr(sys, "argv", ["streams", *run])
    streams.main()
    assert [*tmp_path.rglob("*.json")] == [tmp_path / "out/results/streams-tiny.json"]
    assert report.result_path("mine", "streams-tiny") == tmp_path / "kept" / "mine.json"


def parsed(monkeypatch: pytest.MonkeyPatch, read: Callable[[], Namespace], *options: str) -> Namespace:
    monkeypatch.setattr(sys, "argv", ["", *options])
    return read()


def test_a_folder_is_known_by_its_name_and_a_short_run_by_its_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def named(*options: str) -> str:
        return latency.default_name(parsed(monkeypatch, latency.arguments, *options))

    assert named("--model", str(tmp_path / "mine") + "/") == "latency-mine-1"
    assert named() == "latency-starter-1"
    assert named("--model", "synthetic", "--sessions", "200", "--fps", "2") == "latency-synthetic-200"
    assert named("--seconds", "5", "--provider", "torch") == "latency-starter-1-torch-5s"


def test_a_short_reaction_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(*options: str) -> str:
        return reaction.default_name(parsed(monkeypatch, reaction.arguments, *options))

    assert {named(), named("--setting", "default")} <= COMMITTED
    assert named("--turns", "5", "--ways", "webrtc") == "reaction-short-webrtc-5-turns"
