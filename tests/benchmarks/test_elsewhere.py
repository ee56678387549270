"""Our decoder's weights as other runtimes would run them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.elsewhere import make_dynamic_int8
from engine.backends.torch import TorchBackend
from export.checkpoint import Package, load_model


@pytest.mark.filterwarnings("ignore:torch.*deprecated")
def test_a_decoder_of_pytorchs_eight_bits_takes_steps(nano_package: Package) -> None:
    backend = TorchBackend(load_model(nano_package))
    condition, caches = backend.new_condition(1), backend.new_caches(1, True, 8)
    tokens = np.zeros((1, 1, backend.spec.decoder.codebooks), np.int64)
    floats = backend.step(caches, 0, condition, 1, tokens, np.zeros(1, np.int64))
    make_dynamic_int8(backend.model)
    condition, caches = backend.new_condition(1), backend.new_caches(1, True, 8)
    rounded = backend.step(caches, 0, condition, 1, tokens, np.zeros(1, np.int64))
    assert 0 < np.abs(rounded - floats).max() < 0.1 * np.abs(floats).max()
