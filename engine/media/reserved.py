"""Names of files that Windows takes for devices, whatever their ending: what is written to `con.wav` is shown, and kept nowhere.

Source: Microsoft, Naming Files, Paths, and Namespaces; the same names as `os.path.isreserved` of Python 3.13 has.
"""

from __future__ import annotations

import os

ON_WINDOWS = os.name == "nt"
NUMBERS = "123456789¹²³"
DEVICES = frozenset(
    ("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *(port + n for port in ("COM", "LPT") for n in NUMBERS))
)


def device_of(name: str) -> str | None:
    """The device that a name without folders stands for on this machine, if any."""
    stem = name.partition(".")[0].rstrip(" ").upper()
    return stem if ON_WINDOWS and stem in DEVICES else None
