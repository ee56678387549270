"""EnCodec weights in their three layouts: transformers, the encodec package, and audiocraft's full export.

Geometry comes from the shapes; the sample rate, which no shape shows, from the configuration beside the weights. Encoder
weights are left out: the engine only plays. Weight norm is folded: w = g v / |v|, the norm over all dims but the first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from engine.errors import PackageError
from engine.model.codec import CodecDecoder
from engine.spec import CodecSpec
from export.files import MISFITS, check_finite, read_pickle, read_safetensors, reason
from export.sources import fetch

Codec = tuple[CodecSpec, dict[str, Tensor]]

COMPRESSION_FILE = "compression_state_dict.bin"


def read_package_codec(source: str, override: str | None, target: Path | None = None) -> Codec | None:
    """The codec of a published package. `override` is a file, a folder or a hub id; "none" goes without one.

    target: weights that a pointer is known to mean, so that the hub need not be asked.
    """
    if override == "none":
        return None
    if override is not None:
        return read_codec(override)
    path = fetch(source, COMPRESSION_FILE)
    if path is None:
        raise PackageError(
            f"{source}: expected {COMPRESSION_FILE}; give the codec with --codec, or --codec none"
        )
    content = read_pickle(path)
    if isinstance(content.get("pretrained"), str):
        return read_codec(str(target)) if target else _follow_pointer(content["pretrained"])
    return _full_form(content, path.name)


def _follow_pointer(target: str) -> Codec:
    try:
        return read_codec(target)
    except PackageError as error:
        raise PackageError(
            f"{COMPRESSION_FILE} points to the codec {target!r}, which cannot be read ({error}); "
            "give it with --codec PATH, or go without audio by --codec none"
        ) from error


def read_codec(source: str) -> Codec:
    """From a folder or hub id in transformers' layout, or one weight file with its configuration beside it."""
    path = Path(source)
    if path.is_file():
        return _from_file(path, _config_beside(path))
    config = fetch(source, "config.json")
    weights = fetch(source, "model.safetensors") or fetch(source, "pytorch_model.bin")
    if weights is None and (full := fetch(source, COMPRESSION_FILE)):
        return _full_form(read_pickle(full), full.name)
    if config is None or weights is None:
        raise PackageError(f"{source}: expected config.json and model.safetensors of an EnCodec model")
    return _from_file(weights, config)


def _from_file(weights: Path, config: Path | None) -> Codec:
    content = read_safetensors(weights) if weights.suffix == ".safetensors" else read_pickle(weights)
    if config is None and "best_state" in content:
        return _full_form(content, weights.name)
    if config is None:
        raise PackageError(f"{weights.name}: expected its configuration beside it, as config.json")
    raw = _json(config)
    raw = raw.get("config", raw)
    if not isinstance(raw, dict) or "sampling_rate" not in raw:
        raise PackageError(f"{config.name}: expected an EnCodec configuration with a sampling_rate")
    _refuse_other_kinds(raw, config.name)
    return _build(content, int(raw["sampling_rate"]), raw, weights.name)


