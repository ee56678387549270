"""What a fixture's arrays should be: each computed from its inputs by one side, every intermediate once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch

from engine.backends.base import F32, I64
from engine.generate import Window, generate, pattern_of
from engine.offline import compose, encode, schedule
from engine.sampling import guide, sample, softmax
from engine.spec import ModelSpec, StreamPolicy
from export.fixture import Fixture, Run
from export.sides import Array, Side

GREEDY = StreamPolicy(temperature=0.0)
PUBLISHED_SEED = 1234
"""The published code seeds PyTorch's generator with it whenever it generates."""


class Reproduction:
    """What one side computes from a fixture's inputs, each intermediate once."""

    def __init__(self, side: Side, fixture: Fixture) -> None:
        self.side, self.fixture = side, fixture
        self.spec: ModelSpec = side.backend.spec
        self.pattern = pattern_of(side.backend)
        self.run = cache(self._run)

    def array(self, name: str) -> Array | None:
        if name in ARRAYS:
            return ARRAYS[name](self)
        if name.startswith("longform"):
            return self.long_form(name.removesuffix("_codes"))[None]
        codes, logits = self.run(name.removesuffix("_codes").removesuffix("_raw_cond_uncond_logits"))
        return logits if name.endswith("_logits") else codes[None]

    @cached_property
    def local(self) -> dict[str, Array]:
        return self.side.run("vision", frames=self.fixture.local_frames(self.spec))

    @cached_property
    def black(self) -> F32:
        """Features [1, P, E] of the null frame."""
        side, planes = self.spec.vision.image_size, self.spec.vision.planes
        return self.side.run("vision", frames=np.zeros((1, side, side, planes), np.uint8))["features"]

    @cached_property
    def short(self) -> F32:
        return self.side.run("short_term", features=self.local["features"])["short"]

    @cached_property
    def long(self) -> dict[str, Array]:
        frames = self.fixture.global_frames(self.spec)
        return self.side.run("long_term", features=self.side.backend.encode_frames(frames))

    @cached_property
    def fused(self) -> dict[str, Array]:
        return self.side.run("fuse", short=self.short, memory=self.long["memory"])

    def features_with_null(self) -> F32:
        return np.concatenate((self.local["features"], np.repeat(self.black, len(self.local["features"]), 0)))

    def embedding(self) -> F32:
        """[2, F P, D]; the null half is one frame's tokens again and again, as the engine holds it."""
        short = self.side.run("short_term", features=self.black)["short"]
        memory = self.side.run("long_term", features=self.black)["memory"]
        null = self.side.run("fuse", short=short, memory=memory)["tokens"]
        tokens = self.fused["tokens"]
        rows = (tokens, np.repeat(null, len(tokens), 0))
        return np.stack([x.reshape(-1, x.shape[-1]) for x in rows])

    @cached_property
    def condition(self) -> tuple[Any, int]:
        tokens = self.fused["tokens"]
        condition = self.side.backend.new_condition(len(tokens))
        self.side.backend.write_condition(condition, 0, tokens)
        return condition, len(tokens)

    def columns(self, flushed: bool) -> I64:
        """The teacher-forced columns [S, K], with the flush of the pattern or with valid steps only."""
        codes = self.fixture.codes(self.spec)
        steps = codes.shape[1] + (self.pattern.codebooks if flushed else 1)
        return self.pattern.sequence(codes, steps)

    def teacher_forced(self, flushed: bool) -> F32:
        """Conditional logits [S, K, card], one column at a time through the cache."""
        columns, (condition, frames) = self.columns(flushed), self.condition
        backend = self.side.backend
        caches = backend.new_caches(1, False, len(columns))
        steps = (
            backend.step(caches, 0, condition, frames, columns[None, i : i + 1], np.array([i]))
            for i in range(len(columns))
        )
        return np.stack([logits[0, 0] for logits in steps])

    def predictions(self) -> tuple[F32, Array]:
        """Training's view: logits [K, T, card] of the timestep they predict, NaN where the valid steps end, and the mask."""
        logits = self.teacher_forced(flushed=False)
        codebooks, frames = self.pattern.codebooks, len(logits) - 1
        aligned = np.full((codebooks, frames, logits.shape[-1]), np.nan, np.float32)
        for k in range(codebooks):
            aligned[k, : frames - k] = logits[k:frames, k]
        return aligned, ~np.isnan(aligned[..., 0])

    def _run(self, name: str) -> tuple[I64, F32]:
        """Codes [K, T] and the raw logits [steps, R, K, card] of a greedy run."""
        run, (condition, frames) = self.fixture.run(name), self.condition
        expected = self.fixture.arrays.get(f"{name}_codes")
        source = expected[0].astype(np.int64) if expected is not None else self.fixture.codes(self.spec)
        window = Window(condition, frames, source[:, : run.prompt], run.steps)
        policy = replace(GREEDY, guidance=run.guidance)
        draw = published_draws(run, self.fixture.global_frames(self.spec).shape) if run.sampled else None
        seen: list[F32] = []

        def choose(logits: F32, step: int) -> I64:
            seen.append(logits)
            return draw(logits) if draw else sample(logits, policy, step)

        return generate(self.side.backend, window, policy, choose=choose), np.stack(seen)

    def long_form(self, name: str) -> I64:
        frames, duration, stride = self.fixture.long_form(name, self.spec)
        short = encode(self.side.backend, frames)
        spans = schedule(self.spec, duration, stride, as_published=True)
        parts = compose(self.side.backend, short, self.long["memory"], spans, GREEDY, as_published=True)
        return np.concatenate(list(parts), axis=1)


