"""EnCodec as others write it: transformers is the reference, and each layout of the same weights gives the same decoder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor
from transformers import EncodecConfig, EncodecModel

from engine.errors import PackageError
from engine.model.codec import CodecDecoder
from engine.model.codec_products import Upsampling
from export.codec_weights import read_codec, read_package_codec
from export.verify import AUDIO_TOLERANCE, verify

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOLERANCE = 1e-6
"""Between layouts of one codec: folding the weight norm rounds in one way or the other. Seen: at most 6e-8."""

ENCODEC_32KHZ_FLAGS: dict[str, Any] = {
    "audio_channels": 1,
    "chunk_length_s": None,
    "codebook_dim": 32,
    "codebook_size": 128,
    "hidden_size": 32,
    "normalize": False,
    "num_filters": 4,
    "num_lstm_layers": 2,
    "overlap": None,
    "sampling_rate": 32000,
    "target_bandwidths": [1.4],  # 4 codebooks of 7 bits, 50 times a second
    "trim_right_ratio": 1.0,
    "upsampling_ratios": [8, 5, 4, 4],
    "use_causal_conv": False,
    "use_conv_shortcut": False,
}


def encodec(**changes: Any) -> EncodecModel:
    """transformers' own model with random weights: every parameter drawn, so that no bias is zero and no gain one."""
    config = EncodecConfig(**ENCODEC_32KHZ_FLAGS | changes)
    torch.manual_seed(5)
    model = EncodecModel(config).eval().requires_grad_(False)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not name.startswith("encoder."):
            value += 0.1 * torch.randn_like(value)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return model


def codes(frames: int = 41) -> Tensor:
    return torch.randint(0, 128, (4, frames), generator=torch.Generator().manual_seed(3))


def reference(model: EncodecModel) -> Any:
    with torch.inference_mode():
        return model.decode(codes()[None, None], [None])[0].flatten().numpy()


def decoded(found: tuple[Any, dict[str, Tensor]]) -> Any:
    spec, weights = found
    decoder = CodecDecoder(spec).eval()
    decoder.load_state_dict(weights, strict=True)
    with torch.inference_mode():
        return decoder(codes()).numpy()


LAYOUTS = pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_conv_shortcut": True},
        {"num_residual_layers": 2},
        {
            "upsampling_ratios": [5, 3, 2],
            "num_filters": 8,
            "kernel_size": 5,
            "last_kernel_size": 3,
            "target_bandwidths": [30.0],
        },
        {"residual_kernel_size": 5, "compress": 4, "num_lstm_layers": 1},
        {"residual_kernel_size": 4, "last_kernel_size": 6},
    ],
    ids=[
        "encodec_32khz",
        "conv_shortcut",
        "two residual layers",
        "other ratios and kernels",
        "other residuals",
        "even kernels",
    ],
)


@LAYOUTS
def test_our_codec_equals_transformers_codec(changes: dict[str, Any], tmp_path: Path) -> None:
    model = encodec(**changes)
    model.save_pretrained(tmp_path)
    expected = reference(model)
    got = decoded(read_codec(str(tmp_path)))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-5  # seen: 3e-7
    assert np.abs(expected).max() > 0.05


