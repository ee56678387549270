"""`python -m training.eyes`: train the vision tower on drawn videos."""

from __future__ import annotations

import argparse

from training.shell import extras, in_one_line

with extras():
    import numpy as np
    import torch
    from torch import Tensor, nn

from engine.model.vision import VisionTower
from engine.motion import MotionPicture
from training.devices import add_run_options, begin_on
from training.loop import CHECKPOINT_FILE, Plan, train
from training.origin import claim
from training.pieces import Video, draw
from training.starter import VISION

BATCH = 128
FIRST_SEED = 1_000_000
"""Videos of the eyes are not those of the decoder."""


def seen(video: Video) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [F, S, S, 4] as the live engine shows them, and attributes float32 [F, 4]."""
    motion, pictures = MotionPicture(), list[np.ndarray]()
    for frame, attributes in zip(video.frames, video.attributes, strict=True):
        motion.show(frame, attributes.cut)
        pictures.append(motion.beside(frame))
    values = [(a.brightness, a.warmth, a.saturation, a.motion) for a in video.attributes]
    return np.stack(pictures), np.array(values, np.float32)


class Eyes(nn.Module):
    """The tower, and a reading of it that is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.vision = VisionTower(VISION)
        self.reading = nn.Linear(VISION.width, 4)

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 [B, S, S, 4] to attributes [B, 4]."""
        return self.reading(self.vision(pictures)[1].mean(1))


class EyesLearner:
    """pictures: uint8 [n, S, S, 4]; attributes: [n, 4]; the last `held_out` are for evaluation."""

    def __init__(self, model: Eyes, pictures: Tensor, attributes: Tensor, held_out: int) -> None:
        self.model, self.held_out = model, held_out
        self.pictures, self.attributes = pictures, attributes
        self.device = model.reading.weight.device

    def loss(self, step: int) -> dict[str, Tensor]:
        at = torch.randint(len(self.pictures) - self.held_out, (BATCH,))
        wanted = self.attributes[at].to(self.device)
        return {"loss": (self.model(self.pictures[at].to(self.device)) - wanted).pow(2).mean()}

    def after(self, step: int) -> None:
        pass

    def evaluate(self) -> dict[str, float]:
        """Correlation of each attribute with what the extractor read."""
        read = self.model(self.pictures[-self.held_out :].to(self.device)).float().cpu().numpy()
        wanted = self.attributes[-self.held_out :].numpy()
        names = ("brightness", "warmth", "saturation", "motion")
        return {
            f"r_{name}": float(np.corrcoef(read[:, i], wanted[:, i])[0, 1]) for i, name in enumerate(names)
        }


@in_one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=120)
    add_run_options(parser, "eyes", 4)
    args = parser.parse_args()
    device = begin_on(args)
    claim(args.out, CHECKPOINT_FILE, {"--videos": args.videos, "--seed": args.seed})
    parts = [seen(draw(FIRST_SEED + args.seed + i, steps=1500)) for i in range(args.videos)]
    pictures, attributes = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
    print(f"{len(pictures)} pictures", flush=True)
    torch.manual_seed(args.seed)
    learner = EyesLearner(Eyes().to(device), pictures, attributes, held_out=len(parts[-1][0]) * 5)
    plan = Plan(args.out, args.steps, args.budget, learning_rate=1e-3, seed=args.seed, bf16=args.bf16)
    train(learner, plan)


if __name__ == "__main__":
    main()
