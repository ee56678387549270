"""`python -m training.codec`: train the codec on composed music."""

from __future__ import annotations

import argparse

from training.shell import extras, in_one_line

with extras():
    import torch

from engine.model.oscillator import compressed
from engine.spec import OscillatorSpec
from training.codec.amplitudes import amplitudes
from training.codec.learner import CodecLearner, CodecModel
from training.codec.sounds import SOUNDS_FILE, Sounds
from training.devices import add_run_options, begin_on
from training.loop import CHECKPOINT_FILE, Plan, train
from training.origin import claim
from training.parts import CODEC_FILE
from training.pieces import compose, imagine


def clips(count: int, spec: OscillatorSpec, sounds: Sounds, first_seed: int = 0) -> torch.Tensor:
    """fp16 [count, K, T, N], compressed."""
    return torch.stack(
        [
            compressed(torch.from_numpy(amplitudes(compose(imagine(seed), seed), sounds))).half()
            for seed in range(first_seed, first_seed + count)
        ]
    )


@in_one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=220)
    add_run_options(parser, "codec", 10)
    args = parser.parse_args()
    device = begin_on(args)
    claim(args.out, CHECKPOINT_FILE, {"--clips": args.clips, "--seed": args.seed})
    spec = OscillatorSpec()
    torch.manual_seed(args.seed)
    sounds = Sounds.load(spec, args.out / SOUNDS_FILE)
    data = clips(args.clips, spec, sounds)
    sounds.save(args.out / SOUNDS_FILE)
    print(f"{data.shape[0]} clips, {len(sounds.known)} notes", flush=True)
    learner = CodecLearner(CodecModel(spec).to(device), data, held_out=10)
    plan = Plan(
        args.out,
        args.steps,
        args.budget,
        learning_rate=2e-3,
        weight_decay=1e-4,
        betas=(0.9, 0.99),
        seed=args.seed,
        bf16=args.bf16,
    )
    train(learner, plan)
    learner.settle()
    learner.model.eval()
    torch.save(learner.model.state_dict(), args.out / CODEC_FILE)


if __name__ == "__main__":
    main()
