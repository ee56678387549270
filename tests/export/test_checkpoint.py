"""Published and converted packages: the released geometry to its last key, and every damage as one line that says what it is."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import yaml
from published import Geometry, config, weights, write_package, write_state
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import PackageError
from engine.model.vidmuse import VidMuse
from export.checkpoint import Package, convert, load_model, load_package, save_package
from export.codec_weights import read_package_codec
from export.random_model import CLIP_VIT_B_32, published_spec

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHAPES = json.loads((FIXTURES / "state_dict_shapes.json").read_text())
CONFIG = json.loads((FIXTURES / "ref_tiny.json").read_text())["cfg"]
SMALL = Geometry(layers=1, card=32, clip_layers=1)
"""Of the packages that are damaged here."""


def refused(call: Callable[[], Any], *expected: str) -> str:
    """The message of the PackageError: one line that says all of what is expected of it."""
    with pytest.raises(PackageError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for text in expected:
        assert text in message, message
    return message


# --- the released geometry, without its weights


def published(size: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Meta tensors by the table, and the configuration with the size's heads."""
    with torch.device("meta"):
        state = {
            k: torch.empty(shape, dtype=getattr(torch, kind.split(".")[1]))
            for k, (shape, kind) in SHAPES[size].items()
        }
    heads = {"small": 16, "medium": 24, "large": 32}[size]
    return state, CONFIG | {"transformer_lm": CONFIG["transformer_lm"] | {"num_heads": heads}}


@pytest.mark.parametrize(
    ("size", "tensors", "parameters"),
    [("small", 564, 542_941_440), ("medium", 852, 1_967_993_088), ("large", 852, 3_392_897_280)],
)
def test_a_published_geometry_converts_to_its_last_key(size: str, tensors: int, parameters: int) -> None:
    state, settings = published(size)
    assert sum(t.numel() for t in state.values()) == parameters
    assert len(state) == tensors
    package = convert(state, settings, size)
    with torch.device("meta"):
        wanted = {k: v.shape for k, v in VidMuse(package.spec).state_dict().items()}
    assert {k: v.shape for k, v in package.weights.items()} == wanted
    unused = [
        "condition_provider.conditioners.description.output_proj.weight",
        "condition_provider.conditioners.description.output_proj.bias",
        "visual_encoder_model.visual_projection.weight",
        "visual_encoder_model.vision_model.post_layernorm.weight",
        "visual_encoder_model.vision_model.post_layernorm.bias",
    ]
    read = parameters - sum(state[k].numel() for k in unused)
    assert sum(t.numel() for t in package.weights.values()) == read


@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_published_spec_is_what_its_shapes_say(size: str) -> None:
    package = convert(*published(size), f"random-{size}")
    assert package.spec == replace(published_spec(size), codec=None)
    assert package.spec.vision == CLIP_VIT_B_32


def test_position_ids_of_older_transformers_are_ignored() -> None:
    state, settings = published("small")
    ids = torch.empty(1, 50, dtype=torch.int64, device="meta")
    package = convert(
        state | {"visual_encoder_model.vision_model.embeddings.position_ids": ids}, settings, "small"
    )
    assert set(package.weights) == set(convert(state, settings, "small").weights)


# --- reading, writing, reading again


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("good") / "good", SMALL)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "package"
    shutil.copytree(good, copied)
    return copied


def load(folder: Path) -> Package:
    return load_package(str(folder), codec="none")


def test_a_saved_package_is_the_package(good: Path, tmp_path: Path) -> None:
    package = load(good)
    save_package(package, tmp_path / "converted")
    again = load_package(str(tmp_path / "converted"))
    assert again.spec == package.spec
    assert again.weights.keys() == package.weights.keys()
    assert all(torch.equal(again.weights[k], v) for k, v in package.weights.items())
    assert {p.name for p in (tmp_path / "converted").iterdir()} == {"spec.json", "model.safetensors"}


def test_a_saved_package_keeps_its_codec(tiny_package: Package, tmp_path: Path) -> None:
    save_package(tiny_package, tmp_path)
    again = load_package(str(tmp_path))
    assert again.spec == tiny_package.spec
    assert again.spec.codec is not None
    assert all(torch.equal(again.weights[k], v) for k, v in tiny_package.weights.items())


