"""A package of sizes that nobody prepared for: read, exported and verified against a reference that is written here.

The reference is a plain second writing of sections 2.4 to 2.6 of the notes for a handful of arrays: no cache, the whole null
window, tensors by their published names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published import Geometry, det_weight, shapes, weights, write_package
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from engine.offline import encode
from export.checkpoint import load_package
from export.fixture import channels_last, det_codes, det_frames
from export.verify import TOLERANCE, verify

GEOMETRY = Geometry()
STEPS = 24


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("foreign") / "another-model", GEOMETRY)


class Reference:
    """The model of the notes, from the tensors of a package."""

    def __init__(self, g: Geometry) -> None:
        self.g, self.w = g, weights(g)

    def linear(self, x: Tensor, key: str, bias: bool = True) -> Tensor:
        return F.linear(x, self.w[f"{key}.weight"], self.w[f"{key}.bias"] if bias else None)

    def norm(self, x: Tensor, key: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{key}.weight"], self.w[f"{key}.bias"], 1e-5)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(-3, -2).flatten(-2)

    def clip(self, frames: Any) -> Tensor:
        """[F, 3, S, S] whole numbers to [F, P, E]: transformers' model, hidden states before the post-layernorm."""
        g, stem = self.g, "visual_encoder_model.vision_model."
        config = CLIPVisionConfig(
            hidden_size=g.width,
            intermediate_size=g.clip_mlp,
            num_hidden_layers=g.clip_layers,
            num_attention_heads=g.clip_heads,
            image_size=g.image,
            patch_size=g.patch,
        )
        model = CLIPVisionModel(config).eval()
        names = {k.removeprefix("vision_model."): k for k in model.state_dict()}
        found = {names[k.removeprefix(stem)]: v for k, v in self.w.items() if k.startswith(stem)}
        model.load_state_dict(found, strict=False)
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
        std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
        pixels = (torch.from_numpy(frames).float() / 255 - mean) / std
        hidden: Tensor = model(pixel_values=pixels).last_hidden_state
        return hidden

    def branch(self, x: Tensor, name: str) -> Tensor:
        x, stem = x + self.w[f"{name}_pos_embedding"], f"{name}_temporal_transformer"
        for j in range(self.g.depth):
            layer = f"{stem}.layers.{j}"
            q, k, v = self.linear(self.norm(x, f"{layer}.0.norm"), f"{layer}.0.fn.to_qkv", bias=False).chunk(
                3, -1
            )
            x = x + self.linear(self.attend(q, k, v, self.g.heads), f"{layer}.0.fn.to_out.0")
            inner = F.gelu(self.linear(self.norm(x, f"{layer}.1.norm"), f"{layer}.1.fn.net.0"))
            x = x + self.linear(inner, f"{layer}.1.fn.net.3")
        return self.norm(x, f"{stem}.norm")

    def condition(self, local: Any, long: Any) -> Tensor:
        """[F P, D]: frames in one long row."""
        x = self.branch(self.clip(local), "local").flatten(0, 1)
        memory = self.branch(self.clip(long), "global").flatten(0, 1)
        fusion = "multi_head_cross_attention"
        q, k, v = (
            self.linear(x, f"{fusion}.query"),
            *(self.linear(memory, f"{fusion}.{n}") for n in ("key", "value")),
        )
        y = self.norm(self.attend(q, k, v, 3) + x, f"{fusion}.norm1")
        z = self.norm(self.linear(y, f"{fusion}.final_linear") + y, f"{fusion}.norm2")
        return self.linear(z, "visual_feature_proj")

    def logits(self, columns: Tensor, condition: Tensor) -> Tensor:
        """columns: [S, K]; condition: [N, D]. Returns [S, K, card], everything at once."""
        d = self.g.dim
        x = torch.stack([self.w[f"emb.{k}.weight"][columns[:, k]] for k in range(self.g.codebooks)]).sum(0)
        half = torch.arange(d // 2, dtype=torch.float32)
        angle = torch.arange(len(columns)).unsqueeze(1) / 10000 ** (half / (d // 2 - 1))
        x = x + torch.cat((angle.cos(), angle.sin()), 1)
        for i in range(self.g.layers):
            layer = f"transformer.layers.{i}"
            projected = F.linear(self.norm(x, f"{layer}.norm1"), self.w[f"{layer}.self_attn.in_proj_weight"])
            q, k, v = projected.chunk(3, -1)
            heard = self.attend(q, k, v, self.g.heads, causal=True)
            x = x + self.linear(heard, f"{layer}.self_attn.out_proj", bias=False)
            wq, wk, wv = self.w[f"{layer}.cross_attention.in_proj_weight"].chunk(3)
            q = F.linear(self.norm(x, f"{layer}.norm_cross"), wq)
            seen = self.attend(q, F.linear(condition, wk), F.linear(condition, wv), self.g.heads)
            x = x + self.linear(seen, f"{layer}.cross_attention.out_proj", bias=False)
            inner = F.gelu(self.linear(self.norm(x, f"{layer}.norm2"), f"{layer}.linear1", bias=False))
            x = x + self.linear(inner, f"{layer}.linear2", bias=False)
        x = self.norm(x, "out_norm")
        return torch.stack([F.linear(x, self.w[f"linears.{k}.weight"]) for k in range(self.g.codebooks)], 1)

    def delayed(self, codes: Tensor, steps: int) -> Tensor:
        columns = torch.full((steps, self.g.codebooks), self.g.card)
        for s in range(1, steps):
            for k in range(self.g.codebooks):
                if 0 <= s - 1 - k < codes.shape[1]:
                    columns[s, k] = codes[k, s - 1 - k]
        return columns

    def greedy(self, conditions: tuple[Tensor, Tensor], steps: int) -> tuple[Tensor, Tensor]:
        """Codes [K, steps] and the raw logits [steps + 3, 2, K, card], without a cache and with the whole null window."""
        total = steps + self.g.codebooks
        columns, seen = self.delayed(torch.zeros(self.g.codebooks, 0), total), []
        for s in range(1, total):
            raw = torch.stack([self.logits(columns[:s], c)[-1] for c in conditions])
            chosen = (raw[1] + 3.0 * (raw[0] - raw[1])).argmax(-1)
            for k in range(self.g.codebooks):
                if 0 <= s - 1 - k < steps:
                    columns[s, k] = chosen[k]
            seen.append(raw)
        codes = [columns[k + 1 : k + 1 + steps, k] for k in range(self.g.codebooks)]
        return torch.stack(codes), torch.stack(seen)


@pytest.fixture(scope="module")
@torch.inference_mode()
def arrays() -> dict[str, Any]:
    """Under the fixture's names; local frames by seed 11, global ones by seed 22, codes by seed 33."""
    reference, g = Reference(GEOMETRY), GEOMETRY
    local, long = det_frames(11, 6, g.image), det_frames(22, 4, g.image)
    picture, memory = (x[0].transpose(1, 0, 2, 3) for x in (local, long))
    seen = reference.condition(picture, memory)
    null = reference.condition(np.zeros_like(picture), np.zeros_like(memory))
    codes = torch.from_numpy(det_codes(g.card, g.codebooks))
    columns = reference.delayed(codes, codes.shape[1] + g.codebooks)
    greedy, raw = reference.greedy((seen, null), STEPS)
    found = {
        "video_emb_cond_null": torch.stack((seen, null)),
        "pattern_sequence": columns.T[None],
        "teacher_forced_logits": reference.logits(columns, seen).transpose(0, 1)[None],
        "greedy_cfg3_codes": greedy[None],
        "greedy_cfg3_raw_cond_uncond_logits": raw,
    }
    return {name: x.numpy() for name, x in found.items()}


def test_the_package_is_read_as_what_it_is(package: Path) -> None:
    spec, g = load_package(str(package), codec="none").spec, GEOMETRY
    assert spec.name == "another-model"
    assert (spec.vision.width, spec.vision.layers, spec.vision.heads, spec.vision.mlp_width) == (24, 3, 2, 48)
    assert (spec.vision.image_size, spec.vision.patch_size, spec.vision.tokens) == (42, 14, 10)
    assert (spec.long_short.depth, spec.long_short.heads, spec.long_short.head_dim) == (1, 6, 8)
    assert (spec.decoder.width, spec.decoder.layers, spec.decoder.heads, spec.decoder.card) == (96, 2, 6, 64)
    assert (spec.decoder.ffn_width, spec.decoder.delays, spec.decoder.trained_s) == (
        4 * g.dim,
        (0, 1, 2, 3),
        30.0,
    )
    assert spec.codec is None


def test_both_runtimes_verify_against_a_second_writing_and_find_the_lies(
    package: Path, arrays: dict[str, Any], tmp_path: Path
) -> None:
    """No input is stored: they are made by rule. One token and one logit are wrong, one name is unknown."""
    codes, raw = arrays["greedy_cfg3_codes"].copy(), arrays["greedy_cfg3_raw_cond_uncond_logits"].copy()
    codes[0, 2, 17] = (codes[0, 2, 17] + 1) % 64
    raw[20, 1, 3, 5] += 1e-3
    lies = {"greedy_cfg3_lie_codes": codes, "greedy_cfg3_lie_raw_cond_uncond_logits": raw}
    path = tmp_path / "held_out.npz"
    np.savez(path, **arrays, **lies, tempo_curve=np.zeros(3, np.float32))
    report = verify(str(package), path)

    assert not report.ok
    assert report.skipped == {"tempo_curve": "no array of this name is known"}
    honest, lie = {"torch": True, "onnx": True}, {"torch": False, "onnx": False}
    assert report.tokens == {
        "pattern_sequence": honest,
        "greedy_cfg3_codes": honest,
        "greedy_cfg3_lie_codes": lie,
    }
    assert set(report.arrays) == {n for n in (*arrays, *lies) if n not in report.tokens}
    for name, sides in report.arrays.items():
        expected = 1e-3 if name in lies else 0.0
        assert set(sides) == {"torch", "onnx"}
        assert all(d is not None and abs(d - expected) <= TOLERANCE for d in sides.values()), (name, sides)
    for name in lies:
        report.arrays.pop(name, None)
        report.tokens.pop(name, None)
    assert report.ok  # but for the lies


def test_without_vision_json_heads_are_guessed_and_the_rest_is_read(package: Path, tmp_path: Path) -> None:
    """24 wide is less than one head of 64: one head, as wide as the tower. Every other size stands in the shapes."""
    (tmp_path / "state_dict.bin").write_bytes((package / "state_dict.bin").read_bytes())
    plain, told = (
        load_package(str(tmp_path), codec="none").spec.vision,
        load_package(str(package), codec="none").spec.vision,
    )
    assert replace(plain, heads=2) == told
    assert plain.heads == 1


def test_the_geometry_may_come_from_the_caller(package: Path, tmp_path: Path) -> None:
    (tmp_path / "state_dict.bin").write_bytes((package / "state_dict.bin").read_bytes())
    assert load_package(str(tmp_path), codec="none", vision={"num_attention_heads": 2}).spec.vision.heads == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"codebooks": 8, "card": 32},
        {"hidden_scale": 2, "layers": 1, "depth": 3},
        {"heads": 1, "dim": 24, "branch_head": 24},
        {"width": 48, "clip_heads": 4, "image": 28, "patch": 7},
    ],
    ids=str,
)
def test_other_sizes_are_read_and_seen_as_the_second_writing_sees_them(
    changes: dict[str, Any], tmp_path: Path, backend_of: Callable[[Path], Any]
) -> None:
    g = replace(GEOMETRY, **changes)
    backend = backend_of(write_package(tmp_path, g))
    local, long = det_frames(11, 3, g.image), det_frames(22, 2, g.image)
    with torch.inference_mode():
        expected = Reference(g).condition(*(x[0].transpose(1, 0, 2, 3) for x in (local, long)))
    got = backend.fuse(
        encode(backend, channels_last(local)), encode(backend, channels_last(long), long_term=True)
    )
    assert np.abs(got.reshape(expected.shape) - expected.numpy()).max() <= TOLERANCE
    condition = backend.new_condition(3)
    backend.write_condition(condition, 0, got)
    codes = torch.from_numpy(det_codes(g.card, g.codebooks))
    columns = Reference(g).delayed(codes, 12)
    with torch.inference_mode():
        wanted = Reference(g).logits(columns, expected)[-1].numpy()
    logits = backend.step(
        backend.new_caches(1, False, 16), 0, condition, 3, columns.numpy()[None], np.zeros(1, np.int64)
    )
    assert np.abs(logits[0, 0] - wanted).max() <= TOLERANCE


@pytest.fixture
def backend_of() -> Callable[[Path], Any]:
    from engine.backends.torch import TorchBackend
    from export.checkpoint import load_model

    return lambda folder: TorchBackend(load_model(load_package(str(folder), codec="none")))


def test_the_rule_for_weights_is_that_of_the_fixtures() -> None:
    """Section 6.1: the same rule over the reference's keys gives its stored checksum."""
    fixtures = Path(__file__).parents[1] / "fixtures"
    state = torch.load(fixtures / "tiny_package" / "state_dict.bin", weights_only=True)["best_state"]
    for key, value in state.items():
        assert torch.equal(det_weight(key, tuple(value.shape)), value), key
    tiny = Geometry(
        dim=64, heads=4, layers=3, card=128, width=48, clip_layers=2, clip_heads=3, clip_mlp=96, image=28,
        patch=4, depth=2, branch_head=64,
    )  # fmt: skip
    assert {k: tuple(v.shape) for k, v in state.items()} == shapes(tiny)