ARRAYS: dict[str, Callable[[Reproduction], Array | None]] = {
    "pixel_values_local": lambda r: r.local["pixel_values"],
    "clip_last_hidden_local_condnull_before_pos": Reproduction.features_with_null,
    "local_temporal_out_cond_only": lambda r: r.short,
    "global_temporal_out_cond_only": lambda r: r.long["long"],
    "fusion_out_cond_only": lambda r: r.fused["fused"].reshape(1, -1, r.spec.vision.width),
    "video_emb_cond_null": Reproduction.embedding,
    "pattern_sequence": lambda r: r.columns(True).T[None],
    "pattern_sequence_valid_only": lambda r: r.columns(False).T[None],
    "pattern_mask": lambda r: (
        r.pattern.filled(len(r.columns(True)), len(r.columns(True)) - r.pattern.codebooks).T
    ),
    "teacher_forced_logits": lambda r: r.teacher_forced(True).transpose(1, 0, 2)[None],
    "decoder_layer_outputs": lambda r: r.side.layers(r.columns(True), r.fused["tokens"]),
    "compute_predictions_logits": lambda r: r.predictions()[0][None],
    "compute_predictions_mask": lambda r: r.predictions()[1][None],
}


def published_draws(run: Run, global_frames: tuple[int, ...]) -> Callable[[F32], I64]:
    """Draws of the published code on a CPU: seeded at each run, moved on by its null mask over the global frames."""
    frames, height, width, channels = global_frames
    random = torch.Generator().manual_seed(PUBLISHED_SEED)
    torch.rand(1, channels, frames, height, width, generator=random)

    def draw(logits: F32) -> I64:
        chances = softmax(guide(logits, run.guidance) / run.temperature)
        kept, tokens = _ranked(torch.from_numpy(chances).float(), run)
        picked = torch.multinomial(kept, 1, generator=random)
        return tokens.gather(-1, picked)[:, 0].numpy()

    return draw


def _ranked(chances: torch.Tensor, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Chances [K, card] that are left, and the token at each place: the nucleus is drawn in its sorted order."""
    if run.top_p > 0:
        ranked, tokens = chances.sort(-1, descending=True)
        ranked = ranked * (ranked.cumsum(-1) - ranked <= run.top_p)
        return ranked / ranked.sum(-1, keepdim=True), tokens
    tokens = torch.arange(chances.shape[-1]).expand(chances.shape)
    if run.top_k > 0:
        chances = chances * (chances >= chances.topk(run.top_k, -1).values[:, -1:])
    return chances / chances.sum(-1, keepdim=True), tokens
