"""The decoder step in C: its products equal plain ones, and it plays what the exported graph plays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from engine.backends.base import StepCall
from engine.backends.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest
from engine.backends.native import GRAPHS, VARIABLE, NativeBackend, obstacle, on_cpu
from engine.backends.onnxruntime import OnnxBackend
from engine.errors import PackageError
from engine.library import find_model
from engine.threads import Threads, cache_folder, cores
from export.onnx import Precision, export
from export.random_model import random_package, tiny_spec
from export.step_tensors import step_tensors
from kernels import native

ROOM, FRAMES = 90, 4
CLOSE, ON_AN_EDGE = 1e-4, 0.02
"""Root mean square of what differs, over that of the logits: of a step that sees all activations rounded to the same levels (1e-6
was seen), and of one in which some lay on an edge (0.009)."""

Made = Callable[[Precision], Path]


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """Without AVX2 or a compiler the step is not there, and its users run the graph."""
    try:
        native.library(cache_folder())
    except native.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def made(tiny_in: Made) -> Made:
    """The tiny model: in int4 some of its matrices have eight bits, its heads 16 channels and its blocks 64 weights."""
    return tiny_in


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step whose heads and blocks are as large as a published one's."""
    tiny, folder = tiny_spec(), tmp_path_factory.mktemp("wide")
    decoder = replace(tiny.decoder, width=256, heads=4, ffn_width=1024, trained_s=2.0)
    package = random_package(replace(tiny, name="random-wide", decoder=decoder))
    export(package, folder, "int4", names={"condition", "step"}, rounding="nearest")
    return folder


class Voice:
    """A stream's memory on a backend, filled with noise behind `columns` columns."""

    def __init__(
        self,
        backend: OnnxBackend,
        seed: int = 0,
        guided: bool = True,
        columns: int = 70,
        room: int = ROOM,
        segments: int = 2,
    ) -> None:
        self.backend, self.random = backend, np.random.default_rng(seed)
        spec, decoder = backend.spec, backend.spec.decoder
        self.condition = backend.new_condition(FRAMES)
        self.frames = 1 + seed % FRAMES
        shape = (self.frames, spec.vision.tokens, decoder.width)
        backend.write_condition(self.condition, 0, self.random.standard_normal(shape, dtype=np.float32))
        self.caches = backend.new_caches(segments, guided, room)
        held, kind = (
            (decoder.layers, 2, 1 + guided, decoder.heads, columns, decoder.head_dim),
            backend.manifest.cache_dtype,
        )
        for segment in range(segments):
            noise = self.random.standard_normal(held) * (30 if kind is np.int8 else 1)
            backend.write_caches(self.caches, segment, noise.clip(-128, 127).astype(kind))
        self.position = np.array([columns, columns // 2])

    def ask(self, segment: int, count: int) -> StepCall[Any, Any]:
        decoder = self.backend.spec.decoder
        tokens = self.random.integers(0, decoder.card + 1, (count, 1, decoder.codebooks))
        position = self.position[segment : segment + count].copy()
        self.position[segment : segment + count] += 1
        return StepCall(self.caches, segment, self.condition, self.frames, tokens, position)


def differ(one: Any, other: Any) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2) / np.mean(other**2)))


@pytest.mark.parametrize("bits", native.BITS)
@pytest.mark.parametrize("inputs", [128, 1024, 1152, 1200])
@pytest.mark.parametrize("block", [16, 32, 64, 128])
def test_quick_products_equal_plain_ones(bits: int, inputs: int, block: int) -> None:
    assert native.difference(native.library(cache_folder()), bits, inputs, block=block) < 1e-5


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_laid_for_vnni_multiplies_right(bits: int, tmp_path: Path) -> None:
    """Where there is no VNNI its instruction is made by hand; the rest is what runs where there is."""
    path = native.compiled(shutil.which("cc") or "gcc", tmp_path / "vnni.so", "-DVNNI_BY_HAND")
    assert native.difference(native.loaded(path), bits, 1200) < 1e-5


def agrees(backends: Sequence[OnnxBackend], guided: bool, segments: int) -> None:
    differences = []
    for seed in range(7):
        voices = [Voice(backend, seed, guided, segments=segments) for backend in backends]
        mine, its = (v.ask(0, segments).on(v.backend) for v in voices)
        assert mine.shape == its.shape
        differences.append(differ(mine, its))
        held = [v.backend.read_caches(v.caches, 0, 71).astype(int) for v in voices]
        np.testing.assert_array_equal(
            held[0][0], held[1][0]
        )  # the first layer keeps what came of products alone
        assert np.abs(held[0] - held[1]).max() <= 1
    assert sorted(differences)[1] < CLOSE
    assert max(differences) < ON_AN_EDGE