@LAYOUTS
def test_products_of_matrices_are_the_same_codec(changes: dict[str, Any], tmp_path: Path) -> None:
    """Of any number of streams, and in 16 bits at 60 dB below what sounds."""
    encodec(**changes).save_pretrained(tmp_path)
    spec, weights = read_codec(str(tmp_path))
    codec = CodecDecoder(spec).eval()
    codec.load_state_dict(weights, strict=True)
    y = torch.randn(3, spec.lstm_width, 9, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        expected = codec.upsample_together(y)
        found = Upsampling(codec, torch.float32)(y)
        half = Upsampling(codec, torch.float16)(y)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert half.dtype == torch.float32
    assert (half - expected).norm() < 1e-3 * expected.norm()


# --- the same weights as others write them


def parametrized(model: EncodecModel) -> dict[str, Tensor]:
    """transformers today: original0 and original1."""
    return {k: v.clone() for k, v in model.state_dict().items()}


def weight_normed(model: EncodecModel) -> dict[str, Tensor]:
    """transformers before it used parametrizations: weight_g and weight_v."""
    return {_g_v(k): v for k, v in parametrized(model).items()}


def folded(model: EncodecModel) -> dict[str, Tensor]:
    """Without a weight norm: what a module's own `weight` attribute says."""
    state = {k: v for k, v in parametrized(model).items() if ".parametrizations." not in k}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            state[f"{name}.weight"] = module.weight.detach().clone()
    return state


def audiocraft(model: EncodecModel) -> dict[str, Tensor]:
    """The encodec package's and audiocraft's names, with the training statistics of the quantizer."""
    state = {}
    for key, value in weight_normed(model).items():
        is_transposed = isinstance(_module(model, key), torch.nn.ConvTranspose1d)
        twice = ".convtr.convtr." if is_transposed else ".conv.conv."
        key = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", key).replace(".conv.", twice)
        key = re.sub(r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.vq.layers.\1._codebook.", key)
        state[key] = value
    return state


def _module(model: EncodecModel, key: str) -> Any:
    parents = (key.rsplit(".", n)[0] for n in range(1, 4))
    modules = dict(model.named_modules())
    return next((modules[p] for p in parents if p in modules), None)


def _g_v(key: str) -> str:
    return re.sub(
        r"parametrizations\.weight\.original([01])$", lambda m: ("weight_g", "weight_v")[int(m[1])], key
    )


def compression_config(**changes: Any) -> str:
    config: dict[str, Any] = {
        "sample_rate": 32000,
        "channels": 1,
        "compression_model": "encodec",
        "seanet": {
            "dimension": 32,
            "ratios": [8, 5, 4, 4],
            "causal": False,
            "pad_mode": "reflect",
            "dilation_base": 2,
        },
        "encodec": {"autoencoder": "seanet", "sample_rate": "${sample_rate}", "renormalize": False},
    }
    return yaml.safe_dump(config | changes)


Write = Callable[[EncodecModel, Path], Any]


def _transformers_folder(layout: Callable[[EncodecModel], dict[str, Tensor]]) -> Write:
    def write(model: EncodecModel, folder: Path) -> Any:
        model.config.save_pretrained(folder)
        save_file({k: v.contiguous() for k, v in layout(model).items()}, folder / "model.safetensors")
        return read_codec(str(folder))

    return write


def _pytorch_folder(model: EncodecModel, folder: Path) -> Any:
    model.config.save_pretrained(folder)
    torch.save(weight_normed(model), folder / "pytorch_model.bin")
    return read_codec(str(folder))


def _file_with_configuration_beside(model: EncodecModel, folder: Path) -> Any:
    save_file(
        {k: v.contiguous() for k, v in audiocraft(model).items()}, folder / "mine_state_dict.safetensors"
    )
    (folder / "mine.json").write_text(json.dumps({"config": ENCODEC_32KHZ_FLAGS}))
    return read_codec(str(folder / "mine_state_dict.safetensors"))


def _full_form(model: EncodecModel, folder: Path) -> Any:
    save_compression(folder, audiocraft(model), compression_config())
    return read_package_codec(str(folder), None)


def _full_form_as_file(model: EncodecModel, folder: Path) -> Any:
    save_compression(folder, audiocraft(model), compression_config())
    return read_codec(str(folder / "compression_state_dict.bin"))


def save_compression(folder: Path, state: Mapping[str, Any], config: Any) -> None:
    content = {"best_state": dict(state), "xp.cfg": config, "version": "1.2.0a1", "exported": True}
    torch.save(content, folder / "compression_state_dict.bin")


LAYOUTS: dict[str, Write] = {
    "transformers, original0 and original1": _transformers_folder(parametrized),
    "transformers, weight_g and weight_v": _transformers_folder(weight_normed),
    "transformers, folded": _transformers_folder(folded),
    "transformers, pytorch_model.bin": _pytorch_folder,
    "encodec's names, configuration beside": _file_with_configuration_beside,
    "audiocraft's full form, by package": _full_form,
    "audiocraft's full form, as a file": _full_form_as_file,
}


@pytest.mark.parametrize("shortcut", [False, True], ids=["identity", "shortcut"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_same_weights_is_the_same_codec(
    layout: str, shortcut: bool, tmp_path: Path
) -> None:
    model = encodec(use_conv_shortcut=shortcut)
    spec, weights = LAYOUTS[layout](model, tmp_path)
    assert (spec.sample_rate, spec.hop, spec.codebooks, spec.codebook_size) == (32000, 640, 4, 128)
    assert not any("encoder" in k for k in weights)
    assert np.abs(decoded((spec, weights)) - reference(model)).max() <= TOLERANCE


def test_a_pointer_to_a_folder_is_followed(tmp_path: Path) -> None:
    model = encodec()
    model.save_pretrained(tmp_path / "codec")
    pointer = {"pretrained": str(tmp_path / "codec"), "exported": True, "version": "1.2.0a1"}
    torch.save(pointer, tmp_path / "compression_state_dict.bin")
    found = read_package_codec(str(tmp_path), None)
    assert found is not None
    assert np.abs(decoded(found) - reference(model)).max() <= TOLERANCE


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"use_causal_conv": True}, "use_causal_conv = False, found True"),
        ({"normalize": True}, "normalize = False, found True"),
        ({"pad_mode": "constant"}, "pad_mode = reflect, found 'constant'"),
        ({"audio_channels": 2}, "audio_channels = 1, found 2"),
    ],
    ids=str,
)
def test_codecs_of_another_kind_are_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    model = encodec()
    _transformers_folder(parametrized)(model, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(ENCODEC_32KHZ_FLAGS | changes))
    with pytest.raises(PackageError, match=re.escape(expected)):
        read_codec(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seanet": {"causal": True}}, "use_causal_conv = False, found True"),
        ({"encodec": {"renormalize": True}}, "normalize = False, found True"),
        ({"channels": 2}, "audio_channels = 1, found 2"),
        ({"sample_rate": None}, "expected a sample_rate in xp.cfg"),
    ],
    ids=str,
)
def test_whole_codecs_of_another_kind_are_refused(
    changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    save_compression(tmp_path, audiocraft(encodec()), compression_config(**changes))
    with pytest.raises(PackageError, match=re.escape(expected)):
        read_package_codec(str(tmp_path), None)


def test_a_codec_whose_weights_are_not_finite_is_refused(tmp_path: Path) -> None:
    state = audiocraft(encodec())
    state["decoder.model.0.conv.conv.bias"][0] = float("nan")
    save_compression(tmp_path, state, compression_config())
    with pytest.raises(PackageError, match=r"1 NaN or infinite in 'first\.bias'"):
        read_package_codec(str(tmp_path), None)


@pytest.mark.parametrize(
    "missing", ["decoder.model.0.conv", "quantizer.", "decoder.model.1.lstm", "decoder.model.3.convtr"]
)
def test_a_codec_that_lacks_tensors_is_refused(missing: str, tmp_path: Path) -> None:
    state = {k: v for k, v in audiocraft(encodec()).items() if not k.startswith(missing)}
    save_compression(tmp_path, state, compression_config())
    with pytest.raises(PackageError):
        read_package_codec(str(tmp_path), None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"exported": True},
            "expected 'pretrained' (a pointer) or 'best_state' with 'xp.cfg' (a whole codec), found exported",
        ),
        ({"pretrained": "nowhere/at/all"}, "points to the codec 'nowhere/at/all', which cannot be read"),
        ({"best_state": {}, "xp.cfg": "sample_rate: 32000"}, "expected an EnCodec decoder"),
        ({"best_state": {}, "xp.cfg": "- a list"}, "expected a sample_rate in xp.cfg"),
        ({"best_state": {}, "xp.cfg": "{not: yaml"}, "xp.cfg"),
    ],
    ids=["neither form", "dangling pointer", "no tensors", "no mapping", "no YAML"],
)
def test_a_compression_file_of_no_known_form_is_refused(content: Any, expected: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "compression_state_dict.bin")
    with pytest.raises(PackageError, match=re.escape(expected)) as caught:
        read_package_codec(str(tmp_path), None)
    assert "\n" not in str(caught.value)


def test_the_reference_codec_is_reproduced_whole_and_in_pieces_by_both_runtimes() -> None:
    """`verify` decodes whole and in chunks of 1, 5 and 25 frames and keeps the worst."""
    report = verify(str(FIXTURES / "ref_codec_state_dict.safetensors"), FIXTURES / "ref_codec.npz")
    assert report.ok
    audio = report.arrays["audio"]
    assert set(audio) == {"torch", "onnx"}
    assert all(d is not None and d <= AUDIO_TOLERANCE == 1e-5 for d in audio.values())  # seen: 6e-8 and 7e-8
    assert report.arrays["latent"]["torch"] == 0
