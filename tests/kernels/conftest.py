"""Kernels run on a CUDA device where there is one, else in Triton's interpreter on the CPU (see tests/conftest.py)."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    pytest.importorskip("triton", reason="Triton is not installed")
    return torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
