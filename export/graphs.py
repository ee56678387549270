"""The graphs behind the five verbs, each traced from the PyTorch modules with its caches as inputs and outputs.

Self-attention is traced as ONNX Runtime's `GroupQueryAttention`, which appends to a cache in place: a plain export copies the
whole cache at every step. Its head width must be a multiple of 8; others are padded with zeros, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from export.calibrate import CacheScales

EIGHT_BITS = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
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
    def __init__(self, model: VidMuse) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, tokens: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        return self.decoder.project(tokens)


class Step(nn.Module):
    """scales: of caches of eight bits, each layer's; none where caches are floats."""

    def __init__(self, model: VidMuse, guided: bool, scales: Sequence[CacheScales] = ()) -> None:
        super().__init__()
        self.decoder, self.guided = model.decoder, guided
        self.scales = nn.ParameterList(part for layer in scales for part in (layer.keys, layer.values))
        self.scales.requires_grad_(False)

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        self_keys: Sequence[Tensor],
        self_values: Sequence[Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        ages: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
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
            ages=ages,
        )
        return logits[:, :, 0], new_keys, new_values

    def _attention(self) -> Attention:
        """Called by layer after layer, in their order."""
        layers = iter(zip(self.scales[::2], self.scales[1::2], strict=True))

        def attend(
            qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, heads: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            return group_query_attention(qkv, keys, values, position, heads, next(layers, None))

        return attend


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
        qkv = F.pad(qkv.unflatten(-1, (3 * heads, head)), (0, padded - head)).flatten(2)
    last = (position + (columns - 1)).to(torch.int32)
    inputs: tuple[Tensor | None, ...] = (qkv, None, None, keys, values, last, last.max() + 1)
    about: dict[str, Any] = {"num_heads": heads, "kv_num_heads": heads, "scale": head**-0.5}
    if scales:
        wide = [F.pad(scale, (0, padded - head), value=1.0) for scale in scales]
        inputs += (None, None, None, None, None, *wide)
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


def graphs(model: VidMuse, scales: Sequence[CacheScales] = ()) -> list[Graph]:
    """Everything that an exported model consists of. scales: of self-attention caches of eight bits."""
    sound = codec_graphs(model.codec, model.spec.decoder.codebooks) if model.codec else []
    return [*_eyes(model), *_decoder(model, scales), *sound]


def _eyes(model: VidMuse) -> list[Graph]:
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
            Condition(model),
            (condition,),
            ["tokens"],
            [*_each(spec.decoder, "key"), *_each(spec.decoder, "value")],
            one,
        ),
    ]


def _decoder(model: VidMuse, scales: Sequence[CacheScales]) -> list[Graph]:
    """One column for any number of segments, guided or not; and many columns of one segment, to read a prompt."""
    return [
        _step(model, "step", True, scales),
        _step(model, "step_unguided", False, scales),
        _step(model, "prefill", True, scales, columns=3),
        _step(model, "prefill_unguided", False, scales, columns=3),
    ]


def _step(model: VidMuse, name: str, guided: bool, scales: Sequence[CacheScales], columns: int = 1) -> Graph:
    spec, vision = model.spec.decoder, model.spec.vision
    rows, segments, frames = (2 if guided else 1), (2 if columns == 1 else 1), 2
    positions = torch.export.Dim("positions", min=8, max=1 << 20)
    segment = torch.export.Dim("segments", min=1, max=4096) if columns == 1 else torch.export.Dim.STATIC
    column = torch.export.Dim("columns", min=2, max=1 << 20) if columns > 1 else torch.export.Dim.STATIC
    held = torch.export.Dim("frames", min=1, max=4096)
    row = rows * segment if columns == 1 else torch.export.Dim.STATIC
    dtype = model.decoder.logits.weight.dtype
    kept = torch.int8 if scales else dtype
    cache = torch.zeros(rows * segments, spec.heads, 16, padded_head(spec), dtype=kept)
    key = torch.zeros(frames, spec.heads, spec.head_dim, vision.tokens, dtype=dtype)
    layers = range(spec.layers)
    tokens = torch.zeros(segments, columns, spec.codebooks, dtype=torch.int64)
    inputs = (
        tokens,
        torch.zeros(segments, dtype=torch.int64),
        [cache.clone() for _ in layers],
        [cache.clone() for _ in layers],
        [key.clone() for _ in layers],
        [key.transpose(2, 3).clone() for _ in layers],
    )
    caches, seen = [{0: row, 2: positions}] * spec.layers, [{0: held}] * spec.layers
    dynamic = ({0: segment, 1: column}, {0: segment}, caches, caches, seen, seen)
    names = [*_each(spec, "self_key"), *_each(spec, "self_value")]
    ages = [(torch.zeros(frames, dtype=torch.int64), "ages", {0: held})] if spec.ages else []
    return Graph(
        name,
        Step(model, guided, scales),
        (*inputs, *(example for example, _, _ in ages)),
        [
            "tokens",
            "position",
            *names,
            *_each(spec, "key"),
            *_each(spec, "value"),
            *(name for _, name, _ in ages),
        ],
        ["logits", *(f"new_{n}" for n in names)],
        (*dynamic, *(varies for _, _, varies in ages)),
    )


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
