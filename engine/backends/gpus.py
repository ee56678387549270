"""What a GPU, and what is installed for it, have to be for `engine.backends.lockstep`: asked before weights are brought there."""

from __future__ import annotations

import torch

from engine.errors import MissingRuntime, PackageError

LEAST_CAPABILITY = (8, 0)
"""The compute capability from which on Triton knows a GPU; for one before it products spill and use no tensor cores."""
KNOWS_FP8 = (8, 9)
"""That from which on it reads float8 e4m3."""


def check_gpu(device: str, kept: str) -> None:
    """kept: how caches are held. Raises PackageError, and MissingRuntime without Triton."""
    if not torch.cuda.is_available():
        raise PackageError(
            "no CUDA device is here, its driver is too old, or this PyTorch was built without CUDA"
        )
    index = torch.device(device).index
    if index is not None and index != torch.cuda.current_device():
        raise PackageError(f"{device} is not this process's GPU: choose it by CUDA_VISIBLE_DEVICES")
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        raise PackageError(
            f"the kernels {_need(LEAST_CAPABILITY, capability)}; an export needs none of them: --provider cuda"
        )
    if kept == "fp8" and capability < KNOWS_FP8:
        raise PackageError(f"caches in fp8 {_need(KNOWS_FP8, capability)}; int8 takes as much memory")
    _check_triton()
    try:
        torch.ones(1, device=device).add(1).cpu()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # a PyTorch that was built for other GPUs says so with its first work
        raise PackageError(
            f"PyTorch {torch.__version__} does not work on this GPU: {_first_line(error)}"
        ) from error


def _need(needed: tuple[int, int], found: tuple[int, int]) -> str:
    return "need a GPU of compute capability {}.{}, and this one has {}.{}".format(*needed, *found)


def _check_triton() -> None:
    """It would say what it lacks when the first step is compiled."""
    try:
        from triton.runtime import driver

        driver.active.get_current_target()
    except Exception as error:
        raise MissingRuntime(
            f"Triton does not work here ({_first_line(error)}); it needs a C compiler and Python's headers: "
            "pip install triton, apt-get install gcc python3-dev"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
