"""Our decoder, with the same weights, run by other runtimes as their users would run it: OpenVINO, and PyTorch with dynamic int8.

OpenVINO is given the module with caches that grow by concatenation, which its CPU plugin keeps as state and updates in place, and
weights compressed by NNCF: `pip install openvino nncf`. No second segment: a row of its state begins where the others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models import decoder_bytes
from cuestream.cases import Case, condition_numbers, self_numbers
from engine.model.decoder import Decoder, Linear
from engine.model.vidmuse import VidMuse
from engine.spec import ModelSpec
from export.checkpoint import load_model
from export.random_model import random_package

GROUP = 128
SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "KV_CACHE_PRECISION": "u8",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(GROUP),
}


class GrowingStep(nn.Module):
    """One column of one segment: tokens, position, then self keys, self values, keys and values of each layer."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, position: Tensor, *held: Tensor) -> tuple[Tensor, ...]:
        count = self.decoder.spec.layers
        own_keys, own_values, keys, values = (held[i * count : (i + 1) * count] for i in range(4))
        logits, new_keys, new_values = self.decoder(
            tokens, position, own_keys, own_values, keys, values, True, _growing_attention, last_only=True
        )
        return logits, *new_keys, *new_values


def _growing_attention(
    qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    keys, values = torch.cat((keys, k), 2), torch.cat((values, v), 2)
    return F.scaled_dot_product_attention(q, keys, values).transpose(1, 2).flatten(2), keys, values


class OnOpenVino:
    """bits: of weights."""

    def __init__(self, spec: ModelSpec, bits: int, threads: int) -> None:
        import openvino as ov

        self.spec, self.bits = spec, bits
        model = load_model(random_package(spec))
        self.compiled = ov.Core().compile_model(
            _compressed(_converted(model), bits, spec.decoder.width),
            "CPU",
            {**SETTINGS, "INFERENCE_NUM_THREADS": str(threads)},
        )
        self.numbers = decoder_bytes(model.decoder, guided=True) / 4

    def ways(self) -> Sequence[str]:
        return ("",)

    def plays(self, case: Case) -> bool:
        return case.segments == 1 and case.guided

    def steps(self, case: Case, way: str, room: int) -> Any:
        import openvino as ov

        decoder, tokens = self.spec.decoder, self.spec.vision.tokens
        random, head = np.random.default_rng(0), decoder.head_dim
        request = self.compiled.create_infer_request()
        for state in request.query_state():
            noise = random.random((2, decoder.heads, case.length, head), np.float32)
            state.state = ov.Tensor(noise)
        given: dict[str, Any] = {"tokens": random.integers(0, decoder.card, (1, 1, decoder.codebooks))}
        for i in range(decoder.layers):
            given[f"key_{i}"] = random.random((case.frames, decoder.heads, head, tokens), np.float32)
            given[f"value_{i}"] = random.random((case.frames, decoder.heads, tokens, head), np.float32)

        def advance(column: int) -> None:
            given["position"] = np.array([min(case.length + column, self.spec.max_positions - 1)])
            request.infer(given, share_inputs=True, share_outputs=True)

        return advance

    def bytes_a_step(self, case: Case) -> int:
        """Weights with a scale of 16 bits for each group, caches of eight bits, the condition in floats."""
        weights = self.numbers * (self.bits / 8 + 2 / GROUP)
        return round(weights + self_numbers(self.spec, case) + 4 * condition_numbers(self.spec, case))


def _converted(model: VidMuse) -> Any:
    """As OpenVINO's graph, with self-attention's caches as state."""
    import openvino as ov
    from openvino._offline_transformations import apply_make_stateful_transformation

    spec, tokens = model.spec.decoder, model.spec.vision.tokens
    own = torch.zeros(2, spec.heads, 8, spec.head_dim)
    key = torch.zeros(2, spec.heads, spec.head_dim, tokens)
    held = [x.clone() for x in (own, own, key, key.transpose(2, 3)) for _ in range(spec.layers)]
    example = (torch.zeros(1, 1, spec.codebooks, dtype=torch.int64), torch.tensor([8]), *held)
    names = [f"{part}_{i}" for part in ("self_key", "self_value", "key", "value") for i in range(spec.layers)]
    converted = ov.convert_model(GrowingStep(model.decoder), example_input=example)
    for given, name in zip(converted.inputs, ["tokens", "position", *names], strict=True):
        given.get_tensor().set_names({name})
    grown = [name for name in names if name.startswith("self_")]
    for answer, name in zip(converted.outputs, ["logits", *(f"new_{name}" for name in grown)], strict=True):
        answer.get_tensor().set_names({name})
    dynamic = {name: ov.PartialShape([2, spec.heads, -1, spec.head_dim]) for name in grown}
    seen = {
        f"key_{i}": ov.PartialShape([-1, spec.heads, spec.head_dim, tokens]) for i in range(spec.layers)
    } | {f"value_{i}": ov.PartialShape([-1, spec.heads, tokens, spec.head_dim]) for i in range(spec.layers)}
    converted.reshape(
        {
            "tokens": ov.PartialShape([1, 1, spec.codebooks]),
            "position": ov.PartialShape([1]),
            **dynamic,
            **seen,
        }
    )
    apply_make_stateful_transformation(converted, {name: f"new_{name}" for name in grown})
    return converted


def _compressed(model: Any, bits: int, width: int) -> Any:
    """width: of the decoder, which has to be a multiple of a group."""
    import nncf

    if bits == 8:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    kept = nncf.IgnoredScope(
        patterns=[".*matmul.*", ".*index.*", ".*embedding.*"]
    )  # the null frame, and tables
    return nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_SYM,
        group_size=min(GROUP, width),
        ratio=1.0,
        all_layers=True,
        ignored_scope=kept,
    )


def make_dynamic_int8(model: VidMuse) -> None:
    """Matrices of the decoder as PyTorch's dynamically quantised ones, activations rounded as they come."""
    decoder: Any = model.decoder
    for layer in (*decoder.stack(), decoder):
        for name, module in list(layer.named_children()):
            if (
                isinstance(module, Linear) and name != "cross_kv"
            ):  # what projects a condition is no part of a step
                plain = nn.Linear(module.in_features, module.out_features, bias=False)
                plain.weight = module.weight
                setattr(layer, name, plain)
    torch.ao.quantization.quantize_dynamic(decoder, {nn.Linear}, dtype=torch.qint8, inplace=True)
