"""What all commands that train share: their options, and the device that they run on."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from engine.errors import MissingRuntime
from training.memory import keep_freed_memory


def add_run_options(parser: argparse.ArgumentParser, run: str, minutes: float) -> None:
    """Of a command that trains: where to, how long, from which seed, and on what."""
    parser.add_argument("--out", type=Path, default=Path("training/runs") / run)
    parser.add_argument("--budget", type=float, default=minutes, help="minutes")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, default=0, help="cores to use; 0 takes all")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where that is safe")


def begin_on(args: argparse.Namespace) -> torch.device:
    """Set the process up, and say where to put the model. Raises MissingRuntime when there is no such device."""
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        device = torch.device(args.device)
    except RuntimeError as error:
        raise MissingRuntime(f"--device {args.device}: expected cpu, cuda, cuda:1, ...") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MissingRuntime("--device cuda needs an NVIDIA GPU and a CUDA build of PyTorch; none was found")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return device
