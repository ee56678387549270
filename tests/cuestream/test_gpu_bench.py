"""`cuestream bench gpu`: who would hear a gap is counted right, and without a GPU it says so."""

from __future__ import annotations

import gc
import json
import pickle
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.table import Table
from typer.testing import CliRunner

from cuestream import __version__
from cuestream.cli import app
from cuestream.gpu import crowd, peers, steps, streams
from cuestream.gpu.bench import Plan, measure
from cuestream.gpu.device import REPEATS, Device, copy_bandwidth, describe, power_w
from cuestream.gpu.fidelity import fidelity
from cuestream.gpu.legends import LEGENDS
from cuestream.gpu.peers import PeerRow
from cuestream.gpu.providers import provider_rows
from cuestream.gpu.report import Report, as_json, as_markdown, plot, tables
from cuestream.gpu.setting import Setting
from cuestream.gpu.steps import Alone, StepRow, bytes_read, play, step_rows
from cuestream.gpu.streams import CHUNK_S, LEAD_S, Heard, Listener, Run, StreamsRow, listen, row
from cuestream.provenance import commit
from engine.backends.base import StepCall
from engine.backends.lockstep import LockstepBackend
from engine.backends.places import CachePool
from engine.backends.torch import TorchBackend
from engine.errors import CuestreamError, MissingRuntime, NoRoom, PackageError
from engine.library import find_model
from engine.sight import window_slots
from engine.spec import StreamPolicy
from export.checkpoint import Package, load_model

DEVICE = Device("a GPU", "9.0", 140.0, "1", "13.0", 4200.0, {"torch": "2.11", "triton": "none"})


def listener(lacks: int = 0) -> Listener:
    stream: Any = SimpleNamespace(lacks=lacks)
    return Listener(stream, heard=Heard(began_s=0.0), steps={0: 0.0})


def test_a_listener_waits_for_what_comes_later_than_it_is_played() -> None:
    one = listener()
    for came_s in (1.0, 1.05, 1.35, 1.3):  # the third is due at 1.2
        one.hear(came_s, 0)
    assert one.heard.deficit_s == pytest.approx(0.15)
    assert one.lead_s(1.3) == pytest.approx(4 * CHUNK_S - 0.3)
    assert one.heard.ages_s == pytest.approx([1.0, 1.1, 1.35, 1.3])  # heard when due, or when it came
    assert one.heard.answers_s == [1.0]  # the picture was answered once


def test_steps_are_due_to_the_end_of_a_chunk_while_the_lead_is_short() -> None:
    assert Listener(listener(9).stream, heard=Heard(0.0)).due(0.0) == 0  # it has seen nothing
    one = listener(9)
    assert one.due(0.0) == 9
    one.hear(1.0, 0)
    assert one.due(1.0) == 9
    one.hear(1.0, 0)
    assert one.due(1.0) == 0
    assert one.due(1.0 + 2 * CHUNK_S - LEAD_S + 0.01) == 9


def test_float32_beside_float32_differs_by_nothing_to_speak_of(nano_package: Package) -> None:
    plain = TorchBackend(load_model(nano_package))
    same = fidelity("same", plain, LockstepBackend(load_model(nano_package), "cpu", torch.float32), 6)
    assert same.logits < 1e-5
    assert same.greedy == same.drawn == 1
    assert same.alike == same.played == 6
    few = LockstepBackend(load_model(nano_package), "cpu", torch.float32, bits=8, kept="int8")
    assert 1e-3 < fidelity("few", plain, few, 6).logits < 0.2


