"""The graphs behind the five verbs, each traced from the PyTorch modules with its caches as inputs and outputs.

Both attentions are traced as operators of ONNX Runtime's CPU (`export.grouped`), or, where other runtimes are to read the graphs,
as standard ones (`export.standard`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.codec import CodecDecoder
from engine.model.decoder import Attention
from engine.model.oscillator import OscillatorCodec
from engine.model.vidmuse import VidMuse
from engine.spec import DecoderSpec
from export.calibrate import CacheScales, Calibration
from export.grouped import grouped_attention, grouped_seeing, padded_head
from export.lstm import FewBitLstm, onnx_lstm
from export.standard import Operators, scattered, standard_attention, standard_seeing, widened


@dataclass(frozen=True, slots=True)
class Graph:
    """One traced module: example inputs, names in order, and which dimensions may vary."""

    name: str
    module: nn.Module
    inputs: tuple[Any, ...]
    input_names: list[str]
    output_names: list[str]
    dynamic: tuple[Any, ...]
    """torch.export's dynamic shapes, in the structure of `inputs`."""


class Vision(nn.Module):
    """floats_first: TensorRT knows bytes as an input that is cast, and no other operator on them."""

    def __init__(self, model: VidMuse, floats_first: bool) -> None:
        super().__init__()
        self.vision, self.floats_first = model.vision, floats_first

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        pixels, features = self.vision(frames.float() if self.floats_first else frames)
        return pixels, features


class LongTerm(nn.Module):
    def __init__(self, model: VidMuse) -> None:
        super().__init__()
        self.branch, self.fusion = model.long_branch, model.fusion

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        long = self.branch(features)
        return long, self.fusion.remember(long)