@pytest.mark.parametrize("precision", ["int4", "int8"])
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("segments", [1, 2])
def test_it_answers_what_the_graph_answers(
    made: Made, precision: Precision, guided: bool, segments: int
) -> None:
    agrees([kind(made(precision)) for kind in (NativeBackend, OnnxBackend)], guided, segments)


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("shipped", [True, False])
def test_in_floats_it_answers_what_the_graph_answers(
    tiny_folder: Path, shipped: bool, guided: bool, segments: int
) -> None:
    """The one that ships has halves in its package, which its graphs cast and turn, and ages in its condition."""
    folder = find_model("starter") if shipped else tiny_folder
    voices = [Voice(kind(folder), 1, guided, segments=segments) for kind in (NativeBackend, OnnxBackend)]
    for _ in range(3):
        mine, its = (v.ask(0, segments).on(v.backend) for v in voices)
        assert differ(mine, its) < 1e-5
    held = [v.backend.read_caches(v.caches, segments - 1, 73 - 35 * (segments - 1)) for v in voices]
    assert differ(*held) < 1e-5


def test_so_does_one_with_heads_of_64_and_blocks_of_128(wide: Path) -> None:
    assert Manifest.read(wide).quantised["step"]["by_bits"] == {"4": 13}
    agrees([kind(wide) for kind in (NativeBackend, OnnxBackend)], True, 1)


def test_four_and_eight_bits_are_both_tried(made: Made) -> None:
    assert set(Manifest.read(made("int4")).quantised["step"]["by_bits"]) == {"4", "8"}


@pytest.mark.parametrize("columns", [0, 1, 7, 8, 63])
def test_it_attends_to_any_number_of_columns(made: Made, columns: int) -> None:
    voices = [Voice(kind(made("int4")), 1, columns=columns) for kind in (NativeBackend, OnnxBackend)]
    mine, its = (v.ask(0, 1).on(v.backend) for v in voices)
    assert differ(mine, its) < ON_AN_EDGE


def test_the_graph_goes_on_from_it(made: Made) -> None:
    """A prompt is read by a graph, and its caches are the graph's."""
    mine, its = (kind(made("int8")) for kind in (NativeBackend, OnnxBackend))
    decoder = mine.spec.decoder
    prompt = np.random.default_rng(0).integers(0, decoder.card, (1, 12, decoder.codebooks))
    answers = []
    for backend in (mine, its):
        voice = Voice(backend, columns=0)
        start = np.zeros(1, np.int64)
        backend.step(voice.caches, 0, voice.condition, voice.frames, prompt, start)
        voice.position[0] = 12
        answers.append(voice.ask(0, 1).on(backend))
    assert differ(*answers) < ON_AN_EDGE


def test_no_stream_hears_who_plays_beside_it(made: Made) -> None:
    """Bit for bit, for more rows than one call takes, with and without guidance, wherever they lie."""
    backend = NativeBackend(made("int4"))
    together = [Voice(backend, seed, guided=seed % 4 != 3) for seed in range(12)]
    alone = [Voice(backend, seed, guided=seed % 4 != 3) for seed in range(12)]
    assert sum(2 * v.caches.rows for v in together) > native.MOST_ROWS
    for _ in range(3):
        answers = backend.step_all([v.ask(0, 2) if at % 3 else v.ask(1, 1) for at, v in enumerate(together)])
        for at, (voice, answer) in enumerate(zip(alone, answers, strict=True)):
            call = voice.ask(0, 2) if at % 3 else voice.ask(1, 1)
            np.testing.assert_array_equal(answer, call.on(backend))


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_change_nothing(made: Made, threads: int) -> None:
    pinned = Threads(threads, pinned=threads == 2)
    voices = [Voice(NativeBackend(made("int4"), count)) for count in (Threads(1), pinned)]
    for _ in range(20):
        one, many = (v.ask(0, 2).on(v.backend) for v in voices)
        np.testing.assert_array_equal(one, many)


def test_of_more_threads_than_cores_none_is_kept_on_one(made: Made) -> None:
    before = set(os.listdir("/proc/self/task"))
    backend = NativeBackend(made("int4"), Threads(len(cores()) + 2, pinned=True))
    Voice(backend).ask(0, 1).on(backend)
    own = set(os.listdir("/proc/self/task")) - before
    assert len(own) > len(cores())
    assert all(os.sched_getaffinity(int(thread)) == os.sched_getaffinity(0) for thread in own)


def test_a_condition_may_be_longer_than_the_music(made: Made) -> None:
    backend = NativeBackend(made("int4"))
    tokens, columns = backend.spec.vision.tokens, len(backend._weights.arrays["positions"])
    frames = columns // tokens + 10
    noise = np.random.default_rng(0).standard_normal((frames, tokens, backend.spec.decoder.width), np.float32)
    answers = []
    for of in (backend, OnnxBackend(made("int4"))):
        voice = Voice(of)
        voice.condition, voice.frames = of.new_condition(frames), frames
        of.write_condition(voice.condition, 0, noise)
        answers.append(voice.ask(0, 2).on(of))
    assert differ(*answers) < ON_AN_EDGE


