"""The graphs behind the five verbs, each traced from the PyTorch modules with its caches as inputs and outputs.

Self-attention is traced as ONNX Runtime's `GroupQueryAttention`, which appends to a cache in place: a plain export copies the
whole cache at every step. Its head width must be a multiple of 8; others are padded with zeros, which changes nothing.
Where other runtimes are to read the graphs, both attentions are traced as standard operators: see `export.standard`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.codec import CodecDecoder
from engine.model.decoder import Attention, Seeing, frame_attention
from engine.model.oscillator import OscillatorCodec
from engine.model.vidmuse import VidMuse
from engine.spec import DecoderSpec
from export.calibrate import CacheScales, Calibration
from export.quantise import EIGHT, Quantised, by_column
from export.standard import Operators, scattered, standard_attention, standard_seeing, widened

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
            seeing=self._seeing(frames),
        )
        return logits[:, :, 0], new_keys, new_values

    def _attention(self) -> Attention:
        """Called by layer after layer, in their order."""
        if self.operators == "standard":
            return standard_attention
        layers = self.heard.layers()

        def attend(
            qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, heads: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            return group_query_attention(qkv, keys, values, position, heads, next(layers, None))

        return attend

    def _seeing(self, frames: Tensor | None) -> Seeing:
        """Called by layer after layer: for the frames, and then, when guided, for the null frame."""
        if self.operators == "standard":
            return standard_seeing(frames, self.tokens, self.guided, self.segments)
        layers = self.seen.layers()
        held = None if frames is None else frames * self.tokens
        of_null = cycle((False, True) if self.guided else (False,))

        def see(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
            if next(of_null):
                return one_frame_attention(q, keys, values, heads)
            scales = next(layers, None)
            if held is not None:
                return seen_attention(q, keys, values, held, self.segments, heads, scales)
            head = q.shape[-1] // heads
            if scales:
                keys, values = (x * wide for x, wide in zip((keys, values), _wide(scales, keys), strict=True))
            return frame_attention(q, keys[..., :head].transpose(2, 3), values[..., :head], heads)

        return see


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
        qkv = widened(qkv.unflatten(-1, (3 * heads, head)), padded).flatten(2)
    last = (position + (columns - 1)).to(torch.int32)
    about = {"num_heads": heads, "kv_num_heads": heads, "scale": head**-0.5}
    shape = (rows, columns, heads * padded)
    heard, keys, values = _grouped(about, shape, (qkv, None, None), (keys, values), last, scales)
    if padded != head:
        heard = heard.unflatten(-1, (heads, padded))[..., :head].flatten(2)
    return heard, keys, values


def seen_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    held: Tensor,
    segments: int,
    heads: int,
    scales: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """`engine.model.decoder.frame_attention` of each stream's segments to its own condition: one GroupQueryAttention that appends
    nothing, and to which segments are heads that share keys and values (it takes no second query behind a cache in a batch).

    q: [B S, 1, D]; keys, values: [B, H, N, d], of which the first held [B] tokens count.
    """
    head, padded = q.shape[-1] // heads, keys.shape[-1]
    asked = widened(q.view(-1, segments, heads, head).transpose(1, 2), padded).reshape(keys.shape[0], 1, -1)
    if not scales:
        asked = asked.to(keys.dtype)
    nothing = asked.new_zeros(keys.shape[0], 0, heads * padded)
    last = (held - 1).to(torch.int32)
    about = {"num_heads": heads * segments, "kv_num_heads": heads, "scale": 1.0, "causal": 0}
    answer, _, _ = _grouped(about, asked.shape, (asked, nothing, nothing), (keys, values), last, scales)
    parted = answer.to(q.dtype).view(-1, heads, segments, padded)[..., :head].transpose(1, 2)
    return parted.reshape(q.shape)


def _grouped(
    about: dict[str, Any],
    shape: Sequence[int | torch.SymInt],
    new: tuple[Tensor, Tensor | None, Tensor | None],
    cache: tuple[Tensor, Tensor],
    last: Tensor,
    scales: tuple[Tensor, Tensor] | None,
) -> Sequence[Tensor]:
    """GroupQueryAttention: the answer, of that shape, and the caches. new: queries, keys and values; last: int32, the place of
    the last token that counts, for each row; scales: of caches of eight bits."""
    inputs: tuple[Tensor | None, ...] = (*new, *cache, last, last.max() + 1)
    if scales:
        inputs += (None, None, None, None, None, *_wide(scales, cache[0]))
        about = about | EIGHT_BITS
    return torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        inputs,
        about,
        dtypes=(new[0].dtype, cache[0].dtype, cache[1].dtype),
        shapes=(shape, cache[0].shape, cache[1].shape),
        version=1,
    )


def one_frame_attention(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """`frame_attention` to one frame, keys [1, H, d, P] and values [1, H, P, d], as one operator."""
    asked = q.flatten(0, 1).unsqueeze(0).to(keys.dtype)
    (answer,) = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::MultiHeadAttention",
        (asked, keys.transpose(2, 3).contiguous(), values),
        {"num_heads": heads, "scale": 1.0},
        dtypes=(asked.dtype,),
        shapes=(asked.shape,),
        version=1,
    )
    return answer.to(q.dtype).view(q.shape)


def _in_steps(weight: Tensor, scales: CacheScales) -> nn.Parameter:
    """cross_kv's weight [2D, D] whose products are in steps of their cache's scales; keys carry the attention's d**-0.5."""
    head = scales.keys.shape[-1]
    sizes = torch.cat((scales.keys.flatten() * head**0.5, scales.values.flatten()))
    return nn.Parameter(weight.detach() / sizes.unsqueeze(1), requires_grad=False)


