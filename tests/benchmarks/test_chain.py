"""What `benchmarks.chain` leaves out of a step is left out, and what it changes is as it was behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="kernels need Triton")

from benchmarks.chain import PARTS, Way, matrices_of, stepped, tiles_of, ways_of
from engine.backends import lanes
from engine.backends.lockstep import LockstepBackend
from export.checkpoint import Package, load_model
from export.random_model import spec_of
from kernels import attention_triton, linear_triton
from kernels.attention import cross_attention, self_attention
from kernels.attention_triton import Tuning
from kernels.linear import Weight, quantise
from kernels.linear_triton import Tile


@pytest.fixture(scope="module")
def backend(nano_package: Package) -> LockstepBackend:
    return LockstepBackend(load_model(nano_package), "cpu", torch.float32, 16, "half", 1)


def test_a_part_that_is_left_out_is_not_asked(
    backend: LockstepBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set[str]()
    for name, attend in (("self_attention", self_attention), ("cross_attention", cross_attention)):

        def noted(*given: Any, name: str = name, attend: Callable[..., Any] = attend, **more: Any) -> Any:
            asked.add(name)
            return attend(*given, **more)

        monkeypatch.setattr(lanes, name, noted)
    found = {}
    for way in PARTS:
        asked.clear()
        with way.applied():
            assert stepped(backend, 1).ms > 0
        found[way.label] = set(asked)
    both = {"self_attention", "cross_attention"}
    assert found == {
        "as it is set": both,
        "without self-attention": {"cross_attention"},
        "without cross-attention": {"self_attention"},
        "without either": set(),
        "one launch behind another": both,
    }


def test_a_way_holds_until_it_is_closed() -> None:
    def weight(outputs: int, inputs: int) -> Weight:
        return quantise(torch.zeros(outputs, inputs, dtype=torch.float16), 16)

    tile, tuning = Tile(8, 128, 2, 2, 1, 1), Tuning(tile=128)
    before = attention_triton.SELF, linear_triton.choose(4, weight(16, 256), False, True)
    with Way("other", own=tuning, tiles={(16, 256): tile}).applied():
        assert attention_triton.SELF.few == tuning
        assert linear_triton.choose(4, weight(16, 256), False, True) == tile
        assert linear_triton.choose(4, weight(32, 256), False, True) != tile
        assert linear_triton.choose(4, weight(16, 256), False) != tile  # one behind another
    assert (attention_triton.SELF, linear_triton.choose(4, weight(16, 256), False, True)) == before


@pytest.mark.parametrize("size", ["small", "medium"])
def test_what_is_set_is_part_of_a_sweep(size: str) -> None:
    decoder = spec_of(size).decoder
    for outputs, inputs in matrices_of(decoder):
        weight = quantise(torch.zeros(outputs, inputs, dtype=torch.float16), 16)
        assert linear_triton.choose(4, weight, False, True) in list(tiles_of(inputs))
    assert attention_triton.SELF.few in [way.own for way in ways_of(spec_of(size))]
