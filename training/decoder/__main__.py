"""`python -m training.decoder`: make clips with the trained eyes and codec, and train the decoder on them.

With --package a model goes on learning: the starter from more drawn videos, seen by its own eyes and written by its own codec;
with --pairs a converted or published model from one's own videos.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from training.shell import extras, in_one_line

with extras():
    import torch

from engine.errors import CuestreamError
from engine.library import carry
from engine.model.vidmuse import VidMuse
from engine.patterns import DelayPattern
from engine.spec import ModelSpec
from export.checkpoint import Package, load_package, save_package
from training import starter
from training.codec.sounds import SOUNDS_FILE
from training.decoder import clips
from training.decoder.dataset import Clip, Stretches, shortest
from training.decoder.learner import DecoderLearner, check_columns
from training.devices import add_run_options, begin_on
from training.loop import CHECKPOINT_FILE, Plan, train
from training.origin import Origin, claim, digest
from training.parts import eyes_of
from training.pieces import PIECE_STEPS, SIGNATURES

HELD_OUT = 20
"""Videos that are not learned from: the first ones, a tenth at most."""


@in_one_line()
def main() -> None:
    args = _arguments()
    device = begin_on(args)
    torch.manual_seed(args.seed)
    package = load_package(args.package, args.codec) if args.package else None
    model = _model(package, args.runs)
    origin: Origin = {"--seed": args.seed} | ({"--package": digest(package.weights)} if package else {})
    made = _own_clips(model, args, origin) if args.pairs else _drawn_clips(args, origin)
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
    train(learner, plan)
    if package is not None:
        codec = {name: tensor for name, tensor in package.weights.items() if name.startswith("codec.")}
        save_package(Package(package.spec, codec | dict(model.state_dict())), args.out / "package")
        carry(Path(args.package), args.out / "package")
        print(f"{args.out / 'package'}: cuestream export turns it into graphs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--package", help="a model to go on with: a folder or a hub id")
    parser.add_argument("--pairs", type=Path, help="a folder of videos with the music to learn")
    parser.add_argument("--codec", help="with --pairs: the EnCodec, a folder of transformers or a hub id")
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
    parser.add_argument("--workers", type=int, default=2, help="processes that make clips")
    parser.add_argument("--compile", action="store_true", help="the decoder through torch.compile")
    add_run_options(parser, "decoder", 75)
    args = parser.parse_args()
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    """Raises CuestreamError where options do not go together, before any work."""
    if args.pairs and (args.package is None or args.codec is None):
        raise CuestreamError("--pairs needs --package, the model to go on with, and --codec, its EnCodec")
    try:
        check_columns(args.columns)
    except ValueError as error:
        raise CuestreamError(f"--columns: {error}") from error
    if not args.pairs and shortest(args.columns, starter.DECODER.codebooks) > PIECE_STEPS:
        raise CuestreamError(f"--columns {args.columns}: drawn videos have {PIECE_STEPS} steps")


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


def _drawn_clips(args: argparse.Namespace, origin: Origin) -> list[Clip]:
    source, sounds = Path(args.package or args.runs), args.runs / "codec" / SOUNDS_FILE
    recipe = clips.Recipe(source, sounds, args.pieces, tuple(args.signatures))
    claim(args.out, CHECKPOINT_FILE, origin | recipe.origin() | {"--videos": args.videos})
    return clips.make_all(recipe, args.out / "clips", args.videos, args.workers)


def _own_clips(model: VidMuse, args: argparse.Namespace, origin: Origin) -> list[Clip]:
    from training.pairs import MusicEncoder, own_clips, own_videos

    videos = [(video.name, video.stat().st_size) for video in own_videos(args.pairs)]
    codebooks = model.spec.decoder.codebooks
    music = MusicEncoder(args.codec, codebooks)
    own = {"--codec": digest(music.model.state_dict()), "--pairs": videos}
    claim(args.out, CHECKPOINT_FILE, origin | own)
    return own_clips(args.pairs, model, music, shortest(args.columns, codebooks))


if __name__ == "__main__":
    main()