def test_no_weight_is_lost_or_doubled(good: Path) -> None:
    """The numbers of the published file that are read are the numbers of the converted one."""
    state = weights(SMALL)
    unused = [
        k for k in state if "condition_provider" in k or "visual_projection" in k or "post_layernorm" in k
    ]
    read = np.sort(np.concatenate([v.flatten().numpy() for k, v in state.items() if k not in unused]))
    kept = np.sort(np.concatenate([v.flatten().numpy() for v in load(good).weights.values()]))
    assert np.array_equal(read, kept)


def test_half_precision_weights_are_read_as_float32(folder: Path, good: Path) -> None:
    write_state(folder, {k: v.half() for k, v in weights(SMALL).items()}, yaml.safe_dump(config(SMALL)))
    halved, whole = load(folder).weights, load(good).weights
    assert {v.dtype for v in halved.values()} == {torch.float32}
    assert all(torch.equal(v, whole[k].half().float()) for k, v in halved.items())


def test_a_file_of_the_old_format_is_read_too(folder: Path, good: Path) -> None:
    """As torch wrote it before 1.6: no archive."""
    content = torch.load(folder / "state_dict.bin", weights_only=True)
    torch.save(content, folder / "state_dict.bin", _use_new_zipfile_serialization=False)
    assert all(torch.equal(v, load(good).weights[k]) for k, v in load(folder).weights.items())


def test_vision_json_overrides_what_the_shapes_suggest(folder: Path) -> None:
    assert load(folder).spec.vision.heads == 2
    (folder / "vision.json").unlink()
    assert load(folder).spec.vision.heads == 1
    (folder / "vision.json").write_text(json.dumps({"num_attention_heads": 3, "hidden_act": "gelu"}))
    vision = load(folder).spec.vision
    assert (vision.heads, vision.activation, vision.width) == (3, "gelu", 24)


def test_the_settings_of_the_configuration_are_read(folder: Path) -> None:
    settings = config(SMALL) | {
        "dataset": {"segment_duration": 12},
        "classifier_free_guidance": {"inference_coef": 4.5},
        "video": {"video_fps": 5},
    }
    write_state(folder, weights(SMALL), yaml.safe_dump(settings))
    spec = load(folder).spec
    assert (spec.decoder.trained_s, spec.decoder.guidance, spec.long_short.frame_rate) == (12.0, 4.5, 5)
    for key in ("dataset", "classifier_free_guidance", "video"):
        del settings[key]
    write_state(folder, weights(SMALL), yaml.safe_dump(settings))
    spec = load(folder).spec
    assert (spec.decoder.trained_s, spec.decoder.guidance, spec.long_short.frame_rate) == (30.0, 3.0, 2)


def test_a_branch_of_one_full_head_has_no_output_projection(tmp_path: Path) -> None:
    """1.3: to_out is absent when there is one head as wide as the tower; it is the identity then."""
    g = replace(SMALL, heads=1, dim=24, branch_head=24)
    folder = write_package(tmp_path, g)
    state = {k: v for k, v in weights(g).items() if "to_out" not in k}
    write_state(folder, state, yaml.safe_dump(config(g)))
    package = load(folder)
    assert torch.equal(package.weights["short_branch.layers.0.out.weight"], torch.eye(24))
    assert not package.weights["long_branch.layers.0.out.bias"].any()
    load_model(package)


# --- what is missing


def test_a_folder_that_is_no_package_says_what_is_expected(tmp_path: Path) -> None:
    refused(lambda: load(tmp_path), "expected state_dict.bin (published) or spec.json (converted)")


@pytest.mark.parametrize("source", ["/nowhere/at/all", "./nowhere", "nowhere", "a/b/c"])
def test_a_source_that_is_neither_folder_nor_hub_id_is_refused(source: str) -> None:
    refused(lambda: load_package(source), "no such folder, and not a hub id of the form org/model")


def test_a_hub_id_offline_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offline(monkeypatch, tmp_path)
    refused(
        lambda: load_package("nobody/no-such-model"), "nobody/no-such-model", "not in the local hub cache"
    )


def offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


def test_a_codec_pointer_that_leads_nowhere_names_the_ways_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offline(monkeypatch, tmp_path)
    refused(
        lambda: load_package(str(folder)),
        "compression_state_dict.bin points to the codec 'facebook/encodec_32khz'",
        "--codec PATH",
        "--codec none",
    )
    assert load(folder).spec.codec is None


def test_the_tiny_package_takes_the_codec_that_its_caller_names() -> None:
    source, codec = str(FIXTURES / "tiny_package"), str(FIXTURES / "ref_codec_state_dict.safetensors")
    package = load_package(source, codec=codec)
    assert package.spec.codec is not None
    assert (package.spec.codec.hop, package.spec.codec.codebook_size, package.spec.code_rate) == (
        640,
        128,
        50,
    )
    assert any(k.startswith("codec.stages.") for k in package.weights)
    load_model(package)
    assert read_package_codec(source, "none") is None


def test_without_the_codec_file_the_ways_out_are_named(folder: Path) -> None:
    (folder / "compression_state_dict.bin").unlink()
    refused(lambda: load_package(str(folder)), "expected compression_state_dict.bin", "--codec none")
    assert load(folder).spec.codec is None


def test_a_codec_that_does_not_know_every_token_is_refused(folder: Path) -> None:
    g = replace(SMALL, card=200)
    write_state(folder, weights(g), yaml.safe_dump(config(g)))
    codec = str(FIXTURES / "ref_codec_state_dict.safetensors")
    refused(lambda: load_package(str(folder), codec=codec), "knows every token of the decoder")


def test_a_converted_package_without_its_weights_is_refused(good: Path, tmp_path: Path) -> None:
    save_package(load(good), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    refused(lambda: load_package(str(tmp_path)), "expected model.safetensors beside spec.json")


# --- what is damaged


@pytest.mark.parametrize("share", [0.0, 1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.99999])
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "old format"])
def test_a_truncated_file_is_refused_wherever_it_was_cut(folder: Path, archive: bool, share: float) -> None:
    path = folder / "state_dict.bin"
    content = torch.load(path, weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(lambda: load(folder), "state_dict.bin")


def test_weights_that_are_not_what_was_written_are_refused(folder: Path) -> None:
    path = folder / "state_dict.bin"
    damaged, place = archive_of(path)
    damaged[place] ^= 1
    path.write_bytes(damaged)
    refused(lambda: load(folder), "state_dict.bin: is damaged")


def test_an_archive_that_was_written_without_sums_is_read(folder: Path) -> None:
    path = folder / "state_dict.bin"
    content = torch.load(path, weights_only=True)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load(folder).weights


def archive_of(path: Path) -> tuple[bytearray, int]:
    """The bytes of an archive, and the place of the last one of its largest member."""
    with ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        with archive.open(largest) as file:
            content = file.read()
    whole = path.read_bytes()
    return bytearray(whole), whole.index(content) + len(content) - 1


def test_random_damage_is_refused_or_read_but_nothing_else(folder: Path) -> None:
    """Bytes of the description are changed, those of the weights may be any."""
    path, random, messages = folder / "state_dict.bin", np.random.default_rng(0), []
    whole = path.read_bytes()
    places = [*random.integers(0, 6000, 60), *(len(whole) - random.integers(1, 6000, 60))]
    for at in places:
        damaged = bytearray(whole)
        damaged[at] ^= int(random.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            load(folder)
        except PackageError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"\x00" * 100,
        b"PK\x03\x04" + b"\x00" * 100,
        b"\x80\x02}q\x00.",
        pickle.dumps({"best_state": {}}, 2),
    ],
)
def test_a_file_of_another_kind_is_refused(folder: Path, content: bytes) -> None:
    (folder / "state_dict.bin").write_bytes(content)
    refused(lambda: load(folder), "state_dict.bin")


