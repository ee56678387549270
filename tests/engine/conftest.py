"""What the backend for GPUs is tested on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pretended import pretended


@pytest.fixture
def cuda() -> Iterator[str]:
    """The CUDA device that is here, or else one that is pretended."""
    if torch.cuda.is_available():
        yield "cuda:0"
    else:
        with pretended():
            yield "cuda:0"
