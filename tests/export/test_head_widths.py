"""GroupQueryAttention wants head widths that are multiples of 8; the export pads others, and that changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from engine.backends.torch import TorchBackend
from engine.patterns import DelayPattern
from engine.spec import ModelSpec
from export.checkpoint import load_model
from export.graphs import Condition, graphs, padded_head
from export.onnx import trace
from export.random_model import random_package, tiny_spec

COLUMNS, FRAMES = 12, 3
TOLERANCE = 1e-5
"""Of logits that reach 5. Seen: 1.9e-6."""


def spec_with_heads(width: int, heads: int) -> ModelSpec:
    spec = tiny_spec()
    decoder = replace(spec.decoder, width=width, heads=heads, layers=1, ffn_width=2 * width)
    return replace(spec, decoder=decoder, codec=None)


@pytest.mark.parametrize(("width", "heads", "padded"), [(48, 4, 16), (32, 4, 8)], ids=["12 to 16", "8"])
def test_a_step_with_any_head_width_equals_pytorch(width: int, heads: int, padded: int) -> None:
    spec = spec_with_heads(width, heads)
    model = load_model(random_package(spec, seed=2))
    assert padded_head(spec.decoder) == padded
    backend = TorchBackend(model)
    tokens = np.random.default_rng(1).standard_normal((FRAMES, spec.vision.tokens, width), dtype=np.float32)
    condition = backend.new_condition(FRAMES)
    backend.write_condition(condition, 0, tokens)
    caches = backend.new_caches(1, True, COLUMNS)
    session = _session(model)
    with torch.inference_mode():
        keys, values = Condition(model)(torch.from_numpy(tokens))
    seen = {
        f"{part}_{i}": x.transpose(0, 1).flatten(1, 2)[None].numpy()
        for part, layers in (("key", keys), ("value", values))
        for i, x in enumerate(layers)
    } | {"frames": np.array([FRAMES])}
    held = {
        f"self_{part}_{i}": np.zeros((2, heads, COLUMNS, padded), np.float32)
        for part in ("key", "value")
        for i in range(spec.decoder.layers)
    }
    codes = np.random.default_rng(0).integers(0, 128, (4, COLUMNS))
    names = [o.name for o in session.get_outputs()]
    for i, column in enumerate(DelayPattern(4, 128).sequence(codes, COLUMNS)):
        read, position = column[None, None], np.array([i])
        expected = backend.step(caches, 0, condition, FRAMES, read, position)
        got = dict(
            zip(
                names,
                session.run(names, {"tokens": read, "position": position[None]} | seen | held),
                strict=True,
            )
        )
        held = {name.removeprefix("new_"): got[name] for name in names if name != "logits"}
        assert np.abs(got["logits"] - expected).max() <= TOLERANCE
    assert np.abs(expected).max() > 1
    assert np.abs(held["self_key_0"][..., spec.decoder.head_dim :]).max(initial=0) == 0  # padding stays zero


def _session(model: Any) -> Any:
    graph = next(g for g in graphs(model) if g.name == "step")
    content = ir.to_proto(trace(graph)).SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
