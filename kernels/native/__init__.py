"""The decoder step in C for CPUs with AVX2: compiled by the C compiler that is here, kept, and checked before it is trusted.

As with Triton's kernels nothing is compiled when the package is made. Where there is no compiler or no AVX2, `library` raises
`Unavailable`, and whoever wanted the step runs the exported graph instead.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from ctypes import POINTER, Structure, c_bool, c_float, c_int32, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE = Path(__file__).parent / "step.c"
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared", "-pthread")
COMPILERS = ("cc", "gcc", "clang")
COMPILE_SECONDS = 120
MOST_ROWS, MOST_HEAD, HEAD_MULTIPLE, BESIDE = 32, 128, 16, 8
"""Rows of one call, channels of a head, and outputs that are computed together, as in step.c."""
PARTS = ("other", "norms and rounding", "products", "self-attention", "cross-attention", "waiting")
"""What `cuestream_spent` tells apart."""
NORMS = ("before_self", "before_cross", "before_feed")
MATRICES = ("qkv", "self_out", "cross_query", "cross_out", "up", "down")
CONSTANTS = ("null_keys", "null_values", "heard_keys", "heard_values", "seen_keys", "seen_values")
"""Of a layer, in the order of step.c; an export names its tensors so, each behind its layer's number."""
SCALES = ".scales"
"""Behind the name of a matrix of few bits: its scales' name."""
HALVES, FLOATS = 16, 32
BITS = (4, 8, HALVES, FLOATS)
"""That the weights of a matrix may have; of floats there are no scales."""
CLOSE = 1e-4
"""By how much of the largest answer a product may differ from its plain twin."""


class Unavailable(RuntimeError):
    """There is no native step on this machine; the message says why."""


class Damaged(Unavailable):
    """What was kept cannot be loaded, as after a loss of power."""


class Matrix(Structure):
    """See step.c, as for the others."""

    _fields_ = (
        ("packed", c_void_p),
        ("scales", c_void_p),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("bits", c_int32),
        ("block", c_int32),
    )


class Norm(Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class Layer(Structure):
    _fields_ = (
        *((name, Norm) for name in NORMS),
        *((name, Matrix) for name in MATRICES),
        *((name, c_void_p) for name in CONSTANTS),
    )


class Model(Structure):
    _fields_ = (
        *((name, c_int32) for name in ("layers", "width", "heads", "head", "hidden", "codebooks", "card")),
        *((name, c_int32) for name in ("null_tokens", "rows", "columns", "heard_bits", "seen_bits")),
        *((name, c_float) for name in ("scale", "epsilon")),
        *((name, c_void_p) for name in ("embedding", "positions")),
        ("last", Norm),
        ("logits", Matrix),
        ("each", POINTER(Layer)),
    )


class Lane(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("keys", "values", "seen_keys", "seen_values", "tokens", "logits")),
        *((name, c_int32) for name in ("position", "room", "held", "space")),
    )


@cache
def library(folder: Path) -> ctypes.CDLL:
    """The compiled step, kept in `folder`. Raises Unavailable."""
    if platform.machine() not in ("x86_64", "AMD64") or not {"avx2", "fma", "f16c"} <= set(_flags().split()):
        raise Unavailable("the native step is written for Linux on x86-64 with AVX2")
    kept = _built(folder)
    try:
        found = loaded(kept)
    except Damaged:
        with suppress(OSError):
            kept.unlink()
        found = loaded(_built(folder))
    if (worst := max(difference(found, bits) for bits in BITS)) > CLOSE:
        raise Unavailable(
            f"products of the native step differ from plain ones by {worst:.2g} on this machine"
        )
    return found


def loaded(path: Path) -> ctypes.CDLL:
    """A compiled step. Raises Damaged."""
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        raise Damaged(f"the native step cannot be loaded: {error}") from error
    found.cuestream_open.restype = c_void_p
    found.cuestream_open.argtypes = (POINTER(Model), c_int32, POINTER(c_int32))
    found.cuestream_step.argtypes = (c_void_p, c_void_p, c_int32)
    found.cuestream_step.restype = c_bool
    found.cuestream_spent.argtypes = (c_void_p, c_void_p)
    found.cuestream_spent.restype = None
    found.cuestream_close.argtypes = (c_void_p,)
    found.cuestream_close.restype = None
    found.cuestream_lay.argtypes = (POINTER(Matrix), c_void_p, c_void_p)
    found.cuestream_lay.restype = None
    found.cuestream_check.argtypes = (POINTER(Matrix), POINTER(Matrix), c_void_p, c_void_p, c_void_p)
    found.cuestream_check.restype = None
    return found


def difference(of: ctypes.CDLL, bits: int, inputs: int = 1280, outputs: int = 64, block: int = 128) -> float:
    """Between quick and plain products of noise, over the largest of them."""
    random = np.random.default_rng(bits)
    blocks = -(-inputs // block)
    scales = random.random((outputs, blocks), np.float32)
    packed: NDArray[Any] = random.integers(1, 256, (outputs, blocks, block * bits // 8), dtype=np.uint8)
    if bits >= HALVES:
        packed = random.standard_normal((outputs, inputs)).astype(f"f{bits // 8}")
    row = random.standard_normal(inputs).astype(np.float32)
    stored = Matrix(packed.ctypes.data, scales.ctypes.data, inputs, outputs, bits, block)
    beside, theirs = np.empty_like(packed), np.empty_like(scales)
    of.cuestream_lay(ctypes.byref(stored), beside.ctypes.data, theirs.ctypes.data)
    laid = Matrix(beside.ctypes.data, theirs.ctypes.data, inputs, outputs, bits, block)
    answers: list[NDArray[np.float32]] = [np.zeros(outputs, np.float32) for _ in range(2)]
    of.cuestream_check(
        ctypes.byref(laid), ctypes.byref(stored), row.ctypes.data, *(a.ctypes.data for a in answers)
    )
    quick, plain = answers
    return float(np.abs(quick - plain).max() / np.abs(plain).max())


def _built(folder: Path) -> Path:
    """The library's file, made now if it is not kept. One that another process makes meanwhile is the same."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC") or COMPILERS[0], *COMPILERS))), None)
    if compiler is None:
        raise Unavailable(f"no C compiler ({', '.join(COMPILERS)}) is here to build the native step with")
    source = SOURCE.read_bytes()
    made_of = b"\0".join((source, " ".join(FLAGS).encode(), compiler.encode(), _flags().encode()))
    kept = folder / f"step-{hashlib.sha256(made_of).hexdigest()[:16]}.so"
    if not kept.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as fresh:
                compiled(compiler, Path(fresh) / kept.name).replace(kept)
        except OSError as error:
            raise Unavailable(f"the native step cannot be kept in {folder}: {error}") from error
    return kept


def compiled(compiler: str, to: Path, *flags: str) -> Path:
    """The library at `to`. Raises Unavailable."""
    command = [compiler, *FLAGS, *flags, str(SOURCE), "-o", str(to), "-lm"]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS, encoding="utf-8"
        )
    except subprocess.CalledProcessError as error:
        said = next(iter(error.stderr.splitlines()), "nothing")
        raise Unavailable(f"{compiler} cannot compile the native step: {said}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{compiler} took over {COMPILE_SECONDS} s for the native step") from error
    return to


@cache
def _flags() -> str:
    """What this processor can do, as Linux says it; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("flags")), "")
