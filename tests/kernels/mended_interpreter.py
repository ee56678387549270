"""Triton 3.6's interpreter does in two places what the device does not; once this is imported, it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

ROUNDED = {
    tl.float32: (torch.float32, np.float32),
    tl.bfloat16: (torch.bfloat16, np.int16),
    tl.float8e4nv: (torch.float8_e4m3fn, np.uint8),
}
"""Types between which the interpreter cuts and the device rounds to even; NumPy has two of them as bits only."""


def _patch_tensor(tensor: Any, scope: Any, patch: Any = interpreter._patch_lang_tensor) -> None:
    """NumPy 2.4 refuses to turn an array of one number into a whole number, as the interpreter does for a loop's bounds."""
    patch(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


def _convert(numbers: Any, old: Any, new: Any, mode: Any, convert: Any = interpreter._convert_float) -> Any:
    if old not in ROUNDED or new not in ROUNDED:
        return convert(numbers, old, new, mode)
    (old_type, old_bits), (new_type, new_bits) = ROUNDED[old], ROUNDED[new]
    held = torch.from_numpy(np.ascontiguousarray(numbers).view(old_bits)).view(old_type)
    return held.to(new_type).view(torch.from_numpy(np.empty(0, new_bits)).dtype).numpy()


interpreter._patch_lang_tensor = _patch_tensor
interpreter._convert_float = _convert
