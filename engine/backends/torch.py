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
from engine.backends.base import F32, I64, U8, Kept, OnHost, StepCall
from engine.backends.eyes import Ages, Encode, Fuse, Remember, Write
from engine.codec.encodec import Carried, Piece, carried_from, reach
from engine.codec.oscillator import Synthesise
from engine.model.codec import CodecDecoder
from engine.model.decoder import empty_caches
from engine.model.oscillator import OscillatorCodec
from engine.model.vidmuse import VidMuse
from engine.spec import CodecSpec, ModelSpec, StreamPolicy

Array = NDArray[Any]
Work = Callable[..., Any]

RECALLED = StreamPolicy().recalled
"""Frames of long-term memory that most streams recall after a while."""


class TorchModel:
    """What a loaded model (see `export.checkpoint.load_model`) does to frames and codes, on the device that its weights are on:
    the verbs of a `Backend` that need no caches. What is kept of a frame stays where `_kept` leaves it."""

    answers_together, prefers_batches = True, False

    def __init__(self, model: VidMuse) -> None:
        self.model = model
        self.device = model.decoder.positions.device
        self.dtype = next(model.decoder.stack()).cross_q.weight.dtype
        self._together: dict[type[Any], Work] = {
            Encode: self.encode_all,
            Remember: self.remember_all,
            Fuse: self.fuse_all,
            Piece: self.piece_all,
            Synthesise: self.synthesise_all,
        }

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    def answer_all(self, asked: Sequence[Request]) -> list[Any]:
        return list(self._together[type(asked[0])](asked))

    # --- eyes

    @torch.inference_mode()
    def encode_frames(self, frames: U8) -> Kept:
        return self._kept(self._run(self._features, self._stacked(frames)))

    @torch.inference_mode()
    def look(self, features: Kept) -> Kept:
        return self._kept(self._run(self._looked, self._stacked(features)))

    @torch.inference_mode()
    def remember(self, features: Kept) -> Kept:
        return self._kept(self._run(self._remembered, self._stacked(features)))

    @torch.inference_mode()
    def fuse(self, short: Kept, memory: Kept) -> Kept:
        return self._kept(self.model.fusion(self._tensor(short), self._tensor(memory))[1])

    @torch.inference_mode()
    def encode_all(self, asked: Sequence[Encode]) -> list[tuple[Kept, Kept]]:
        features, short = self._run(self._encoded, self._stacked(request.planes for request in asked))
        return list(zip(self._rows(features), self._rows(short), strict=True))

    @torch.inference_mode()
    def remember_all(self, asked: Sequence[Remember]) -> Sequence[Kept]:
        return self._rows(self._run(self._remembered, self._stacked(request.features for request in asked)))

    @torch.inference_mode()
    def fuse_all(self, asked: Sequence[Fuse]) -> Sequence[Kept]:
        """Windows and memories of any lengths, each with room for the longest."""
        lengths = [request.short.shape[0] for request in asked]
        short = self._side_by_side([request.short for request in asked])
        memory = self._side_by_side([request.memory for request in asked], RECALLED)
        held = self._stacked(np.array([request.memory.shape[0] for request in asked]))
        tokens = self._run(self._fused, short, memory, held)
        if all(length == tokens.shape[1] for length in lengths):
            return self._rows(tokens)
        return [self._kept(row[:length]) for row, length in zip(tokens, lengths, strict=True)]

    def _features(self, planes: Tensor) -> Tensor:
        return self.model.vision(planes)[1]

    def _looked(self, features: Tensor) -> Tensor:
        return self.model.short_branch(features)

    def _encoded(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        features = self._features(planes)
        return features, self._looked(features)

    def _remembered(self, features: Tensor) -> Tensor:
        return self.model.fusion.remember(self.model.long_branch(features))

    def _fused(self, short: Tensor, memory: Tensor, held: Tensor) -> Tensor:
        """memory: [S, M, 2, P, E]."""
        keys, values = memory.unbind(2)
        return self.model.fusion.together(short, keys, values, held)[1]

    # --- codec

    @torch.inference_mode()
    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        y, hidden, cell = (
            _array(part[0])
            for part in self._recurred(*(self._tensor(part[None]) for part in (codes, hidden, cell)))
        )
        return y, hidden, cell

    @torch.inference_mode()
    def upsample(self, y: F32) -> F32:
        return _array(self._upsampled(self._tensor(y[None]))[0])

    def synthesise(self, codes: I64, first: int) -> F32:
        return self.synthesise_all([Synthesise(codes, first)])[0]

    @torch.inference_mode()
    def piece_all(self, asked: Sequence[Piece]) -> list[tuple[F32, Carried, Carried, Carried]]:
        return in_groups(asked, lambda piece: (piece.codes.shape, piece.y.shape), self._pieces_alike)

    def _pieces_alike(self, asked: Sequence[Piece]) -> Iterable[tuple[F32, Carried, Carried, Carried]]:
        codes = self._stacked([piece.codes for piece in asked])
        before = (
            self._carried(part)
            for part in zip(*((piece.hidden, piece.cell, piece.y) for piece in asked), strict=True)
        )
        samples, *after = self._run(self._sounded, codes, *before)
        carried = [self._carried_on(part) for part in after]
        return zip(self._sent_back(samples), *carried, strict=True)

    def _sounded(
        self, codes: Tensor, hidden: Tensor, cell: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """codes: [S, K, T]; hidden, cell: [S, L, 1, C]; y: [S, C, t]."""
        fresh, hidden, cell = self._recurred(codes, hidden, cell)
        y = torch.cat((y, fresh), 2)
        assert isinstance(self.spec.codec, CodecSpec)
        rest = y[:, :, carried_from(y.shape[2], reach(self.spec.codec).context) :]
        return self._upsampled(y), hidden, cell, rest.contiguous()

    def _recurred(self, codes: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert isinstance(self.model.codec, CodecDecoder)
        states = (state.squeeze(2).transpose(0, 1).contiguous() for state in (hidden, cell))
        y, hidden, cell = self.model.codec.recur_together(codes, *states)
        return y, hidden.transpose(0, 1).unsqueeze(2), cell.transpose(0, 1).unsqueeze(2)

    def _upsampled(self, y: Tensor) -> Tensor:
        assert isinstance(self.model.codec, CodecDecoder)
        return self.model.codec.upsample_together(y)

    @torch.inference_mode()
    def synthesise_all(self, asked: Sequence[Synthesise]) -> list[F32]:
        return in_groups(asked, lambda request: request.codes.shape, self._synthesise_alike)

    def _synthesise_alike(self, asked: Sequence[Synthesise]) -> list[F32]:
        first = self._stacked(np.array([request.first for request in asked]))
        codes = self._stacked(request.codes for request in asked)
        return self._sent_back(self._run(self._synthesised, codes, first))

    def _synthesised(self, codes: Tensor, first: Tensor) -> Tensor:
        assert isinstance(self.model.codec, OscillatorCodec)
        return self.model.codec.together(codes, first)

    # --- arrays

    def _run(self, work: Work, *inputs: Any) -> Any:
        """Do work of which every input and answer has the streams in its first axis. Take what is to be kept of the answer before
        the next call. inputs: what `_stacked` or `_side_by_side` gave."""
        return work(*inputs)

    def _stacked(self, arrays: Iterable[Array]) -> Any:
        """One for each stream, of one shape."""
        return self._tensor(np.stack(list(arrays)))

    def _side_by_side(self, arrays: Sequence[Array], room: int = 1) -> Any:
        """One for each stream, of any lengths, which have room for the longest, and for `room` if that helps."""
        return pad_sequence([self._tensor(array) for array in arrays], batch_first=True)

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _kept(self, tensor: Tensor) -> Kept:
        """In memory of its own: who keeps one stream's does not keep them all."""
        return _array(tensor.clone())

    def _rows(self, tensor: Tensor) -> Sequence[Kept]:
        """Each as `_kept` has it."""
        return [self._kept(row) for row in tensor]

    def _carried(self, arrays: Iterable[Carried]) -> Any:
        """`_stacked`, of what `_carried_on` gave, or NumPy's."""
        return self._stacked(arrays)

    def _carried_on(self, tensor: Tensor) -> Sequence[Carried]:
        """Rows, each in memory of its own, where the next piece wants them."""
        return self._sent_back(tensor)

    def _sent_back(self, tensor: Tensor) -> list[Array]:
        """Rows on the host, each in memory of its own; one copy from the device brings all."""
        return [row.copy() for row in _array(tensor)]


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


class TorchBackend(OnHost, TorchModel):
    """The plain model, whose decoder's caches are PyTorch's."""

    def __init__(self, model: VidMuse) -> None:
        super().__init__(model)
        self._together |= {Write: self.write_all, Ages: self.write_all_ages}

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

    def write_condition(self, condition: TorchCondition, slot: int, tokens: F32) -> None:
        self.write_all([Write(condition, slot, tokens)])

    def write_ages(self, condition: TorchCondition, ages: I64) -> None:
        self.write_all_ages([Ages(condition, ages)])

    @torch.inference_mode()
    def write_all(self, asked: Sequence[Write]) -> list[None]:
        places = [(w.condition, slice(w.slot, w.slot + len(w.tokens))) for w in asked]
        for (condition, at), request in zip(places, asked, strict=True):
            condition.tokens[at] = self._tensor(request.tokens)
        self._project(places)
        return [None] * len(asked)

    @torch.inference_mode()
    def write_all_ages(self, asked: Sequence[Ages]) -> list[None]:
        places = [(request.condition, slice(0, len(request.ages))) for request in asked]
        for (condition, at), request in zip(places, asked, strict=True):
            condition.ages[at] = self._tensor(request.ages)
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
