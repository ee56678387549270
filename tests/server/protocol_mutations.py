"""Damage for the fuzzing: a golden vector goes in, something that may be anything comes out. Everything by a seeded generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any

from server.protocol.golden import control_vectors, invalid_vectors, media_vectors
from server.protocol.media import HEADER

Mutation = Callable[[Random, bytes, list[bytes]], bytes]

EXTREMES: list[Any] = [
    None, True, "", "ü\ud83c", "\0", 0, -1, 2**31, 2**53, 2**64, 10**400, 1e308, -0.0, 1.5,
    float("nan"), float("inf"), [], {}, [[]], {"": {}}, [0] * 100, "x" * 2000,
]  # fmt: skip
HEADER_EXTREMES = (0, 1, 2, 3, 5, 16, 18, 31, 32, 33, 63, 127, 255, 2**16 - 1, 2**32 - 1, 2**53, 2**64 - 1)


def flip_bits(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if damaged:
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def truncate(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def splice(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    other = random.choice(corpus)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def repeat(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    first, last = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:last] * random.choice((1, 2, 30)) + data[last:]


def nest(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    """Brackets, closed or not, at some place; sometimes more than any parser may recurse into."""
    at, depth = random.randrange(len(data) + 1), random.choice((1, 14, 15, 16, 17, 1000, 60_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]"), (b'\\"', b"")))
    return data[:at] + opening * depth + closing * random.choice((0, depth)) + data[at:]


def insert_noise(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randrange(1, 40)) + data[at:]


def edit_json(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    """One value becomes another, one field goes or comes; valid JSON stays JSON, but for what only Python calls so."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return flip_bits(random, data, corpus)
    places = list(objects(tree))
    if not places:
        return data
    target = random.choice(places)
    name = random.choice([*target, "new", "type", "event_id"])
    if random.random() < 0.2:
        target.pop(name, None)
    else:
        target[name] = random.choice([*EXTREMES, deepcopy(tree)])
    return json.dumps(tree, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def objects(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from objects(value)


def edit_header(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    """One number of the header becomes another."""
    if len(data) < HEADER.size:
        return data
    fields = list(HEADER.unpack_from(data))
    at = random.randrange(len(fields))
    size = (1, 1, 2, 4, 8, 4, 2, 2)[at]
    fields[at] = random.choice(HEADER_EXTREMES) % 256**size
    return HEADER.pack(*fields) + data[HEADER.size :]


TEXT: list[Mutation] = [flip_bits, truncate, splice, repeat, nest, insert_noise, *[edit_json] * 8]
BINARY: list[Mutation] = [flip_bits, truncate, splice, repeat, insert_noise, edit_header, edit_header]


def texts() -> list[bytes]:
    """Every golden text, the refused ones too."""
    refused = [_bytes(v) for v in invalid_vectors() if "hex" not in v]
    return [v["text"].encode() for v in control_vectors()] + refused


def binaries() -> list[bytes]:
    """Every golden binary message, the refused ones too."""
    return [bytes.fromhex(v["hex"]) for v in media_vectors() + [v for v in invalid_vectors() if "hex" in v]]


def mutated(seed: int, count: int, corpus: list[bytes], mutations: list[Mutation]) -> Iterator[bytes]:
    random = Random(seed)
    for _ in range(count):
        data = random.choice(corpus)
        for _ in range(random.choice((1, 1, 2, 3))):
            data = random.choice(mutations)(random, data, corpus)
        yield data


def _bytes(vector: dict[str, Any]) -> bytes:
    return vector["text"].encode() if "text" in vector else bytes.fromhex(vector["text_hex"])
