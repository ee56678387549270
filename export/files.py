"""Reading weights that a stranger wrote: nothing in a file is executed, and a damaged file says what is wrong with it."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import PackageError

MISFITS = (KeyError, ValueError, TypeError, AttributeError, IndexError, ArithmeticError, RuntimeError)
"""What reading a foreign description, or tensors of foreign shapes, may raise in Python or PyTorch."""


def read_pickle(path: Path) -> dict[str, Any]:
    """A dict of tensors, texts, numbers and dicts of them. A pickle that asks for anything else is refused unexecuted."""
    _check_fetched(path)
    archive = _is_zip(path)
    try:
        if archive:
            _check_sums(path)
        with warnings.catch_warnings():  # torch warns of pickles that it then refuses
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError as error:
        raise PackageError(
            f"{path.name}: expected tensors, text and numbers only; {_asked_for(error)}"
        ) from error
    except (
        RuntimeError,
        EOFError,
        BadZipFile,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        struct.error,
    ) as error:
        raise PackageError(
            f"{path.name}: expected a PyTorch file, found a truncated or foreign one"
        ) from error
    if not isinstance(loaded, dict):
        raise PackageError(f"{path.name}: expected a dict, found {type(loaded).__name__}")
    _plain(loaded, path.name)
    return loaded


def read_safetensors(path: Path) -> dict[str, Tensor]:
    _check_fetched(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise PackageError(
            f"{path.name}: expected a safetensors file, found a truncated or foreign one"
        ) from error


def check_finite(state: Mapping[str, Tensor], name: str) -> None:
    """Refuse weights that carry NaN or infinity, by the time they are float32; they would come out as silence or noise hours
    later. And numbers that are no weights."""
    for key, tensor in state.items():
        if tensor.is_complex() or tensor.is_quantized:
            raise PackageError(f"{name}: expected weights, found {tensor.dtype} in {key!r}")
        if tensor.is_meta or not tensor.is_floating_point():
            continue
        if bad := int((~torch.isfinite(tensor.float())).sum()):
            raise PackageError(f"{name}: expected finite weights, found {bad} NaN or infinite in {key!r}")


def reason(error: Exception) -> str:
    """One line of it."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return f"no {text}" if isinstance(error, KeyError) else text


def _check_fetched(path: Path) -> None:
    """Refuse what downloads leave instead of a file."""
    if not path.is_file():
        raise PackageError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise PackageError(f"{path.name}: the file is empty")
    if head.startswith(b"version https://git-lfs"):
        raise PackageError(
            f"{path.name}: is Git LFS's pointer to a file; fetch the file itself: git lfs pull"
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise PackageError(f"{path.name}: is a web page, not the file that was asked for")


def _check_sums(path: Path) -> None:
    """Refuse an archive whose content is not what was written, which PyTorch does not look for. A sum of 0 is one left out."""
    with ZipFile(path) as archive:
        for member in archive.infolist():
            if member.CRC:
                with archive.open(member) as file:
                    try:
                        while file.read(1 << 20):
                            pass
                    except BadZipFile as error:
                        raise PackageError(
                            f"{path.name}: is damaged: {member.filename!r} in it is not what was written"
                        ) from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _asked_for(error: Exception) -> str:
    text = str(error)
    marker = "GLOBAL "
    if marker in text:
        return f"the file asks to run {text.split(marker, 1)[1].split()[0]!r}, which is refused"
    return "the file is truncated or asks to run code, which is refused"


def _plain(value: object, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise PackageError(f"{where}: expected text as key, found {type(key).__name__}")
            _plain(item, f"{where}: {key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _plain(item, where)
    elif not isinstance(value, Tensor | str | int | float | bool | None):
        raise PackageError(f"{where}: expected tensors, text and numbers only, found {type(value).__name__}")