class Touch:
    """A pickle that creates a file when it is read the careless way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["archive", "old format", "plain pickle"])
@pytest.mark.parametrize("place", ["best_state", "xp.cfg", "extra"])
@pytest.mark.parametrize("name", ["state_dict.bin", "compression_state_dict.bin"])
def test_a_file_that_asks_to_run_code_is_refused_unexecuted(
    folder: Path, form: str, place: str, name: str
) -> None:
    witness, path = folder / "executed", folder / name
    content = torch.load(path, weights_only=True) | {place: Touch(witness)}
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(content, 2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "archive")
    refused(lambda: load_package(str(folder)), name)
    assert not witness.exists()


def test_a_pickle_of_a_newer_protocol_is_refused_in_one_line_too(folder: Path) -> None:
    """Without torch's warning about it beside the message: warnings are errors here."""
    (folder / "state_dict.bin").write_bytes(
        pickle.dumps({"best_state": {}, "xp.cfg": Touch(folder / "executed")}, 4)
    )
    refused(lambda: load(folder), "state_dict.bin")
    assert not (folder / "executed").exists()


def test_the_witness_of_the_law_above_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Touch(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


FOREIGN = [Geometry(), {1, 2}, np.float64(3), Path("/"), re.compile("a"), b"bytes", 1j, np.zeros(3)]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda x: type(x).__name__)
def test_objects_other_than_tensors_text_and_numbers_are_refused(folder: Path, foreign: Any) -> None:
    path = folder / "state_dict.bin"
    torch.save(torch.load(path, weights_only=True) | {"foreign": foreign}, path)
    refused(lambda: load(folder), "state_dict.bin", "tensors, text and numbers only")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "expected a dict, found list"),
        ({}, "expected 'best_state' (weights) and 'xp.cfg' (YAML text)"),
        ({"best_state": {}, "version": "1"}, "found best_state, version"),
        ({"best_state": [], "xp.cfg": ""}, "expected 'best_state'"),
        ({"best_state": {}, "xp.cfg": {"dim": 3}}, "expected 'best_state'"),
        ({"best_state": {"emb.0.weight": "text"}, "xp.cfg": ""}, "expected tensors in best_state, found str at 'emb.0.weight'"),
        ({"best_state": {}, "xp.cfg": "{a: ["}, "xp.cfg is not YAML"),
        ({"best_state": {}, "xp.cfg": "- a\n- b"}, "expected xp.cfg to be a mapping, found list"),
        ({"best_state": {}, "xp.cfg": ""}, "expected xp.cfg to be a mapping, found NoneType"),
        ({"best_state": {}, "xp.cfg": "!!python/object/apply:os.system ['false']"}, "xp.cfg is not YAML"),
        ({"best_state": {}, "xp.cfg": "a: 1"}, "does not describe a VidMuse model"),
    ],
    ids=["a list", "empty", "no xp.cfg", "a list of weights", "a mapping as text", "text as tensor", "no YAML", "a list in YAML",
         "empty YAML", "YAML that runs code", "no transformer_lm"],
)  # fmt: skip
def test_a_dict_without_the_parts_of_a_package_is_refused(folder: Path, content: Any, expected: str) -> None:
    torch.save(content, folder / "state_dict.bin")
    refused(lambda: load(folder), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, bad: float) -> None:
    state = weights(SMALL)
    state["transformer.layers.0.linear1.weight"][3, 4:6] = bad
    write_state(folder, state, yaml.safe_dump(config(SMALL)))
    refused(lambda: load(folder), "found 2 NaN or infinite in 'transformer.layers.0.linear1.weight'")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (torch.tensor(1j), "found torch.complex64"),
        (torch.tensor(1e300, dtype=torch.float64), "found 1 NaN or infinite"),
    ],
)
def test_numbers_that_float32_does_not_hold_are_refused(
    folder: Path, number: torch.Tensor, said: str
) -> None:
    state = weights(SMALL)
    state["out_norm.bias"] = state["out_norm.bias"].to(number.dtype)
    state["out_norm.bias"][0] = number
    write_state(folder, state, yaml.safe_dump(config(SMALL)))
    refused(lambda: load(folder), f"{said} in 'out_norm.bias'")


