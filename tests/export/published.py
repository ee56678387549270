"""A package in the published layout, of any geometry, with the weights of the notes' rule (vidmuse.md, 1.3 and 6.1)."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes that section 1.3 names: d, H, layers, F, C, n_q; E of CLIP; depth and head width of the branches."""

    dim: int = 96
    heads: int = 6
    layers: int = 2
    hidden_scale: int = 4
    card: int = 64
    codebooks: int = 4
    width: int = 24
    clip_layers: int = 3
    clip_heads: int = 2
    clip_mlp: int = 48
    image: int = 42
    patch: int = 14
    depth: int = 1
    branch_head: int = 8

    @property
    def tokens(self) -> int:
        return 1 + (self.image // self.patch) ** 2


def shapes(g: Geometry) -> Shapes:
    """Every key of section 1.3, those that nobody reads included."""
    return _decoder(g) | _eyes(g) | _clip(g)


def _decoder(g: Geometry) -> Shapes:
    d, ffn = g.dim, g.hidden_scale * g.dim
    found: Shapes = {"out_norm.weight": (d,), "out_norm.bias": (d,)}
    for k in range(g.codebooks):
        found |= {f"emb.{k}.weight": (g.card + 1, d), f"linears.{k}.weight": (g.card, d)}
    for i in range(g.layers):
        layer = f"transformer.layers.{i}"
        for attention in ("self_attn", "cross_attention"):
            found[f"{layer}.{attention}.in_proj_weight"] = (3 * d, d)
            found[f"{layer}.{attention}.out_proj.weight"] = (d, d)
        found |= {f"{layer}.linear1.weight": (ffn, d), f"{layer}.linear2.weight": (d, ffn)}
        for norm in ("norm1", "norm_cross", "norm2"):
            found |= {f"{layer}.{norm}.weight": (d,), f"{layer}.{norm}.bias": (d,)}
    conditioner = "condition_provider.conditioners.description.output_proj"
    return found | {f"{conditioner}.weight": (d, 768), f"{conditioner}.bias": (d,)}


def _eyes(g: Geometry) -> Shapes:
    e, inner, mlp = g.width, g.branch_head * g.heads, g.width * g.hidden_scale
    found: Shapes = {"visual_feature_proj.weight": (g.dim, e), "visual_feature_proj.bias": (g.dim,)}
    for branch in ("local", "global"):
        found[f"{branch}_pos_embedding"] = (1, g.tokens, e)
        stem = f"{branch}_temporal_transformer"
        found |= {f"{stem}.norm.weight": (e,), f"{stem}.norm.bias": (e,)}
        for j in range(g.depth):
            layer = f"{stem}.layers.{j}"
            found |= {
                f"{layer}.0.fn.to_qkv.weight": (3 * inner, e),
                f"{layer}.0.fn.to_out.0.weight": (e, inner),
                f"{layer}.0.fn.to_out.0.bias": (e,),
                f"{layer}.1.fn.net.0.weight": (mlp, e),
                f"{layer}.1.fn.net.0.bias": (mlp,),
                f"{layer}.1.fn.net.3.weight": (e, mlp),
                f"{layer}.1.fn.net.3.bias": (e,),
            }
            for part in (0, 1):
                found |= {f"{layer}.{part}.norm.weight": (e,), f"{layer}.{part}.norm.bias": (e,)}
    fusion = "multi_head_cross_attention"
    for name in ("query", "key", "value", "final_linear"):
        found |= {f"{fusion}.{name}.weight": (e, e), f"{fusion}.{name}.bias": (e,)}
    for name in ("norm1", "norm2"):
        found |= {f"{fusion}.{name}.weight": (e,), f"{fusion}.{name}.bias": (e,)}
    return found


def _clip(g: Geometry) -> Shapes:
    e, stem = g.width, "visual_encoder_model.vision_model"
    found: Shapes = {
        "visual_encoder_model.visual_projection.weight": (32, e),
        f"{stem}.embeddings.class_embedding": (e,),
        f"{stem}.embeddings.patch_embedding.weight": (e, 3, g.patch, g.patch),
        f"{stem}.embeddings.position_embedding.weight": (g.tokens, e),
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        found |= {f"{stem}.{norm}.weight": (e,), f"{stem}.{norm}.bias": (e,)}
    for i in range(g.clip_layers):
        layer = f"{stem}.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= {f"{layer}.self_attn.{name}.weight": (e, e), f"{layer}.self_attn.{name}.bias": (e,)}
        for name in ("layer_norm1", "layer_norm2"):
            found |= {f"{layer}.{name}.weight": (e,), f"{layer}.{name}.bias": (e,)}
        found |= {f"{layer}.mlp.fc1.weight": (g.clip_mlp, e), f"{layer}.mlp.fc1.bias": (g.clip_mlp,)}
        found |= {f"{layer}.mlp.fc2.weight": (e, g.clip_mlp), f"{layer}.mlp.fc2.bias": (e,)}
    return found


def det_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """The rule of section 6.1."""
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    x = random.standard_normal(shape).astype(np.float32)
    if len(shape) == 1:
        is_gain = ("norm" in key or "layrnorm" in key) and key.endswith(".weight")
        return torch.from_numpy(1 + 0.1 * x if is_gain else 0.1 * x)
    if key.startswith("emb.") or "pos_embedding" in key or "position_embedding" in key:
        return torch.from_numpy(0.5 * x)
    x = (x / np.float64(math.sqrt(math.prod(shape[1:])))).astype(np.float32)
    return torch.from_numpy(3 * x if key.startswith("linears.") else x)


def config(g: Geometry) -> dict[str, Any]:
    """The part of xp.cfg that the model's shape hangs on (1.2)."""
    return {
        "lm_model": "transformer_lm",
        "dataset": {"segment_duration": 30},
        "transformer_lm": {
            "dim": g.dim,
            "num_heads": g.heads,
            "num_layers": g.layers,
            "hidden_scale": g.hidden_scale,
            "n_q": g.codebooks,
            "card": g.card,
            "activation": "gelu",
            "norm_first": True,
            "layer_scale": None,
            "positional_embedding": "sin",
            "xpos": False,
            "norm": "layer_norm",
            "qk_layer_norm": False,
            "qk_layer_norm_cross": False,
            "kv_repeat": 1,
            "past_context": None,
        },
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": list(range(g.codebooks))}},
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
        "fuser": {"cross": ["description"]},
        "video": {"visual_encoder": "clip", "video_fps": 2},
    }


def vision(g: Geometry) -> dict[str, Any]:
    return {
        "hidden_size": g.width,
        "intermediate_size": g.clip_mlp,
        "num_hidden_layers": g.clip_layers,
        "num_attention_heads": g.clip_heads,
        "image_size": g.image,
        "patch_size": g.patch,
        "hidden_act": "quick_gelu",
    }


def weights(g: Geometry) -> dict[str, Tensor]:
    return {key: det_weight(key, shape) for key, shape in shapes(g).items()}


def write_package(folder: Path, g: Geometry) -> Path:
    """`state_dict.bin`, a codec pointer that leads nowhere, and `vision.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_state(folder, weights(g), yaml.safe_dump(config(g)))
    pointer = {"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.2.0a1"}
    torch.save(pointer, folder / "compression_state_dict.bin")
    (folder / "vision.json").write_text(json.dumps(vision(g)))
    return folder


def write_state(folder: Path, state: Any, text: Any) -> None:
    content = {"best_state": state, "xp.cfg": text, "version": "1.2.0a1", "exported": True}
    torch.save(content, folder / "state_dict.bin")
