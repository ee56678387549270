"""What stands around the layers of a step: kernels against their twins, and the twins against what they are said to do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels.attention import Impl
from kernels.columns import advance, rows_of

SPECIAL = 99
BOTH: tuple[Impl, ...] = ("triton", "plain")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("lanes", "rows", "width"), [(1, 2, 64), (3, 1, 520)])
def test_a_column_is_the_sum_of_its_embeddings_and_its_position(
    lanes: int, rows: int, width: int, dtype: torch.dtype, device: torch.device
) -> None:
    random = torch.Generator().manual_seed(lanes)
    table, positions = (torch.randn(n, width, generator=random).to(device, dtype) for n in (4 * 17, 30))
    tokens = torch.randint(0, 17, (lanes, 2, 4), generator=random).to(device)
    position = torch.randint(-1, 30, (lanes, 2), generator=random).to(device)
    position[0, 0] = -1
    expected = torch.stack(
        [
            sum(table[17 * k + tokens[lane, segment, k]].float() for k in range(4))
            + positions[max(0, int(position[lane, segment]))].float()
            for lane in range(lanes)
            for segment in range(2)
            for _ in range(rows)
        ]
    )
    for impl in BOTH:
        found = rows_of(tokens, position, table, positions, rows, impl)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("impl", BOTH)
def test_a_drawn_column_is_kept_and_read_by_the_next_step(impl: Impl, device: torch.device) -> None:
    """A segment that does not play stays where it is and reads nothing but the special token."""
    given = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]], device=device)
    tokens = torch.zeros(2, 2, 4, dtype=torch.int64, device=device)
    position = torch.tensor([[0, -1], [700, 2]], device=device)
    kept = torch.zeros(3, 2, 4, dtype=torch.int64, device=device)
    step = torch.ones(2, dtype=torch.int64, device=device)
    advance(given, tokens, position, kept, step, SPECIAL, impl)
    assert position.tolist() == [[1, -1], [701, 3]]
    assert step.tolist() == [2, 2]
    assert kept.tolist() == [[[0] * 4] * 2, given.tolist(), [[0] * 4] * 2]
    assert tokens.tolist() == [
        [[5, SPECIAL, SPECIAL, SPECIAL], [SPECIAL] * 4],
        [[1, 2, 3, 4], [1, 2, 3, SPECIAL]],
    ]


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    with pytest.raises(ValueError, match=r"tokens \[1, 2, 4\]"):
        rows_of(zeros(1, 2, 4), zeros(1, 1), zeros(8, 6).float(), zeros(9, 6).float(), 2)
    with pytest.raises(ValueError, match=r"step \[2\]"):
        advance(zeros(1, 4), zeros(1, 2, 4), zeros(1, 2), zeros(3, 1, 4), zeros(2), SPECIAL)
