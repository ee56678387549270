"""A published VidMuse package to our names: `ModelSpec` derived from the file, and weights as safetensors.

A package is a folder or a hub id with `state_dict.bin` (`best_state`, `xp.cfg`, `version`, `exported`) and
`compression_state_dict.bin`; an optional `vision.json` overrides the vision geometry that shapes suggest. A converted package
is a folder with `spec.json` and `model.safetensors`. Both load through `load_package`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import PackageError
from engine.model.vidmuse import VidMuse
from engine.spec import ModelSpec
from export.codec_weights import Codec, read_package_codec
from export.derive import derive
from export.files import MISFITS, check_finite, read_pickle, read_safetensors, reason
from export.folder import whole
from export.sources import SPEC_FILE, STATE_FILE, fetch, no_package

WEIGHTS_FILE = "model.safetensors"

UNUSED = (
    r"condition_provider\.",
    r"visual_encoder_model\.visual_projection\.",
    r"visual_encoder_model\.vision_model\.post_layernorm\.",
    r"visual_encoder_model\.vision_model\.embeddings\.position_ids$",
)
"""Tensors that the published model carries and never reads."""

RENAMES = (
    (r"^visual_encoder_model\.vision_model\.", "vision.clip."),
    (r"^(local|global)_pos_embedding$", r"\1_branch.positions"),
    (r"^(local|global)_temporal_transformer\.", r"\1_branch."),
    (r"^(local|global)(_branch\.layers\.\d+)\.0\.norm\.", r"\1\2.norm_attention."),
    (r"^(local|global)(_branch\.layers\.\d+)\.0\.fn\.to_qkv\.", r"\1\2.qkv."),
    (r"^(local|global)(_branch\.layers\.\d+)\.0\.fn\.to_out\.0\.", r"\1\2.out."),
    (r"^(local|global)(_branch\.layers\.\d+)\.1\.norm\.", r"\1\2.norm_mlp."),
    (r"^(local|global)(_branch\.layers\.\d+)\.1\.fn\.net\.0\.", r"\1\2.mlp_in."),
    (r"^(local|global)(_branch\.layers\.\d+)\.1\.fn\.net\.3\.", r"\1\2.mlp_out."),
    (r"^local_branch\.", "short_branch."),
    (r"^global_branch\.", "long_branch."),
    (r"^multi_head_cross_attention\.final_linear\.", "fusion.mix."),
    (r"^multi_head_cross_attention\.norm1\.", "fusion.norm_attention."),
    (r"^multi_head_cross_attention\.norm2\.", "fusion.norm_mix."),
    (r"^multi_head_cross_attention\.", "fusion."),
    (r"^visual_feature_proj\.", "fusion.project."),
    (r"^transformer\.layers\.", "decoder.layers."),
    (r"^out_norm\.", "decoder.norm."),
    (r"\.self_attn\.in_proj_weight$", ".self_qkv.weight"),
    (r"^(decoder.*)\.self_attn\.out_proj\.", r"\1.self_out."),
    (r"\.cross_attention\.out_proj\.", ".cross_out."),
    (r"^(decoder.*)\.linear1\.", r"\1.ffn_in."),
    (r"^(decoder.*)\.linear2\.", r"\1.ffn_out."),
    (r"^(decoder.*)\.norm1\.", r"\1.norm_self."),
    (r"^(decoder.*)\.norm2\.", r"\1.norm_ffn."),
)


@dataclass(frozen=True, slots=True)
class Package:
    """A model's facts and its weights under our names."""

    spec: ModelSpec
    weights: dict[str, Tensor]


def load_package(source: str, codec: str | None = None, vision: Mapping[str, Any] | None = None) -> Package:
    """Read a published or converted package. Raises PackageError saying what was expected and what was found.

    codec: where the codec is, when it is not in the package; "none" goes without. vision: geometry for a published package
    that brings no `vision.json`.
    """
    if fetch(source, SPEC_FILE) is not None:
        return _read_converted(source)
    path = fetch(source, STATE_FILE)
    if path is None:
        raise no_package(source)
    content = read_pickle(path)
    state, config = _sections(content, path.name)
    sound = read_package_codec(source, codec)
    return convert(state, config, Path(source).resolve().name, _vision_override(source) or vision, sound)


def load_model(package: Package) -> VidMuse:
    """The PyTorch model with the package's weights, its null condition computed."""
    with torch.device("meta"):
        model = VidMuse(package.spec)
    model.load_state_dict(package.weights, strict=True, assign=True)
    model.settle_null()
    return model.eval().requires_grad_(False)


def save_package(package: Package, folder: Path) -> None:
    """Write `spec.json` and `model.safetensors`. What is the same in fp16 is written in fp16."""
    with whole(folder, SPEC_FILE) as fresh:
        save_file({k: halved(v).contiguous() for k, v in package.weights.items()}, fresh / WEIGHTS_FILE)
        (fresh / SPEC_FILE).write_text(package.spec.to_json(), encoding="utf-8")
        shutil.copymode(fresh / SPEC_FILE, fresh / WEIGHTS_FILE)  # safetensors lets its owner alone read it


def holds(folder: Path, package: Package) -> bool:
    """Whether `model.safetensors` in a folder has the weights of this package."""
    try:
        with safe_open(folder / WEIGHTS_FILE, "pt") as file:
            return set(file.keys()) == set(package.weights) and all(
                torch.equal(file.get_tensor(name).float(), tensor.float())
                for name, tensor in package.weights.items()
            )
    except (OSError, SafetensorError, RuntimeError):
        return False


