"""How many programs a launch may have along each axis: CUDA refuses more with a number, or does nothing."""

from __future__ import annotations

MOST = (2**31 - 1, 65_535, 65_535)
"""Of all compute capabilities (CUDA C++ Programming Guide, technical specifications)."""


def grid(*programs: int) -> tuple[int, ...]:
    """A launch of so many programs along x, y, z. What grows with streams, frames and layers is x.

    Raises ValueError for more than CUDA launches.
    """
    if any(count > most for count, most in zip(programs, MOST, strict=False)):
        asked, most = (" x ".join(map(str, each)) for each in (programs, MOST))
        raise ValueError(f"a launch of {asked} programs is more than CUDA's {most}")
    return programs