def test_restored_equals_continued(made: Made) -> None:
    """What a snapshot keeps of a stream is all that its steps depend on, bit for bit."""
    first, second = (Voice(NativeBackend(made("int4"))) for _ in range(2))
    for _ in range(3):
        first.ask(0, 2).on(first.backend)
    for segment in range(2):
        second.backend.write_caches(
            second.caches, segment, first.backend.read_caches(first.caches, segment, 73)
        )
    seen = first.backend.read_condition(first.condition, first.frames)
    second.condition = second.backend.new_condition(FRAMES)
    second.backend.write_held_condition(second.condition, seen)
    second.position[:] = first.position
    second.random.bit_generator.state = first.random.bit_generator.state
    for _ in range(3):
        np.testing.assert_array_equal(*(voice.ask(0, 2).on(voice.backend) for voice in (first, second)))


def test_what_the_model_does_not_have_is_refused(made: Made) -> None:
    backend = NativeBackend(made("int4"))
    columns = len(backend._weights.arrays["positions"])
    voice = Voice(backend, room=columns + 10)
    call = voice.ask(0, 1)
    card = voice.backend.spec.decoder.card
    for token in (-1, card + 1):
        with pytest.raises(ValueError, match=f"tokens from 0 to {card}, found"):
            replace(call, tokens=np.full_like(call.tokens, token)).on(voice.backend)
    with pytest.raises(ValueError, match="columns below"):
        replace(call, position=np.array([columns])).on(voice.backend)
    with pytest.raises(ValueError, match="slots"):
        replace(call, frames=FRAMES + 1).on(voice.backend)


def test_where_it_cannot_run_the_graph_does(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert type(on_cpu(made("int4"))) is NativeBackend
    assert obstacle(Manifest.read(made("int4"))) is None
    monkeypatch.setenv(VARIABLE, GRAPHS)
    assert type(on_cpu(made("int4"))) is OnnxBackend
    assert obstacle(Manifest.read(made("int4"))) == "CUESTREAM_STEP=graph"
    monkeypatch.delenv(VARIABLE)
    for other in ({"step": {}}, {"cache_dtype": "float16"}):
        folder = described_as(made("int4"), tmp_path / next(iter(other)), other)
        assert type(on_cpu(folder)) is OnnxBackend
        with pytest.raises(native.Unavailable, match="older, made in fp16"):
            NativeBackend(folder)


def described_as(folder: Path, to: Path, other: dict[str, Any]) -> Path:
    """An export whose manifest says something else."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).symlink_to(path)
    (to / MANIFEST_FILE).unlink()
    (to / MANIFEST_FILE).write_text(json.dumps(json.loads((folder / MANIFEST_FILE).read_text()) | other))
    return to


def unavailable(folder: Path) -> str:
    with pytest.raises(native.Unavailable) as raised:
        native.library.__wrapped__(folder)
    return str(raised.value)


def test_why_there_is_none_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(native, "_flags", lambda: "sse2")
        assert "AVX2" in unavailable(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda _: None)
        assert "no C compiler" in unavailable(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(native, "FLAGS", (*native.FLAGS, "-march=none"))
        assert "cannot compile the native step: " in unavailable(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(native, "difference", lambda *_: 0.5)
        assert "differ from plain ones by 0.5" in unavailable(tmp_path)
    (tmp_path / "file").touch()
    assert "cannot be kept in" in unavailable(tmp_path / "file")
    assert [path.suffix for path in tmp_path.iterdir() if path.name != "file"] == [".so"]  # of the fourth


@pytest.mark.parametrize("left", [b"", b"\x7fELF"])
def test_what_a_loss_of_power_left_is_made_again(
    left: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = native._built(cache_folder())
    (tmp_path / whole.name).write_bytes(left)
    monkeypatch.setattr(native, "compiled", lambda _, to: Path(shutil.copy(whole, to)))
    assert native.difference(native.library(tmp_path), bits=4) < 1e-5


def test_a_damaged_export_says_so(made: Made, tmp_path: Path) -> None:
    for path in made("int4").iterdir():
        if path.name != WEIGHTS_FILE:
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / WEIGHTS_FILE).write_bytes((made("int4") / WEIGHTS_FILE).read_bytes()[:100_000])
    with pytest.raises(PackageError, match="damaged"):
        NativeBackend(tmp_path)


def test_many_floats_have_no_native_step(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backends.native.MOST_FLOAT_BYTES", 1000)
    with pytest.raises(native.Unavailable, match="a copy of its matrices"):
        NativeBackend(tiny_folder)


def test_a_step_of_other_operators_is_not_described() -> None:
    hears = ir.node("GroupQueryAttention", [None] * 7)
    graph = ir.Graph([], [], nodes=[*(ir.node("MatMul", []) for _ in range(7)), hears])
    assert step_tensors(ir.Model(graph, ir_version=10), 1, lambda _: (0, 0)) == {}


def test_where_its_time_goes_is_told(made: Made) -> None:
    # The first thread is told of: beside a second one it may find all work taken.
    backend = NativeBackend(made("int4"), 1)
    voice = Voice(backend)
    assert sum(backend.step_seconds().values()) == 0
    for _ in range(3):
        voice.ask(0, 2).on(backend)
    spent = backend.step_seconds()
    assert set(spent) == set(native.PARTS)
    assert all(seconds > 0 for seconds in spent.values())
