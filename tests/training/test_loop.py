"""The training loop: killed at any moment it goes on bit for bit; budgets, logs, and what cannot go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.model.vidmuse import VidMuse
from engine.patterns import DelayPattern
from export.random_model import nano_spec
from training.curves import curves, draw
from training.decoder.dataset import Clip, Stretches
from training.decoder.learner import DecoderLearner
from training.decoder.views import Views
from training.loop import CHECKPOINT_FILE, LOG_FILE, Plan, train

STEPS, CHECKPOINT_EVERY = 24, 5


def learner() -> DecoderLearner:
    """The decoder of a nano model on two clips of noise; the same each time."""
    torch.manual_seed(7)
    spec = replace(nano_spec(), codec=None)
    settings = (
        DelayPattern(4, spec.decoder.special), spec.decoder.ages, spec.long_short.recalled, spec.steps_per_slot
    )  # fmt: skip
    views = Views(torch.tensor([[i, i, 25 * i, 25 * i + 100] for i in range(12)]).int().numpy(), [[0]] * 12)
    clips = [
        Clip(
            torch.randn(12, spec.vision.tokens, spec.vision.width).half(),
            [views],
            torch.randint(spec.decoder.card, (1, 4, 300)).short().numpy(),
        )
        for _ in range(2)
    ]
    return DecoderLearner(
        VidMuse(spec), Stretches(clips, *settings), Stretches(clips, *settings), rows=2, columns=100
    )


def plan(folder: Path, **changes: object) -> Plan:
    whole = Plan(folder, STEPS, checkpoint_every=CHECKPOINT_EVERY, evaluate_every=12, log_every=1)
    return replace(whole, **changes)  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / CHECKPOINT_FILE, weights_only=True)["model"]
    return state


def assert_same(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (a / LOG_FILE).read_text() == (b / LOG_FILE).read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(learner(), plan(folder), lambda _: None) == STEPS
    return folder


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [3, 5, 17, 23])
def test_a_run_that_broke_off_goes_on_bit_for_bit(whole: Path, tmp_path: Path, at: int) -> None:
    broken = learner()
    lost = broken.loss

    def fail(step: int) -> dict[str, Tensor]:
        if step == at:
            raise Stopped
        return lost(step)

    broken.loss = fail  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        train(broken, plan(tmp_path), lambda _: None)
    assert train(learner(), plan(tmp_path), lambda _: None) == STEPS
    assert_same(whole, tmp_path)


def test_a_killed_process_goes_on_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    """SIGKILL while it trains, at whatever moment; the next process finishes the run."""
    program = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path\nimport torch\nfrom test_loop import learner, plan, train\n"
        "torch.set_num_threads(1)\n"
        f"train(learner(), plan(Path({str(tmp_path)!r})), lambda line: print(line, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("13/"):
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait(60) == -signal.SIGKILL
    process.stdout.close()
    done = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)["done"]
    assert CHECKPOINT_EVERY <= done < STEPS
    assert train(learner(), plan(tmp_path), lambda _: None) == STEPS
    assert_same(whole, tmp_path)


def test_a_finished_run_is_left_alone(whole: Path) -> None:
    before, said = (whole / CHECKPOINT_FILE).read_bytes(), list[str]()
    assert train(learner(), plan(whole), said.append) == STEPS
    assert (whole / CHECKPOINT_FILE).read_bytes() == before
    assert said == [f"{whole}: finished at {STEPS} steps; a larger --steps goes on"]


def test_the_seed_decides(whole: Path, tmp_path: Path) -> None:
    train(learner(), plan(tmp_path, seed=1), lambda _: None)
    ours, theirs = weights(whole), weights(tmp_path)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_learned_gets_better_and_the_eyes_stay(whole: Path) -> None:
    losses = [json.loads(line) for line in (whole / LOG_FILE).read_text().splitlines()]
    learned = [row["loss"] for row in losses if "loss" in row]
    assert len(learned) == STEPS
    assert min(learned[-4:]) < learned[0] - 0.05
    fresh = learner().model.state_dict()
    after = weights(whole)
    assert all(torch.equal(fresh[k], after[k]) for k in fresh if k.startswith("vision."))


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_kept(tmp_path: Path) -> None:
    broken = learner()
    right = broken.loss
    broken.loss = lambda step: right(step) if step < 7 else {"loss": right(step)["loss"] * torch.nan}  # type: ignore[method-assign]
    with pytest.raises(ArithmeticError, match="step 8"):
        train(broken, plan(tmp_path), lambda _: None)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


def test_an_evaluation_that_failed_costs_no_step_and_comes_again(whole: Path, tmp_path: Path) -> None:
    def fail() -> dict[str, float]:
        raise Stopped

    broken = learner()
    broken.evaluate = fail  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        train(broken, plan(tmp_path, checkpoint_every=12), lambda _: None)
    assert torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)["done"] == 12
    assert train(learner(), plan(tmp_path, checkpoint_every=12), lambda _: None) == STEPS
    assert_same(whole, tmp_path)


class Slow:
    """A learner whose steps take 10 ms."""

    def __init__(self) -> None:
        self.model: nn.Module = nn.Linear(1, 1)

    def loss(self, step: int) -> dict[str, Tensor]:
        time.sleep(0.01)
        return {"loss": self.model(torch.ones(1, 1)).pow(2).sum()}

    def after(self, step: int) -> None:
        pass

    def evaluate(self) -> dict[str, float]:
        return {"loss": 0.0}


def test_a_budget_becomes_a_number_of_steps_that_a_resumed_run_keeps(tmp_path: Path) -> None:
    budget = Plan(tmp_path, budget_minutes=0.01, checkpoint_every=10, log_every=10)
    done = train(Slow(), budget, lambda _: None)
    assert 21 <= done <= 21 + 60
    assert torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)["total"] == done


def test_curves_are_drawn_from_the_log(whole: Path, tmp_path: Path) -> None:
    lines = curves(whole / LOG_FILE)
    assert [step for step, _ in lines["held_seeing"]] == [12, STEPS]
    draw([whole / LOG_FILE], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_bfloat16_learns_what_float32_learns(whole: Path, tmp_path: Path) -> None:
    train(learner(), plan(tmp_path, bf16=True), lambda _: None)
    last = [curves(folder / LOG_FILE)["held_seeing"][-1][1] for folder in (whole, tmp_path)]
    assert last[1] == pytest.approx(last[0], rel=0.02)
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(tmp_path).values())
