"""`python -m training.ship`: the trained parts as one compact export, which is a package to train on from as well.

The encoding half of the codec lies beside it: the engine never needs it, training and measuring do.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.library import POLICY_FILE, find_model
from export.checkpoint import WEIGHTS_FILE, Package
from export.onnx import export
from training import starter
from training.codec.learner import CodecModel
from training.decoder.clips import trained_codec
from training.loop import CHECKPOINT_FILE

ENCODER_FILE = "codec_encoder.safetensors"


def package(runs: Path) -> Package:
    """Decoder and eyes from the decoder's checkpoint, oscillators from the codec's run; weights rounded to fp16."""
    weights: dict[str, Tensor] = torch.load(runs / "decoder" / CHECKPOINT_FILE, weights_only=True)["model"]
    codec = trained_codec(runs / "codec")
    codec.write_codebooks()
    weights |= {f"codec.{name}": tensor for name, tensor in codec.oscillators.state_dict().items()}
    return Package(starter.spec(), {name: tensor.half().float() for name, tensor in weights.items()})


def encoder(runs: Path) -> dict[str, Tensor]:
    """Encoders and codebooks of the codec's parts."""
    state = trained_codec(runs / "codec").state_dict()
    return {k: t.half() if t.is_floating_point() else t for k, t in state.items() if _encodes(k)}


def _encodes(name: str) -> bool:
    return ".encoder." in name or name.endswith("quantiser.codes")


def shipped_codec(folder: Path | None = None) -> CodecModel:
    """Both halves of the codec of a shipped model, for measuring and for training on."""
    folder = folder or find_model("starter")
    model = CodecModel(starter.CODEC)
    state = model.state_dict()
    state |= {k: t.float() for k, t in load_file(folder / ENCODER_FILE).items()}
    for name, tensor in load_file(folder / WEIGHTS_FILE).items():
        if name.startswith("codec."):
            state[f"oscillators.{name.removeprefix('codec.')}"] = tensor.float()
            if name.startswith("codec.parts."):
                number, _, rest = name.removeprefix("codec.parts.").partition(".")
                state[f"parts.{number}.decoder.{rest}"] = tensor.float()
    model.load_state_dict(state)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("-o", "--output", type=Path, default=Path("models/starter"))
    args = parser.parse_args()
    export(package(args.runs), args.output, compact=True)
    save_file(encoder(args.runs), args.output / ENCODER_FILE)
    (args.output / POLICY_FILE).write_text(json.dumps(starter.RECOMMENDED, indent=1) + "\n")
    size = sum(file.stat().st_size for file in args.output.iterdir())
    print(f"{args.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
