"""Attention over pooled caches: kernels and their twins against float64, in every type, as streams join, play and leave."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import mended_interpreter  # noqa: F401
import pytest
import torch
from torch import Tensor
from triton.runtime import interpreter
from triton.runtime.errors import InterpreterError

from kernels import attention, attention_dots, attention_triton
from kernels.store import LARGEST, Store, bits, quantised

KINDS = (torch.int8, torch.bfloat16, torch.float8_e4m3fn, torch.float16, torch.float32)
TOLERANCE = 2e-6
"""Relative, of float32 answers against float64 over the same held numbers: 4e-7 was observed."""
TOLERANCE_OF_DOTS = 6e-6
"""By tensor cores, whose numbers have 22 bits: 3e-6 was observed, of cross attention 128 wide."""
SMALL = attention_triton.Tuning(tile=16)
"""Tiles that short caches have several of, so that programs share a head."""
DOTS = attention_triton.Tuning(tile=32, warps=1, dot=True)
"""Likewise, by tensor cores, with two columns in a row."""
WHOLE = replace(DOTS, programs=0)
"""A head is one program's."""
PLACES, HEADS, POSITIONS, ROOM, FRAME = 6, 2, 60, 60, 20
SCRATCH = 5


def few(cases: Sequence[Any], count: int) -> Sequence[Any]:
    """All of them where there is a device; the interpreter takes half a second each."""
    return cases if torch.cuda.is_available() else cases[:count]


def store(kind: torch.dtype, *shape: int, device: torch.device) -> Store:
    """A store in which nothing was written: to read from it is to see it."""
    poison = 127 if kind == torch.int8 else math.nan
    values = torch.full(shape, poison, device=device).to(kind)
    scales = torch.full(shape[:-1], math.nan, dtype=torch.float16, device=device) if kind in LARGEST else None
    return Store(values, scales)


def fill(held: Store, where: Any, random: torch.Generator) -> None:
    """Noise at the index `where`, as the store holds it."""
    shape = held.values[where].shape
    noise = torch.randn(shape, generator=random).to(held.values.device)
    values, scales = quantised(noise, held)
    bits(held.values)[where] = bits(values)
    if held.scales is not None and scales is not None:
        held.scales[where] = scales


def copy(held: Store) -> Store:
    return Store(held.values.clone(), None if held.scales is None else held.scales.clone())


def same(one: Store, other: Store) -> bool:
    """Bit for bit, poison too."""

    def raw(x: Tensor | None) -> Tensor:
        return torch.empty(0, dtype=torch.uint8) if x is None else x.contiguous().view(torch.uint8)

    return torch.equal(raw(one.values), raw(other.values)) and torch.equal(raw(one.scales), raw(other.scales))


def dequantised(held: Store, *where: Any) -> Tensor:
    """float64 of what is held."""
    values = bits(held.values)[where].view(held.values.dtype).double()
    return values if held.scales is None else values * held.scales[where].double()[..., None]