def halved(tensor: Tensor) -> Tensor:
    """A float tensor in fp16 if nothing is lost by it, as weights that were published in fp16."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if torch.equal(half.float(), tensor.float()) else tensor


def convert(
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    name: str,
    vision: Mapping[str, Any] | None = None,
    codec: Codec | None = None,
) -> Package:
    """Published names and YAML to ours; works on meta tensors too, so that any geometry can be checked without weights."""
    check_finite(state, name)
    try:
        spec = derive(state, config, name, vision or {}, codec[0] if codec else None)
        weights = _rename(state, spec)
    except MISFITS as error:
        raise PackageError(
            f"{name}: the package does not describe a VidMuse model: {reason(error)}"
        ) from error
    if codec is not None:
        weights |= {f"codec.{k}": v for k, v in codec[1].items()}
    _check_against_model(spec, weights)
    return Package(spec, weights)


def _read_converted(source: str) -> Package:
    spec_path, path = fetch(source, SPEC_FILE), fetch(source, WEIGHTS_FILE)
    if spec_path is None or path is None:
        raise PackageError(f"{source}: expected {WEIGHTS_FILE} beside {SPEC_FILE}")
    try:
        spec = ModelSpec.from_json(spec_path.read_text("utf-8"))
    except ValueError as error:
        raise PackageError(f"{spec_path.name}: {error}") from error
    weights = {k: v.float() if v.is_floating_point() else v for k, v in read_safetensors(path).items()}
    check_finite(weights, path.name)
    _check_against_model(spec, weights)
    return Package(spec, weights)


def _sections(content: Mapping[str, Any], name: str) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    found = ", ".join(sorted(map(str, content))[:8])
    state, text = content.get("best_state"), content.get("xp.cfg")
    if not isinstance(state, dict) or not isinstance(text, str):
        raise PackageError(f"{name}: expected 'best_state' (weights) and 'xp.cfg' (YAML text), found {found}")
    if stray := next((k for k, v in state.items() if not isinstance(v, Tensor)), None):
        raise PackageError(
            f"{name}: expected tensors in best_state, found {type(state[stray]).__name__} at {stray!r}"
        )
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PackageError(f"{name}: xp.cfg is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict):
        raise PackageError(f"{name}: expected xp.cfg to be a mapping, found {type(config).__name__}")
    return state, config


def _vision_override(source: str) -> dict[str, Any]:
    path = fetch(source, "vision.json")
    if path is None:
        return {}
    try:
        raw = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise PackageError(f"vision.json: expected JSON: {error}") from error
    if not isinstance(raw, dict):
        raise PackageError("vision.json: expected a JSON object")
    return raw


def _rename(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    rest = {k: v for k, v in state.items() if not any(re.match(p, k) for p in UNUSED)}
    weights: dict[str, Tensor] = {}
    for ours, theirs in (("decoder.embedding.weight", "emb"), ("decoder.logits.weight", "linears")):
        parts = [_take(rest, f"{theirs}.{k}.weight") for k in range(spec.decoder.codebooks)]
        weights[ours] = torch.cat(parts).float()
    for i in range(spec.decoder.layers):
        joined = _take(rest, f"transformer.layers.{i}.cross_attention.in_proj_weight").float()
        width = spec.decoder.width
        weights[f"decoder.layers.{i}.cross_q.weight"] = joined[:width].contiguous()
        weights[f"decoder.layers.{i}.cross_kv.weight"] = joined[width:].contiguous()
    for key, value in rest.items():
        for pattern, replacement in RENAMES:
            key = re.sub(pattern, replacement, key)
        weights[key] = value.float()
    return weights | _implied_identities(weights, spec)


def _implied_identities(weights: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """A branch with one head as wide as the vision tower has no output projection; say so with an identity."""
    width, eyes = spec.vision.width, spec.long_short
    if eyes.heads != 1 or eyes.head_dim != width:
        return {}
    stems = [f"{b}_branch.layers.{j}.out" for b in ("short", "long") for j in range(eyes.depth)]
    missing = [s for s in stems if f"{s}.weight" not in weights]
    return {f"{s}.weight": torch.eye(width) for s in missing} | {
        f"{s}.bias": torch.zeros(width) for s in missing
    }


def _take(state: dict[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise PackageError(f"expected the tensor {key!r}; the package lacks it")
    return state.pop(key)


def _check_against_model(spec: ModelSpec, weights: Mapping[str, Tensor]) -> None:
    """Every parameter of the model is in the file with its shape, and nothing is left over."""
    try:
        with torch.device("meta"):
            wanted = {k: tuple(v.shape) for k, v in VidMuse(spec).state_dict().items()}
    except MISFITS as error:
        raise PackageError(
            f"{spec.name}: no model can be built as the package describes it: {reason(error)}"
        ) from error
    if missing := sorted(set(wanted) - set(weights)):
        shape = list(wanted[missing[0]])
        raise PackageError(
            f"{spec.name}: {len(missing)} tensors are missing, first {missing[0]!r} of shape {shape}"
        )
    if foreign := sorted(set(weights) - set(wanted)):
        raise PackageError(
            f"{spec.name}: {len(foreign)} tensors belong to no VidMuse model, first {foreign[0]!r}"
        )
    for key, expected in wanted.items():
        if tuple(weights[key].shape) != expected:
            found = list(weights[key].shape)
            raise PackageError(f"{spec.name}: expected {key!r} of shape {list(expected)}, found {found}")
