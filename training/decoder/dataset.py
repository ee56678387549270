"""Stretches of music with what was seen while it was played.

Letters: B rows, T columns, K codebooks, G blocks of L columns, V views of a block, F frames of a video, P tokens, E vision width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from engine.patterns import DelayPattern
from training.decoder.views import Views

BLOCK_STEPS = 25
"""L: columns that share a list of views; a frame slot."""
BEGINNINGS = 0.1
"""Share of stretches that begin where the piece does, from nothing."""


@dataclass(frozen=True, slots=True)
class Clip:
    """features: fp16 [F, P, E] of its frames. views: for each length of the short-term window that was watched.

    pieces: int16 [pieces, K, T], the codes of pieces of music for this video.
    """

    features: Tensor
    views: list[Views]
    pieces: np.ndarray


@dataclass(frozen=True, slots=True)
class Batch:
    """See `teacher_forcing.logits`. wanted: int64 [B, T, K], -100 where nothing is asked."""

    columns: Tensor
    wanted: Tensor
    features: Tensor
    """[B, all, P, E], of every view."""
    memory: Tensor
    """[B, M, P, E], of the recalled frames."""
    remembered: Tensor
    """bool [B, M]: which of them there are."""
    chosen: Tensor
    ages: Tensor
    visible: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a row is cut from: a clip, a way of seeing, a piece, the stream's column at position 0."""

    clip: int
    view: int
    piece: int
    origin: int


def shortest(columns: int, codebooks: int) -> int:
    """Steps of the shortest clip that rows can be drawn from."""
    return columns + codebooks + 1


class Stretches:
    """Batches drawn from clips, each of the shortest length at least."""

    def __init__(
        self, clips: list[Clip], pattern: DelayPattern, ages: int, recalled: int, steps_per_slot: int
    ) -> None:
        self.clips, self.pattern = clips, pattern
        self.ages, self.recalled, self.steps_per_slot = ages, recalled, steps_per_slot

    def draw(self, rows: int, columns: int) -> list[Stretch]:
        """Random stretches, from torch's generator."""
        answer = list[Stretch]()
        for _ in range(rows):
            clip = int(torch.randint(len(self.clips), ()))
            held = self.clips[clip]
            origins = held.pieces.shape[2] - shortest(columns, self.pattern.codebooks) + 1
            origin = 0 if torch.rand(()) < BEGINNINGS else int(torch.randint(origins, ()))
            view, piece = int(torch.randint(len(held.views), ())), int(torch.randint(len(held.pieces), ()))
            answer.append(Stretch(clip, view, piece, origin))
        return answer

    def batch(self, stretches: list[Stretch], columns: int) -> Batch:
        rows = [self._row(stretch, columns) for stretch in stretches]
        return Batch(
            torch.stack([row["columns"] for row in rows]),
            torch.stack([row["wanted"] for row in rows]),
            _padded([row["features"] for row in rows]),
            _padded([row["memory"] for row in rows]),
            _padded([torch.ones(len(row["memory"]), dtype=torch.bool) for row in rows]),
            _padded([row["chosen"].movedim(1, 0) for row in rows]).movedim(1, 2),
            _padded([row["ages"].movedim(2, 0) for row in rows]).movedim(1, 3),
            _padded([row["visible"].movedim(2, 0) for row in rows]).movedim(1, 3),
        )

    def _row(self, stretch: Stretch, columns: int) -> dict[str, Tensor]:
        clip = self.clips[stretch.clip]
        read, wanted = self._columns(clip.pieces[stretch.piece], stretch.origin, columns)
        views = clip.views[stretch.view]
        used, chosen, ages, visible = self._views(views.views, stretch.origin, columns)
        recalled = views.recalled[stretch.origin // self.steps_per_slot][: self.recalled]
        return {
            "columns": read,
            "wanted": wanted,
            "features": clip.features[torch.from_numpy(used.astype(np.int64))].float(),
            "memory": clip.features[torch.tensor(recalled)].float(),
            "chosen": chosen,
            "ages": ages,
            "visible": visible,
        }

    def _columns(self, codes: np.ndarray, origin: int, columns: int) -> tuple[Tensor, Tensor]:
        """What is read at positions 0, 1, ... and what comes next."""
        sequence = self.pattern.sequence(
            codes[:, : origin + columns + 1].astype(np.int64), origin + columns + 1
        )
        read = sequence[origin:-1].copy()
        for position in range(self.pattern.codebooks):
            read[position] = self.pattern.begin(read[position], position)
        wanted = sequence[origin + 1 :].copy()
        wanted[wanted == self.pattern.special] = -100
        return torch.from_numpy(read), torch.from_numpy(wanted)

    def _views(
        self, views: np.ndarray, origin: int, columns: int
    ) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
        """The frames used, and for each block which of them, how old, and at which columns seen."""
        inside = views[(views[:, 2] < origin + columns) & (views[:, 3] > origin)]
        step = origin + np.arange(columns).reshape(-1, BLOCK_STEPS)  # [G, L]
        block = (inside[None, :, 2] <= step[:, -1:]) & (inside[None, :, 3] > step[:, :1])  # [G, all]
        most = int(block.sum(1).max())
        order = np.argsort(~block, axis=1, kind="stable")[:, :most]  # [G, V]
        first, last = inside[order, 2], inside[order, 3]
        visible = (first[:, None] <= step[..., None]) & (last[:, None] > step[..., None])
        newest = np.where(visible, inside[order, 1][:, None], -1).max(-1, keepdims=True)
        ages = np.clip(newest - inside[order, 1][:, None], 0, max(0, self.ages - 1))
        return (
            inside[:, 0],
            torch.from_numpy(order),
            torch.from_numpy(ages.astype(np.int64)),
            torch.from_numpy(visible),
        )


def _padded(rows: list[Tensor]) -> Tensor:
    """Stack along a new first axis; shorter rows are filled with zeros."""
    longest = max(len(row) for row in rows)
    answer = rows[0].new_zeros((len(rows), longest, *rows[0].shape[1:]))
    for i, row in enumerate(rows):
        answer[i, : len(row)] = row
    return answer