def test_float32_is_no_tf32_while_it_is_compared(
    nano_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which cuDNN computes convolutions of float32 where nobody forbids it."""
    seen = list[bool]()

    def noted(*_: Any) -> int:
        seen.append(torch.backends.cudnn.allow_tf32)
        return 0

    monkeypatch.setattr("cuestream.gpu.fidelity._alike", noted)
    plain = TorchBackend(load_model(nano_package))
    fidelity("", plain, LockstepBackend(load_model(nano_package), "cpu", torch.float32), 1)
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32


def test_streams_of_the_likeliest_tokens_are_alike_across_hand_overs_until_they_part(
    short_package: Package,
) -> None:
    """Behind columns that are given, no more steps are compared than a segment plays."""
    plain, held = TorchBackend(load_model(short_package)), short_package.spec.trained_steps
    steps = 2 * held
    same = fidelity("same", plain, LockstepBackend(load_model(short_package), "cpu", torch.float32), steps)
    assert (same.steps, same.alike, same.played) == (held, steps, steps)
    other = LockstepBackend(load_model(short_package), "cpu", torch.float32, bits=4, kept="int8")
    assert fidelity("other", plain, other, steps).alike < steps


def test_a_step_reads_what_its_segments_and_its_condition_hold(nano_package: Package) -> None:
    """In eight bits: a byte a number, and two for each vector's scale."""
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32, kept="int8", places=1)
    decoder, tokens = backend.spec.decoder, backend.spec.vision.tokens
    caches, condition = backend.new_caches(2, True, 24), backend.new_condition(4)
    call = StepCall(caches, 0, condition, 3, np.zeros((2, 1, 4), np.int64), np.array([10, 2]))
    columns = 2 * (11 + 3)  # of both rows, the new one too
    of_a_vector = decoder.head_dim + 2
    assert (
        bytes_read(backend, call) == 2 * decoder.layers * decoder.heads * (columns + 3 * tokens) * of_a_vector
    )


