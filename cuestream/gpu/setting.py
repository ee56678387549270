"""What is measured: a model, in how many bits its weights and caches are held."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cuestream.gpu.command import RANDOM
from engine.backends.lockstep import Caching, LockstepBackend
from engine.library import find_package
from engine.model.vidmuse import VidMuse
from engine.spec import ModelSpec
from export.checkpoint import load_model, load_package
from export.random_model import spec_of

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Setting:
    """size: of random weights, or a package."""

    size: str
    dtype: str = "fp16"
    bits: int = 16
    kept: Caching = "half"

    def __str__(self) -> str:
        return f"{self.size} {self.dtype}, {self.bits}-bit weights, caches {self.kept}"

    def backend(self, model: VidMuse, device: str, places: int) -> LockstepBackend:
        return LockstepBackend(model, device, DTYPES[self.dtype], self.bits, self.kept, places)


def random_model(spec: ModelSpec, device: str) -> VidMuse:
    """Weights of PyTorch's own initialisation, drawn on the device: every tensor by itself."""
    torch.manual_seed(0)
    with torch.device(device):
        model = VidMuse(spec)
    model.to(device).eval()
    model.settle_null()
    return model


def model_of(size: str, device: str) -> VidMuse:
    """A package's folder, a model that ships, or random weights of a published size."""
    if size in RANDOM:
        return random_model(spec_of(size), device)
    return load_model(load_package(str(find_package(size))))
