"""`python -m training.ship`: the trained parts as one compact export, which is a package to train on from as well."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training.shell import extras, in_one_line

with extras():
    import torch
    from safetensors.torch import save_file
    from torch import Tensor

from engine.library import POLICY_FILE
from export.checkpoint import Package
from export.onnx import export
from training import starter
from training.codec.learner import CodecModel
from training.codec.pitches import keys_of
from training.codec.sounds import SOUNDS_FILE, Sounds
from training.loop import CHECKPOINT_FILE
from training.parts import ENCODER_FILE, codec_of, encoder


def package(decoder: Path, codec: CodecModel) -> Package:
    """Decoder and eyes from a decoder's run, oscillators from the codec; weights rounded to fp16."""
    weights: dict[str, Tensor] = torch.load(decoder / CHECKPOINT_FILE, map_location="cpu", weights_only=True)[
        "model"
    ]
    codec.write_codebooks()
    weights |= {f"codec.{name}": tensor for name, tensor in codec.oscillators.state_dict().items()}
    return Package(starter.spec(), {name: tensor.half().float() for name, tensor in weights.items()})


@in_one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decoder", type=Path, default=Path("training/runs/decoder"), help="its run")
    parser.add_argument(
        "--codec", type=Path, default=Path("training/runs"), help="runs, or a model that ships"
    )
    parser.add_argument("--sounds", type=Path, default=Path("training/runs/codec") / SOUNDS_FILE)
    parser.add_argument("-o", "--output", type=Path, default=Path("models/starter"))
    args = parser.parse_args()
    codec = codec_of(args.codec)
    export(package(args.decoder, codec), args.output, compact=True)
    save_file(encoder(codec), args.output / ENCODER_FILE)
    sounds = Sounds.load(starter.CODEC, args.sounds)
    keys_of(codec, sounds).save(args.output)
    (args.output / POLICY_FILE).write_text(json.dumps(starter.RECOMMENDED, indent=1) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in args.output.iterdir())
    print(f"{args.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