def test_steps_see_in_room_for_the_longest_window_as_a_servers_sessions_do(
    nano_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cross-attention is split by what there is room for."""
    backend, rooms = LockstepBackend(load_model(nano_package), "cpu"), list[int]()
    made = backend.new_condition
    monkeypatch.setattr(backend, "new_condition", lambda frames: rooms.append(frames) or made(frames))
    monkeypatch.setattr(steps, "REPEATS", 1)
    list(step_rows(backend, [1], 1.0))
    play(backend, 1)
    assert rooms == [backend.spec.window_slots] * 2
    assert backend.spec.window_slots > window_slots(backend.spec, StreamPolicy())


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    answer = CliRunner().invoke(app, ["bench", "gpu"])
    assert isinstance(answer.exception, MissingRuntime)
    assert "no CUDA device is here, its driver is too old" in str(answer.exception)


def test_a_gpu_that_cannot_do_what_is_asked_is_refused_before_anything_is_brought_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    answer = CliRunner().invoke(app, ["bench", "gpu"])
    assert isinstance(answer.exception, PackageError)
    assert "this one has 7.5" in str(answer.exception)


def test_engines_beside_each_other_are_one_row() -> None:
    """Who is late counts wherever it was played, and shares are of all ticks."""
    late, in_time = (
        Heard(0.0, 0.1, 0.3, 2, [0.2] * 5, [0.1] * 3),
        Heard(0.0, 0.1, 0.0, 2, [0.2] * 5, [0.1] * 3),
    )
    runs = [Run(4.0, [late], [0.1] * 3, [0.1, 0.1, 0.1]), Run(4.0, [in_time] * 3, [0.1], [0.0, 0.1, 0.0])]
    found = row(runs, StreamPolicy(context_s=5.0))
    assert (found.streams, found.processes, found.context_s) == (4, 2, 5.0)
    assert (found.c100, found.worst_ms) == (0.75, pytest.approx(300))
    assert found.busy == pytest.approx(0.4 / 8)
    assert (found.shown, found.stepping, found.codec) == pytest.approx((0.25, 0.5, 0.25))


def test_what_did_not_come_by_the_end_is_late() -> None:
    """Who heard nothing, and whose music stopped, have a gap; who is only early has none."""
    nothing, stopped, in_time = Heard(0.0), Heard(0.0, 0.1, chunks=1), Heard(0.0, 0.1, chunks=81)
    for heard in (nothing, stopped, in_time):
        heard.end(8.0)
    assert [heard.deficit_s for heard in (nothing, stopped, in_time)] == pytest.approx([8.0, 7.8, 0.0])
    found = row([Run(8.0, [nothing, stopped, in_time], [9.0])], StreamPolicy())
    assert (found.c50, found.c100, found.worst_ms) == pytest.approx((1 / 3, 1 / 3, 8000))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the machine's, for which a test would wait: looking at it takes a millisecond, and work nothing."""
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    def perf_counter() -> float:
        sleep(0.001)
        return now_s

    told = SimpleNamespace(perf_counter=perf_counter, sleep=sleep)
    monkeypatch.setattr("cuestream.gpu.streams.time", told)


def test_listeners_of_an_engine_that_hangs_count(
    nano_package: Package, clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one who could not begin meanwhile."""

    def hang(*_: object) -> None:
        streams.time.sleep(10)

    monkeypatch.setattr(streams.Audience, "take", hang)
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32, places=2)
    run = listen(backend, [1, 2], 0.3, StreamPolicy(context_s=0.1), joining_s=0.2)
    assert [heard.deficit_s > 9 for heard in run.heard] == [True, True]
    assert row([run], StreamPolicy()).c100 == 0


def test_json_has_no_numbers_that_are_none() -> None:
    heard = Heard(0.0)
    heard.end(8.0)
    report = Report("small", "small fp16", streams=[row([Run(8.0, [heard], [9.0])], StreamPolicy())])
    (told,) = json.loads(as_json(DEVICE, [report], {}), parse_constant=pytest.fail)["reports"][0]["streams"]
    assert (told["answer_p50_ms"], told["first_p95_ms"], told["worst_ms"]) == (None, None, 8000.0)


def test_a_listener_begins_as_if_it_had_played_for_long(nano_package: Package, clock: None) -> None:
    """And plays over the hand-over that comes soon."""
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32, places=1)
    policy = StreamPolicy(context_s=0.1)
    found = listen(backend, [5], 0.3, policy, joining_s=0.0)
    assert found.heard[0].chunks > 0
    assert found.seconds == pytest.approx(0.3)


def test_a_report_is_told_as_markdown_and_drawn(tmp_path: Path) -> None:
    heard = row(
        [Run(4.0, [Heard(0.0, 0.1, 0.0, 2, [0.2] * 5, [0.1] * 3)], [0.05], [0.0, 0.1, 0.0])], StreamPolicy()
    )
    report = Report(
        "small", "small fp16", [StepRow(8, 2.9, 0.52, 3.5, 2.2, 771.0, 0.18, 355.0)], streams=[heard]
    )
    text = as_markdown(DEVICE, [report], {"commit": "abc"})
    assert "* commit: abc" in text
    assert "## Steps of streams that share them: small fp16" in text
    lines = [line for line in text.splitlines() if line.startswith("| 8 |")]
    assert lines == ["| 8 | 2.9 | 0.52 | 3.5 | 2.2 | 771 | 0.18 | 355 |"]
    plot(tmp_path / "gpu.png", DEVICE, [report, Report("other", "other")])
    assert (tmp_path / "gpu.png").stat().st_size > 1000


def test_every_column_has_its_meaning() -> None:
    for kind, meanings in LEGENDS.items():
        told = [name for names in meanings for name in names.split(", ")]
        assert [name for name in told if name != "times_ours"] == [field.name for field in fields(kind)]


def test_a_legend_is_of_the_columns_that_are_there() -> None:
    """Without a GPU nothing says what it draws, and so the table has no such column."""
    found = row([Run(4.0, [Heard(0.0, 0.1)], [0.05], [0.0, 0.1, 0.0])], StreamPolicy())
    for power in (None, 400.0):
        report = Report("small", "small", streams=[replace(found, power_w=power)])
        (table, legend), text = tables([report]), as_markdown(DEVICE, [report], {})
        assert isinstance(table, Table)
        assert isinstance(legend, str)
        there = power is not None
        assert ("power w" in [column.header for column in table.columns]) == there
        assert ("power w: what the GPU draws" in legend) == ("power w: what the GPU draws" in text) == there
        assert "busy: share of the time" in legend


def test_a_peer_says_how_many_times_as_fast_ours_is_or_why_it_failed() -> None:
    alone = Alone(28.8, 1.0, 1.2, 0.2, 1.2, 1.1, 5.0, 20.0, 11.0, 22.0, 1, 0.2)
    rows = [PeerRow("sdpa", 1, 23.5, 24.0, 0.85), PeerRow("eager", 1, None, None, None, "no | memory")]
    report = Report("small", "small fp16", alone=alone, peers=rows)
    lines = as_markdown(DEVICE, [report], {}).splitlines()
    assert "| sdpa | 1 | 23.5 | 24 | 0.85 | 23.5 |  |" in lines
    assert r"| eager | 1 |  |  |  |  | no \| memory |" in lines
    told = json.loads(as_json(DEVICE, [report], {}))["reports"][0]
    assert "times_peer" not in told
    assert told["peers"][1]["p50_ms"] is None
    without = as_markdown(DEVICE, [replace(report, alone=None)], {})
    assert "times ours" not in without


def test_a_peer_that_cannot_play_has_no_time(nano_package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_seconds", lambda *_: 1 / 0)
    found = list(peers.peer_rows(nano_package.spec, torch.device("cpu"), torch.float32))
    assert {(row.p50_ms, row.x_real_time, row.failed) for row in found} == {(None, None, "division by zero")}


def test_shares_on_a_cpu_are_of_what_the_host_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuestream.gpu.device.COPIED", {"cpu": 64 << 20})
    found = describe(torch.device("cpu"))
    assert 0.2 < found.copy_gb_s < 2000
    assert str(found).startswith(f"cpu; a copy moves {found.copy_gb_s:g} GB/s; torch ")


@pytest.mark.parametrize(
    ("said", "power"),
    [("Disabled, 437.12", 437.12), ("[N/A], 71.50", 71.5), ("Enabled, 300.00", None), ("[N/A], [N/A]", None)],
)
def test_power_is_read_of_the_gpu_that_plays(
    monkeypatch: pytest.MonkeyPatch, said: str, power: float | None
) -> None:
    """Which is the first one of CUDA_VISIBLE_DEVICES, not of the machine. What a part of a GPU draws nobody says."""
    asked = list[tuple[str, ...]]()

    def answer(query: tuple[str, ...], **_: Any) -> Any:
        asked.append(query)
        return SimpleNamespace(stdout=f"{said}\n")

    about = SimpleNamespace(uuid="8a6d3f1c-0000-1111-2222-333344445555")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    monkeypatch.setattr("cuestream.gpu.device.subprocess.run", answer)
    assert power_w(torch.device("cuda")) == power
    assert "--id=GPU-8a6d3f1c-0000-1111-2222-333344445555" in asked[0]


def test_providers_of_an_export_stand_beside_each_other_and_one_that_cannot_says_why() -> None:
    there, missing = provider_rows(find_model("starter"), ["cpu", "cuda"], 4)
    assert (there.provider, there.model, there.failed) == ("cpu", "starter", "")
    assert there.step_p99_ms >= there.step_p50_ms > 0
    assert "cuda" in missing.failed
    text = as_markdown(DEVICE, [Report("starter", "starter", providers=[there, missing])], {})
    (told,) = (line for line in text.splitlines() if line.startswith("| cuda |"))
    assert told == f"| cuda | starter |  |  |  | {missing.failed} |"


def test_a_step_is_timed_once_what_a_look_launched_is_done(
    nano_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device works for 50 ms on a picture after `ask` has gone on: the turn's time, not the step's."""
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32, places=1)
    monkeypatch.setattr("cuestream.gpu.steps.settle", lambda: time.sleep(0.05))
    found = play(backend, 3)
    assert len(found.took_s) == len(found.turns_s) == 3
    assert all(turn >= took + 0.05 for took, turn in zip(found.took_s, found.turns_s, strict=True))


def test_what_was_measured_is_written_before_the_next_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command and the device, for time may be cut off."""
    one = StepRow(1, 2.9, 0.52, 3.5, 2.2, 771.0, 0.18, 355.0)

    def rows(*_: object) -> Iterator[StepRow]:
        yield one
        raise KeyboardInterrupt

    monkeypatch.setattr("cuestream.gpu.bench.step_rows", rows)
    options = [
        "--device",
        "cpu",
        "--size",
        "nano",
        "--counts",
        "1",
        "--no-peer",
        "--json",
        str(tmp_path / "gpu.json"),
    ]
    monkeypatch.setattr(sys, "argv", ["cuestream", "bench", "gpu", *options])
    assert CliRunner().invoke(app, ["bench", "gpu", *options]).exit_code
    told = json.loads((tmp_path / "gpu.json").read_text())
    assert told["reports"][0]["steps"] == [asdict(one)]
    assert (
        told["command"] == "cuestream bench gpu --device cpu --size nano --counts 1 --no-peer --json gpu.json"
    )
    assert told["device"]["name"] == "cpu"
    assert (told["cuestream"], told["commit"]) == (__version__, commit())


def test_what_does_not_fit_the_memory_is_left_out_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device with room for one stream."""

    def pool(layers: int, places: int, *given: Any) -> CachePool:
        if places > 1:
            raise torch.OutOfMemoryError("out of memory")
        return CachePool(layers, places, *given)

    monkeypatch.setattr("engine.backends.lockstep.CachePool", pool)
    monkeypatch.setattr("cuestream.gpu.bench.peer_rows", lambda *_: iter([PeerRow("sdpa", 1, 9.0, 9.0, 2.2)]))
    told, shown = tmp_path / "gpu.json", tmp_path / "gpu.md"
    options = ["--device", "cpu", "--size", "nano", "--counts", "3,1", "--listeners", "2", "--steps", "0"]
    done = CliRunner().invoke(app, ["bench", "gpu", *options, "--json", str(told), "--markdown", str(shown)])
    assert done.exit_code == 0, done.output
    (report,) = json.loads(told.read_text())["reports"]
    assert [row["streams"] for row in report["steps"]] == [1]
    assert report["peers"]
    why = "3 streams more do not fit the memory of cpu; a stream takes 3 MB"
    assert report["left_out"] == [
        {"part": "a step of 3", "why": why},
        {"part": "2 listeners", "why": why.replace("3", "2", 1)},
    ]
    assert "## Not measured: nano fp16" in shown.read_text()


def test_what_filled_the_memory_is_given_back_before_the_next_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device whose memory is full in the middle of a run."""
    places, draw_all = list[int](), LockstepBackend.draw_all

    def pool(layers: int, count: int, *given: Any) -> CachePool:
        places.append(count)
        return CachePool(layers, count, *given)

    def drawn(backend: LockstepBackend, calls: Any) -> Any:
        if backend.places == 2 and not backend._preparing:
            raise torch.OutOfMemoryError("out of memory")
        return draw_all(backend, calls)

    monkeypatch.setattr("engine.backends.lockstep.CachePool", pool)
    monkeypatch.setattr(LockstepBackend, "draw_all", drawn)
    monkeypatch.setattr("cuestream.gpu.bench.paced", partial(streams.paced, joining_s=0.05))
    plan = Plan("cpu", [], [2, 1], 0.1, 0, profile=False, compared=0, processes=1, context_s=5.0)
    report = measure(Setting("nano"), plan, 1.0, peer=False)
    assert [(left.part, left.why) for left in report.left_out] == [("2 listeners", "out of memory")]
    assert [row.streams for row in report.streams] == [1]
    assert places == [2, 1]
    assert gc.get_freeze_count() == 0


def test_several_engines_have_the_device_to_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has weights of its own; those of the one that asks were measured before, and are not there meanwhile."""
    made, there, init = weakref.WeakSet[LockstepBackend](), list[int](), LockstepBackend.__init__

    def noted(backend: LockstepBackend, *given: Any) -> None:
        made.add(backend)
        init(backend, *given)

    def beside(processes: int, *_: Any) -> StreamsRow:
        there.append(len(made))
        run = Run(4.0, [Heard(0.0, 0.1, 0.0, 2, [0.2] * 5, [0.1] * 3)], [0.1], [0.1, 0.1, 0.1])
        return row([run] * processes, StreamPolicy())

    monkeypatch.setattr(LockstepBackend, "__init__", noted)
    monkeypatch.setattr("cuestream.gpu.bench.paced_by", beside)
    monkeypatch.setattr("cuestream.gpu.bench.step_rows", lambda backend, *_: there.append(len(made)) or [])
    plan = Plan("cpu", [1], [2, 4], 0.1, 0, profile=False, compared=0, processes=2, context_s=5.0)
    report = measure(Setting("nano"), plan, 1.0, peer=False)
    assert [row.processes for row in report.streams] == [2, 2]
    assert there == [1, 0, 0]


def test_a_model_that_does_not_fit_the_memory_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory\nand more of it")

    monkeypatch.setattr("cuestream.gpu.bench.model_of", full)
    options = ["--device", "cpu", "--size", "nano", "--json", str(tmp_path / "gpu.json")]
    assert CliRunner().invoke(app, ["bench", "gpu", *options]).exit_code == 0
    (report,) = json.loads((tmp_path / "gpu.json").read_text())["reports"]
    assert report["left_out"] == [{"part": "the model", "why": "out of memory"}]


@pytest.mark.parametrize(("size", "said"), [("nano", False), ("small", True)])
def test_what_takes_hours_on_a_cpu_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, size: str, said: bool
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("cuestream.gpu.bench.model_of", full)
    told = CliRunner().invoke(app, ["bench", "gpu", "--device", "cpu", "--size", size])
    assert told.exit_code == 0
    assert ("on a CPU this takes hours" in told.stderr) == said


def test_one_engine_of_several_that_fails_keeps_the_others_waiting_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what it raised is known in the process that asked."""

    def full(*_: Any) -> None:
        raise NoRoom("full", 5.0)

    barrier = Barrier(2)
    monkeypatch.setattr(crowd, "_others", barrier)
    monkeypatch.setattr(crowd, "model_of", full)
    with pytest.raises(NoRoom) as caught:
        crowd._listen(Setting("nano"), "cpu", [0], 1.0, StreamPolicy(), 0.0)
    assert barrier.broken
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.retry_s) == ("full; try again in 5 s", 5.0)


def test_a_copy_is_timed_once_the_clocks_are_up(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[str]()

    def timed(_: torch.device, call: Callable[[], object]) -> float:
        done.append("copy")
        return 1.0

    monkeypatch.setattr("cuestream.gpu.device._warm_up", lambda _: done.append("warm"))
    monkeypatch.setattr("cuestream.gpu.device.timed", timed)
    monkeypatch.setattr("cuestream.gpu.device.COPIED", {"cpu": 8})
    assert copy_bandwidth(torch.device("cpu")) == 16
    assert done == ["warm", *["copy"] * REPEATS]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--counts", "a,b"), "whole numbers"),
        (("--listeners", "64,0"), "whole numbers above 0"),
        (("--device", "banana"), "--device banana: Expected one of cpu"),
        (("--profile",), "--profile needs a CUDA device"),
        (("--export", "models/starter", "--steps", "0"), "expected some, found 0"),
        (("--json", "nowhere/gpu.json"), "nowhere/gpu.json: there is no such folder"),
        (("--plot", "gpu.banana"), "expected the ending of a picture"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(options: tuple[str, str], said: str) -> None:
    done = CliRunner().invoke(app, ["bench", "gpu", "--device", "cpu", "--size", "nano", *options])
    assert isinstance(done.exception, CuestreamError)
    assert said in str(done.exception)
