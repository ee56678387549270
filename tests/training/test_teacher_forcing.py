"""What is learned from is what the live engine shows: views step by step, and logits column by column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.backends.torch import TorchBackend
from engine.frames import Frame
from engine.patterns import DelayPattern
from engine.sight import Sight
from engine.spec import StreamPolicy
from training.decoder.dataset import BLOCK_STEPS, Batch, Clip, Stretch, Stretches
from training.decoder.teacher_forcing import logits
from training.decoder.views import Views, watch
from training.pairs import pictures as pictures_of

Pictures = Callable[[int, int], NDArray[np.uint8]]

STEPS, RECALLED = 750, 8
TOLERANCE = 2e-5
"""Largest absolute difference of logits. Seen: 4e-6."""


@pytest.fixture(scope="module")
def frames(pictures: Pictures) -> list[Frame]:
    """Ten a second, with a cut each 6 s."""
    return [Frame(pixels, 5 * i) for i, pixels in enumerate(pictures(STEPS // 5, 3))]


@pytest.fixture(scope="module")
def policy() -> StreamPolicy:
    return StreamPolicy(short_term_s=4.0, recalled=RECALLED)


@pytest.fixture(scope="module")
def views(nano_torch_backend: TorchBackend, frames: list[Frame], policy: StreamPolicy) -> Views:
    return watch(nano_torch_backend.spec, policy, frames, STEPS)


@pytest.fixture(scope="module")
def features(nano_torch_backend: TorchBackend, frames: list[Frame]) -> torch.Tensor:
    """[F, P, E] in fp16, each frame encoded by itself as the live engine does."""
    shown = pictures_of(frames, nano_torch_backend.spec)
    encoded = [nano_torch_backend.encode_frames(picture[None])[0] for picture in shown]
    return torch.from_numpy(np.stack(encoded)).half()


@pytest.fixture(scope="module")
def stretches(nano_torch_backend: TorchBackend, features: torch.Tensor, views: Views) -> Stretches:
    spec = nano_torch_backend.spec
    codes = np.random.default_rng(0).integers(0, spec.decoder.card, (1, spec.decoder.codebooks, STEPS))
    pattern = DelayPattern(spec.decoder.codebooks, spec.decoder.special)
    clip = Clip(features, [views], codes.astype(np.int16))
    return Stretches([clip], pattern, spec.decoder.ages, RECALLED, spec.steps_per_slot)


@pytest.mark.parametrize("origin", [0, 137, 300])
def test_a_column_sees_what_the_live_engine_holds(
    nano_torch_backend: TorchBackend,
    frames: list[Frame],
    policy: StreamPolicy,
    stretches: Stretches,
    origin: int,
) -> None:
    """At every step the same frames, each as old, wherever the stretch begins."""
    columns = 400
    batch = stretches.batch([Stretch(0, 0, 0, origin)], columns)
    sight, at = Sight(nano_torch_backend, policy), 0
    for step in range(origin + columns):
        while at < len(frames) and frames[at].step <= step:
            sight.push(frames[at])
            at += 1
        sight.look(step)
        if step >= origin:
            held = [np.float16(seen.features).astype(np.float32).tobytes() for seen in sight._held]
            expected = sorted(zip(held, sight.condition.ages[: sight.frames].tolist(), strict=True))
            assert shown_at(batch, step - origin) == expected, step
    assert sight.counts["cuts"] == (origin + columns) // 300 - ((origin + columns) % 300 == 0)


def shown_at(batch: Batch, column: int) -> list[tuple[bytes, int]]:
    """Features and age of every frame that a column sees."""
    block, place = divmod(column, BLOCK_STEPS)
    here = batch.visible[0, block, place]
    features = batch.features[0][batch.chosen[0, block][here]].numpy()
    return sorted(
        (f.tobytes(), int(age)) for f, age in zip(features, batch.ages[0, block, place][here], strict=True)
    )


@pytest.mark.parametrize("dropped", [False, True])
def test_a_column_has_the_logits_of_the_cached_step(
    nano_torch_backend: TorchBackend, stretches: Stretches, dropped: bool
) -> None:
    """Teacher forcing over a stretch equals one step after the other, each with its own condition."""
    backend, spec, columns = nano_torch_backend, nano_torch_backend.spec, 150
    batch = stretches.batch([Stretch(0, 0, 0, 260)], columns)
    torch.manual_seed(0)
    tokens = torch.randn(1, batch.features.shape[1], spec.vision.tokens, spec.decoder.width)
    null = black_frame(backend)
    with torch.no_grad():
        found = logits(
            backend.model.decoder, batch.columns, tokens, batch.chosen, batch.ages, batch.visible, null,
            torch.tensor([dropped]),
        )[0].numpy()  # fmt: skip
    caches = backend.new_caches(1, True, columns)
    for column in range(columns):
        block, place = divmod(column, BLOCK_STEPS)
        here = batch.visible[0, block, place]
        condition = backend.new_condition(int(here.sum()))
        backend.write_condition(condition, 0, tokens[0][batch.chosen[0, block][here]].numpy())
        backend.write_ages(condition, batch.ages[0, block, place][here].numpy())
        read = batch.columns[:, column : column + 1].numpy()
        rows = backend.step(caches, 0, condition, int(here.sum()), read, np.array([column]))[0]
        assert np.abs(found[column] - rows[int(dropped)]).max() <= TOLERANCE, column


def black_frame(backend: TorchBackend) -> torch.Tensor:
    """[1, P, D]: what rows without a picture attend to."""
    side, planes = backend.spec.vision.image_size, backend.spec.vision.planes
    black = backend.encode_frames(np.zeros((1, side, side, planes), np.uint8))
    return torch.from_numpy(backend.fuse(backend.look(black), backend.remember(black)))