def _config_beside(weights: Path) -> Path | None:
    names = (weights.stem.removesuffix("_state_dict") + ".json", "config.json")
    return next((weights.with_name(n) for n in names if weights.with_name(n).is_file()), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise PackageError(f"{path.name}: expected JSON: {error}") from error
    if not isinstance(raw, dict):
        raise PackageError(f"{path.name}: expected a JSON object")
    return raw


def _full_form(content: Mapping[str, Any], name: str) -> Codec:
    """audiocraft's export of a whole compression model: `best_state`, and `xp.cfg` as YAML text."""
    if not isinstance(content.get("best_state"), dict) or not isinstance(content.get("xp.cfg"), str):
        raise PackageError(
            f"{name}: expected 'pretrained' (a pointer) or 'best_state' with 'xp.cfg' (a whole codec), "
            f"found {', '.join(sorted(map(str, content)))}"
        )
    try:
        config = yaml.safe_load(content["xp.cfg"])
    except yaml.YAMLError as error:
        raise PackageError(f"{name}: xp.cfg is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict) or not isinstance(config.get("sample_rate"), int):
        raise PackageError(f"{name}: expected a sample_rate in xp.cfg")
    seanet = config.get("seanet") or {}
    raw = {
        "use_causal_conv": seanet.get("causal", False),
        "normalize": (config.get("encodec") or {}).get("renormalize", False),
        "pad_mode": seanet.get("pad_mode", "reflect"),
        "dilation_growth_rate": seanet.get("dilation_base", 2),
        "audio_channels": config.get("channels", 1),
    }
    _refuse_other_kinds(raw, name)
    return _build(content["best_state"], config["sample_rate"], raw, name)


def _refuse_other_kinds(raw: Mapping[str, Any], name: str) -> None:
    expected = {"use_causal_conv": False, "normalize": False, "pad_mode": "reflect", "audio_channels": 1}
    for key, value in expected.items():
        if raw.get(key, value) != value:
            raise PackageError(f"{name}: expected a codec with {key} = {value}, found {raw[key]!r}")


def _build(state: Mapping[str, Any], sample_rate: int, raw: Mapping[str, Any], name: str) -> Codec:
    try:
        plain = _fold(_one_layout(state))
        spec = _spec(plain, sample_rate, int(raw.get("dilation_growth_rate", 2)))
        weights = _rename(plain, spec)
        with torch.device("meta"):
            CodecDecoder(spec).load_state_dict(weights, strict=True, assign=True)
    except MISFITS as error:
        raise PackageError(f"{name}: expected an EnCodec decoder: {reason(error)}") from error
    check_finite(weights, name)
    return spec, weights


def _one_layout(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Bring encodec's and audiocraft's names to transformers' ones; drop the encoder and the training statistics."""
    rules = [
        (r"^decoder\.model\.", "decoder.layers."),
        (r"\.(conv|convtr)\.\1\.", ".conv."),
        (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
        (r"\.parametrizations\.weight\.original0$", ".weight_g"),
        (r"\.parametrizations\.weight\.original1$", ".weight_v"),
    ]
    named = {}
    for key, value in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        if key.startswith("decoder.layers.") or key.endswith(".codebook.embed"):
            named[key] = value
    return named


def _fold(state: dict[str, Tensor]) -> dict[str, Tensor]:
    folded = dict(state)
    for key in [k for k in state if k.endswith(".weight_g")]:
        stem = key.removesuffix("_g")
        g, v = folded.pop(stem + "_g").float(), folded.pop(stem + "_v").float()
        norm = v.flatten(1).norm(dim=1).view(-1, *[1] * (v.dim() - 1))
        folded[stem] = v * (g / norm)
    return folded


def _spec(state: Mapping[str, Tensor], sample_rate: int, dilation_growth: int) -> CodecSpec:
    ups = sorted(i for i in _convs(state) if _is_upsampling(state, i))
    last = max(_convs(state))
    lstm = [k for k in state if ".lstm.weight_ih_l" in k]
    residuals = [i for i in _blocks(state) if ups[0] < i < (ups[1] if len(ups) > 1 else last)]
    block = f"decoder.layers.{residuals[0]}"
    wide = state[f"{block}.block.1.conv.weight"]
    embed = state["quantizer.layers.0.codebook.embed"]
    return CodecSpec(
        sample_rate=sample_rate,
        codebooks=sum(k.endswith(".codebook.embed") for k in state),
        codebook_size=embed.shape[0],
        codebook_dim=embed.shape[1],
        filters=state[f"decoder.layers.{last}.conv.weight"].shape[1],
        ratios=tuple(state[f"decoder.layers.{i}.conv.weight"].shape[2] // 2 for i in ups),
        kernel=state["decoder.layers.0.conv.weight"].shape[2],
        last_kernel=state[f"decoder.layers.{last}.conv.weight"].shape[2],
        residual_kernel=wide.shape[2],
        residual_layers=len(residuals),
        dilation_growth=dilation_growth,
        compress=wide.shape[1] // wide.shape[0],
        lstm_layers=len(lstm),
        conv_shortcut=f"{block}.shortcut.conv.weight" in state,
    )


def _convs(state: Mapping[str, Tensor]) -> list[int]:
    found = (re.match(r"decoder\.layers\.(\d+)\.conv\.weight$", k) for k in state)
    return [int(m[1]) for m in found if m]


def _blocks(state: Mapping[str, Tensor]) -> list[int]:
    found = (re.match(r"decoder\.layers\.(\d+)\.block\.1\.conv\.weight$", k) for k in state)
    return sorted(int(m[1]) for m in found if m)


def _is_upsampling(state: Mapping[str, Tensor], index: int) -> bool:
    """A transposed convolution has as many biases as its weight has columns, and an even kernel of two strides."""
    weight, bias = state[f"decoder.layers.{index}.conv.weight"], state[f"decoder.layers.{index}.conv.bias"]
    return weight.shape[2] % 2 == 0 and bias.shape[0] == weight.shape[1]


def _rename(state: Mapping[str, Tensor], spec: CodecSpec) -> dict[str, Tensor]:
    """Names of `engine.model.codec.CodecDecoder`."""
    names = {f"codebooks.{k}.weight": f"quantizer.layers.{k}.codebook.embed" for k in range(spec.codebooks)}
    ups = sorted(i for i in _convs(state) if _is_upsampling(state, i))
    ends = [*ups[1:], math.inf]
    pairs = [("first", "decoder.layers.0.conv"), ("last", f"decoder.layers.{max(_convs(state))}.conv")]
    for stage, (up, end) in enumerate(zip(ups, ends, strict=True)):
        pairs.append((f"stages.{stage}.up", f"decoder.layers.{up}.conv"))
        for j, block in enumerate(i for i in _blocks(state) if up < i < end):
            ours, theirs = f"stages.{stage}.blocks.{j}", f"decoder.layers.{block}"
            pairs += [
                (f"{ours}.wide", f"{theirs}.block.1.conv"),
                (f"{ours}.narrow", f"{theirs}.block.3.conv"),
            ]
            if spec.conv_shortcut:
                pairs.append((f"{ours}.shortcut", f"{theirs}.shortcut.conv"))
    for ours, theirs in pairs:
        names |= {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}
    names |= {f"lstm.{k.split('.lstm.')[1]}": k for k in state if ".lstm." in k}
    return {ours: state[theirs].float().contiguous() for ours, theirs in names.items()}
