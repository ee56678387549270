"""Exactly one ONNX Runtime: `onnxruntime` and `onnxruntime-gpu` overwrite each other's files, so neither and both are errors.

It keeps nothing for its makers: 1.32 has an id of the device and events for them, also on Linux, unless it is told not to.
"""

from __future__ import annotations

import os
from importlib import import_module, metadata
from typing import Any

from engine.errors import MissingRuntime

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Read when the library is loaded; who sets it himself has what he says."""
DISTRIBUTIONS = {"cpu": "onnxruntime", "gpu": "onnxruntime-gpu"}


def require_onnxruntime() -> Any:
    """The onnxruntime module. Raises MissingRuntime when none or two of its distributions are installed."""
    installed = [name for name in DISTRIBUTIONS.values() if _is_installed(name)]
    if not installed:
        raise MissingRuntime(
            "no ONNX Runtime is installed; install one of the extras: pip install 'cuestream[cpu]' or 'cuestream[gpu]'"
        )
    if len(installed) > 1:
        raise MissingRuntime(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; "
            "uninstall both (pip uninstall onnxruntime onnxruntime-gpu), then install one of the extras cpu or gpu"
        )
    os.environ.setdefault(NO_TELEMETRY, "1")
    return import_module("onnxruntime")


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
