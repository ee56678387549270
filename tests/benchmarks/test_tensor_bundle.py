"""Weights of a TensorFlow checkpoint: what was written byte by byte is read, what is damaged is refused."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality.tensor_bundle import read_bundle
from engine.errors import PackageError

MAGIC = 0xDB4775248B80FB57
KINDS = {np.dtype(np.float32): 1, np.dtype(np.float64): 2, np.dtype(np.int32): 3, np.dtype(np.int64): 9}
Tensors = Mapping[str, NDArray[Any]]

WRITTEN: Tensors = {
    "conv2d/bias": np.array([0.5, -1], np.float32),
    "conv2d/kernel": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "conv2d_1/kernel": np.full((300, 2), 7, np.int32),
    "global_step": np.array(1_000_000_007, np.int64),
}


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | bytes) -> bytes:
    """Of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(tensor: NDArray[Any], offset: int) -> bytes:
    shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
    checksum = varint(6 << 3 | 5) + b"\1\2\3\4"
    return (
        field(1, KINDS[tensor.dtype])
        + field(2, shape)
        + field(4, offset)
        + field(5, tensor.nbytes)
        + checksum
    )


def block(rows: Mapping[bytes, bytes], compression: int = 0) -> bytes:
    """Keys in order, each without what it shares with the one before; one restart, at 0; type and checksum behind."""
    out, before = b"", b""
    for key, value in rows.items():
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b),
            min(len(before), len(key)),
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1) + bytes([compression]) + b"\0\0\0\0"


def bundle(tensors: Tensors, compression: int = 0) -> tuple[bytes, bytes]:
    """Index and data, the index with two blocks of entries."""
    data, entries = b"", {b"": field(1, 1)}
    for name, tensor in sorted(tensors.items()):
        entries[name.encode()] = entry(tensor, len(data))
        data += tensor.tobytes()
    names, index, handles = list(entries), b"", {}
    for part in (names[:3], names[3:]):
        written = block({name: entries[name] for name in part}, compression)
        handles[part[-1] + b"~"] = varint(len(index)) + varint(len(written) - 5)
        index += written
    footer = b""
    for each in (block({}), block(handles)):
        footer += varint(len(index)) + varint(len(each) - 5)
        index += each
    return index + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC), data


def test_what_was_written_is_read() -> None:
    read = read_bundle(*bundle(WRITTEN))
    assert read.keys() == WRITTEN.keys()
    for name, tensor in WRITTEN.items():
        assert read[name].dtype == tensor.dtype
        np.testing.assert_array_equal(read[name], tensor)


def test_types_that_are_not_known_are_left_out() -> None:
    read = read_bundle(*bundle({**WRITTEN, "odd": np.ones(3)}))
    assert read.keys() == WRITTEN.keys()


def test_compressed_blocks_are_refused() -> None:
    with pytest.raises(PackageError, match="compressed"):
        read_bundle(*bundle(WRITTEN, compression=1))


@pytest.mark.parametrize("kept", [0, 1, 20, 47, 48, 100, -1, -9, -40])
def test_an_index_that_was_cut_off_is_refused(kept: int) -> None:
    index, data = bundle(WRITTEN)
    with pytest.raises(PackageError):
        read_bundle(index[:kept], data)


def test_an_index_of_something_else_is_refused() -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed).bytes(500)
        with pytest.raises(PackageError):
            read_bundle(noise, b"")


def test_data_that_was_cut_off_is_refused() -> None:
    index, data = bundle(WRITTEN)
    with pytest.raises(PackageError):
        read_bundle(index, data[:-1])
