"""The graphs behind the five verbs, each traced from the PyTorch modules with its caches as inputs and outputs.

Self-attention is traced as ONNX Runtime's `GroupQueryAttention`, which appends to a cache in place: a plain export copies the
whole cache at every step. Its head width must be a multiple of 8; others are padded with zeros, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.codec import CodecDecoder
from engine.model.decoder import Attention, Seeing, frame_attention
from engine.model.oscillator import OscillatorCodec
from engine.model.vidmuse import VidMuse
from engine.spec import DecoderSpec
from export.calibrate import LARGEST, CacheScales, Calibration

EIGHT_BITS: dict[str, Any] = {
    "k_quant_type": "PER_CHANNEL",
    "v_quant_type": "PER_CHANNEL",
    "kv_cache_bit_width": 8,
}
"""How GroupQueryAttention is told of such caches."""
HEAD_MULTIPLE = 8
"""GroupQueryAttention refuses head widths that are no multiple of it."""


def padded_head(spec: DecoderSpec) -> int:
    return -(-spec.head_dim // HEAD_MULTIPLE) * HEAD_MULTIPLE


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
    def __init__(self, model: VidMuse) -> None:
        super().__init__()
        self.vision = model.vision

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        pixels, features = self.vision(frames)
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
        self.scales = Scales(scales)

    def forward(self, tokens: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """tokens: [F, P, D]. Keys [F, H, d, P] and values [F, H, P, d]; in eight bits both are [F, H, P, d]."""
        keys, values = self.decoder.project(tokens)
        if not self.scales:
            return keys, values
        pairs = list(zip(keys, values, self.scales.layers(), strict=True))
        return (
            [_eight_bits(k.transpose(2, 3), key_scale) for k, _, (key_scale, _) in pairs],
            [_eight_bits(v, value_scale) for _, v, (_, value_scale) in pairs],
        )


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

    def __init__(self, model: VidMuse, guided: bool, scales: Calibration) -> None:
        super().__init__()
        self.decoder, self.guided = model.decoder, guided
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
        last: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """last: what a graph may have besides: ages [F] of a model with ages, or how many frames [] of a condition of eight bits
        are in use. All else: see `Decoder.forward`; such a condition is [1, H, F P, d]."""
        logits, new_keys, new_values = self.decoder(
            tokens,
            position,
            self_keys,
            self_values,
            keys,
            values,
            self.guided,
            self._attention(),
            last_only=True,
            ages=None if self.seen else last,
            seeing=self._seeing(last) if self.seen else frame_attention,
        )
        return logits[:, :, 0], new_keys, new_values

    def _attention(self) -> Attention:
        """Called by layer after layer, in their order."""
        layers = self.heard.layers()

        def attend(
            qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, heads: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            return group_query_attention(qkv, keys, values, position, heads, next(layers, None))

        return attend

    def _seeing(self, frames: Tensor | None) -> Seeing:
        """Called by layer after layer: for the frames, in eight bits, and when guided for the null frame, in floats."""
        layers = self.seen.layers()
        held = None if frames is None else frames * self.tokens

        def see(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
            if keys.is_floating_point():
                return one_frame_attention(q, keys, values, heads)
            scales = next(layers)
            if held is None:
                head = q.shape[-1] // heads
                read = [
                    (x.float() * wide)[..., :head]
                    for x, wide in zip((keys, values), _wide(scales, keys), strict=True)
                ]
                return frame_attention(q, read[0].transpose(2, 3), read[1], heads)
            return seen_attention(q, keys, values, held, heads, scales)

        return see


class CodecRecurrent(nn.Module):
    def __init__(self, codec: CodecDecoder) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, codes: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.codec.recur(codes, hidden, cell, onnx_lstm)


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


def group_query_attention(
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Tensor,
    heads: int,
    scales: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`engine.model.decoder.cached_attention` as one ONNX Runtime operator. scales: of caches of eight bits, [1, H, 1, d]."""
    rows, columns, width = qkv.shape
    head, padded = width // (3 * heads), keys.shape[-1]
    if padded != head:
        qkv = _padded(qkv.unflatten(-1, (3 * heads, head)), padded).flatten(2)
    last = (position + (columns - 1)).to(torch.int32)
    inputs: tuple[Tensor | None, ...] = (qkv, None, None, keys, values, last, last.max() + 1)
    about: dict[str, Any] = {"num_heads": heads, "kv_num_heads": heads, "scale": head**-0.5}
    if scales:
        inputs += (None, None, None, None, None, *_wide(scales, keys))
        about |= EIGHT_BITS
    heard, keys, values = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        inputs,
        about,
        dtypes=(qkv.dtype, keys.dtype, values.dtype),
        shapes=((rows, columns, heads * padded), keys.shape, values.shape),
        version=1,
    )
    if padded != head:
        heard = heard.unflatten(-1, (heads, padded))[..., :head].flatten(2)
    return heard, keys, values


