"""Reads the weights of a TensorFlow 1 checkpoint without TensorFlow: an index (a LevelDB table of protocol buffers) and data."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import PackageError

FOOTER_BYTES, MAGIC = 48, 0xDB4775248B80FB57
"""The last of a table, and its last eight bytes."""
KINDS = {1: np.float32, 3: np.int32, 9: np.int64}
"""TensorFlow's numbers of the types that are read."""
TYPE, SHAPE, OFFSET, SIZE = 1, 2, 4, 5
"""Fields of a BundleEntryProto."""


def read_bundle(index: bytes, data: bytes) -> dict[str, NDArray[Any]]:
    """Tensors by name. Raises PackageError when the index is none, or compressed."""
    tensors = dict[str, NDArray[Any]]()
    try:
        for name, entry in _entries(index):
            kind = KINDS.get(entry.get(TYPE, [0])[0])
            if name and kind is not None:
                shape = [_fields(dim).get(1, [0])[0] for dim in _shape(entry)]
                first, size = entry.get(OFFSET, [0])[0], entry[SIZE][0]
                tensors[name] = np.frombuffer(data[first : first + size], kind).reshape(shape)
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise PackageError(f"expected a TensorFlow checkpoint index: {error}") from error
    return tensors


def _shape(entry: dict[int, list[Any]]) -> list[bytes]:
    return _fields(entry[SHAPE][0]).get(2, []) if SHAPE in entry else []


def _entries(index: bytes) -> Iterator[tuple[str, dict[int, list[Any]]]]:
    """Every key and value of the table, whose footer names the block of blocks."""
    footer, at = index[-FOOTER_BYTES:], 0
    if struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("its end is not a table's")
    for _ in range(2):  # where the meta index is
        _, at = _varint(footer, at)
    first, at = _varint(footer, at)
    size, at = _varint(footer, at)
    for _, handle in _block(index, first, size):
        start, after = _varint(handle, 0)
        length, _ = _varint(handle, after)
        for key, value in _block(index, start, length):
            yield key.decode(), _fields(value)


def _block(index: bytes, first: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys share a beginning with the one before."""
    if index[first + size] != 0:
        raise ValueError("a block is compressed")
    block = index[first : first + size]
    end, at, key = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0], 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Fields of a protocol buffer, undecoded."""
    at, found = 0, dict[int, list[Any]]()
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        value: Any
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            width = {1: 8, 5: 4}[kind]
            value, at = message[at : at + width], at + width
        found.setdefault(field, []).append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    shift = number = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
