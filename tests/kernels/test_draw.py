"""Tokens drawn on the device: the kernel and its twin against `engine.sampling`, which says what the rules are."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import mended_interpreter  # noqa: F401
import numpy as np
import pytest
import torch
from torch import Tensor
from triton.runtime.errors import InterpreterError

from engine import sampling as published
from engine.spec import StreamPolicy
from kernels import sampling, sampling_triton

CARD, CODEBOOKS = 96, 2


@dataclass(frozen=True)
class Lanes:
    """What B streams are drawn from."""

    logits: Tensor
    leading: Tensor
    policies: list[StreamPolicy]
    uniforms: Tensor
    allowed: Tensor

    def arguments(self) -> tuple[Tensor, ...]:
        def each(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(
                [getattr(p, name) for p in self.policies], dtype=dtype, device=self.logits.device
            )

        return (
            self.logits,
            self.leading,
            each("guidance"),
            each("temperature"),
            each("top_k", torch.int32),
            each("top_p"),
            self.uniforms,
            self.allowed,
        )

    def expected(self) -> list[list[int]]:
        """What `engine.sampling.sample` answers, with these draws for its own."""
        tokens = []
        for lane, policy in enumerate(self.policies):
            rows = self.logits[lane, int(self.leading[lane])].float().cpu().numpy()
            draws = self.uniforms[lane].double().cpu().numpy()
            with patch.object(published, "uniforms", lambda seed, step, count, draws=draws: draws):
                tokens.append(
                    published.sample(rows, policy, 0, self.allowed[lane].bool().cpu().numpy()).tolist()
                )
        return tokens


POLICIES = (
    {},
    {"temperature": 0.0},
    {"top_k": 0},
    {"top_k": 1},
    {"top_k": 5, "guidance": 1.0},
    {"top_p": 0.9, "top_k": 3},
    {"top_p": 1e-6},
    {"top_p": 0.999, "temperature": 2.5},
    {"top_k": CARD - 1, "temperature": 0.3, "guidance": 7.5},
    {"top_k": 4000},
)


def lanes(
    count: int,
    seed: int,
    device: torch.device,
    rows: int = 2,
    card: int = CARD,
    dtype: torch.dtype = torch.float32,
) -> Lanes:
    """Every policy in turn, tokens forbidden at random, draws at both ends too."""
    random = torch.Generator().manual_seed(seed)
    shape = (count, 2, rows, CODEBOOKS, card)
    uniforms = torch.rand(count, CODEBOOKS, generator=random, dtype=torch.float64)
    uniforms[0, 0], uniforms[-1, -1] = 0.0, 1 - 2**-53
    allowed = torch.rand(count, CODEBOOKS, card, generator=random) < 0.9
    allowed[..., 3] = True
    return Lanes(
        (torch.randn(shape, generator=random) * 0.7).to(dtype).to(device),
        torch.randint(2, (count,), generator=random, dtype=torch.int32).to(device),
        [StreamPolicy(**POLICIES[i % len(POLICIES)]) for i in range(count)],  # type: ignore[arg-type]
        uniforms.to(device),
        allowed.to(device),
    )


def check_draw(draw: Any, device: torch.device) -> None:
    """Every token as published: a mass within a rounding of float64 of the draw does not come up in so few draws."""
    for case in (
        lanes(len(POLICIES), 0, device),
        lanes(len(POLICIES) // 2, 1, device, rows=1),
        lanes(len(POLICIES) // 2, 2, device, dtype=torch.float16),
    ):
        assert draw(*case.arguments()).tolist() == case.expected()


def check_ties(draw: Any, device: torch.device) -> None:
    """Logits of five values or of one, no padding: thresholds fall among equals."""
    case = lanes(len(POLICIES), 6, device, card=64)
    few = (2 * case.logits).clamp(-2, 2).round() / 2
    few[5] = 0.0  # a nucleus of equals
    equal = Lanes(few, case.leading, case.policies, case.uniforms, case.allowed)
    assert draw(*equal.arguments()).tolist() == equal.expected()


@pytest.mark.parametrize("draw", [sampling.draw_plain, sampling_triton.draw], ids=["twin", "kernel"])
def test_tokens_are_the_published_ones(draw: Any, device: torch.device) -> None:
    check_draw(draw, device)
    check_ties(draw, device)


def test_thousands_of_draws_of_the_twin_are_the_published_ones(device: torch.device) -> None:
    case = lanes(1000, 4, device, card=2048)
    assert sampling.draw_plain(*case.arguments()).tolist() == case.expected()


def test_thousands_of_draws_of_the_kernel_are_the_published_ones(device: torch.device) -> None:
    """Of the released codebooks' size; in the interpreter, which takes 20 ms each, as many as policies."""
    case = lanes(2000 if device.type == "cuda" else len(POLICIES), 5, device, card=2048)
    assert sampling_triton.draw(*case.arguments()).tolist() == case.expected()