class Condition(nn.Module):
    """scales: of conditions of eight bits, each layer's; none where conditions are floats."""

    def __init__(self, model: VidMuse, scales: Sequence[CacheScales] = ()) -> None:
        super().__init__()
        self.decoder = model.decoder
        pairs = zip(self.decoder.stack(), scales, strict=True) if scales else ()
        self.in_steps = nn.ParameterList(_in_steps(layer.cross_kv.weight, scale) for layer, scale in pairs)

    def forward(self, tokens: Tensor, ages: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """tokens: [F, P, D]; ages: int64 [F], of a model with ages. Keys and values [F, H, P, d]."""
        if len(self.in_steps):
            pairs = [self._eight_bits(tokens, weight) for weight in self.in_steps]
            keys, values = [k for k, _ in pairs], [v for _, v in pairs]
        else:
            keys, values = self.decoder.project(tokens, ages)
            keys = [k.transpose(2, 3) for k in keys]
        wide = padded_head(self.decoder.spec)
        return [widened(k, wide).contiguous() for k in keys], [widened(v, wide).contiguous() for v in values]

    def _eight_bits(self, tokens: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Rounded before they are laid out: a quarter of the bytes are moved."""
        rounded = _rounded(F.linear(tokens, weight))
        keys, values = rounded.unflatten(-1, (2, self.decoder.spec.heads, -1)).permute(2, 0, 3, 1, 4)
        return keys, values


def _in_steps(weight: Tensor, scales: CacheScales) -> nn.Parameter:
    """cross_kv's weight [2D, D] whose products are in steps of their cache's scales; keys carry the attention's d**-0.5."""
    head = scales.keys.shape[-1]
    sizes = torch.cat((scales.keys.flatten() * head**0.5, scales.values.flatten()))
    return nn.Parameter(weight.detach() / sizes.unsqueeze(1), requires_grad=False)


def _rounded(x: Tensor) -> Tensor:
    """int8, cut off where they end."""
    about = (x, torch.ones(()), torch.zeros((), dtype=torch.int8))
    return torch.onnx.ops.symbolic("QuantizeLinear", about, dtype=torch.int8, shape=x.shape, version=22)


class ConditionInPlace(nn.Module):
    """`Condition` that writes what it makes where a step reads it, for conditions that no host can reach."""

    def __init__(self, model: VidMuse) -> None:
        super().__init__()
        self.condition, self.tokens = Condition(model), model.spec.vision.tokens

    def forward(
        self,
        tokens: Tensor,
        slot: Tensor,
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        ages: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """tokens: [F, P, D], for the slots from slot [1] on; keys, values: [1, H, N, d] of each layer, answered whole."""
        fresh = self.condition(tokens, ages)
        first = slot * self.tokens
        laid = ([x.transpose(0, 1).flatten(1, 2).unsqueeze(0) for x in part] for part in fresh)
        new_keys, new_values = (
            [scattered(cache, new, first) for cache, new in zip(held, part, strict=True)]
            for held, part in zip((keys, values), laid, strict=True)
        )
        return new_keys, new_values


class Scales(nn.ParameterList):
    """Of caches of eight bits, [1, H, 1, d] of keys, then of values, layer by layer; true when there are any."""

    def __init__(self, scales: Sequence[CacheScales]) -> None:
        super().__init__(part for layer in scales for part in (layer.keys, layer.values))
        self.requires_grad_(False)

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        parts = list(self)
        return zip(parts[::2], parts[1::2], strict=True)

    def __bool__(self) -> bool:
        return len(self) > 0


class Step(nn.Module):
    """scales of caches of eight bits; none where caches are floats."""

    def __init__(
        self,
        model: VidMuse,
        guided: bool,
        scales: Calibration,
        segments: int,
        operators: Operators = "onnxruntime",
    ) -> None:
        super().__init__()
        self.decoder, self.guided, self.segments = model.decoder, guided, segments
        self.operators = operators
        self.heard, self.seen = Scales(scales.heard), Scales(scales.seen)
        self.tokens = model.spec.vision.tokens

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        self_keys: Sequence[Tensor],
        self_values: Sequence[Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        frames: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """One column of `segments` S of each of B streams: tokens [B, S, K], position [B, S], conditions [B, H, N, d] of which
        the first `frames` [B] frames are in use. Without `frames`, many columns of one segment, tokens [1, T, K], position [1],
        and all of a condition. Returns logits [B S, R, K, card], and the caches [B S R, H, positions, d]."""
        if frames is not None:
            tokens, position = tokens.flatten(0, 1).unsqueeze(1), position.flatten()
        about = (frames, self.tokens, self.guided, self.segments)
        attention: Attention
        if self.operators == "standard":
            attention, seeing = standard_attention, standard_seeing(*about)
        else:
            attention = grouped_attention(self.heard.layers())
            seeing = grouped_seeing(*about, self.seen.layers())
        logits, new_keys, new_values = self.decoder(
            tokens,
            position,
            self_keys,
            self_values,
            keys,
            values,
            self.guided,
            attention,
            last_only=True,
            seeing=seeing,
        )
        return logits[:, :, 0], new_keys, new_values


class CodecRecurrent(nn.Module):
    """few_bits: whether the LSTM has weights of eight bits; it reads all of them for each code frame."""

    def __init__(self, codec: CodecDecoder, few_bits: bool = False) -> None:
        super().__init__()
        self.codec = codec
        self.few = FewBitLstm(codec.lstm) if few_bits else None

    def forward(self, codes: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.codec.recur(codes, hidden, cell, self.few or onnx_lstm)


class CodecUpsample(nn.Module):
    def __init__(self, codec: CodecDecoder) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, y: Tensor) -> Tensor:
        return self.codec.upsample(y)


class CodecOscillator(nn.Module):
    def __init__(self, codec: OscillatorCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, codes: Tensor, first: Tensor) -> Tensor:
        return self.codec.synthesise(codes, first)


def graphs(
    model: VidMuse, scales: Calibration | None = None, operators: Operators = "onnxruntime"
) -> list[Graph]:
    """Everything that an exported model consists of. scales: of caches of eight bits."""
    scales = scales or Calibration()
    few_bits = bool(scales.heard)
    sound = codec_graphs(model.codec, model.spec.decoder.codebooks, few_bits) if model.codec else []
    eyes = _eyes(model, scales, floats_first=operators == "standard")
    if operators == "standard":
        eyes.append(_condition_in_place(model))
    return [*eyes, *_decoder(model, scales, operators), *sound]


def _eyes(model: VidMuse, scales: Calibration, floats_first: bool) -> list[Graph]:
    spec = model.spec
    side, tokens, width = spec.vision.image_size, spec.vision.tokens, spec.vision.width
    frames = torch.export.Dim("frames", min=1, max=4096)
    recalled = torch.export.Dim("recalled", min=1, max=4096)
    picture = torch.zeros(2, side, side, model.spec.vision.planes, dtype=torch.uint8)
    features, memory = torch.zeros(2, tokens, width), torch.zeros(3, 2, tokens, width)
    condition, ages = torch.zeros(2, tokens, spec.decoder.width), torch.zeros(2, dtype=torch.int64)
    one = ({0: frames},)
    aged = bool(spec.decoder.ages)
    return [
        Graph(
            "vision", Vision(model, floats_first), (picture,), ["frames"], ["pixel_values", "features"], one
        ),
        Graph("short_term", model.short_branch, (features,), ["features"], ["short"], one),
        Graph("long_term", LongTerm(model), (features,), ["features"], ["long", "memory"], one),
        Graph(
            "fuse",
            model.fusion,
            (features, memory),
            ["short", "memory"],
            ["fused", "tokens"],
            ({0: frames}, {0: recalled}),
        ),
        Graph(
            "condition",
            Condition(model, scales.seen),
            (condition, ages) if aged else (condition,),
            ["tokens", "ages"] if aged else ["tokens"],
            [*_each(spec.decoder, "key"), *_each(spec.decoder, "value")],
            ({0: frames}, {0: frames}) if aged else one,
        ),
    ]


def _condition_in_place(model: VidMuse) -> Graph:
    spec, frames = model.spec.decoder, torch.export.Dim("frames", min=1, max=4096)
    still = torch.export.Dim.STATIC
    held, names, varies = _held(model, Calibration(), 1, 1, still, still)
    tokens = torch.zeros(2, model.spec.vision.tokens, spec.width)
    inputs = (tokens, torch.zeros(1, dtype=torch.int64), *held[2:])
    seen = [name for name in names if not name.startswith("self")]
    aged = bool(spec.ages)
    return Graph(
        "condition_in_place",
        ConditionInPlace(model),
        (*inputs, torch.zeros(2, dtype=torch.int64)) if aged else inputs,
        ["tokens", "slot", *seen, *(["ages"] if aged else [])],
        [f"new_{name}" for name in seen],
        ({0: frames}, {0: still}, *varies[2:], *([{0: frames}] if aged else [])),
    )


def _decoder(model: VidMuse, scales: Calibration, operators: Operators) -> list[Graph]:
    """One column of one segment, or of two segments of each of some streams; many columns of one segment, to read a prompt."""
    return [
        graph
        for guided, suffix in ((True, ""), (False, "_unguided"))
        for graph in (
            _step(model, f"step{suffix}", guided, scales, 1, operators),
            _step(model, f"step_two{suffix}", guided, scales, 2, operators),
            _prefill(model, f"prefill{suffix}", guided, scales, operators),
        )
    ]


def _step(
    model: VidMuse, name: str, guided: bool, scales: Calibration, segments: int, operators: Operators
) -> Graph:
    streams, rows = 2, 2 if guided else 1
    tokens = torch.zeros(streams, segments, model.spec.decoder.codebooks, dtype=torch.int64)
    stream, row = (torch.export.Dim(axis, min=1, max=1 << 20) for axis in ("streams", "rows"))
    each = rows * segments
    if operators == "standard":
        row = _rows_of(stream, each)
    held, names, varies = _held(model, scales, each * streams, streams, row, stream)
    return Graph(
        name,
        Step(model, guided, scales, segments, operators),
        (tokens, tokens[..., 0].clone(), *held, torch.full((streams,), 2)),
        ["tokens", "position", *names, "frames"],
        ["logits", *(f"new_{n}" for n in names if n.startswith("self"))],
        ({0: stream}, {0: stream}, *varies, {0: stream}),
    )


def _rows_of(stream: Any, each: int) -> Any:
    """So many for each stream, as standard operators tie them together: if that is not said, PyTorch finds it out at the end, and
    traces all of it once more."""
    if each == 1:
        return stream
    row = each * stream
    row.__name__ = "rows"
    return row


def _prefill(model: VidMuse, name: str, guided: bool, scales: Calibration, operators: Operators) -> Graph:
    tokens = torch.zeros(1, 3, model.spec.decoder.codebooks, dtype=torch.int64)
    still, column = torch.export.Dim.STATIC, torch.export.Dim("columns", min=2, max=1 << 20)
    held, names, varies = _held(model, scales, 2 if guided else 1, 1, still, still)
    return Graph(
        name,
        Step(model, guided, scales, 1, operators),
        (tokens, torch.zeros(1, dtype=torch.int64), *held),
        ["tokens", "position", *names],
        ["logits", *(f"new_{n}" for n in names if n.startswith("self"))],
        ({0: still, 1: column}, {0: still}, *varies),
    )


def _held(
    model: VidMuse, scales: Calibration, rows: int, streams: int, row: Any, stream: Any
) -> tuple[list[list[Tensor]], list[str], list[list[dict[int, Any]]]]:
    """Caches and conditions of each layer: examples for so many rows and streams, their names, and what may vary of them."""
    spec, tokens = model.spec.decoder, model.spec.vision.tokens
    dtype, wide = kept_in(model), padded_head(spec)
    cache = torch.zeros(rows, spec.heads, 16, wide, dtype=torch.int8 if scales.heard else dtype)
    key = torch.zeros(streams, spec.heads, 2 * tokens, wide, dtype=torch.int8 if scales.seen else dtype)
    cached = {0: row, 2: torch.export.Dim("positions", min=8, max=1 << 20)}
    seen = {0: stream, 2: torch.export.Dim("held", min=2, max=1 << 20)}
    parts = (
        ("self_key", cache, cached),
        ("self_value", cache, cached),
        ("key", key, seen),
        ("value", key, seen),
    )
    return (
        [[x.clone() for _ in range(spec.layers)] for _, x, _ in parts],
        [name for part, _, _ in parts for name in _each(spec, part)],
        [[varies] * spec.layers for _, _, varies in parts],
    )


def kept_in(model: VidMuse) -> torch.dtype:
    """The type of caches and conditions that are floats: of what a condition is made by."""
    return next(model.decoder.stack()).cross_kv.weight.dtype


def _each(spec: DecoderSpec, name: str) -> list[str]:
    return [f"{name}_{layer}" for layer in range(spec.layers)]


def codec_graphs(
    codec: CodecDecoder | OscillatorCodec, codebooks: int, few_bits: bool = False
) -> list[Graph]:
    """The codec, for the codebooks that the decoder writes."""
    return _oscillator(codec) if isinstance(codec, OscillatorCodec) else _encodec(codec, codebooks, few_bits)


def _oscillator(codec: OscillatorCodec) -> list[Graph]:
    spec = codec.spec
    read = torch.export.Dim("read", min=spec.context + 1, max=1 << 20)
    codes = torch.zeros(spec.codebooks, spec.context + 5, dtype=torch.int64)
    inputs, names = (codes, torch.tensor(0)), ["codes", "first"]
    return [Graph("codec_oscillator", CodecOscillator(codec), inputs, names, ["audio"], ({1: read}, {}))]


def _encodec(codec: CodecDecoder, codebooks: int, few_bits: bool) -> list[Graph]:
    """Its two halves."""
    spec, lead = codec.spec, codec.reach.lead
    frames = torch.export.Dim("frames", min=1, max=1 << 20)
    padded = torch.export.Dim("padded", min=2 * lead + 1, max=1 << 20)
    state = torch.zeros(spec.lstm_layers, 1, spec.lstm_width)
    codes = torch.zeros(codebooks, 5 + 2 * lead, dtype=torch.int64)
    y = torch.zeros(spec.lstm_width, 7)
    still = {0: torch.export.Dim.STATIC}
    return [
        Graph(
            "codec_recurrent",
            CodecRecurrent(codec, few_bits),
            (codes, state, state.clone()),
            ["codes", "hidden", "cell"],
            ["y", "new_hidden", "new_cell"],
            ({1: padded}, still, still),
        ),
        Graph("codec_upsample", CodecUpsample(codec), (y,), ["y"], ["audio"], ({1: frames},)),
    ]
