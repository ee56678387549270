"""What commands share: options and their words, where they print, and what they need installed."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Literal

from rich.console import Console

from engine.errors import MissingRuntime

out, err = Console(markup=False), Console(stderr=True, markup=False)
"""Names of files and models are printed as they are: `[live]` in one is no style."""

MOST_SEED = 2**63 - 1
MOST_THREADS = max(8, os.cpu_count() or 1)


Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4"]
Rounding = Literal["gptq", "nearest"]
Operators = Literal["onnxruntime", "standard"]
"""These three as in `export`, which is loaded when it is needed."""

ROUNDING_HELP = (
    "how int4 is made: gptq (the default there) solves it on music that the model plays; nearest rounds each weight alone, "
    "in a fraction of the time and memory, and plays worse"
)
PROVIDER_HELP = (
    "who runs the model: its graphs on the cpu; on an NVIDIA GPU its weights by torch (CUDA graphs, Triton), or, of an export "
    "with --operators standard, its graphs"
)
EFFORT_HELP = (
    "light: a large model on a small machine plays with half the window, a third of the context at a hand-over, "
    "and looks twice a second; cuts are seen at once as ever"
)


def named(text: str) -> Path:
    """A path that says something: an empty one, as of a variable that is not set, would be the folder where one is."""
    if not text:
        raise ValueError("expected a name, found nothing")
    return Path(text)


def say(message: str) -> None:
    """One line for people."""
    err.print(f"cuestream: {' '.join(message.split())}", highlight=False, soft_wrap=True)


def need(extra: str, *modules: str) -> None:
    """Raises MissingRuntime where one of them is not installed."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise MissingRuntime(
                f"this command needs {error.name}; install the extra: pip install 'cuestream[{extra}]'"
            ) from error


def need_export() -> None:
    need("export", "onnx_ir", "torch", "transformers")


def need_serve() -> None:
    need("serve", "msgspec", "prometheus_client", "starlette", "uvicorn", "websockets")
