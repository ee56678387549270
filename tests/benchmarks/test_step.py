"""The decoders that `benchmarks.step` measures take the steps that it counts bytes of."""

from __future__ import annotations

import pytest

pytest.importorskip("openvino", reason="contenders") if False else None
