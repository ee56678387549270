"""How keys and values are held: as floats, or in eight bits with a scale for each vector.

Eight bits are whole numbers of -127..127 (int8) or numbers of three mantissa bits (float8 e4m3), of which the largest stands for
the largest of the vector. e4m3 keeps its relative precision over 15 octaves only, down to 2**-6, and nothing is known of how
loud a model's keys are, so that it gets scales as int8 does: a quiet vector does not fall among the subnormal numbers, a loud
one does not saturate. They cost 2 bytes for 64. A vector is quantised with its scale as it is held, so that the rounding of a
scale to float16 adds no error; one below 2**-25 is held as 0, and so is its vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}
"""The largest magnitude of each type of eight bits."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True, slots=True)
class Store:
    """Keys or values of one layer.

    values: [P, ..., N, d], float16, bfloat16 or float32 without scales, int8 or float8_e4m3fn with them.
    scales: [P, ..., N], float16 or float32. All but the first axis are contiguous.
    """

    values: Tensor
    scales: Tensor | None = None

    def __post_init__(self) -> None:
        kind = self.values.dtype
        if kind not in LARGEST and kind not in FLOATS:
            raise ValueError(f"keys and values are held as floats, int8 or float8_e4m3fn, not as {kind}")
        if (kind in LARGEST) != (self.scales is not None):
            raise ValueError(f"{kind} {'needs' if kind in LARGEST else 'has no'} scales")
        if self.scales is not None and self.scales.shape != self.values.shape[:-1]:
            raise ValueError(f"scales {list(self.scales.shape)} for values {list(self.values.shape)}")
        if self.scales is not None and self.scales.dtype not in (torch.float16, torch.float32):
            raise ValueError(f"scales are float16 or float32, not {self.scales.dtype}")
        for held in (self.values, self.scales):
            if held is not None and not held[0].is_contiguous():
                raise ValueError(f"a place is not contiguous: strides {held.stride()}")


def quantised(vectors: Tensor, store: Store) -> tuple[Tensor, Tensor | None]:
    """Vectors [..., d] as the store holds them, and their scales [...] if it has any."""
    if store.scales is None:
        return vectors.to(store.values.dtype), None
    largest = LARGEST[store.values.dtype]
    wide = vectors.float()
    scales = (wide.abs().amax(-1) / largest).to(store.scales.dtype)
    divisors = scales.float()[..., None]
    ratios = torch.where(divisors > 0, wide / divisors, 0.0).clamp(-largest, largest)
    whole = ratios.round() if store.values.dtype == torch.int8 else ratios
    return whole.to(store.values.dtype), scales


def held_at(store: Store, place: Tensor) -> Tensor:
    """What the places [B] hold, in float32. [B, ..., N, d]."""
    values = bits(store.values)[place].view(store.values.dtype).float()
    return values if store.scales is None else values * store.scales[place].float()[..., None]


def put(store: Store, index: tuple[Tensor, ...], vectors: Tensor, wanted: Tensor) -> None:
    """Writes vectors [..., d] at the broadcast index [...] where `wanted` [...] says so, in place and without asking the device.

    What is not wanted is written as the first wanted one again, or, when nothing is, as what is there.
    """
    spread = torch.broadcast_tensors(*index)
    shape, axes = spread[0].shape, [axis.long().flatten() for axis in spread]
    wanted = wanted.expand(shape).flatten()
    source = torch.where(wanted, torch.arange(len(wanted), device=wanted.device), wanted.int().argmax())
    axes = [axis[source].clamp(min=0) for axis in axes]
    for held, new in zip((store.values, store.scales), quantised(vectors, store), strict=True):
        if held is not None and new is not None:
            there, flat = bits(held), bits(new).reshape(len(wanted), *new.shape[len(shape) :])[source]
            keep = wanted.any().expand(flat.shape)
            there[tuple(axes)] = torch.where(keep, flat, there[tuple(axes)])


def bits(tensor: Tensor) -> Tensor:
    """Eight-bit floats as bytes, which can be indexed anywhere."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.float8_e4m3fn else tensor
