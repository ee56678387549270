"""The starter model as it learns: everything behind the eyes, which stay as they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model.vidmuse import VidMuse
from training.decoder.dataset import BLOCK_STEPS, Batch, Stretch, Stretches
from training.decoder.teacher_forcing import logits

DROPPED = 0.12
"""Share of rows that learn without a picture, for guidance."""
UNSURE_COLUMNS = 50
"""A stretch that begins inside a piece is not asked for its first second: the live engine never samples there."""


def check_columns(columns: int) -> None:
    """Raises ValueError when a row's columns are too few to learn from, or no whole blocks."""
    if columns <= UNSURE_COLUMNS or columns % BLOCK_STEPS:
        limit = f"above {UNSURE_COLUMNS} and a multiple of {BLOCK_STEPS}"
        raise ValueError(f"the columns of a row must be {limit}, not {columns}")


class DecoderLearner:
    """Trains short and long branch, fusion and decoder on stretches of clips, on the device that the model is on.

    compiled: the decoder through torch.compile; worth its first minutes on a GPU. columns: see `check_columns`.
    """

    def __init__(
        self,
        model: VidMuse,
        learned: Stretches,
        held: Stretches,
        rows: int,
        columns: int,
        compiled: bool = False,
    ) -> None:
        check_columns(columns)
        self.model, self.learned, self.held = model, learned, held
        self.rows, self.columns = rows, columns
        self.device = model.decoder.embedding.weight.device
        self.logits = torch.compile(logits, dynamic=True) if compiled else logits
        model.vision.requires_grad_(False)
        side, planes = model.spec.vision.image_size, model.spec.vision.planes
        with torch.no_grad():
            black = torch.zeros(1, side, side, planes, dtype=torch.uint8, device=self.device)
            self.black = model.vision(black)[1]

    def loss(self, step: int) -> dict[str, Tensor]:
        stretches = self.learned.draw(self.rows, self.columns)
        dropped = (torch.rand(self.rows) < DROPPED).to(self.device)
        return self._terms(stretches, dropped)

    def _terms(self, stretches: list[Stretch], dropped: Tensor) -> dict[str, Tensor]:
        batch = self.learned.batch(stretches, self.columns).to(self.device)
        for row, stretch in enumerate(stretches):
            if stretch.origin:
                batch.wanted[row, :UNSURE_COLUMNS] = -100
        parts = cross_entropy(self.forward(batch, dropped), batch.wanted)
        return {"loss": parts.mean(), **{f"book{k}": part.detach() for k, part in enumerate(parts)}}

    def forward(self, batch: Batch, dropped: Tensor) -> Tensor:
        """[B, T, K, card]."""
        model = self.model
        null = self._fuse(self.black, self.black)
        rows = zip(batch.features, batch.memory, batch.remembered, strict=True)
        tokens = torch.stack([self._fuse(features, memory[held]) for features, memory, held in rows])
        return self.logits(
            model.decoder, batch.columns, tokens, batch.chosen, batch.ages, batch.visible, null, dropped
        )

    def _fuse(self, features: Tensor, recalled: Tensor) -> Tensor:
        model = self.model
        memory = model.fusion.remember(model.long_branch(recalled))
        tokens: Tensor = model.fusion(model.short_branch(features), memory)[1]
        return tokens

    def after(self, step: int) -> None:
        pass

    def evaluate(self) -> dict[str, float]:
        """Cross-entropy of held-out pieces with their own video, and with another one: the difference is what seeing is worth."""
        state = torch.random.get_rng_state()
        torch.manual_seed(0)
        stretches = self.held.draw(24, self.columns)
        torch.random.set_rng_state(state)
        sums = torch.zeros(3, self.model.spec.decoder.codebooks, device=self.device)
        for first in range(0, len(stretches), self.rows):
            batch = self.held.batch(stretches[first : first + self.rows], self.columns).to(self.device)
            batch.wanted[:, : self.columns * 2 // 3] = -100  # as a stream that has been playing
            seeing = torch.zeros(len(batch.columns), dtype=torch.bool, device=self.device)
            right = self.forward(batch, seeing)
            null = self.forward(batch, ~seeing)
            sums[0] += cross_entropy(right, batch.wanted)
            sums[1] += cross_entropy(null, batch.wanted)
            sums[2] += (right.argmax(-1) == batch.wanted).float().sum((0, 1)) / (batch.wanted >= 0).sum(
                (0, 1)
            )
        means = sums / (len(stretches) / self.rows)
        return {
            **{f"book{k}": float(v) for k, v in enumerate(means[0])},
            "blind": float(means[1].mean()),
            "seeing": float(means[0].mean()),
            "accuracy": float(means[2].mean()),
        }


def cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """[K], of each codebook."""
    books = range(wanted.shape[-1])
    return torch.stack(
        [F.cross_entropy(logits[..., k, :].flatten(0, 1).float(), wanted[..., k].flatten()) for k in books]
    )
