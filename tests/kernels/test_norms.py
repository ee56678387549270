"""A residual sum with the norm behind it is what PyTorch says, for rows that fill no block and rows far from zero."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kernels.norms import add_norm


@pytest.mark.parametrize("impl", ["triton", "plain"])
@pytest.mark.parametrize("width", [48, 64, 1000])
@pytest.mark.parametrize("adds", [True, False])
def test_sum_and_norm(device: torch.device, impl: str, width: int, adds: bool) -> None:
    random = torch.Generator().manual_seed(width)
    x, y = (torch.randn(5, width, generator=random).to(device) for _ in range(2))
    x[1] += 300.0
    expected = x.double() + (y.half().double() if adds else 0)
    normed = F.layer_norm(expected, (width,), eps=1e-5)
    summed, answer = add_norm(x, y.half() if adds else None, torch.float32, impl)  # type: ignore[arg-type]
    assert summed is x
    assert (x - expected).abs().max() <= 4e-5  # float32 at 300
    assert (answer - normed).abs().max() <= 1e-3 * normed.abs().max()
    assert (answer[0] - normed[0]).abs().max() <= 1e-5 * normed.abs().max()


def test_rows_that_are_not_one_behind_another_are_refused(device: torch.device) -> None:
    x = torch.zeros(4, 8, device=device)
    with pytest.raises(ValueError, match="one behind another"):
        add_norm(x.half(), None, torch.float16)
    with pytest.raises(ValueError, match="one behind another"):
        add_norm(x.t(), None, torch.float16)
