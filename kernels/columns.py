"""What stands before and behind the layers of a step: tokens to rows, and the drawn column to what the next step reads.

Letters: B lanes of the batch, S segments, R guidance rows, K codebooks, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.attention import Impl, by_triton


def rows_of(
    tokens: Tensor, position: Tensor, table: Tensor, positions: Tensor, rows: int, impl: Impl = "auto"
) -> Tensor:
    """A column's embeddings, summed over its codebooks, and its position's, for each guidance row: float32 [B * S * R, D].

    tokens: int64 [B, S, K], below card + 1; position: int64 [B, S], one below 0 counts as 0; table: [K * (card + 1), D], the
    codebooks behind one another; positions: [N, D].
    """
    if (
        tokens.shape[:2] != position.shape
        or len(table) % tokens.shape[2]
        or table.shape[1:] != positions.shape[1:]
    ):
        raise ValueError(
            f"tokens {list(tokens.shape)}, position {list(position.shape)}, table {list(table.shape)} and positions "
            f"{list(positions.shape)} do not fit"
        )
    if by_triton(impl, tokens):
        from kernels import columns_triton

        return columns_triton.rows_of(tokens, position, table, positions, rows)
    return rows_of_plain(tokens, position, table, positions, rows)


def rows_of_plain(tokens: Tensor, position: Tensor, table: Tensor, positions: Tensor, rows: int) -> Tensor:
    """The twin of `rows_of`."""
    codebooks = tokens.shape[2]
    offsets = torch.arange(codebooks, device=tokens.device) * (len(table) // codebooks)
    summed = F.embedding(tokens + offsets, table).float().sum(2) + positions[position.clamp(min=0)].float()
    return summed.unsqueeze(2).expand(-1, -1, rows, -1).reshape(-1, table.shape[1])


def advance(
    column: Tensor,
    tokens: Tensor,
    position: Tensor,
    kept: Tensor,
    step: Tensor,
    special: int,
    impl: Impl = "auto",
) -> None:
    """Keep the column that was drawn, and write what the next step reads, all in place.

    column: int64 [B, K], drawn. kept: int64 [steps, B, K], of which row `step` becomes the column; step: int64 [B], the same
    number for each lane, one more then. position: int64 [B, S], one more where it is not below 0. tokens: int64 [B, S, K]: the
    column, but `special` in codebooks that have not begun by then (codebook k begins at position k + 1).
    """
    if kept.shape[1:] != column.shape or tokens.shape[::2] != column.shape or step.shape != column.shape[:1]:
        raise ValueError(
            f"column {list(column.shape)}, tokens {list(tokens.shape)}, kept {list(kept.shape)} and step "
            f"{list(step.shape)} do not fit"
        )
    if by_triton(impl, column):
        from kernels import columns_triton

        columns_triton.advance(column, tokens, position, kept, step, special)
    else:
        advance_plain(column, tokens, position, kept, step, special)


def advance_plain(
    column: Tensor, tokens: Tensor, position: Tensor, kept: Tensor, step: Tensor, special: int
) -> None:
    """The twin of `advance`."""
    kept.index_copy_(0, step[:1], column.unsqueeze(0))
    position.add_(position >= 0)
    begun = torch.arange(column.shape[1], device=column.device) < position.unsqueeze(2)  # [B, S, K]
    tokens.copy_(torch.where(begun, column.unsqueeze(1), special))
    step.add_(1)
