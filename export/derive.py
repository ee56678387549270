"""A published package's shapes and configuration to `ModelSpec`: nothing is assumed that a file can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from engine.spec import CodecSpec, DecoderSpec, LongShortSpec, ModelSpec, VisionSpec

FUSION_HEADS = 3
"""Fixed in the published model; no shape shows it."""
RECALLED = 32
"""Long-term frames at inference, a default of the published reader; its training configuration says 64."""
CLIP_HEAD_DIM = 64
"""Of every published CLIP; a tower with another needs `vision.json`."""
PUBLISHED_CODE_RATE = 50
"""Of the codec that a package without one points to."""


def derive(
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    name: str,
    vision: Mapping[str, Any],
    codec: CodecSpec | None,
) -> ModelSpec:
    """Raises KeyError or ValueError when the package is not of the published kind.

    vision: keys of CLIP's configuration that override what shapes suggest.
    """
    _refuse_other_kinds(config)
    decoder = _derive_decoder(state, config)
    return ModelSpec(
        name=name,
        vision=_derive_vision(state, vision),
        long_short=_derive_long_short(state, config, decoder.heads),
        decoder=decoder,
        codec=codec,
        code_rate=codec.sample_rate // codec.hop if codec else PUBLISHED_CODE_RATE,
    )


PUBLISHED: dict[str, Any] = {
    "transformer_lm.activation": "gelu",
    "transformer_lm.causal": True,
    "transformer_lm.norm": "layer_norm",
    "transformer_lm.norm_first": True,
    "transformer_lm.positional_embedding": "sin",
    "transformer_lm.xpos": False,
    "transformer_lm.layer_scale": None,
    "transformer_lm.qk_layer_norm": False,
    "transformer_lm.qk_layer_norm_cross": False,
    "transformer_lm.kv_repeat": 1,
    "transformer_lm.past_context": None,
    "codebooks_pattern.modeling": "delay",
    "codebooks_pattern.delay.flatten_first": 0,
    "codebooks_pattern.delay.empty_initial": 0,
    "interleave_stereo_codebooks.use": False,
    "video.visual_encoder": "clip",
    "video.add_global.if_add_gobal": True,
}
"""What a model of this kind is configured as, where its configuration says anything of it. The last name is spelt so."""


def _refuse_other_kinds(config: Mapping[str, Any]) -> None:
    for key, expected in PUBLISHED.items():
        if (found := _at(config, key, expected)) != expected:
            raise ValueError(f"expected {key} = {expected}, found {found!r}")


def _at(config: Any, key: str, default: Any) -> Any:
    """What lies under names with dots between; the default where a part of it says nothing."""
    for name in key.split("."):
        if not isinstance(config, Mapping) or name not in config:
            return default
        config = config[name]
    return config


def _derive_decoder(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> DecoderSpec:
    codebooks = sum(bool(re.match(r"emb\.\d+\.weight$", k)) for k in state)
    pattern = config.get("codebooks_pattern") or {}
    guidance = config.get("classifier_free_guidance") or {}
    return DecoderSpec(
        width=state["emb.0.weight"].shape[1],
        layers=_count(state, r"transformer\.layers\.(\d+)\."),
        heads=_heads(config["transformer_lm"]),
        ffn_width=state["transformer.layers.0.linear1.weight"].shape[0],
        codebooks=codebooks,
        card=state["linears.0.weight"].shape[0],
        delays=tuple((pattern.get("delay") or {}).get("delays", range(codebooks))),
        trained_s=float((config.get("dataset") or {}).get("segment_duration", 30)),
        guidance=float(guidance.get("inference_coef", 3.0)),
    )


def _heads(config: Mapping[str, Any]) -> int:
    if (heads := int(config["num_heads"])) < 1:
        raise ValueError(f"expected transformer_lm.num_heads to be 1 or more, found {heads}")
    return heads


def _derive_long_short(state: Mapping[str, Tensor], config: Mapping[str, Any], heads: int) -> LongShortSpec:
    branch = "local_temporal_transformer.layers"
    return LongShortSpec(
        depth=_count(state, r"local_temporal_transformer\.layers\.(\d+)\."),
        heads=heads,
        head_dim=state[f"{branch}.0.0.fn.to_qkv.weight"].shape[0] // (3 * heads),
        mlp_width=state[f"{branch}.0.1.fn.net.0.weight"].shape[0],
        fusion_heads=FUSION_HEADS,
        frame_rate=int((config.get("video") or {}).get("video_fps", 2)),
        recalled=RECALLED,
    )


def _derive_vision(state: Mapping[str, Tensor], override: Mapping[str, Any]) -> VisionSpec:
    stem = "visual_encoder_model.vision_model."
    patch = state[stem + "embeddings.patch_embedding.weight"]
    grid = round((state[stem + "embeddings.position_embedding.weight"].shape[0] - 1) ** 0.5)
    width, side = patch.shape[0], patch.shape[2]
    return VisionSpec(
        width=int(override.get("hidden_size", width)),
        layers=int(
            override.get("num_hidden_layers", _count(state, re.escape(stem) + r"encoder\.layers\.(\d+)\."))
        ),
        heads=int(override.get("num_attention_heads", max(1, width // CLIP_HEAD_DIM))),
        mlp_width=int(
            override.get("intermediate_size", state[stem + "encoder.layers.0.mlp.fc1.weight"].shape[0])
        ),
        image_size=int(override.get("image_size", grid * side)),
        patch_size=int(override.get("patch_size", side)),
        activation=str(override.get("hidden_act", "quick_gelu")),
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({m[1] for k in state if (m := re.match(pattern, k))})
