"""`python -m training.decoder`: make clips with the trained eyes and codec, and train the decoder on them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from engine.model.vidmuse import VidMuse
from engine.patterns import DelayPattern
from training import starter
from training.decoder import clips
from training.decoder.dataset import Stretches
from training.decoder.learner import DecoderLearner
from training.loop import Plan, train
from training.memory import keep_freed_memory

HELD_OUT = 20
"""Videos that are not learned from: the first ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/decoder"))
    parser.add_argument("--budget", type=float, default=75, help="minutes")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--videos", type=int, default=260)
    parser.add_argument("--pieces", type=int, default=4, help="pieces of music for each video")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=750)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    made = clips.make_all(args.runs, args.out / "clips", args.videos, args.pieces, args.workers)
    spec = replace(starter.spec(), codec=None)  # it learns codes; how they sound is not its matter
    torch.manual_seed(args.seed)
    model = VidMuse(spec)
    model.vision.load_state_dict(clips.trained_eyes(args.runs / "eyes").state_dict())
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
