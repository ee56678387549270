"""What CUDA launches, and kernels count, at the most that anything asks for: the released size, 192 streams, windows of 30 s."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

from kernels import attention_triton, columns_triton, linear_triton, norms_triton, sampling_triton
from kernels.grid import grid
from kernels.linear import MOST_ROWS, quantise
from kernels.store import Store

LAYERS, HEADS, WIDTH, POSITIONS, CARD, CODEBOOKS = 48, 24, 64, 1500, 2048, 4
STREAMS, SEGMENTS, ROWS, FRAMES, TOKENS = 192, 2, 2, 60, 50


def there(*shape: int, kind: torch.dtype = torch.float16) -> Tensor:
    return torch.empty(shape, dtype=kind, device="meta")


def numbers(*shape: int) -> Tensor:
    return there(*shape, kind=torch.int64)


def held(*shape: int) -> Store:
    return Store(there(*shape, WIDTH, kind=torch.int8), there(*shape))


def hear() -> None:
    caches = held(STREAMS + 1, SEGMENTS, ROWS, HEADS, POSITIONS)
    qkv = there(STREAMS, SEGMENTS, ROWS, 3, HEADS, WIDTH)
    attention_triton.self_attention(qkv, caches, caches, numbers(STREAMS), numbers(STREAMS, SEGMENTS))


def see() -> None:
    seen, nobody = held(STREAMS + 1, HEADS, FRAMES * TOKENS), there(HEADS, TOKENS, WIDTH)
    q, lane = there(STREAMS, SEGMENTS, ROWS, HEADS, WIDTH), numbers(STREAMS)
    attention_triton.cross_attention(q, seen, seen, lane, lane, nobody, nobody)


def write() -> None:
    """The windows of all streams, of all layers: as many as lie in one launch when every frame is written again."""
    seen, frames = held(LAYERS * (STREAMS + 1), HEADS, FRAMES * TOKENS), LAYERS * STREAMS * FRAMES
    keys, values = there(frames, TOKENS, 2, HEADS, WIDTH).permute(2, 0, 3, 1, 4)  # as a product leaves them
    attention_triton.write_condition(seen, seen, numbers(frames), numbers(frames), keys, values)


def embed() -> None:
    width = HEADS * WIDTH
    tables = there(CODEBOOKS * (CARD + 1), width), there(POSITIONS + 3, width)
    tokens, position = numbers(STREAMS, SEGMENTS, CODEBOOKS), numbers(STREAMS, SEGMENTS)
    columns_triton.rows_of(tokens, position, *tables, ROWS)


def advance() -> None:
    tokens, position = numbers(STREAMS, SEGMENTS, CODEBOOKS), numbers(STREAMS, SEGMENTS)
    kept, column = numbers(10, STREAMS, CODEBOOKS), numbers(STREAMS, CODEBOOKS)
    columns_triton.advance(column, tokens, position, kept, numbers(STREAMS), CARD)


def norm() -> None:
    norms_triton.add_norm(there(STREAMS * SEGMENTS * ROWS, HEADS * WIDTH), None, torch.float16)


def draw() -> None:
    logits, each = there(STREAMS, SEGMENTS, ROWS, CODEBOOKS, CARD), there(STREAMS)
    allowed = there(STREAMS, CODEBOOKS, CARD, kind=torch.bool)
    sampling_triton.draw(logits, each, each, each, each, each, there(STREAMS, CODEBOOKS), allowed)


def multiply() -> None:
    weight = quantise(there(CODEBOOKS * CARD, HEADS * WIDTH), 16)
    x, out = there(MOST_ROWS, HEADS * WIDTH), there(MOST_ROWS, CODEBOOKS * CARD)
    linear_triton.linear(x, weight, False, None, False, out)


CALLS: list[tuple[Callable[[], None], ModuleType, str]] = [
    (hear, attention_triton, "_self_attention"),
    (see, attention_triton, "_cross_attention"),
    (write, attention_triton, "_write_condition"),
    (embed, columns_triton, "_rows_of"),
    (advance, columns_triton, "_advance"),
    (norm, norms_triton, "kernel"),
    (draw, sampling_triton, "_draw"),
    (multiply, linear_triton, "linear_kernel"),
]


FAR = {"keys", "key_scales", "values", "value_scales", "k", "v"}
"""Arguments of which the first axis, of places or frames, is counted in 64 bits."""


@pytest.mark.parametrize(("call", "module", "kernel"), CALLS, ids=[call.__name__ for call, *_ in CALLS])
def test_the_largest_launch_is_one_that_cuda_takes(
    call: Callable[[], None], module: ModuleType, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever is counted in 32 bits can be."""
    launched, given = list[tuple[int, ...]](), dict[str, Any]()
    names = getattr(module, kernel).arg_names

    class Noted:
        def __getitem__(self, programs: tuple[int, ...]) -> Callable[..., None]:
            launched.append(programs)
            return lambda *positional, **_: given.update(zip(names, positional, strict=False))

    monkeypatch.setattr(module, kernel, Noted())
    call()
    ((x, y, z),) = [(*each, 1, 1)[:3] for each in launched]
    assert 0 < x < 2**31
    assert 0 < y < 2**16
    assert 0 < z < 2**16
    counted = [x[0] if name in FAR else x for name, x in given.items() if isinstance(x, Tensor)]
    assert counted
    for each in counted:
        assert (
            sum((size - 1) * stride for size, stride in zip(each.shape, each.stride(), strict=True)) < 2**31
        )


def test_a_launch_that_cuda_refuses_is_refused_in_words() -> None:
    assert grid(2**31 - 1, 65_535, 65_535) == (2**31 - 1, 65_535, 65_535)
    for asked in ((2**31,), (1, 65_536), (1, 1, 65_536)):
        with pytest.raises(
            ValueError, match=r"a launch of [\dx ]+ programs is more than CUDA's 2147483647 x 65535"
        ):
            grid(*asked)
