"""What no test of the commands is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cuestream.measuring import Bandwidth


@pytest.fixture(scope="session", autouse=True)
def memory() -> Iterator[None]:
    """The probe of the memory waits for a quiet machine and reads a GiB; which machine this is does not matter here, nor what
    it copies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cuestream.gpu.device.COPIED", {"cpu": 1 << 20})
        patch.setattr("cuestream.bench.read_bandwidth", lambda threads, **_: Bandwidth(20.0, 19.0, threads))
        yield