def _rounded(x: Tensor) -> Tensor:
    """int8, cut off where they end."""
    about = (x, torch.ones(()), torch.zeros((), dtype=torch.int8))
    return torch.onnx.ops.symbolic("QuantizeLinear", about, dtype=torch.int8, shape=x.shape, version=22)


def _wide(scales: tuple[Tensor, Tensor], cache: Tensor) -> list[Tensor]:
    """Scales as wide as the heads of a cache."""
    return [widened(scale, cache.shape[-1], 1.0) for scale in scales]


def onnx_lstm(lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ONNX operator, layer by layer."""
    weights = [
        [_gates(lstm, f"weight_{n}_l{layer}") for n in ("ih", "hh")] for layer in range(lstm.num_layers)
    ]
    return _through(
        lstm, "LSTM", [(w.unsqueeze(0), r.unsqueeze(0)) for w, r in weights], (), x, (hidden, cell), 22
    )


class FewBitLstm(nn.Module):
    """`onnx_lstm` with its matrices in eight bits, as ONNX Runtime's operator. done: what rounding changed."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.done = Quantised()
        for layer in range(lstm.num_layers):
            for part in ("ih", "hh"):
                weight = _gates(lstm, f"weight_{part}_l{layer}").detach().T.numpy()
                levels, scales = by_column(weight)
                self.done.note(weight, levels * scales, EIGHT)
                for name, array in (("levels", levels), ("scales", scales)):
                    self.register_buffer(f"{part}{layer}_{name}", torch.from_numpy(array).unsqueeze(0))

    def forward(
        self, lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        def kept(layer: int, name: str) -> list[Tensor]:
            return [self.get_buffer(f"{part}{layer}_{name}") for part in ("ih", "hh")]

        zero = torch.zeros(1, 4 * lstm.hidden_size, dtype=torch.int8)
        layers = range(lstm.num_layers)
        scales = [(None, w, zero, r, zero) for w, r in (kept(layer, "scales") for layer in layers)]
        levels = [(w, r) for w, r in (kept(layer, "levels") for layer in layers)]
        operator = "com.microsoft::DynamicQuantizeLSTM"
        return _through(lstm, operator, levels, scales, x, (hidden, cell), 1)


def _through(
    lstm: nn.LSTM,
    operator: str,
    weights: Sequence[tuple[Tensor, Tensor]],
    besides: Sequence[tuple[Tensor | None, ...]],
    x: Tensor,
    state: tuple[Tensor, Tensor],
    version: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """One operator a layer. weights: of each, for its input and for its state; besides: its inputs behind the state, if any."""
    width, states = lstm.hidden_size, []
    for layer, (w, r) in enumerate(weights):
        bias = torch.cat([_gates(lstm, f"bias_{n}_l{layer}") for n in ("ih", "hh")]).unsqueeze(0)
        before = (part[layer : layer + 1] for part in state)
        y, *after = torch.onnx.ops.symbolic_multi_out(
            operator,
            (x, w, r, bias, None, *before, *(besides[layer] if besides else ())),
            {"hidden_size": width},
            dtypes=(x.dtype, x.dtype, x.dtype),
            shapes=((x.shape[0], 1, 1, width), (1, 1, width), (1, 1, width)),
            version=version,
        )
        x = y.squeeze(1)
        states.append(after)
    hidden, cell = (torch.cat(part) for part in zip(*states, strict=True))
    return x, hidden, cell


def _gates(lstm: nn.LSTM, name: str) -> Tensor:
    """A weight or bias; torch orders the gates i, f, g, o and ONNX i, o, f, c."""
    i, f, g, o = getattr(lstm, name).chunk(4)
    return torch.cat((i, o, f, g))


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
    held, names, varies = _held(model, scales, rows * streams * segments, streams, row, stream)
    return Graph(
        name,
        Step(model, guided, scales, segments, operators),
        (tokens, tokens[..., 0].clone(), *held, torch.full((streams,), 2)),
        ["tokens", "position", *names, "frames"],
        ["logits", *(f"new_{n}" for n in names if n.startswith("self"))],
        ({0: stream}, {0: stream}, *varies, {0: stream}),
    )


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
    dtype, wide = model.decoder.logits.weight.dtype, padded_head(spec)
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
