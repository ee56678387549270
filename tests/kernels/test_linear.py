"""The linear layers of a step: kernel and twin against float64, whatever the shape, the bits and what surrounds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.linear import MOST_ROWS, Impl, Weight, linear, linear_plain, quantise

ROOT = Path(__file__).parents[2]
SHAPES = {
    "random-tiny out": (4, 64, 64),
    "one row, fewest inputs": (1, 17, 32),
    "16 rows, a group of 64": (16, 24, 192),
    "tiles of K and a rest": (5, 33, 1120),
}
"""(M, N, K)."""
SURROUNDED = {
    "bare": (False, False, False, False),
    "norm gelu": (True, True, False, True),
    "bias norm": (True, True, False, False),
    "norm": (True, False, False, False),
    "residual": (False, False, True, False),
}
"""Norm, bias, residual, GELU."""
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Relative error of the whole answer; observed: 1.8e-7, 5.8e-4 and 1.7e-3 (the last by the twin)."""


def numbers(seed: int, device: torch.device) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator).to(device)


def reference(x: Tensor, weight: Weight, norm: bool, residual: Tensor | None, gelu: bool) -> Tensor:
    """float64 [M, N] of the weight's own numbers; a quantised weight's are exact in float64."""
    x = x.double()
    if norm:
        x = F.layer_norm(x, x.shape[1:], eps=1e-5)
    y = x @ weight.dequantised().double().T
    if weight.bias is not None:
        y += weight.bias.double()
    if residual is not None:
        return residual.double() + y
    return F.gelu(y) if gelu else y


def error(answer: Tensor, truth: Tensor) -> float:
    """NaN stays NaN, and passes no comparison."""
    return float((answer.double() - truth).norm() / truth.norm())


def runs_here(dtype: torch.dtype, device: torch.device) -> None:
    if dtype == torch.bfloat16 and device.type == "cpu":
        pytest.skip("no CUDA device: Triton's interpreter multiplies the bits of bfloat16 as whole numbers")


@pytest.mark.parametrize("surrounded", SURROUNDED)
@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("impl", ["triton", "library"])
def test_a_layer_equals_float64(
    impl: Impl, shape: str, bits: int, surrounded: str, device: torch.device
) -> None:
    (m, n, k), (norm, biased, added, gelu) = SHAPES[shape], SURROUNDED[surrounded]
    randn = numbers(m * n, device)
    weight = quantise(randn(n, k) * k**-0.5, bits, torch.float16, randn(n) if biased else None)
    x = randn(m, k) * 2 + 1 if norm else randn(m, k).half()
    residual = randn(m, n) if added else None
    poisoned = torch.full((m, n), torch.nan, dtype=torch.float32, device=device)
    answer = linear(x, weight, norm, residual, gelu, out=poisoned, impl=impl)
    assert answer is poisoned
    assert error(answer, reference(x, weight, norm, residual, gelu)) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_each_precision_has_its_error(dtype: torch.dtype, bits: int, device: torch.device) -> None:
    runs_here(dtype, device)
    randn = numbers(bits, device)
    weight = quantise(randn(48, 256) / 16, bits, dtype, randn(48))
    x, residual = randn(4, 256), randn(4, 48)
    answer = linear(x, weight, True, residual, impl="triton")
    assert answer.dtype == torch.float32
    assert error(answer, reference(x, weight, True, residual, False)) < TOLERANCE[dtype]


@pytest.mark.parametrize("m", range(1, MOST_ROWS + 1, 3))
def test_any_number_of_rows_up_to_16(m: int, device: torch.device) -> None:
    randn = numbers(m, device)
    weight, x = quantise(randn(40, 128) / 11, 16, torch.float16), randn(m, 128)
    answer = linear(x, weight, True, gelu=True, impl="triton")
    assert error(answer, reference(x, weight, True, None, True)) < TOLERANCE[torch.float16]
    assert error(linear_plain(x, weight, True, gelu=True), answer.double()) < TOLERANCE[torch.float16]


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_tiles_that_are_read_ahead_count_as_others_do(ahead: int, bits: int, device: torch.device) -> None:
    """Of 320 inputs in tiles of 128 (64 at four bits, where a group has 64): a rest behind, none, or a tile cut by the end."""
    randn = numbers(ahead, device)
    weight = quantise(randn(24, 320) * 320**-0.5, bits, torch.float16, randn(24))
    x, out = randn(4, 320) + 3, torch.full((4, 24), torch.nan, device=device)
    from kernels import linear_triton  # `device` has seen that there is Triton

    tile = linear_triton.Tile(16, 64, 2, 2, 1, ahead)
    linear_triton.linear(x, weight, True, None, True, out, tile, dependent=True)
    assert error(out, reference(x, weight, True, None, True)) < TOLERANCE[torch.float16]