@pytest.mark.parametrize("draw", [sampling.draw_plain, sampling_triton.draw], ids=["twin", "kernel"])
def test_what_is_not_allowed_is_never_drawn(draw: Any, device: torch.device) -> None:
    case = lanes(len(POLICIES), 7, device)
    only = torch.zeros_like(case.allowed)
    only[..., 77] = True
    loud = Lanes(case.logits, case.leading, case.policies, case.uniforms, only)
    assert (draw(*loud.arguments()) == 77).all()
    silent = Lanes(case.logits, case.leading, case.policies, case.uniforms, torch.zeros_like(only))
    with np.errstate(all="ignore"):
        assert not draw(*silent.arguments()).any()


def test_uniforms_may_be_float32_and_allowed_bytes(device: torch.device) -> None:
    case = lanes(len(POLICIES), 8, device)
    narrow = Lanes(
        case.logits,
        case.leading,
        case.policies,
        case.uniforms.float().clamp(max=1 - 2**-24),
        case.allowed.to(torch.uint8),
    )
    for draw in (sampling.draw_plain, sampling_triton.draw):
        assert draw(*narrow.arguments()).tolist() == narrow.expected()


def test_the_dispatch_and_bad_shapes(device: torch.device) -> None:
    arguments = lanes(2, 9, device).arguments()
    answers = [sampling.draw(*arguments, impl=impl) for impl in ("auto", "plain", "triton")]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    with patch.object(sampling_triton, "draw", side_effect=InterruptedError), pytest.raises(InterruptedError):
        sampling.draw(*arguments, impl="triton")
    with pytest.raises(ValueError, match="allowed"):
        sampling.draw(*arguments[:-1], arguments[-1][..., 1:])
    with pytest.raises(ValueError, match="each of 2 lanes"):
        sampling.draw(arguments[0], arguments[1][:1], *arguments[2:])


MUTATIONS = {
    "guidance away from the condition": ("(mixed - null)", "(null - mixed)"),
    "the token that crosses is dropped": (
        "above + before.to(tl.float64) * chances <=",
        "above + before.to(tl.float64) * chances + chances <=",
    ),
    "the bisection stops early": ("while high - low > 1:", "while high - low > 1 << 22:"),
    "the draw itself does not pass": ("cumulative / tl.max(cumulative, 0) >", "cumulative >"),
    "dropped tokens have their mass": ("tl.cumsum(tl.where(kept, masses, 0.0), 0)", "tl.cumsum(masses, 0)"),
}
MUTATIONS_OF_TIES = {
    "the last of equals": ("tl.argmax(mixed, 0)", "tl.max(tl.where(mixed == tl.max(mixed, 0), card, 0), 0)"),
    "ties of top-k are dropped": ("kept = depth <= _level", "kept = depth < _level"),
    "ties of the nucleus are kept": ("above + before.to(tl.float64) * chances", "above + 0 * chances"),
}


def mutant(folder: Path, old: str, new: str) -> ModuleType:
    """`kernels.sampling_triton` with one line changed."""
    source = Path(sampling_triton.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{old!r} is in the kernel no more"
    path = folder / "mutated_draw.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location("mutated_draw", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict("sys.modules", {spec.name: module}):
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "check"),
    [(name, check_draw) for name in MUTATIONS] + [(name, check_ties) for name in MUTATIONS_OF_TIES],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="mutants are for the interpreter: each compiles anew")
def test_a_draw_that_is_wrong_is_seen(name: str, check: Any, tmp_path: Path, device: torch.device) -> None:
    changed = mutant(tmp_path, *(MUTATIONS | MUTATIONS_OF_TIES)[name])
    with pytest.raises((AssertionError, InterpreterError)):
        check(changed.draw, device)


def test_a_uniform_at_its_end_draws_the_last_token_that_may_be(device: torch.device) -> None:
    """Whatever the sums round to: never a token of no mass."""
    random = torch.Generator().manual_seed(10)
    logits = torch.randn(8, 1, 1, CODEBOOKS, CARD, generator=random).to(device)
    allowed = torch.rand(8, CODEBOOKS, CARD, generator=random).to(device) < 0.5
    policies = [StreamPolicy(top_k=0)] * 8
    ends = torch.full((8, CODEBOOKS), math.nextafter(1.0, 0.0), dtype=torch.float64, device=device)
    case = Lanes(logits, torch.zeros(8, dtype=torch.int32, device=device), policies, ends, allowed)
    last = CARD - 1 - allowed.flip(-1).int().argmax(-1)
    assert torch.equal(sampling_triton.draw(*case.arguments()), last)
