"""`python -m training.decoder`: make clips with the trained eyes and codec, and train the decoder on them.

With --package a model goes on learning: the starter from more drawn videos, seen by its own eyes and written by its own codec;
with --pairs a converted or published model from one's own videos.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from engine.errors import PackageError
from engine.model.vidmuse import VidMuse
from engine.patterns import DelayPattern
from engine.spec import ModelSpec
from export.checkpoint import Package, load_package, save_package
from training import starter
from training.codec.sounds import SOUNDS_FILE
from training.decoder import clips
from training.decoder.dataset import Clip, Stretches
from training.decoder.learner import DecoderLearner
from training.devices import add_device_options, begin_on
from training.loop import Plan, train
from training.parts import eyes_of
from training.pieces import SIGNATURES

HELD_OUT = 20
"""Videos that are not learned from: the first ones, a tenth at most."""


def main() -> None:
    args = _arguments()
    device = begin_on(args)
    torch.manual_seed(args.seed)
    package = load_package(args.package, args.codec) if args.package else None
    model = _model(package, args.runs)
    made = _own_clips(model, args) if args.pairs else _drawn_clips(args)
    spec = model.spec
    settings = (
        DelayPattern(spec.decoder.codebooks, spec.decoder.special),
        spec.decoder.ages,
        spec.long_short.recalled,
        spec.steps_per_slot,
    )
    held_out = min(HELD_OUT, max(1, len(made) // 10))
    learned = Stretches(made[held_out:] or made, *settings)
    held = Stretches(made[:held_out], *settings)
    learner = DecoderLearner(model.to(device), learned, held, args.rows, args.columns, args.compile)
    plan = Plan(
        args.out,
        args.steps,
        args.budget,
        args.rate,
        weight_decay=0.05,
        seed=args.seed,
        checkpoint_every=200,
        evaluate_every=400,
        bf16=args.bf16,
    )
    train(learner, plan, lambda line: print(line, flush=True))
    if package is not None:
        codec = {name: tensor for name, tensor in package.weights.items() if name.startswith("codec.")}
        save_package(Package(package.spec, codec | dict(model.state_dict())), args.out / "package")
        print(f"{args.out / 'package'}: cuestream export turns it into graphs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/decoder"))
    parser.add_argument("--package", help="a model to go on with: a folder or a hub id")
    parser.add_argument("--pairs", type=Path, help="a folder of videos with the music to learn")
    parser.add_argument("--codec", help="with --pairs: the EnCodec, a folder of transformers or a hub id")
    parser.add_argument("--budget", type=float, default=75, help="minutes")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--videos", type=int, default=420)
    parser.add_argument("--pieces", type=int, default=4, help="pieces of music for each drawn video")
    parser.add_argument(
        "--signatures",
        type=int,
        nargs="+",
        default=SIGNATURES,
        help="key signatures of the music, 0 is that of C major",
    )
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=750, help="of a row; a multiple of 25")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that make clips")
    parser.add_argument("--compile", action="store_true", help="the decoder through torch.compile")
    add_device_options(parser)
    return parser.parse_args()


def _model(package: Package | None, runs: Path) -> VidMuse:
    """The package's model, or the starter's with its trained eyes; without a codec, for it learns codes."""
    model = VidMuse(_silent(package.spec if package else starter.spec()))
    if package is None:
        model.vision.load_state_dict(eyes_of(runs).state_dict())
    else:
        weights = {k: v for k, v in package.weights.items() if not k.startswith("codec.")}
        model.load_state_dict(weights)
    return model


def _silent(spec: ModelSpec) -> ModelSpec:
    return replace(spec, codec=None)


def _drawn_clips(args: argparse.Namespace) -> list[Clip]:
    source, sounds = Path(args.package or args.runs), args.runs / "codec" / SOUNDS_FILE
    recipe = clips.Recipe(source, sounds, args.pieces, tuple(args.signatures))
    return clips.make_all(recipe, args.out / "clips", args.videos, args.workers)


def _own_clips(model: VidMuse, args: argparse.Namespace) -> list[Clip]:
    from training.pairs import MusicEncoder, own_clips

    if args.package is None or args.codec is None:
        raise PackageError("--pairs needs --package, the model to go on with, and --codec, its EnCodec")
    music = MusicEncoder(args.codec, model.spec.decoder.codebooks)
    return [*own_clips(args.pairs, model, music)]


if __name__ == "__main__":
    main()