def stream(randn: Callable[..., Tensor], rows: int, width: int) -> Tensor:
    """A residual stream: means of 30 deviations on both sides, and two columns 100 times as large as the others."""
    x = randn(rows, width) + 30 * randn(rows, 1).sign()
    x[:, [7, width // 2]] += 100 * randn(rows, 2).sign()
    return x


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("rows", [1, 4, 16])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_folded_norm_is_a_norm_before_the_product(
    dtype: torch.dtype, rows: int, bits: int, device: torch.device
) -> None:
    """W' norm(x) + b against W (gamma norm(x) + beta), both of the numbers that are held; the twin errs a bit more."""
    runs_here(dtype, device)
    randn = numbers(rows + bits, device)
    matrix, gamma, beta = randn(32, 320) * 320**-0.5, 1 + 0.5 * randn(320), randn(320)
    held = quantise(matrix * gamma, bits, dtype, matrix @ beta)
    x = stream(randn, rows, 320)
    normed = F.layer_norm(x.double(), (320,), gamma.double(), beta.double(), 1e-5)
    back = held.dequantised().double() / gamma.double()
    truth = normed @ back.T + (matrix.double() - back) @ beta.double()
    for impl in ("triton", "library"):
        answer = linear(x, held, True, out_dtype=torch.float32, impl=impl)
        assert error(answer, truth) < TOLERANCE[dtype], impl


@pytest.mark.parametrize("outlier", [None, 0, 1, 2])
def test_a_mean_and_an_outlier_among_the_first_numbers_cost_nothing(
    outlier: int | None, device: torch.device
) -> None:
    """What is rounded is how far a number is from the pivot: about 0 the error is 1e-2, about an outlier 3e-3."""
    randn = numbers(2, device)
    weight, x = quantise(randn(16, 256) / 16, 16, torch.float16), randn(4, 256) + 30
    if outlier is not None:
        x[:, outlier] = 100.0
    answer = linear(x, weight, True, impl="triton")
    assert error(answer, reference(x, weight, True, None, False)) < TOLERANCE[torch.float16]


def test_moments_of_a_row_far_from_zero(device: torch.device) -> None:
    """A mean of 300 deviations: squares that are not taken about it would lose the variance."""
    randn = numbers(1, device)
    weight = quantise(randn(16, 1120) / 33, 16, torch.float32, randn(16))
    x = randn(12, 1120) + 300
    answer = linear(x, weight, True, impl="triton")
    assert error(answer, reference(x, weight, True, None, False)) < 1e-4


@pytest.mark.parametrize("impl", ["triton", "library"])
def test_a_residual_is_added_in_place(impl: Impl, device: torch.device) -> None:
    randn = numbers(3, device)
    weight, x, stream = quantise(randn(64, 64) / 8, 8, torch.float16), randn(4, 64).half(), randn(4, 64)
    truth = reference(x, weight, False, stream, False)
    assert linear(x, weight, residual=stream, out=stream, impl=impl) is stream
    assert error(stream, truth) < TOLERANCE[torch.float16]


def test_rows_may_lie_apart(device: torch.device) -> None:
    """A head's part of a longer row, read and written where it lies; nothing beside it is touched."""
    randn = numbers(4, device)
    weight, wide = quantise(randn(48, 64) / 8, 16, torch.float16), randn(4, 192)
    out = torch.full((4, 96), torch.nan, device=device)
    linear(wide[:, 64:128], weight, out=out[:, 48:], impl="triton")
    truth = reference(wide[:, 64:128], weight, False, None, False)
    assert error(out[:, 48:], truth) < TOLERANCE[torch.float16]
    assert out[:, :48].isnan().all()


def test_results_repeat_bit_by_bit(device: torch.device) -> None:
    randn = numbers(5, device)
    weight, x = quantise(randn(64, 1024) / 32, 4, torch.float16), randn(4, 1024)
    first, second = (linear(x, weight, True, impl="triton") for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_an_answer_has_the_type_of_x_or_the_one_asked_for(dtype: torch.dtype, device: torch.device) -> None:
    randn = numbers(6, device)
    weight, x = quantise(randn(16, 32), 16, torch.float16), randn(2, 32)
    for impl in ("triton", "library"):
        assert linear(x, weight, out_dtype=dtype, impl=impl).dtype == dtype
        assert linear(x.to(dtype), weight, impl=impl).dtype == dtype


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_captured_layers_of_the_released_size(bits: int, device: torch.device) -> None:
    """Feed-forwards in a CUDA graph, a chain replayed on new input: each replay equals eager launches one behind another."""
    if device.type != "cuda":
        pytest.skip("no CUDA device")
    randn, width = numbers(7, device), 1536
    pairs = [
        (_drawn(4 * width, width, bits, device), _drawn(width, 4 * width, bits, device)) for _ in range(4)
    ]
    held = randn(4, width)

    def layers(x: Tensor, dependent: bool = False) -> Tensor:
        for inner, outer in pairs:
            h = linear(
                x, inner, True, gelu=True, out_dtype=torch.bfloat16, impl="triton", dependent=dependent
            )
            x = linear(h, outer, residual=x, impl="triton", dependent=dependent)
        return x

    layers(held, True)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = layers(held, True)
    for seed in range(50):
        held.copy_(numbers(seed, device)(4, width))
        captured.fill_(torch.nan)
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(captured, layers(held))
    truth = held.double()
    for inner, outer in pairs:
        truth = reference(reference(truth, inner, True, None, True), outer, False, truth, False)
    assert error(captured, truth) < TOLERANCE[torch.bfloat16]


def _drawn(outputs: int, inputs: int, bits: int, device: torch.device) -> Weight:
    matrix = torch.randn(outputs, inputs, device=device, dtype=torch.bfloat16) * inputs**-0.5
    return quantise(matrix, bits, bias=torch.randn(outputs, device=device))


def test_eight_bits_hold_a_weight_within_half_a_level() -> None:
    weight = numbers(8, torch.device("cpu"))(24, 96)
    held = quantise(weight, 8)
    assert held.scales is not None
    assert held.values.dtype == torch.int8
    assert ((held.dequantised() - weight).abs() <= held.scales.unsqueeze(1) * 0.5001).all()
    assert (held.outputs, held.inputs, held.nbytes) == (24, 96, 24 * 96 + 24 * 4)


@pytest.mark.parametrize(("inputs", "group"), [(32, 32), (192, 64), (768, 128)])
def test_four_bits_hold_a_group_within_half_a_level(inputs: int, group: int) -> None:
    weight = numbers(9, torch.device("cpu"))(24, inputs)
    held = quantise(weight, 4)
    assert held.scales is not None
    assert (held.group, held.inputs, held.values.shape) == (group, inputs, (24, inputs // 2))
    assert held.scales.shape == (24, inputs // group)
    levels = held.scales.repeat_interleave(group, 1)
    assert ((held.dequantised() - weight).abs() <= levels * 0.5001).all()


def test_a_row_of_zeros_is_held_as_zeros() -> None:
    for bits in (8, 4):
        assert torch.equal(quantise(torch.zeros(4, 64), bits).dequantised(), torch.zeros(4, 64))


WRONG: dict[str, tuple[Callable[[Tensor, Weight], object], str]] = {
    "inputs": (lambda x, w: linear(x[:, :16], w), r"x is \[M, 32\]"),
    "one dimension": (lambda x, w: linear(x[0], w), r"x is \[M, 32\]"),
    "half residual": (lambda x, w: linear(x, w, residual=x.half()), "a residual is float32"),
    "shape of residual": (lambda x, w: linear(x, w, residual=x[:1]), r"are \[2, 32\]"),
    "gelu and residual": (lambda x, w: linear(x, w, residual=x, gelu=True), "not both"),
    "half sum": (lambda x, w: linear(x, w, residual=x, out=x.half()), "added to a residual is float32"),
    "out is x": (lambda x, w: linear(x, w, out=x), "but not x"),
    "impl": (lambda x, w: linear(x, w, impl="cublas"), "auto, triton or library"),  # type: ignore[arg-type]
    "rows": (lambda x, w: linear(x.repeat(9, 1), w, impl="triton"), "16 rows, not 18"),
    "bits": (lambda x, w: quantise(x, 6), "16, 8 or 4 bits, not 6"),
    "no group": (lambda x, w: quantise(x[:, :16], 4), "a multiple of 32 inputs, not 16"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_refused(wrong: str, device: torch.device) -> None:
    call, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        call(torch.ones(2, 32, device=device), quantise(torch.ones(32, 32, device=device), 16))


def test_auto_takes_the_twin_on_a_cpu() -> None:
    randn = numbers(10, torch.device("cpu"))
    weight, x = quantise(randn(16, 32), 16), randn(2, 32)
    assert torch.equal(linear(x, weight), linear_plain(x, weight))


def compiled_of(*names: str) -> dict[str, dict[str, Any]]:
    """What `compile_linear` says of its cases."""
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, str(Path(__file__).with_name("compile_linear.py")), *names]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {case["name"]: case for case in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, Any]]:
    return compiled_of()


SHARED_BYTES = 227 << 10
"""Shared memory that a program may have on Hopper."""


def test_it_compiles_for_hopper_without_spills(compiled: dict[str, dict[str, Any]]) -> None:
    assert len(compiled) == 8
    for name, case in compiled.items():
        assert case["shared"] <= SHARED_BYTES, name
        assert case.get("stack", 0) == case.get("local", 0) == 0, name
        assert "mma.sync" in case["ptx"], name
        in_flight = "cp.async.cg.shared.global" in case["ptx"]  # all others are read before the first product
        assert in_flight == (name not in ("medium qkv", "starter qkv")), name


def test_it_fits_the_shared_memory_of_consumer_gpus() -> None:
    """As many tiles are in flight there as there is room for, and none is one that was measured for numbers half as wide."""
    stages = {
        "medium ffn_in, 16 rows, 4 bits": 2,
        "medium ffn_in, 16 rows": 3,
        "medium logits, float32": 3,
        "small qkv, 16 rows, 4 bits": 3,
    }
    found = compiled_of(*stages)
    assert {name: case["stages"] for name, case in found.items()} == stages
    for name, case in found.items():
        assert case["shared"] == case["said"] <= 99 << 10, name
        assert case["stack"] == 0, name


def test_a_chain_reads_weights_while_the_launch_before_runs_and_writes_nothing(
    compiled: dict[str, dict[str, Any]],
) -> None:
    """When they are there the next one may begin. Who reads no tile ahead is launched behind the one before."""
    early = {"medium qkv": (48, 8), "medium ffn_out": (12, 0), "starter qkv": (8, 4)}
    """Of a thread: reads of 16 bytes, which are weights, and others, of the weight's sums and of the bias."""
    for name, case in compiled.items():
        before, *behind = case["ptx"].split("griddepcontrol.wait")
        assert len(behind) == case["ptx"].count("griddepcontrol.launch_dependents") == (name in early), name
        if name in early:
            weights, others = early[name]
            assert before.count("ld.global.v4.b32") == weights, name
            assert before.count("ld.global") == weights + others, name
            assert "ld.global" not in before.partition("griddepcontrol.launch_dependents")[2], name
            assert not case["early_writes"], name
            assert "ld.global" in behind[0], name


def test_what_meets_the_sums_is_read_before_the_first_product(compiled: dict[str, dict[str, Any]]) -> None:
    for name, case in compiled.items():
        behind = case["ptx"].rpartition("mma.sync")[2]
        if "4 bits" not in name:  # whose scales belong to groups of inputs
            assert "ld.global" not in behind, name
