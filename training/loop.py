"""The training loop that all parts share: seeded, logged, resumable.

What a step sees is keyed by (seed, step) and the learning rate by the step alone, so a run that was killed continues from its
last checkpoint bit for bit. A budget in minutes becomes a number of steps once, when the first steps have shown their speed.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from torch import Tensor, nn

from training.shell import say

CHECKPOINT_FILE, LOG_FILE = "checkpoint.pt", "log.jsonl"
HELD = "held_"
"""Before the names of held-out figures in the log."""
MEASURED_STEPS = 20
"""Steps whose speed turns a budget into a number of steps; the first one does not count."""


class Learner(Protocol):
    """What is trained. `model` holds everything that a checkpoint must hold but the optimiser."""

    @property
    def model(self) -> nn.Module: ...

    def loss(self, step: int) -> dict[str, Tensor]:
        """Terms to be shown; `loss` is the one that is made smaller. Everything random is drawn from torch's generator."""
        ...

    def after(self, step: int) -> None:
        """Called when a step is done."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Figures of held-out data."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how: one of `steps` and `budget_minutes`."""

    folder: Path
    steps: int = 0
    budget_minutes: float = 0.0
    learning_rate: float = 1e-3
    last_rate: float = 0.05
    """The learning rate ends at this share of it, on a cosine."""
    warm_up: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 500
    evaluate_every: int = 1000
    log_every: int = 20
    bf16: bool = False


def train(learner: Learner, plan: Plan, report: Callable[[str], None] = say) -> int:
    """Train to the end of the plan, from the checkpoint in its folder if there is one. Returns the steps done in all."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(
        _groups(learner.model, plan.weight_decay), lr=plan.learning_rate, betas=plan.betas
    )
    done, total, evaluated = _resume(learner, optimiser, plan)
    if 0 < total <= done:
        report(f"{plan.folder}: finished at {done} steps; a larger --steps goes on")
    with (plan.folder / LOG_FILE).open("a", encoding="utf-8") as log:
        return _go_on(learner, optimiser, plan, done, total, _Log(log, report, evaluated))


def _go_on(
    learner: Learner, optimiser: torch.optim.Optimizer, plan: Plan, done: int, total: int, log: _Log
) -> int:
    while True:
        ends = 0 < total <= done
        if done > log.evaluated and (done % plan.evaluate_every == 0 or ends):
            log.write(done, total, {f"{HELD}{k}": v for k, v in _evaluated(learner).items()})
            log.evaluated = done
        if ends:
            return done
        terms = _step(learner, optimiser, plan, done, total)
        done += 1
        learner.after(done)
        if done == 1:
            log.began = time.monotonic()
        if total == 0 and done > MEASURED_STEPS:
            each = (time.monotonic() - log.began) / (done - 1)
            total = done + max(0, round(plan.budget_minutes * 60 / each))
            log.report(f"{each * 1000:.0f} ms a step: {total} steps")
        ends = 0 < total <= done
        if done % plan.log_every == 0 or ends:
            log.write(done, total, terms)
        if total > 0 and (done % plan.checkpoint_every == 0 or ends):
            _save(learner, optimiser, plan, done, total)  # before it is evaluated, which may fail


@dataclass(slots=True)
class _Log:
    """One JSON object a line, and the same for whoever watches."""

    file: TextIO
    report: Callable[[str], None]
    evaluated: int
    """The last step with held-out figures."""
    began: float = field(default_factory=time.monotonic)

    def write(self, done: int, total: int, terms: dict[str, float]) -> None:
        """Raises ArithmeticError when a term is no number; what is learned is written before a checkpoint is made of it."""
        if not all(math.isfinite(v) for v in terms.values()):
            raise ArithmeticError(f"step {done}: expected numbers, found {terms}")
        self.file.write(json.dumps({"step": done, **{k: round(v, 5) for k, v in terms.items()}}) + "\n")
        self.file.flush()
        shown = "  ".join(f"{k} {v:.4f}" for k, v in terms.items())
        self.report(f"{done}/{total or '?'}  {time.monotonic() - self.began:.0f} s  {shown}")


def _evaluated(learner: Learner) -> dict[str, float]:
    learner.model.eval()
    with torch.no_grad():
        figures = learner.evaluate()
    learner.model.train()
    return figures


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; gains, biases and tables of one dimension do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _step(
    learner: Learner, optimiser: torch.optim.Optimizer, plan: Plan, done: int, total: int
) -> dict[str, float]:
    torch.manual_seed(plan.seed * 1_000_003 + done)
    for group in optimiser.param_groups:
        group["lr"] = plan.learning_rate * _rate(done, total, plan)
    device = next(learner.model.parameters()).device
    context: AbstractContextManager[Any] = (
        torch.autocast(device.type, torch.bfloat16) if plan.bf16 else nullcontext()
    )
    with context:
        terms = learner.loss(done)
    optimiser.zero_grad(set_to_none=True)
    terms["loss"].backward()
    nn.utils.clip_grad_norm_(learner.model.parameters(), plan.clip)
    optimiser.step()
    return {name: float(term.detach()) for name, term in terms.items()}


def _rate(done: int, total: int, plan: Plan) -> float:
    """Up in a straight line, down on a cosine; while the number of steps is not known it only goes up."""
    up = min(1.0, (done + 1) / plan.warm_up)
    share = done / total if total else 0.0
    return up * (plan.last_rate + (1 - plan.last_rate) * 0.5 * (1 + math.cos(math.pi * share)))


def _save(learner: Learner, optimiser: torch.optim.Optimizer, plan: Plan, done: int, total: int) -> None:
    """Written beside and moved into place: a kill leaves the checkpoint before."""
    path = plan.folder / CHECKPOINT_FILE
    described = {**asdict(plan), "folder": str(plan.folder.name)}
    state = {
        "model": learner.model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "done": done,
        "total": total,
        "plan": described,
    }
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def _resume(learner: Learner, optimiser: torch.optim.Optimizer, plan: Plan) -> tuple[int, int, int]:
    """Steps done, steps in all (0: to be measured) and the last one with held-out figures.

    Log lines after the checkpoint are dropped: they come again.
    """
    path, log = plan.folder / CHECKPOINT_FILE, plan.folder / LOG_FILE
    if not path.is_file():
        log.unlink(missing_ok=True)
        return 0, plan.steps, 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    learner.model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    kept = [line for line in log.read_text("utf-8").splitlines() if json.loads(line)["step"] <= state["done"]]
    log.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    evaluated = max((json.loads(line)["step"] for line in kept if HELD in line), default=0)
    return int(state["done"]), plan.steps or int(state["total"]), evaluated
