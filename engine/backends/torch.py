"""The model run by PyTorch itself: the reference for every other backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engine.asking import Request, in_groups
from engine.backends.base import F32, I64, U8, OnHost, StepCall
from engine.backends.eyes import Ages, Encode, Fuse, Remember, Write
from engine.codec.encodec import Recur, Upsample
from engine.codec.oscillator import Synthesise
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


class TorchBackend(OnHost):
    """A loaded model (see `export.checkpoint.load_model`) on the CPU."""

    answers_together = True

    def __init__(self, model: VidMuse) -> None:
        self.model = model
        self._together: dict[type[Any], Callable[[Any], list[Any]]] = {
            Encode: self.encode_all,
            Remember: self.remember_all,
            Fuse: self.fuse_all,
            Write: self.write_all,
            Ages: self.write_all_ages,
            Recur: self.recur_all,
            Upsample: self.upsample_all,
            Synthesise: self.synthesise_all,
        }

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.decoder.stack()).cross_kv.weight.dtype

    def answer_all(self, asked: Sequence[Request]) -> list[Any]:
        return self._together[type(asked[0])](asked)

    @torch.inference_mode()
    def encode_frames(self, frames: U8) -> F32:
        return _array(self.model.vision(_tensor(frames))[1])

    @torch.inference_mode()
    def look(self, features: F32) -> F32:
        return _array(self.model.short_branch(_tensor(features)))

    @torch.inference_mode()
    def remember(self, features: F32) -> F32:
        return _array(self.model.fusion.remember(self.model.long_branch(_tensor(features))))

    @torch.inference_mode()
    def fuse(self, short: F32, memory: F32) -> F32:
        return _array(self.model.fusion(_tensor(short), _tensor(memory))[1])

    @torch.inference_mode()
    def encode_all(self, asked: Sequence[Encode]) -> list[tuple[F32, F32]]:
        features = self.model.vision(_stacked(request.planes for request in asked))[1]
        return list(zip(_rows(features), _rows(self.model.short_branch(features)), strict=True))

    @torch.inference_mode()
    def remember_all(self, asked: Sequence[Remember]) -> list[F32]:
        features = _stacked(request.features for request in asked)
        return _rows(self.model.fusion.remember(self.model.long_branch(features)))

    @torch.inference_mode()
    def fuse_all(self, asked: Sequence[Fuse]) -> list[F32]:
        """Windows and memories of any lengths, each with room for the longest."""
        short, memory = (
            pad_sequence([_tensor(array) for array in arrays], batch_first=True)
            for arrays in zip(*((request.short, request.memory) for request in asked), strict=True)
        )
        held = torch.tensor([len(request.memory) for request in asked])
        tokens = _rows(self.model.fusion.together(short, memory, held)[1])
        return [row[: len(request.short)] for row, request in zip(tokens, asked, strict=True)]

    @torch.inference_mode()
    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        assert isinstance(self.model.codec, CodecDecoder)
        y, h, c = self.model.codec.recur(_tensor(codes), _tensor(hidden), _tensor(cell))
        return _array(y), _array(h), _array(c)

    @torch.inference_mode()
    def upsample(self, y: F32) -> F32:
        assert isinstance(self.model.codec, CodecDecoder)
        return _array(self.model.codec.upsample(_tensor(y)))

    @torch.inference_mode()
    def synthesise(self, codes: I64, first: int) -> F32:
        assert isinstance(self.model.codec, OscillatorCodec)
        return _array(self.model.codec.synthesise(_tensor(codes), torch.tensor(first)))

    @torch.inference_mode()
    def recur_all(self, asked: Sequence[Recur]) -> list[tuple[F32, F32, F32]]:
        return in_groups(asked, lambda request: request.codes.shape, self._recur_alike)

    def _recur_alike(self, asked: Sequence[Recur]) -> list[tuple[F32, F32, F32]]:
        assert isinstance(self.model.codec, CodecDecoder)
        hidden, cell = (
            torch.cat([_tensor(state) for state in states], 1)
            for states in zip(*((request.hidden, request.cell) for request in asked), strict=True)
        )
        y, hidden, cell = self.model.codec.recur_together(
            _stacked(request.codes for request in asked), hidden, cell
        )
        states = (_rows(state.transpose(0, 1).unsqueeze(2)) for state in (hidden, cell))  # [S, L, 1, C]
        return list(zip(_rows(y), *states, strict=True))

    @torch.inference_mode()
    def upsample_all(self, asked: Sequence[Upsample]) -> list[F32]:
        return in_groups(asked, lambda request: request.y.shape, self._upsample_alike)

    def _upsample_alike(self, asked: Sequence[Upsample]) -> list[F32]:
        assert isinstance(self.model.codec, CodecDecoder)
        return _rows(self.model.codec.upsample_together(_stacked(request.y for request in asked)))

    @torch.inference_mode()
    def synthesise_all(self, asked: Sequence[Synthesise]) -> list[F32]:
        return in_groups(asked, lambda request: request.codes.shape, self._synthesise_alike)

    def _synthesise_alike(self, asked: Sequence[Synthesise]) -> list[F32]:
        assert isinstance(self.model.codec, OscillatorCodec)
        first = torch.tensor([request.first for request in asked])
        return _rows(self.model.codec.together(_stacked(request.codes for request in asked), first))

    @torch.inference_mode()
    def new_condition(self, frames: int) -> TorchCondition:
        spec, tokens = self.spec.decoder, self.spec.vision.tokens
        empty = torch.zeros(frames, spec.heads, spec.head_dim, tokens, dtype=self.dtype)
        layers = range(spec.layers)
        return TorchCondition(
            [empty.clone() for _ in layers],
            [empty.transpose(2, 3).clone() for _ in layers],
            torch.zeros(frames, dtype=torch.int64),
            torch.zeros(frames, tokens, spec.width),
        )

    def write_condition(self, condition: TorchCondition, slot: int, tokens: F32) -> None:
        self.write_all([Write(condition, slot, tokens)])

    def write_ages(self, condition: TorchCondition, ages: I64) -> None:
        self.write_all_ages([Ages(condition, ages)])

    @torch.inference_mode()
    def write_all(self, asked: Sequence[Write]) -> list[None]:
        places = [(w.condition, slice(w.slot, w.slot + len(w.tokens))) for w in asked]
        for (condition, at), request in zip(places, asked, strict=True):
            condition.tokens[at] = _tensor(request.tokens)
        self._project(places)
        return [None] * len(asked)

    @torch.inference_mode()
    def write_all_ages(self, asked: Sequence[Ages]) -> list[None]:
        places = [(request.condition, slice(0, len(request.ages))) for request in asked]
        for (condition, at), request in zip(places, asked, strict=True):
            condition.ages[at] = _tensor(request.ages)
        self._project(places)
        return [None] * len(asked)

    def _project(self, places: Sequence[tuple[TorchCondition, slice]]) -> None:
        """An age is part of what a frame's keys and values are made of."""
        counts = [at.stop - at.start for _, at in places]
        tokens, ages = (torch.cat([getattr(c, part)[at] for c, at in places]) for part in ("tokens", "ages"))
        for part, layers in zip(("keys", "values"), self.model.decoder.project(tokens, ages), strict=True):
            for layer, fresh in enumerate(layers):
                for (condition, at), frames in zip(places, fresh.split(counts), strict=True):
                    getattr(condition, part)[layer][at] = frames

    @torch.inference_mode()
    def new_caches(self, segments: int, guided: bool, positions: int) -> TorchCaches:
        rows = 2 if guided else 1
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
            _tensor(tokens),
            _tensor(position),
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
        for layer, (keys, values) in enumerate(_tensor(held)):
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
        for layer, (keys, values) in enumerate(_tensor(held)):
            for array, rows in (
                (condition.keys[layer].transpose(2, 3), keys),
                (condition.values[layer], values),
            ):
                array[: len(rows)] = rows.view(-1, *array.shape[1:])


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.numpy())


def _stacked(arrays: Iterable[Array]) -> Tensor:
    return torch.from_numpy(np.stack(list(arrays)))


def _rows(tensor: Tensor) -> list[Array]:
    """Each in memory of its own: who keeps one does not keep them all."""
    return [_array(row.clone()) for row in tensor]