def seen_attention(
    q: Tensor, keys: Tensor, values: Tensor, held: Tensor, heads: int, scales: tuple[Tensor, Tensor]
) -> Tensor:
    """`engine.model.decoder.frame_attention` for one column of each segment, over the first `held` [] tokens of a condition of
    eight bits [1, H, F P, d]: one GroupQueryAttention that appends nothing. All rows are queries of one sequence."""
    rows, _, width = q.shape
    head, padded = width // heads, keys.shape[-1]
    asked = _padded(q.unflatten(-1, (heads, head)), padded).reshape(1, rows, heads * padded)
    nothing = asked.new_zeros(1, 0, heads * padded)
    last = (held - 1).to(torch.int32)
    inputs = (asked, nothing, nothing, keys, values, last.unsqueeze(0), last + 1)
    answer, _, _ = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        (*inputs, None, None, None, None, None, *_wide(scales, keys)),
        {"num_heads": heads, "kv_num_heads": heads, "scale": 1.0, "causal": 0, **EIGHT_BITS},
        dtypes=(q.dtype, keys.dtype, values.dtype),
        shapes=(asked.shape, keys.shape, values.shape),
        version=1,
    )
    return answer.unflatten(-1, (heads, padded))[..., :head].reshape(q.shape)


def one_frame_attention(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """`frame_attention` to one frame, keys [1, H, d, P] and values [1, H, P, d], as one operator."""
    asked = q.flatten(0, 1).unsqueeze(0)
    (answer,) = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::MultiHeadAttention",
        (asked, keys.transpose(2, 3).contiguous(), values),
        {"num_heads": heads, "scale": 1.0},
        dtypes=(q.dtype,),
        shapes=(asked.shape,),
        version=1,
    )
    return answer.view(q.shape)


