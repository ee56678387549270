"""The trained eyes and codec, from the runs that trained them or from a model that ships: training goes on from either."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import PackageError
from engine.model.vision import VisionTower
from export.checkpoint import WEIGHTS_FILE
from export.sources import SPEC_FILE
from training import starter
from training.codec.learner import CodecModel
from training.loop import CHECKPOINT_FILE

CODEC_FILE = "codec.pt"
ENCODER_FILE = "codec_encoder.safetensors"
"""The encoding half of the codec beside a shipped model: the engine never needs it, training and measuring do."""


def is_package(folder: Path) -> bool:
    """Whether a folder holds a model; else it is one of runs."""
    return (folder / SPEC_FILE).is_file()


def eyes_of(folder: Path) -> VisionTower:
    """folder: runs, or a model of the starter's geometry. Raises PackageError when the model has other eyes."""
    vision = VisionTower(starter.VISION)
    try:
        vision.load_state_dict(_under(_state(folder, folder / "eyes" / CHECKPOINT_FILE), "vision."))
    except RuntimeError as error:
        raise PackageError(f"{folder}: expected eyes of the starter's geometry: {error}") from error
    return vision.eval()


def codec_of(folder: Path) -> CodecModel:
    """Both halves. folder: runs, or a model that ships with its encoder; raises PackageError when that is missing."""
    model = CodecModel(starter.CODEC)
    if is_package(folder):
        model.load_state_dict(model.state_dict() | _shipped(folder))
    else:
        model.load_state_dict(
            torch.load(folder / "codec" / CODEC_FILE, map_location="cpu", weights_only=True)
        )
    return model.eval()


def encoder(codec: CodecModel) -> dict[str, Tensor]:
    """Encoders and codebooks of the codec's parts."""
    state = codec.state_dict()
    return {k: t.half() if t.is_floating_point() else t for k, t in state.items() if _encodes(k)}


def _encodes(name: str) -> bool:
    return ".encoder." in name or name.endswith("quantiser.codes")


def _shipped(folder: Path) -> dict[str, Tensor]:
    """The parts' decoders are in the engine's codec; both names mean the same tensors."""
    path = folder / ENCODER_FILE
    if not path.is_file():
        raise PackageError(
            f"{folder}: expected {ENCODER_FILE} beside the model; without it music is not encoded"
        )
    state = {k: t.float() for k, t in load_file(path).items()}
    for name, tensor in _under(load_file(folder / WEIGHTS_FILE), "codec.").items():
        state[f"oscillators.{name}"] = tensor.float()
        if name.startswith("parts."):
            number, _, rest = name.removeprefix("parts.").partition(".")
            state[f"parts.{number}.decoder.{rest}"] = tensor.float()
    return state


def _state(folder: Path, checkpoint: Path) -> dict[str, Tensor]:
    if is_package(folder):
        return {k: t.float() for k, t in load_file(folder / WEIGHTS_FILE).items()}
    state: dict[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
    return state


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
