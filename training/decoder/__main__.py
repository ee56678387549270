"""`python -m training.decoder`: make clips with the trained eyes and codec, and train the decoder on them."""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from engine.model.vidmuse import VidMuse
from engine.model.vision import VisionTower
from engine.patterns import DelayPattern
from training import starter
from training.codec.__main__ import CODEC_FILE
from training.codec.learner import CodecModel
from training.codec.sounds import Sounds
from training.decoder import clips
from training.decoder.dataset import Clip, Stretches
from training.decoder.learner import DecoderLearner
from training.loop import CHECKPOINT_FILE, Plan, train

HELD_OUT = 20
"""Videos that are not learned from: the first ones."""


def trained_codec(folder: Path) -> CodecModel:
    model = CodecModel(starter.CODEC)
    model.load_state_dict(torch.load(folder / CODEC_FILE, weights_only=True))
    return model.eval()


def trained_eyes(folder: Path) -> VisionTower:
    state = torch.load(folder / CHECKPOINT_FILE, weights_only=True)["model"]
    vision = VisionTower(starter.VISION)
    vision.load_state_dict(
        {k.removeprefix("vision."): v for k, v in state.items() if k.startswith("vision.")}
    )
    return vision.eval()


def make_clips(args: argparse.Namespace) -> list[Clip]:
    """All clips; those that are not on the disk yet are made, one process a core."""
    folder = args.out / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in range(args.videos) if not (folder / f"{seed}.npz").is_file()]
    if missing:
        with ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn")) as pool:
            for done, _ in enumerate(
                pool.map(_make_one, [(args.runs, folder, seed, args.pieces) for seed in missing]), 1
            ):
                if done % 20 == 0:
                    print(f"{done} of {len(missing)} clips", flush=True)
    return [clips.load(folder / f"{seed}.npz") for seed in range(args.videos)]


_KEPT: dict[Path, tuple[VisionTower, CodecModel, Sounds]] = {}


def _make_one(task: tuple[Path, Path, int, int]) -> None:
    runs, folder, seed, pieces = task
    torch.set_num_threads(1)
    if runs not in _KEPT:
        sounds = Sounds.load(starter.CODEC, runs / "codec" / "sounds.npz")
        _KEPT[runs] = (trained_eyes(runs / "eyes"), trained_codec(runs / "codec"), sounds)
    made = clips.make(range(seed, seed + 1), pieces, starter.spec(), *_KEPT[runs])
    clips.save(next(made), folder / f"{seed}.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/decoder"))
    parser.add_argument("--budget", type=float, default=75, help="minutes")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--videos", type=int, default=260)
    parser.add_argument("--pieces", type=int, default=4, help="pieces of music for each video")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    made, spec = make_clips(args), starter.spec()
    torch.manual_seed(args.seed)
    model = VidMuse(spec)
    model.vision.load_state_dict(trained_eyes(args.runs / "eyes").state_dict())
    pattern = DelayPattern(spec.decoder.codebooks, spec.decoder.special)
    settings = (pattern, spec.decoder.ages, spec.long_short.recalled, spec.steps_per_slot)
    learned, held = Stretches(made[HELD_OUT:], *settings), Stretches(made[:HELD_OUT], *settings)
    learner = DecoderLearner(model, learned, held, args.rows, args.columns)
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


if __name__ == "__main__":
    main()