def test_weights_of_a_converted_package_that_are_not_finite_are_refused(good: Path, tmp_path: Path) -> None:
    save_package(load(good), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["fusion.project.bias"][0] = float("nan")
    save_file(state, tmp_path / "model.safetensors")
    refused(lambda: load_package(str(tmp_path)), "found 1 NaN or infinite in 'fusion.project.bias'")


KEYS = [
    "emb.2.weight",
    "linears.3.weight",
    "out_norm.bias",
    "transformer.layers.0.self_attn.in_proj_weight",
    "transformer.layers.0.cross_attention.in_proj_weight",
    "transformer.layers.0.linear1.weight",
    "transformer.layers.0.norm_cross.weight",
    "local_pos_embedding",
    "global_temporal_transformer.layers.0.0.fn.to_qkv.weight",
    "local_temporal_transformer.layers.0.1.fn.net.0.weight",
    "multi_head_cross_attention.final_linear.weight",
    "visual_feature_proj.weight",
    "visual_encoder_model.vision_model.embeddings.patch_embedding.weight",
    "visual_encoder_model.vision_model.embeddings.position_embedding.weight",
    "visual_encoder_model.vision_model.encoder.layers.0.mlp.fc1.weight",
    "visual_encoder_model.vision_model.pre_layrnorm.bias",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_package_that_lacks_a_tensor_is_refused(folder: Path, key: str) -> None:
    state = weights(SMALL)
    del state[key]
    write_state(folder, state, yaml.safe_dump(config(SMALL)))
    refused(lambda: load(folder))


OTHER_SHAPES: dict[str, Callable[[torch.Size], list[int]]] = {
    "one more": lambda shape: [*shape[:-1], shape[-1] + 1],
    "one less": lambda shape: [max(shape[0] - 1, 2), *shape[1:]],
    "flat": lambda shape: [1, math.prod(shape)] if len(shape) == 1 else [math.prod(shape)],
    "scalar": lambda _: [],
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("change", OTHER_SHAPES)
def test_a_tensor_of_another_shape_is_refused(folder: Path, key: str, change: str) -> None:
    state = weights(SMALL)
    state[key] = torch.zeros(OTHER_SHAPES[change](state[key].shape))
    write_state(folder, state, yaml.safe_dump(config(SMALL)))
    refused(lambda: load(folder))


STRAYS = ["tempo.weight", "transformer.layers.0.self_attn.in_proj_bias", "emb.4.weight", "decoder.norm.extra"]


@pytest.mark.parametrize("key", STRAYS)
def test_a_tensor_of_no_vidmuse_model_is_refused(folder: Path, key: str) -> None:
    write_state(folder, weights(SMALL) | {key: torch.zeros(3)}, yaml.safe_dump(config(SMALL)))
    refused(lambda: load(folder))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kv_repeat", 2),
        ("norm_first", False),
        ("activation", "relu"),
        ("norm", "rms_norm"),
        ("positional_embedding", "rope"),
        ("xpos", True),
        ("layer_scale", 1e-4),
        ("qk_layer_norm", True),
        ("qk_layer_norm_cross", True),
        ("past_context", 100),
    ],
)
def test_a_decoder_of_another_kind_is_refused_by_name(folder: Path, key: str, value: Any) -> None:
    settings = config(SMALL)
    settings["transformer_lm"][key] = value
    write_state(folder, weights(SMALL), yaml.safe_dump(settings))
    refused(lambda: load(folder), f"expected transformer_lm.{key} = ", f"found {value!r}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"transformer_lm": None}, "does not describe a VidMuse model"),
        ({"transformer_lm": {}}, "no 'num_heads'"),
        ({"transformer_lm": {"num_heads": 5}}, "decoder width is a multiple of its heads"),
        ({"transformer_lm": {"num_heads": 0}}, "transformer_lm.num_heads to be 1 or more, found 0"),
        ({"transformer_lm": {"num_heads": -6}}, "transformer_lm.num_heads to be 1 or more, found -6"),
        ({"transformer_lm": {"num_heads": "many"}}, "many"),
        ({"transformer_lm": "small"}, "does not describe a VidMuse model"),
        (
            {"codebooks_pattern": {"modeling": "parallel"}},
            "expected codebooks_pattern.modeling = delay, found 'parallel'",
        ),
        (
            {"codebooks_pattern": {"modeling": "delay", "delay": {"delays": [0, 0, 0, 0]}}},
            "delays are 0, 1, 2",
        ),
        (
            {"codebooks_pattern": {"modeling": "delay", "delay": {"delays": [0, 1]}}},
            "one delay for each codebook",
        ),
        ({"codebooks_pattern": "delay"}, "does not describe a VidMuse model"),
        ({"dataset": {"segment_duration": "long"}}, "long"),
        ({"dataset": [30]}, "does not describe a VidMuse model"),
        ({"video": {"video_fps": 3}}, "a frame slot is a whole number of steps"),
        ({"video": {"video_fps": 0}}, "frame_rate is a whole number above 0; got 0"),
        ({"video": {"visual_encoder": "videomae"}}, "expected video.visual_encoder = clip, found 'videomae'"),
        ({"video": {"add_global": {"if_add_gobal": False}}}, "if_add_gobal = True, found False"),
        ({"interleave_stereo_codebooks": {"use": True}}, "interleave_stereo_codebooks.use = False"),
        ({"codebooks_pattern": {"delay": {"flatten_first": 3}}}, "codebooks_pattern.delay.flatten_first = 0"),
        ({"transformer_lm": {"num_heads": 6, "causal": False}}, "transformer_lm.causal = True"),
        ({"dataset": {"segment_duration": float("inf")}}, "does not describe a VidMuse model"),
        ({"dataset": {"segment_duration": -30}}, "does not describe a VidMuse model"),
    ],
    ids=str,
)
def test_a_configuration_that_fits_no_model_is_refused(
    folder: Path, changes: dict[str, Any], expected: str
) -> None:
    write_state(folder, weights(SMALL), yaml.safe_dump(config(SMALL) | changes))
    refused(lambda: load(folder), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "vision.json: expected JSON"),
        ("[]", "vision.json: expected a JSON object"),
        ('{"num_attention_heads": "two"}', "two"),
        ('{"num_attention_heads": 5}', "vision width is a multiple of its heads"),
        ('{"num_attention_heads": 0}', "heads is a whole number above 0; got 0"),
        ('{"num_attention_heads": -2}', "heads is a whole number above 0; got -2"),
        ('{"num_attention_heads": null}', "does not describe a VidMuse model"),
        ('{"hidden_size": 48}', "of shape"),
        ('{"image_size": 28}', "of shape"),
        ('{"num_hidden_layers": 2}', "missing"),
        ('{"hidden_act": "no_such_activation"}', "no_such_activation"),
    ],
)
def test_a_damaged_vision_json_is_refused(folder: Path, text: str, expected: str) -> None:
    (folder / "vision.json").write_text(text)
    refused(lambda: load(folder), expected)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("<!DOCTYPE html>\n<html><body>404", "is a web page"),
        ("", "the file is empty"),
    ],
)
def test_what_a_download_leaves_instead_of_a_file_is_named(folder: Path, head: str, said: str) -> None:
    (folder / "state_dict.bin").write_text(head)
    refused(lambda: load(folder), said)


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.01, 0.5, 0.999])
def test_truncated_safetensors_are_refused(good: Path, tmp_path: Path, share: float) -> None:
    save_package(load(good), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(lambda: load_package(str(tmp_path)), "model.safetensors")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tempo": 1}', "null"])
def test_a_damaged_spec_json_is_refused(good: Path, tmp_path: Path, text: str) -> None:
    save_package(load(good), tmp_path)
    (tmp_path / "spec.json").write_text(text)
    refused(lambda: load_package(str(tmp_path)), "spec.json")


def test_a_spec_of_other_weights_is_refused(good: Path, tmp_path: Path) -> None:
    package = load(good)
    save_package(package, tmp_path)
    other = replace(package.spec, decoder=replace(package.spec.decoder, ffn_width=128))
    (tmp_path / "spec.json").write_text(other.to_json())
    refused(
        lambda: load_package(str(tmp_path)),
        "expected 'decoder.layers.0.ffn_in.weight' of shape [128, 96], found [384, 96]",
    )