def heard(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query over n columns: [..., d] and [..., n, d] in float64, the scale applied already."""
    return torch.einsum(
        "...n,...nd->...d", torch.softmax(torch.einsum("...d,...nd->...n", q, keys), -1), values
    )


def error(answer: Tensor, expected: Tensor) -> float:
    """Relative; NaN is no number below any tolerance."""
    return float((answer.double() - expected).norm() / expected.norm().clamp(min=1e-30))


@contextmanager
def poisoned_outputs() -> Iterator[None]:
    """Memory that nobody wrote holds NaN."""

    def full(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.full(shape, math.nan, dtype=dtype, device=device)

    with patch.object(torch, "empty", full):
        yield


@dataclass(frozen=True)
class Step:
    place: list[int]
    position: list[list[int]]


STEPS = (
    Step([3, 0, SCRATCH], [[0, -1], [37, 12], [-1, -1]]),  # one starts, one is far, one lane is idle
    Step(
        [0, 3, 1], [[38, 13], [1, 0], [47, 16]]
    ),  # lanes change, a following segment starts, another stream joins
    Step(
        [SCRATCH, SCRATCH, 1], [[-1, -1], [-1, -1], [48, 59]]
    ),  # two leave; a tile begins; the last position
    Step([0, 2, 3], [[0, -1], [31, 32], [0, -1]]),  # places begin again
)


def check_self_attention(
    kernel: Any,
    kind: torch.dtype,
    width: int,
    device: torch.device,
    rows: int = 1,
    heads: int = 1,
    steps: tuple[Step, ...] = STEPS,
    tolerance: float = TOLERANCE,
) -> None:
    """Steps of `kernel`, each against float64 over what it holds then, and its caches against the twin's."""
    random = torch.Generator().manual_seed(7)
    shape = (PLACES, 2, rows, heads, POSITIONS, width)
    keys, values = store(kind, *shape, device=device), store(kind, *shape, device=device)
    for at, segment, length in ((0, 0, 37), (0, 1, 12), (1, 0, 47), (1, 1, 59), (2, 0, 31), (2, 1, 32)):
        for held in (keys, values):
            fill(held, (at, segment, slice(None), slice(None), slice(0, length)), random)
    twin_keys, twin_values = copy(keys), copy(values)
    for step in steps:
        qkv = torch.randn(len(step.place), 2, rows, 3, heads, width, generator=random).to(device)
        place = torch.tensor(step.place, dtype=torch.int32, device=device)
        position = torch.tensor(step.position, device=device)
        with poisoned_outputs():
            answer = kernel(qkv, keys, values, place, position)
        attention.self_attention_plain(qkv, twin_keys, twin_values, place, position)
        assert same(keys, twin_keys)
        assert same(values, twin_values)
        for lane, at in enumerate(step.place):
            for segment, last in enumerate(step.position[lane]):
                ours = answer[lane, segment]
                if last < 0:
                    assert not ours.any()
                    continue
                q = qkv[lane, segment, :, 0].double() * width**-0.5
                columns = (at, segment, slice(None), slice(None), slice(0, last + 1))
                expected = heard(q, dequantised(keys, *columns), dequantised(values, *columns))
                assert expected.isfinite().all(), "the steps read what none of them wrote"
                assert error(ours, expected.flatten(-2)) < tolerance


def small_self_attention(module: ModuleType = attention_triton, tuning: Any = SMALL) -> Any:
    return lambda *arguments: module.self_attention(*arguments, tuning=tuning)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_attends_to_what_is_held(kind: torch.dtype, device: torch.device) -> None:
    check_self_attention(attention.self_attention_plain, kind, 16, device, 2, 2)


@pytest.mark.parametrize(("kind", "width"), few([*zip(KINDS, (64, 8, 128, 24, 16), strict=True)], 3))
def test_the_kernel_attends_to_what_is_held(kind: torch.dtype, width: int, device: torch.device) -> None:
    check_self_attention(small_self_attention(), kind, width, device, steps=few(STEPS, 2))


@pytest.mark.parametrize("tuning", [WHOLE, DOTS], ids=["whole", "split"])
@pytest.mark.parametrize(("kind", "width"), few([*zip(KINDS, (24, 16, 64, 8, 16), strict=True)], 2))
def test_the_kernel_with_tensor_cores_attends_to_what_is_held(
    kind: torch.dtype, width: int, tuning: attention_triton.Tuning, device: torch.device
) -> None:
    """float32 is read without them."""
    kernel = small_self_attention(tuning=tuning)
    tolerance = TOLERANCE if kind == torch.float32 else TOLERANCE_OF_DOTS
    check_self_attention(kernel, kind, width, device, steps=few(STEPS, 2), tolerance=tolerance)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device has as many processors as it has")
def test_programs_may_share_a_head_and_read_several_tiles(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them, on a device that has no room for more."""
    monkeypatch.setattr(attention_triton, "_processors", lambda device: 3)
    kernel = small_self_attention(tuning=replace(DOTS, tile=16))
    check_self_attention(kernel, torch.int8, 16, device, steps=STEPS[:2], tolerance=TOLERANCE_OF_DOTS)


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("loudness", [1e-4, 1e4])
def test_values_and_queries_may_be_quiet_or_loud(loudness: float, dot: bool, device: torch.device) -> None:
    """Neither vanishes nor overflows in 16 bits: a loud query, whose keys are quiet, over values of any size."""
    random = torch.Generator().manual_seed(21)
    keys, values = (store(torch.int8, 1, 1, 1, 1, 40, 16, device=device) for _ in "kv")
    for held, loud in ((keys, 1 / loudness), (values, loudness)):
        noise = torch.randn(held.values.shape, generator=random).to(device) * loud
        noise[..., ::5, :] *= 1e-2
        noise[..., 7, :] = 0
        written, scales = quantised(noise, Store(held.values, torch.empty_like(held.scales).float()))
        held.values.copy_(written)
        assert scales is not None
        held = Store(held.values, scales)
        keys, values = (held, values) if loud != loudness else (keys, held)
    qkv = torch.randn(1, 1, 1, 3, 1, 16, generator=random).to(device)
    qkv[:, :, :, :2] *= torch.tensor([loudness, 1 / loudness], device=device).view(2, 1, 1)
    qkv[:, :, :, 2] *= loudness
    index = torch.zeros(1, dtype=torch.int32, device=device)
    tuning = attention_triton.Tuning(tile=16, warps=1, dot=dot)
    answer = attention_triton.self_attention(qkv, keys, values, index, index[None] + 39, tuning)
    q = qkv[0, 0, :, 0].double() * 16**-0.5
    expected = heard(q, dequantised(keys, 0, 0), dequantised(values, 0, 0))
    assert error(answer[0, 0], expected.flatten(-2)) < TOLERANCE_OF_DOTS


@pytest.mark.parametrize(("rows", "heads"), [(1, 3), (2, 2)])
def test_rows_and_heads_have_caches_of_their_own(rows: int, heads: int, device: torch.device) -> None:
    one = attention_triton.Tuning(tile=32, programs=0)
    check_self_attention(
        lambda *x: attention_triton.self_attention(*x, tuning=one),
        torch.int8,
        16,
        device,
        rows,
        heads,
        STEPS[-1:],
    )


def test_the_same_launch_answers_the_same_bits(device: torch.device) -> None:
    """Whichever program arrives last, and whatever was launched before."""
    random = torch.Generator().manual_seed(1)
    held = [store(torch.float16, 1, 2, 1, 1, 60, 16, device=device) for _ in "kv"]
    for each in held:
        fill(each, slice(None), random)
    qkv = torch.randn(1, 2, 1, 3, 1, 16, generator=random).half().to(device)
    place, position = (
        torch.zeros(1, dtype=torch.int32, device=device),
        torch.tensor([[55, 20]], device=device),
    )
    answers = [small_self_attention()(qkv, *held, place, position) for _ in range(3)]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    assert not attention_triton.counters(qkv.device).any()


def test_answers_come_in_the_type_of_the_question(device: torch.device) -> None:
    random = torch.Generator().manual_seed(2)
    for kind in (torch.float16, torch.bfloat16):
        held = [store(kind, 1, 1, 1, 1, 20, 16, device=device) for _ in "kv"]
        qkv = torch.randn(1, 1, 1, 3, 1, 16, generator=random).to(kind).to(device)
        index = torch.zeros(1, dtype=torch.int64, device=device)
        answer = small_self_attention()(qkv, *held, index, index[None])
        assert answer.dtype == kind
        assert torch.equal(answer.flatten(), qkv[0, 0, 0, 2, 0])  # the only column there is


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_eight_bits_err_by_half_a_step(kind: torch.dtype, device: torch.device) -> None:
    """Of vectors loud and quiet, and of one that is nothing."""
    loudness = torch.tensor([0.0, 1e-3, 1.0, 300.0], device=device)[:, None]
    vectors = torch.randn(4, 64, generator=torch.Generator().manual_seed(3)).to(device) * loudness
    held = store(kind, 4, 64, device=device)
    values, scales = quantised(vectors, held)
    back = values.double() * scales.double()[:, None]
    step = vectors.abs().amax(-1, keepdim=True).double() / LARGEST[kind]
    allowed = step / 2 if kind == torch.int8 else torch.maximum(vectors.abs().double() / 16, step * 2**-10)
    slack = vectors.abs().amax(-1, keepdim=True) * 2**-10  # of the scale in float16
    assert ((back - vectors.double()).abs() <= allowed + slack).all()


def check_cross_attention(
    kernel: Any,
    kind: torch.dtype,
    width: int,
    segments: int,
    rows: int,
    device: torch.device,
    tolerance: float = TOLERANCE,
) -> None:
    random = torch.Generator().manual_seed(11)
    keys, values = (store(kind, PLACES, HEADS, ROOM, width, device=device) for _ in "kv")
    place, tokens = [4, 0, SCRATCH], [ROOM, 33, 0]
    for at, count in zip(place, tokens, strict=True):
        for held in (keys, values):
            fill(held, (at, slice(None), slice(0, count)), random)
    null_kind = torch.bfloat16 if width == 24 else torch.float16
    null = [torch.randn(HEADS, FRAME, width, generator=random).to(null_kind).to(device) for _ in "kv"]
    q = torch.randn(3, segments, rows, HEADS, width, generator=random).to(device)
    before = copy(keys), copy(values)
    with poisoned_outputs():
        answer = kernel(
            q,
            keys,
            values,
            torch.tensor(place, dtype=torch.int32, device=device),
            torch.tensor(tokens, dtype=torch.int32, device=device),
            *null,
        )
    assert same(keys, before[0])
    assert same(values, before[1])
    for lane, (at, count) in enumerate(zip(place, tokens, strict=True)):
        columns = (at, slice(None), slice(0, count))
        for segment in range(segments):
            ours, asked = answer[lane, segment], q[lane, segment].double()
            expected = heard(asked[0], dequantised(keys, *columns), dequantised(values, *columns))
            assert error(ours[0], expected.flatten()) < tolerance if count else not ours[0].any()
            if rows == 2:
                expected = heard(asked[1], null[0].double(), null[1].double())
                assert error(ours[1], expected.flatten()) < tolerance


def small_cross_attention(module: ModuleType = attention_triton, tuning: Any = SMALL) -> Any:
    return lambda *arguments: module.cross_attention(*arguments, tuning=tuning)


@pytest.mark.parametrize("kind", KINDS)
def test_conditional_rows_of_the_twin_see_the_tokens_and_null_rows_the_null_frame(
    kind: torch.dtype, device: torch.device
) -> None:
    check_cross_attention(attention.cross_attention_plain, kind, 16, 2, 2, device)


@pytest.mark.parametrize("tuning", [SMALL, DOTS], ids=["", "dots"])
@pytest.mark.parametrize("kind", few(KINDS, 2))
def test_conditional_rows_see_the_tokens_and_null_rows_the_null_frame(
    kind: torch.dtype, tuning: attention_triton.Tuning, device: torch.device
) -> None:
    check_cross_attention(small_cross_attention(tuning=tuning), kind, 16, 2, 2, device, TOLERANCE_OF_DOTS)


@pytest.mark.parametrize(
    ("width", "segments", "rows", "tuning"),
    few([(24, 2, 2, DOTS), (64, 2, 1, SMALL), (16, 1, 2, DOTS), (8, 1, 1, SMALL)], 2),
)
def test_cross_attention_of_any_shape(
    width: int, segments: int, rows: int, tuning: attention_triton.Tuning, device: torch.device
) -> None:
    kernel = small_cross_attention(tuning=tuning)
    check_cross_attention(kernel, torch.float8_e4m3fn, width, segments, rows, device, TOLERANCE_OF_DOTS)


def test_cross_attention_of_many_heads_reads_whole_tiles_and_a_rest(device: torch.device) -> None:
    """As it is set for eight bits, where a head is one program's."""
    random = torch.Generator().manual_seed(12)
    keys, values = (store(torch.int8, 3, HEADS, 300, 16, device=device) for _ in "kv")
    place, tokens = [1, 0, 2], [300, 129, 128]
    for at, count in zip(place, tokens, strict=True):
        for held in (keys, values):
            fill(held, (at, slice(None), slice(0, count)), random)
    null = [torch.randn(HEADS, FRAME, 16, generator=random).half().to(device) for _ in "kv"]
    q = torch.randn(3, 2, 2, HEADS, 16, generator=random).to(device)
    many = small_cross_attention(tuning=replace(attention_triton.CROSS.many, programs=0))
    index = (torch.tensor(x, dtype=torch.int32, device=device) for x in (place, tokens))
    asked = (q, keys, values, *index, *null)
    assert error(many(*asked), attention.cross_attention_plain(*asked).double()) < TOLERANCE_OF_DOTS


FAR = 1 << 30
"""Numbers from one place to the next: from the third on 32 bits do not count them."""


def far_and_near(device: torch.device, *shape: int) -> Iterator[tuple[Store, Store]]:
    """Keys and values, three places of each: first with so many numbers between two that all of one layer of a large pool lie
    there, of which memory is taken only where something is written; then side by side."""
    size = math.prod(shape)
    room = torch.empty(2 * FAR + 2 * size, dtype=torch.int8, device=device)
    for apart in (FAR, 2 * size):
        strides = [math.prod(shape[at:]) for at in range(1, len(shape) + 1)]
        parts = [room.as_strided((3, *shape), (apart, *strides), first) for first in (0, size)]
        scales = torch.zeros(2, 3, *shape[:-1], dtype=torch.float16, device=device)
        for part in parts:
            part[2] = 0
        keys, values = map(Store, parts, scales.unbind())
        yield keys, values


def test_a_place_may_lie_beyond_what_32_bits_count(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of 192 streams, or windows of 30 s."""
    if device.type == "cpu":  # it would copy arguments whole, onto themselves
        monkeypatch.setattr(interpreter.GridExecutor, "_restore_args_dev", lambda *_: None)
    random = torch.Generator().manual_seed(17)
    last, now = (torch.tensor(each, dtype=torch.int32, device=device) for each in ([2], [[1]]))
    qkv = torch.randn(1, 1, 1, 3, HEADS, 16, generator=random).to(device)
    frame = torch.randn(1, HEADS, 3, 16, generator=random).to(device)
    answers = list[list[Tensor]]()
    for keys, values in far_and_near(device, 1, 1, HEADS, 4, 16):
        heard = attention_triton.self_attention(qkv, keys, values, last, now)
        answers.append([heard, keys.values[2].clone(), values.values[2].clone()])
    for keys, values in far_and_near(device, HEADS, 4, 16):
        attention_triton.write_condition(keys, values, last, 0 * last, frame, frame)
        found = attention_triton.cross_attention(
            qkv[:, :, :, 0], keys, values, last, 3 + 0 * last, frame[0], frame[0]
        )
        answers.append([found, keys.values[2].clone(), values.values[2].clone()])
    for far, near in zip(answers[::2], answers[1::2], strict=True):
        assert all(part.any() for part in far)
        assert all(map(torch.equal, far, near))


def check_write_condition(kernel: Any, kind: torch.dtype, width: int, device: torch.device) -> None:
    random = torch.Generator().manual_seed(13)
    keys, values = (store(kind, PLACES, HEADS, ROOM, width, device=device) for _ in "kv")
    twin_keys, twin_values = copy(keys), copy(values)
    whole = torch.randn(2, 4, FRAME, HEADS, width, generator=random).to(device)
    k, v = whole.transpose(2, 3)  # as a projection leaves them, not contiguous
    place, first = [1, 4, -1, 1], [0, ROOM - FRAME, 0, FRAME]
    for write, stores in (
        (kernel, (keys, values)),
        (attention.write_condition_plain, (twin_keys, twin_values)),
    ):
        write(*stores, torch.tensor(place, device=device), torch.tensor(first, device=device), k, v)
    assert same(keys, twin_keys)
    assert same(values, twin_values)
    untouched = store(kind, PLACES, HEADS, ROOM, width, device=device)
    for frame, (at, start) in enumerate(zip(place, first, strict=True)):
        if at >= 0:
            columns = (at, slice(None), slice(start, start + FRAME))
            for held, new in ((keys, k[frame]), (values, v[frame])):
                loosest = {torch.int8: 0.02, torch.float8_e4m3fn: 0.05, torch.bfloat16: 0.003}
                assert error(dequantised(held, *columns), new.double()) < loosest.get(kind, 0.0005)
                bits(untouched.values)[columns] = 0
    written = bits(untouched.values).eq(0).all(-1)
    assert same(
        Store(
            bits(keys.values)[~written].view(kind)[None],
            None if keys.scales is None else keys.scales[~written][None],
        ),
        Store(
            bits(store(kind, PLACES, HEADS, ROOM, width, device=device).values)[~written].view(kind)[None],
            None if keys.scales is None else torch.full_like(keys.scales, math.nan)[~written][None],
        ),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_written_where_the_lanes_hold_them(kind: torch.dtype, device: torch.device) -> None:
    """By two programs each."""
    check_write_condition(partial(attention_triton.write_condition, tile=16), kind, 24, device)


def test_the_dispatch_asks_the_tensor_and_the_caller(device: torch.device) -> None:
    random = torch.Generator().manual_seed(4)
    answers = []
    for impl in ("auto", "plain", "triton"):
        held = [store(torch.float32, 1, 1, 1, 1, 20, 16, device=device) for _ in "kv"]
        qkv = torch.ones(1, 1, 1, 3, 1, 16, device=device)
        index = torch.zeros(1, dtype=torch.int32, device=device)
        answers.append(attention.self_attention(qkv, *held, index, index[None], impl=impl))
        null = torch.randn(1, 3, 16, generator=random).to(device)
        seen = [Store(each.values[:, 0, 0]) for each in held]
        attention.write_condition(*seen, index, index, null[None], null[None], impl=impl)
        answers.append(
            attention.cross_attention(qkv[:, :, :, 0], *seen, index, index + 1, null, null, impl=impl)
        )
    assert all(x.isfinite().all() for x in answers)
    with patch.object(attention_triton, "self_attention", side_effect=InterruptedError):
        with pytest.raises(InterruptedError):
            attention.self_attention(qkv, *held, index, index[None], impl="triton")
        attention.self_attention(qkv, *held, index, index[None], impl="plain")


def test_bad_shapes_and_types_are_named(device: torch.device) -> None:
    floats = store(torch.float16, 2, 2, 2, 2, 9, 16, device=device)
    index = torch.zeros(1, dtype=torch.int32, device=device)
    qkv = torch.zeros(1, 2, 2, 3, 2, 16, device=device)
    with pytest.raises(ValueError, match="int8 needs scales"):
        Store(floats.values.to(torch.int8))
    with pytest.raises(ValueError, match="float16 has no scales"):
        Store(floats.values, floats.values[..., 0])
    with pytest.raises(ValueError, match="float64"):
        Store(floats.values.double())
    with pytest.raises(ValueError, match="not contiguous"):
        Store(floats.values.transpose(-1, -2))
    with pytest.raises(ValueError, match="position"):
        attention.self_attention(qkv, floats, floats, index, index)
    narrow = store(torch.float16, 2, 2, 2, 2, 9, 12, device=device)
    with pytest.raises(ValueError, match="multiple of 8"):
        attention.self_attention(qkv[..., :12], narrow, narrow, index, index.expand(1, 2))
    with pytest.raises(ValueError, match=r"for \[2\] of 16"):
        attention.cross_attention(qkv[:, :, :, 0], floats, floats, index, index, qkv[0, 0, 0], qkv[0, 0, 0])


ON_THE_DEVICE = (
    *((1, kind, attention_triton.Tuning()) for kind in KINDS),
    (12, torch.int8, attention_triton.Tuning()),
    (1, torch.int8, attention_triton.Tuning(128, 4, 1, 100, dot=True)),
    (1, torch.int8, attention_triton.Tuning(64, 2, 1, 100, dot=True)),
    (1, torch.int8, attention_triton.Tuning(64, 1, 1, 100, dot=True)),
    (12, torch.int8, attention_triton.Tuning(32, 1, 1, 4, dot=True)),
    (12, torch.float8_e4m3fn, attention_triton.Tuning(64, 2, 3, 16, dot=True)),
    (1, torch.float16, attention_triton.Tuning(128, 4, 2, 4, dot=True)),
    (12, torch.bfloat16, attention_triton.Tuning(64, 2, 1, 4, dot=True)),
)
"""Lanes, types and tunings; each is compiled."""
needs_device = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@needs_device
@pytest.mark.parametrize(("lanes", "kind", "tuning"), ON_THE_DEVICE)
def test_a_captured_step_follows_its_positions_on_the_device(
    lanes: int, kind: torch.dtype, tuning: attention_triton.Tuning, device: torch.device
) -> None:
    """In the released shape, against the twin: one graph, captured once, replayed as streams move, join and leave."""
    shape = (lanes + 1, 2, 2, 24, 1503, 64)
    keys, values = (store(kind, *shape, device=device) for _ in "kv")
    random = torch.Generator(device).manual_seed(5)
    for held in (keys, values):
        noise = torch.randn(shape, generator=random, device=device)
        written, scales = quantised(noise, held)
        bits(held.values)[..., :1400, :] = bits(written)[..., :1400, :]
        if held.scales is not None and scales is not None:
            held.scales[..., :1400] = scales[..., :1400]
    twins = copy(keys), copy(values)
    qkv = torch.zeros(lanes, 2, 2, 3, 24, 64, device=device)
    place = torch.zeros(lanes, dtype=torch.int32, device=device)
    position = torch.zeros(lanes, 2, dtype=torch.int32, device=device)

    def step() -> Tensor:
        first = attention_triton.self_attention(qkv, keys, values, place, position, tuning, True)
        return attention_triton.self_attention(qkv, keys, values, place, position, tuning, True) + 0 * first

    position.fill_(-1)
    torch.cuda.synchronize()  # what a chain reads early is there before it begins
    step()  # warms up, and writes nothing
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = step()
    for turn in range(4):
        qkv.normal_(generator=random)
        place.copy_(torch.randperm(lanes + 1, generator=random, device=device)[:lanes])
        position.copy_(torch.randint(-200, 1400, (lanes, 2), generator=random, device=device).clamp(min=-1))
        position[0, 0] = (1399, 0, 1125, -1)[turn]
        answer.fill_(math.nan)
        graph.replay()
        expected = attention.self_attention_plain(qkv, *twins, place, position)
        assert error(answer, expected.double()) < 1e-5
        assert same(keys, twins[0])
        assert same(values, twins[1])
    assert not attention_triton.counters(qkv.device).any()


@needs_device
@pytest.mark.parametrize(("lanes", "kind", "tuning"), ON_THE_DEVICE)
def test_cross_attention_in_the_released_shape_on_the_device(
    lanes: int, kind: torch.dtype, tuning: attention_triton.Tuning, device: torch.device
) -> None:
    random = torch.Generator(device).manual_seed(6)
    keys, values = (store(kind, lanes, 24, 3000, 64, device=device) for _ in "kv")
    new = [torch.randn(lanes, 24, 3000, 64, generator=random, device=device) for _ in "kv"]
    everywhere = torch.arange(lanes, device=device)
    attention_triton.write_condition(keys, values, everywhere, 0 * everywhere, *new)
    tokens = torch.randint(0, 3001, (lanes,), generator=random, device=device)
    tokens[0] = 3000
    null = [torch.randn(24, 50, 64, generator=random, device=device).half() for _ in "kv"]
    q = torch.randn(lanes, 2, 2, 24, 64, generator=random, device=device)
    place = torch.randperm(lanes, generator=random, device=device)
    answers = [
        cross(q, keys, values, place, tokens, *null)
        for cross in (small_cross_attention(tuning=tuning), attention.cross_attention_plain)
    ]
    assert error(answers[0], answers[1].double()) < 1e-5


SELF_MUTATIONS = {
    "the last column before the new one is lost": ("// active * TILE, now)", "// active * TILE, now - 1)"),
    "what is behind the position is read": ("slot < stop - first", "slot <= stop - first"),
    "a segment that does not play leaves what was there": (
        "tl.zeros([WIDTH], out.dtype",
        "answer * 0 + tl.full([WIDTH], 1, out.dtype",
    ),
    "splits overlap": (
        "start = split * tiles // active * TILE\n            stop = tl.minimum((split + 1) * tiles // active * TILE, now)",
        "start = 0 * split\n            stop = tl.minimum((split + 1) * tiles // active * TILE, now)",
    ),
    "the last part is not waited for": ("== parts - 1", "== parts - 2"),
    "the new column is forgotten": ("| ((slot >= SPLITS) & (slot < SLOTS))", ""),
    "keys without their scales": ("k.to(tl.float32), 1) * k_scale", "k.to(tl.float32), 1) * 0.01"),
    "values without their scales": ("(weight * v_scale)", "(weight * 0.01)"),
    "whole numbers are cut": ("(ratio + ROUNDING) - ROUNDING", "ratio"),
    "the segments are exchanged": ("own = (track % S)", "own = (1 - track % S)"),
}
CROSS_MUTATIONS = {
    "both segments ask the same": ("last = first + (S - 1) * ROWS", "last = first + 0 * (S - 1) * ROWS"),
    "one token too many": (
        "tl.minimum(tl.load(tokens + lane).to(tl.int32), count)",
        "(tl.load(tokens + lane).to(tl.int32) + 1)",
    ),
    "an empty condition is no number": ("1) / tl.where(mass > 0, mass, 1.0)[:, None]", "1) / mass[:, None]"),
}


DOT_MUTATIONS = {
    "a query loses its low half": ("low = rest.to(HALF)", "low = (0 * rest).to(HALF)"),
    "a row's columns share a query": ("same = group[:, None", "same = 0 * group[:, None"),
    "what is left of a tile is lost": ("if whole < stop:", "if whole + 1 < stop:"),
    "the new column is forgotten": ("(mass * before + new)", "(mass * before)"),
    "what is behind the position counts": ("tl.arange(0, TILE) < live", "tl.arange(0, TILE) <= live"),
    "values are not lifted by their scales": ("tl.log2(tl.maximum(v_scale", "0 * tl.log2(tl.maximum(v_scale"),
    "the sum is not lowered with its peak": ("before = total * _spread(", "before = total + 0 * _spread("),
    "nor at the end": ("total *= tl.exp2(peak - above)", "total *= 0.5 + 0 * tl.exp2(peak - above)"),
    "keys without their scales": ("score = score * k_scale[:, None]", "score = score * 0.01"),
}


def loaded(name: str, path: Path, **known: ModuleType) -> ModuleType:
    """A module of that file, for which `known` are kernels' modules."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    others = {f"kernels.{key}": value for key, value in known.items()}
    with patch.dict("sys.modules", {spec.name: module, **others}):
        spec.loader.exec_module(module)
    return module


def mutant(folder: Path, old: str, new: str) -> ModuleType:
    """`kernels.attention_triton` with one thing changed, in it or in `kernels.attention_dots`."""
    sources = {
        each: Path(str(each.__file__)).read_text(encoding="utf-8")
        for each in (attention_dots, attention_triton)
    }
    assert sum(source.count(old) for source in sources.values()), f"{old!r} is in the kernels no more"
    paths = [folder / f"mutated_{i}.py" for i in range(2)]
    for path, source in zip(paths, sources.values(), strict=True):
        path.write_text(source.replace(old, new))
    name = f"mutated_{abs(hash((old, new)))}"
    return loaded(name, paths[1], attention_dots=loaded(f"{name}_dots", paths[0]))


@pytest.mark.parametrize("name", SELF_MUTATIONS)
@pytest.mark.skipif(torch.cuda.is_available(), reason="mutants may fault: in the interpreter only")
def test_self_attention_that_is_wrong_is_seen(name: str, tmp_path: Path, device: torch.device) -> None:
    changed = small_self_attention(mutant(tmp_path, *SELF_MUTATIONS[name]))
    with pytest.raises((AssertionError, InterpreterError)):
        check_self_attention(changed, torch.int8, 16, device)


@pytest.mark.parametrize("name", DOT_MUTATIONS)
@pytest.mark.skipif(torch.cuda.is_available(), reason="mutants may fault: in the interpreter only")
def test_tensor_cores_that_are_fed_wrong_are_seen(name: str, tmp_path: Path, device: torch.device) -> None:
    changed = small_self_attention(mutant(tmp_path, *DOT_MUTATIONS[name]), WHOLE)
    with pytest.raises((AssertionError, InterpreterError)):
        check_self_attention(changed, torch.int8, 16, device, tolerance=TOLERANCE_OF_DOTS)


@pytest.mark.parametrize("name", CROSS_MUTATIONS)
@pytest.mark.skipif(torch.cuda.is_available(), reason="mutants may fault: in the interpreter only")
def test_cross_attention_that_is_wrong_is_seen(name: str, tmp_path: Path, device: torch.device) -> None:
    changed = small_cross_attention(mutant(tmp_path, *CROSS_MUTATIONS[name]))
    with pytest.raises((AssertionError, InterpreterError)):
        check_cross_attention(changed, torch.int8, 16, 2, 2, device)
