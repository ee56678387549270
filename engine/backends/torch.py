"""The model run by PyTorch itself: the reference for every other backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.backends.base import F32, I64, U8, StepCall
from engine.model.codec import CodecDecoder
from engine.model.decoder import empty_caches
from engine.model.oscillator import OscillatorCodec
from engine.model.vidmuse import VidMuse
from engine.spec import ModelSpec

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TorchCondition:
    """ages [F], and the frames' tokens [F, P, D], of a model with ages."""

    keys: list[Tensor]
    values: list[Tensor]
    ages: Tensor
    tokens: Tensor


@dataclass(frozen=True, slots=True)
class TorchCaches:
    keys: list[Tensor]
    values: list[Tensor]
    rows: int


class TorchModel:
    """What a loaded model (see `export.checkpoint.load_model`) does to frames and codes, on the device that its weights are on:
    the verbs of a `Backend` that need no caches."""

    def __init__(self, model: VidMuse) -> None:
        self.model = model
        self.device = model.decoder.positions.device

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.decoder.stack()).cross_kv.weight.dtype

    @torch.inference_mode()
    def encode_frames(self, frames: U8) -> F32:
        return _array(self.model.vision(self._tensor(frames))[1])

    @torch.inference_mode()
    def look(self, features: F32) -> F32:
        return _array(self.model.short_branch(self._tensor(features)))

    @torch.inference_mode()
    def remember(self, features: F32) -> F32:
        return _array(self.model.fusion.remember(self.model.long_branch(self._tensor(features))))

    @torch.inference_mode()
    def fuse(self, short: F32, memory: F32) -> F32:
        return _array(self.model.fusion(self._tensor(short), self._tensor(memory))[1])

    @torch.inference_mode()
    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        assert isinstance(self.model.codec, CodecDecoder)
        y, h, c = self.model.codec.recur(self._tensor(codes), self._tensor(hidden), self._tensor(cell))
        return _array(y), _array(h), _array(c)

    @torch.inference_mode()
    def upsample(self, y: F32) -> F32:
        assert isinstance(self.model.codec, CodecDecoder)
        return _array(self.model.codec.upsample(self._tensor(y)))

    @torch.inference_mode()
    def synthesise(self, codes: I64, first: int) -> F32:
        assert isinstance(self.model.codec, OscillatorCodec)
        return _array(
            self.model.codec.synthesise(self._tensor(codes), torch.tensor(first, device=self.device))
        )

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


class TorchBackend(TorchModel):
    """The plain model, whose decoder's caches are PyTorch's."""

    @torch.inference_mode()
    def new_condition(self, frames: int) -> TorchCondition:
        spec, tokens = self.spec.decoder, self.spec.vision.tokens
        empty = torch.zeros(frames, spec.heads, spec.head_dim, tokens, dtype=self.dtype, device=self.device)
        layers = range(spec.layers)
        return TorchCondition(
            [empty.clone() for _ in layers],
            [empty.transpose(2, 3).clone() for _ in layers],
            torch.zeros(frames, dtype=torch.int64, device=self.device),
            torch.zeros(frames, tokens, spec.width, device=self.device),
        )

    @torch.inference_mode()
    def write_condition(self, condition: TorchCondition, slot: int, tokens: F32) -> None:
        condition.tokens[slot : slot + len(tokens)] = self._tensor(tokens)
        self._project(condition, slot, len(tokens))

    @torch.inference_mode()
    def write_ages(self, condition: TorchCondition, ages: I64) -> None:
        condition.ages[: len(ages)] = self._tensor(ages)
        self._project(condition, 0, len(ages))

    def _project(self, condition: TorchCondition, first: int, count: int) -> None:
        """An age is part of what a frame's keys and values are made of."""
        at = slice(first, first + count)
        projected = self.model.decoder.project(condition.tokens[at], condition.ages[at])
        for held, fresh in zip((condition.keys, condition.values), projected, strict=True):
            for layer, array in enumerate(fresh):
                held[layer][at] = array

    @torch.inference_mode()
    def new_caches(self, segments: int, guided: bool, positions: int) -> TorchCaches:
        rows = 2 if guided else 1
        with self.device:
            return TorchCaches(*empty_caches(self.spec.decoder, segments * rows, positions, self.dtype), rows)

    @torch.inference_mode()
    def step(
        self,
        caches: TorchCaches,
        segment: int,
        condition: TorchCondition,
        frames: int,
        tokens: I64,
        position: I64,
    ) -> F32:
        rows = slice(segment * caches.rows, (segment + len(tokens)) * caches.rows)
        logits, _, _ = self.model.decoder(
            self._tensor(tokens),
            self._tensor(position),
            [k[rows] for k in caches.keys],
            [v[rows] for v in caches.values],
            [k[:frames] for k in condition.keys],
            [v[:frames] for v in condition.values],
            guided=caches.rows == 2,
            last_only=True,
        )
        return _array(logits[:, :, 0])

    def step_all(self, calls: Sequence[StepCall[TorchCaches, TorchCondition]]) -> list[F32]:
        return [call.on(self) for call in calls]

    @torch.inference_mode()
    def read_caches(self, caches: TorchCaches, segment: int, positions: int) -> Array:
        rows = slice(segment * caches.rows, (segment + 1) * caches.rows)
        pairs = zip(caches.keys, caches.values, strict=True)
        return _array(
            torch.stack([torch.stack((k[rows, :, :positions], v[rows, :, :positions])) for k, v in pairs])
        )

    @torch.inference_mode()
    def write_caches(self, caches: TorchCaches, segment: int, held: Array) -> None:
        rows = slice(segment * caches.rows, (segment + 1) * caches.rows)
        for layer, (keys, values) in enumerate(self._tensor(held)):
            caches.keys[layer][rows, :, : keys.shape[2]] = keys
            caches.values[layer][rows, :, : values.shape[2]] = values

    @torch.inference_mode()
    def read_condition(self, condition: TorchCondition, frames: int) -> Array:
        pairs = zip(condition.keys, condition.values, strict=True)
        return _array(
            torch.stack(
                [torch.stack([x[:frames].flatten(1) for x in (k.transpose(2, 3), v)]) for k, v in pairs]
            )
        )

    @torch.inference_mode()
    def write_held_condition(self, condition: TorchCondition, held: Array) -> None:
        for layer, (keys, values) in enumerate(self._tensor(held)):
            for array, rows in (
                (condition.keys[layer].transpose(2, 3), keys),
                (condition.values[layer], values),
            ):
                array[: len(rows)] = rows.view(-1, *array.shape[1:])


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.cpu().numpy())