def _eight_bits(x: Tensor, scale: Tensor) -> Tensor:
    """[F, H, P, d] in steps of its scale, padded to the width that heads have in caches."""
    steps = (x / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    head = steps.shape[-1]
    return _padded(steps, head + -head % HEAD_MULTIPLE).contiguous()


def _wide(scales: tuple[Tensor, Tensor], cache: Tensor) -> list[Tensor]:
    """Scales as wide as the heads of a cache."""
    return [_padded(scale, cache.shape[-1], 1.0) for scale in scales]


def _padded(x: Tensor, width: int, value: float = 0.0) -> Tensor:
    """[..., width]. No operator where nothing is to be done."""
    more = width - x.shape[-1]
    return F.pad(x, (0, more), value=value) if more else x


def onnx_lstm(lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ONNX operator, layer by layer; torch orders the gates i, f, g, o and ONNX i, o, f, c."""
    width = lstm.hidden_size

    def reorder(weight: Tensor) -> Tensor:
        i, f, g, o = weight.chunk(4)
        return torch.cat((i, o, f, g))

    hiddens, cells = [], []
    for layer in range(lstm.num_layers):
        w, r = (reorder(getattr(lstm, f"weight_{n}_l{layer}")) for n in ("ih", "hh"))
        biases = [reorder(getattr(lstm, f"bias_{n}_l{layer}")) for n in ("ih", "hh")]
        state = (hidden[layer : layer + 1], cell[layer : layer + 1])
        y, h, c = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (x, w.unsqueeze(0), r.unsqueeze(0), torch.cat(biases).unsqueeze(0), None, *state),
            {"hidden_size": width},
            dtypes=(x.dtype, x.dtype, x.dtype),
            shapes=((x.shape[0], 1, 1, width), (1, 1, width), (1, 1, width)),
            version=22,
        )
        x = y.squeeze(1)
        hiddens.append(h)
        cells.append(c)
    return x, torch.cat(hiddens), torch.cat(cells)


def graphs(model: VidMuse, scales: Calibration | None = None) -> list[Graph]:
    """Everything that an exported model consists of. scales: of caches of eight bits."""
    sound = codec_graphs(model.codec, model.spec.decoder.codebooks) if model.codec else []
    scales = scales or Calibration()
    return [*_eyes(model, scales), *_decoder(model, scales), *sound]


def _eyes(model: VidMuse, scales: Calibration) -> list[Graph]:
    spec = model.spec
    side, tokens, width = spec.vision.image_size, spec.vision.tokens, spec.vision.width
    frames = torch.export.Dim("frames", min=1, max=4096)
    recalled = torch.export.Dim("recalled", min=1, max=4096)
    picture = torch.zeros(2, side, side, model.spec.vision.planes, dtype=torch.uint8)
    features, memory = torch.zeros(2, tokens, width), torch.zeros(3, 2, tokens, width)
    condition = torch.zeros(2, tokens, spec.decoder.width)
    one = ({0: frames},)
    return [
        Graph("vision", Vision(model), (picture,), ["frames"], ["pixel_values", "features"], one),
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
            (condition,),
            ["tokens"],
            [*_each(spec.decoder, "key"), *_each(spec.decoder, "value")],
            one,
        ),
    ]


def _decoder(model: VidMuse, scales: Calibration) -> list[Graph]:
    """One column for any number of segments, guided or not; and many columns of one segment, to read a prompt."""
    return [
        _step(model, "step", True, scales),
        _step(model, "step_unguided", False, scales),
        _step(model, "prefill", True, scales, columns=3),
        _step(model, "prefill_unguided", False, scales, columns=3),
    ]


def _step(model: VidMuse, name: str, guided: bool, scales: Calibration, columns: int = 1) -> Graph:
    spec = model.spec.decoder
    rows, segments = (2 if guided else 1), (2 if columns == 1 else 1)
    positions = torch.export.Dim("positions", min=8, max=1 << 20)
    segment = torch.export.Dim("segments", min=1, max=4096) if columns == 1 else torch.export.Dim.STATIC
    column = torch.export.Dim("columns", min=2, max=1 << 20) if columns > 1 else torch.export.Dim.STATIC
    row = rows * segment if columns == 1 else torch.export.Dim.STATIC
    kept = torch.int8 if scales.heard else model.decoder.logits.weight.dtype
    cache = torch.zeros(rows * segments, spec.heads, 16, padded_head(spec), dtype=kept)
    layers = range(spec.layers)
    key, value, held, besides = _condition(model, bool(scales.seen), columns)
    inputs = (
        torch.zeros(segments, columns, spec.codebooks, dtype=torch.int64),
        torch.zeros(segments, dtype=torch.int64),
        [cache.clone() for _ in layers],
        [cache.clone() for _ in layers],
        [key.clone() for _ in layers],
        [value.clone() for _ in layers],
    )
    caches, seen = [{0: row, 2: positions}] * spec.layers, [held] * spec.layers
    dynamic = ({0: segment, 1: column}, {0: segment}, caches, caches, seen, seen)
    names = [*_each(spec, "self_key"), *_each(spec, "self_value")]
    return Graph(
        name,
        Step(model, guided, scales),
        (*inputs, *(example for example, _, _ in besides)),
        [
            "tokens",
            "position",
            *names,
            *_each(spec, "key"),
            *_each(spec, "value"),
            *(name for _, name, _ in besides),
        ],
        ["logits", *(f"new_{n}" for n in names)],
        (*dynamic, *(varies for _, _, varies in besides)),
    )


Besides = list[tuple[Tensor, str, dict[int, Any]]]


def _condition(model: VidMuse, eight: bool, columns: int) -> tuple[Tensor, Tensor, dict[int, Any], Besides]:
    """A layer's keys and values, what may vary of them, and what a step is told besides: example, name, what may vary.

    Of a condition of eight bits a step is told how many frames are in use; whoever reads a prompt gets no others.
    """
    spec, tokens, frames = model.spec.decoder, model.spec.vision.tokens, 2
    if eight:
        seen = torch.export.Dim("seen", min=2, max=1 << 20)
        key = torch.zeros(1, spec.heads, frames * tokens, padded_head(spec), dtype=torch.int8)
        count: Besides = [(torch.tensor(frames), "frames", {})] if columns == 1 else []
        return key, key, {2: seen}, count
    held = torch.export.Dim("frames", min=1, max=4096)
    key = torch.zeros(frames, spec.heads, spec.head_dim, tokens, dtype=model.decoder.logits.weight.dtype)
    ages: Besides = [(torch.zeros(frames, dtype=torch.int64), "ages", {0: held})] if spec.ages else []
    return key, key.transpose(2, 3), {0: held}, ages


def _each(spec: DecoderSpec, name: str) -> list[str]:
    return [f"{name}_{layer}" for layer in range(spec.layers)]


def codec_graphs(codec: CodecDecoder | OscillatorCodec, codebooks: int) -> list[Graph]:
    """The codec, for the codebooks that the decoder writes."""
    return _oscillator(codec) if isinstance(codec, OscillatorCodec) else _encodec(codec, codebooks)


def _oscillator(codec: OscillatorCodec) -> list[Graph]:
    spec = codec.spec
    read = torch.export.Dim("read", min=spec.context + 1, max=1 << 20)
    codes = torch.zeros(spec.codebooks, spec.context + 5, dtype=torch.int64)
    inputs, names = (codes, torch.tensor(0)), ["codes", "first"]
    return [Graph("codec_oscillator", CodecOscillator(codec), inputs, names, ["audio"], ({1: read}, {}))]


def _encodec(codec: CodecDecoder, codebooks: int) -> list[Graph]:
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
            CodecRecurrent(codec),
            (codes, state, state.clone()),
            ["codes", "hidden", "cell"],
            ["y", "new_hidden", "new_cell"],
            ({1: padded}, still, still),
        ),
        Graph("codec_upsample", CodecUpsample(codec), (y,), ["y"], ["audio"], ({1: frames},)),
    ]
