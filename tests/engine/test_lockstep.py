"""Streams in lock step on one device are answered as the plain model answers each alone, and draw what the host would draw.

Where a CUDA device is, they are laws of kernels and graphs; elsewhere of a pretended device (`pretended`), with the kernels'
plain twins.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pretended import pretended
from test_together import FRAMES, ROOM, Voice, answers

from engine.backends.base import DrawCall, StepCall
from engine.backends.captured import Graph
from engine.backends.lockstep import FEWEST_CAPTURED, PLACES, LockstepBackend
from engine.backends.places import values_at
from engine.backends.program import MOST_STEPS, Program
from engine.backends.torch import TorchBackend
from engine.batcher import advance_all
from engine.errors import DeviceLost, MissingRuntime, NoRoom, PackageError, check_device
from engine.offline import compose, encode, schedule
from engine.player import ModelPlayer, ask_device
from engine.sampling import draw_all, sample, uniforms, uniforms_of
from engine.spec import StreamPolicy
from engine.stream import AudioChunk, ScoreStream
from engine.together import take_all
from export.checkpoint import Package, load_model
from kernels.store import Store

TOLERANCE = 1e-5
KEPT_TOLERANCE = {"half": TOLERANCE, "int8": 0.06, "fp8": 0.25}
"""Of logits that reach 5. Seen on the CPU: 2.5e-6, 0.036, 0.13."""

Make = Callable[..., LockstepBackend]


@pytest.fixture
def make(cuda: str) -> Make:
    """A backend over a package, in float32."""

    def made(package: Package, **choices: Any) -> LockstepBackend:
        return LockstepBackend(load_model(package), cuda, torch.float32, **choices)

    return made


@pytest.mark.parametrize("most_rows", [0, 16])
@pytest.mark.parametrize("guided", [True, False])
def test_lanes_are_answered_as_the_plain_model_alone(
    make: Make,
    tiny_package: Package,
    torch_backend: TorchBackend,
    guided: bool,
    most_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few rows, each product with what surrounds it, and many, with norms between the library's products."""
    monkeypatch.setattr("engine.backends.lanes.MOST_ROWS", most_rows)
    seeds = [3, 1, 2, 5]
    expected = answers(torch_backend, seeds, together=False, guided=guided)
    found = answers(make(tiny_package), seeds, together=True, guided=guided)
    assert len(found) == len(expected) > 40
    for one, other in zip(expected, found, strict=True):
        assert np.abs(one - other).max() <= TOLERANCE


@pytest.mark.parametrize("kept", ["int8", "fp8"])
def test_caches_of_eight_bits_change_logits_a_little(
    make: Make, tiny_package: Package, torch_backend: TorchBackend, kept: Any
) -> None:
    expected = answers(torch_backend, [3, 1], together=False)
    found = answers(make(tiny_package, kept=kept), [3, 1], together=True)
    worst = max(np.abs(one - other).max() for one, other in zip(expected, found, strict=True))
    assert TOLERANCE < worst < KEPT_TOLERANCE[kept]


def voiced(backend: LockstepBackend, seeds: list[int]) -> list[Voice]:
    return [Voice(backend, seed) for seed in seeds]


def draws(voice: Voice, policy: StreamPolicy, steps: int, column: int) -> DrawCall[Any, Any]:
    allowed = np.random.default_rng(policy.seed).random((4, voice.backend.spec.decoder.card)) < 0.7
    return DrawCall(voice.ask(0, 2), policy.seed % 2, policy, column, allowed, steps)


POLICIES = [
    StreamPolicy(seed=1, temperature=0.0),
    StreamPolicy(seed=1, temperature=1e-39),
    StreamPolicy(seed=2, top_k=20, guidance=2.0),
    StreamPolicy(seed=3, top_k=0, temperature=1.3),
    StreamPolicy(seed=4, top_p=0.7, guidance=0.0),
]


def test_what_is_drawn_is_what_the_host_draws_from_the_logits(make: Make, tiny_package: Package) -> None:
    there, here = make(tiny_package), make(tiny_package)
    mine, theirs = (voiced(backend, [3, 1, 2, 5, 4]) for backend in (there, here))
    for column in range(1, 8):
        drawn = there.draw_all(
            [draws(voice, policy, 1, column) for voice, policy in zip(mine, POLICIES, strict=True)]
        )
        calls = [draws(voice, policy, 1, column) for voice, policy in zip(theirs, POLICIES, strict=True)]
        for found, call, logits in zip(drawn, calls, here.step_all([c.step for c in calls]), strict=True):
            expected = sample(logits[call.leading], call.policy, call.column, call.allowed)
            assert found.tolist() == [expected.tolist()]


def test_weights_that_are_read_in_another_form_are_held_once(tiny_package: Package) -> None:
    """Of the released size, 453 MB for frames' keys and values, and 43 MB of the codec."""
    backend = LockstepBackend(load_model(tiny_package), "cpu")
    assert not [name for name in backend.model.state_dict() if "cross_kv" in name or "codec.stages" in name]


def test_no_more_than_a_layer_is_ever_on_a_device_in_float32(
    tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the released size all of them are 7 GB, which is more than some GPUs have, and half of it in 16 bits."""
    brought, to = list[set[torch.dtype]](), torch.nn.Module.to
    model = load_model(tiny_package)
    layers = list(model.decoder.stack())
    here = set[int]()

    def noted(module: torch.nn.Module, where: Any) -> torch.nn.Module:
        if where == "cpu":
            here.update(at for at, layer in enumerate(layers) if module in (model, model.decoder, layer))
            brought.append({layers[at].ffn_in.weight.dtype for at in sorted(here)[:-1]})
        return to(module, where)

    monkeypatch.setattr(torch.nn.Module, "to", noted)
    LockstepBackend(model, "cpu")
    assert brought[: len(layers)] == [set(), *[{torch.float16}] * (len(layers) - 1)]


def test_of_a_place_what_is_held_is_read_and_not_all_that_it_has_room_for(
    make: Make, tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In floats a place takes four times what it takes in eight bits, and more while it is made."""
    voice = Voice(backend := make(tiny_package), 1)
    tokens = backend.spec.vision.tokens
    lengths = list[int]()

    def read(store: Store, at: Any) -> torch.Tensor:
        lengths.append(store.values[at].shape[-2])
        return values_at(store, at)

    monkeypatch.setattr("engine.backends.lockstep.values_at", read)
    backend.read_condition(voice.condition, 1)
    backend.read_caches(voice.caches, 1, 3)
    prompt = np.zeros((1, 5, 4), np.int64)
    backend.step(voice.caches, 1, voice.condition, 2, prompt, np.zeros(1, np.int64))
    assert lengths == [tokens, tokens, 3, 3, 2 * tokens, 2 * tokens]


def test_the_longest_segments_are_in_the_first_lanes(
    tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever slot they have: after a hand-over the leading segment's is the second one."""
    backend = LockstepBackend(load_model(tiny_package), "cpu", torch.float32, places=3)
    lanes, fill = list[list[int]](), Program.fill

    def filled(program: Program, calls: Any, steps: int = 1) -> None:
        lanes.extend(call.position.tolist() for call in calls)
        fill(program, calls, steps)

    monkeypatch.setattr(Program, "fill", filled)
    voices = zip(voiced(backend, [1, 2, 3]), ([3, 1], [2, 9], [5, 4]), strict=True)
    backend.step_all([replace(voice.ask(0, 2), position=np.array(held)) for voice, held in voices])
    assert lanes == [[2, 9], [5, 4], [3, 1]]


def played(backend: Any, pictures: Any, steps: int, at_once: int, policy: StreamPolicy) -> tuple[Any, Any]:
    """Columns and sound of a stream whose steps are taken so many at once."""
    stream = ScoreStream(backend, policy)
    columns, sound = [], []
    while stream.now < steps:
        if stream.now % 10 == 0:
            stream.push(pictures(stream.now // 10))
        left = min(10 - stream.now % 10, at_once)
        while left:
            drawn = draw_all(backend, [stream.ask(left)])[0]
            assert 1 <= len(drawn) <= left
            stream.hear(drawn)
            columns.extend(drawn.tolist())
            left -= len(drawn)
        while chunk := stream.take():
            sound.append(chunk.samples)
    return columns, np.concatenate(sound)


@pytest.fixture
def shows(short_package: Package) -> Callable[[int], Any]:
    side = short_package.spec.vision.image_size
    noise = np.random.default_rng(0).integers(0, 255, (32, side, side, 3), np.uint8)
    return lambda at: noise[at // 3 % len(noise)]


def test_several_steps_at_once_are_the_same_steps(
    make: Make, short_package: Package, short_torch_backend: TorchBackend, shows: Any
) -> None:
    """Over hand-overs: a segment has 101 positions. The plain model, which draws on the host, plays the same."""
    policy = StreamPolicy(seed=5, context_s=0.7)
    one, sound = played(make(short_package), shows, 230, 1, policy)
    many, same = played(make(short_package), shows, 230, MOST_STEPS, policy)
    plain, _ = played(short_torch_backend, shows, 230, MOST_STEPS, policy)
    assert one == many == plain
    assert np.abs(sound - same).max() <= TOLERANCE


def test_a_call_of_ten_steps_waits_for_the_device_once(short_package: Package) -> None:
    """Whatever the lanes, once the graph for so many is made."""
    with pretended() as device:
        backend = LockstepBackend(load_model(short_package), "cuda:0", torch.float32, places=3)
        voices, waits = voiced(backend, [3, 1, 2]), list[int]()
        for lanes in (1, 3, 1, 3):
            calls = [
                DrawCall(voice.ask(0, 2), 0, policy, 0, None, MOST_STEPS)
                for voice, policy in zip(voices[:lanes], POLICIES, strict=False)
            ]
            before = device.waits
            assert [len(columns) for columns in backend.draw_all(calls)] == [MOST_STEPS] * lanes
            waits.append(device.waits - before)
    assert waits[2:] == [1, 1]


class Captured(LockstepBackend):
    """made: graphs so far."""

    def __init__(self, package: Package, device: str, places: int = 2) -> None:
        self.made = 0
        super().__init__(load_model(package), device, torch.float32, places=places)

    def capture(self, work: Callable[[], Any]) -> tuple[Graph, Any]:
        self.made += 1
        return super().capture(work)


def test_graphs_play_what_is_played_without(cuda: str, short_package: Package, shows: Any) -> None:
    plain = LockstepBackend(load_model(short_package), "cpu", torch.float32, places=2)
    policy = StreamPolicy(seed=5, context_s=0.7)
    (columns, sound), (same, as_loud) = (
        played(backend, shows, 70, MOST_STEPS, policy) for backend in (plain, Captured(short_package, cuda))
    )
    assert columns == same
    assert np.abs(sound - as_loud).max() <= TOLERANCE


def test_a_lone_streams_music_is_graphs_work_too(
    cuda: str, short_package: Package, shows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frames and codes need no other graphs than those that were made for many."""
    backend = Captured(short_package, cuda)
    for verb in ("encode_frames", "look", "remember", "recur", "upsample"):
        monkeypatch.setattr(backend, verb, None)
    _, sound = played(backend, shows, 40, MOST_STEPS, StreamPolicy(seed=5))
    assert np.abs(sound).max() > 0


def test_who_sounds_with_one_that_fails_sounds_as_ever(
    short_package: Package, shows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked for alone then. What a GPU keeps between two pieces is no array of NumPy's."""
    backend = LockstepBackend(load_model(short_package), "cpu", torch.float32, places=3)
    one, other, alone = (ScoreStream(backend, StreamPolicy(seed=seed)) for seed in (1, 2, 1))
    chunk: Any
    expected: Any
    pieces_alike = backend._pieces_alike

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def failing(asked: Any) -> Any:
        if len(asked) > 1 or asked[0].codes.min() < 0:
            raise RuntimeError("no such code")
        return pieces_alike(asked)

    def played_on() -> None:
        for stream in (one, other, alone):
            while stream.lacks:
                stream.advance()

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)
    for stream in (one, other, alone):
        stream.push(shows(0))
    for fails in (False, False, True):
        played_on()
        if fails:
            other.segments.columns[-4:] = [np.full(4, -1)] * 4
        (expected,) = take_all([alone])
        with monkeypatch.context() as patched:
            patched.setattr(backend, "_pieces_alike", failing)
            chunk, ended = take_all([one, other])
        assert np.array_equal(chunk.samples, expected.samples)
        assert str(ended) == "no such code" if fails else isinstance(ended, AudioChunk)


def test_the_windows_of_a_whole_file_are_graphs_work_too(
    cuda: str, short_package: Package, short_torch_backend: TorchBackend, pictures: Any
) -> None:
    """Those of all lengths share their memory, and one graph of a step."""
    backend, policy = Captured(short_package, cuda, places=1), StreamPolicy(seed=3)
    spans = schedule(backend.spec, 4.2, stride_s=1.5)
    assert [(span.prompt, span.total) for span in spans] == [(0, 100), (25, 100), (25, 60)]
    found, expected = (
        np.concatenate([*compose(each, encode(each, frames), encode(each, frames, True), spans, policy)], 1)
        for each, frames in ((backend, pictures(9, 1)), (short_torch_backend, pictures(9, 1)))
    )
    assert np.array_equal(found, expected)
    assert [program.captured for program in backend._programs.values()] == [True]


def test_nothing_is_captured_for_the_end_of_a_stream(cuda: str, short_package: Package, shows: Any) -> None:
    """A last piece may have any length, and others play on meanwhile."""
    backend, policy = Captured(short_package, cuda), StreamPolicy(seed=5)
    backend.prepare(policy)
    made = backend.made
    for steps in (40, 41, 42):
        stream = ScoreStream(backend, policy)
        stream.push(shows(0))
        for _ in range(steps):
            stream.advance()
            stream.take()
        assert stream.close() is not None
    assert backend.made == made


def test_what_a_full_device_cannot_capture_is_launched_operator_by_operator(
    cuda: str, short_package: Package, shows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever plays beside a stream without guidance, for which there is no graph, plays on, and no graph is tried again."""
    backend, tried = Captured(short_package, cuda), list[Any]()
    backend.prepare(StreamPolicy())

    def full(work: Any) -> Any:
        tried.append(work)
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(backend, "capture", full)
    plain = LockstepBackend(load_model(short_package), "cpu", torch.float32, places=2)
    policies = [StreamPolicy(seed=5), StreamPolicy(seed=6, guidance=1.0, chunk_steps=10)]
    columns = list[Any]()
    for each in (plain, backend):
        streams = [ScoreStream(each, policy) for policy in policies]
        for stream in streams:
            stream.push(shows(0))
        for _ in range(60):
            assert advance_all([(stream, 1) for stream in streams]) == [None, None]
            assert not any(isinstance(taken, Exception) for taken in take_all(streams))
        columns.append([stream.segments.columns for stream in streams])
    assert np.array_equal(*columns)
    assert len(tried) == 1


def test_what_does_not_fit_while_it_is_prepared_is_given_back(
    cuda: str, short_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have the memory then, and who comes for it is refused or makes do without graphs."""
    backend = Captured(short_package, cuda)
    backend.prepare(StreamPolicy())
    pools = [*backend._pools.values()]
    before = [list(each) for each in pools]

    def full(_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "capture", full)
        with pytest.raises(NoRoom, match="graphs of 2 streams do not fit"):
            backend.prepare(StreamPolicy(guidance=1.0))
    assert [each for each in backend._pools.values() if each] == before


def test_graphs_of_a_step_are_made_from_the_largest_on(
    cuda: str, tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, made = Captured(tiny_package, cuda, places=3), list[int]()
    monkeypatch.setattr(Program, "capture", lambda program: made.append(program._lanes))
    step: Any = SimpleNamespace(caches=backend.new_caches(2, True, 24), condition=backend.new_condition(4))
    backend._preparing = True
    backend._program([step], graph=True)
    assert made == [3, 2, 1]


def test_no_graph_is_made_in_memory_where_one_failed(
    cuda: str, tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch refuses it."""

    def failed(*_: Any) -> Any:
        raise RuntimeError("a capture broke off")

    backend = Captured(tiny_package, cuda)
    memory = backend.graph_memory
    monkeypatch.setattr("engine.backends.lockstep.capture", failed)
    with pytest.raises(RuntimeError, match="broke off"):
        backend.capture(lambda: None)
    assert backend.graph_memory != memory


def test_work_of_another_shape_is_captured_when_it_comes_again(
    cuda: str, short_package: Package, shows: Any
) -> None:
    """A policy that nobody prepared for: pieces twice as long."""
    backend = Captured(short_package, cuda)
    backend.prepare(StreamPolicy())
    made, policy = backend.made, StreamPolicy(seed=5, chunk_steps=10)
    played(backend, shows, 25, MOST_STEPS, policy)
    assert backend.made == made  # two pieces: the first one and another
    played(backend, shows, 25, MOST_STEPS, policy)
    assert backend.made == made + 2
    played(backend, shows, 25, MOST_STEPS, policy)
    assert backend.made == made + 2


def test_all_ages_of_a_window_are_graphs_work_whatever_it_holds(
    cuda: str, nano_package: Package, nano_torch_backend: TorchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More frames than streams that there is room for. The third time nothing is launched operator by operator."""
    backend, project, projected = Captured(nano_package, cuda, places=1), LockstepBackend.project, list[int]()

    def noted(self: LockstepBackend, tokens: torch.Tensor) -> Any:
        projected.append(len(tokens))
        return project(self, tokens)

    monkeypatch.setattr(LockstepBackend, "project", noted)
    frames = 2 * FEWEST_CAPTURED + 1
    spec, numbers = backend.spec, np.random.default_rng(2)
    shape = (frames, spec.vision.tokens, spec.decoder.width)
    tokens = numbers.standard_normal(shape, dtype=np.float32)
    conditions = [each.new_condition(frames) for each in (backend, nano_torch_backend)]
    for each, condition in zip((backend, nano_torch_backend), conditions, strict=True):
        each.write_condition(condition, 0, tokens)
    for _ in range(3):
        projected.clear()
        ages = numbers.integers(0, spec.decoder.ages, frames)
        found, expected = (
            (each.write_ages(condition, ages), each.read_condition(condition, frames))[1]
            for each, condition in zip((backend, nano_torch_backend), conditions, strict=True)
        )
        assert np.abs(found - expected).max() <= TOLERANCE
    assert projected == []


def test_one_more_than_there_is_room_for_makes_nobody_wait_for_more_than_its_own_graph(
    cuda: str, short_package: Package, shows: Any
) -> None:
    """Room for some more is made, and a step's graph for as many as play there."""
    backend = Captured(short_package, cuda, places=PLACES + 1)
    backend.prepare(StreamPolicy())
    made = backend.made
    streams = [ScoreStream(backend, StreamPolicy(seed=seed)) for seed in range(PLACES + 2)]
    assert [stream.segments.caches.pool.places for stream in streams[-2:]] == [PLACES + 1, PLACES]
    for stream in streams:
        stream.push(shows(0))
    assert advance_all([(stream, 1) for stream in streams]) == [None] * len(streams)
    assert backend.made == made + 1


def test_what_no_step_can_read_is_refused(make: Make, tiny_package: Package) -> None:
    """Several steps are of as many columns, and a frame that is not there would be another stream's."""
    voice = Voice(make(tiny_package), 1)
    call = voice.ask(0, 1)
    last = replace(call, position=np.array([ROOM - 1]))

    def drawn(step: StepCall[Any, Any], steps: int) -> Any:
        return voice.backend.draw_all([DrawCall(step, 0, StreamPolicy(), 1, None, steps)])[0]

    assert len(drawn(last, 1)) == 1
    with pytest.raises(ValueError, match=f"{ROOM} positions that holds {ROOM - 1} cannot hold 2 more"):
        drawn(last, 2)
    prompt = np.zeros((1, ROOM + 1, call.tokens.shape[2]), np.int64)
    with pytest.raises(ValueError, match=f"cannot hold {ROOM + 1} more"):
        replace(call, tokens=prompt).on(voice.backend)
    for asked in (drawn, lambda step, _: voice.backend.step_all([step])):
        with pytest.raises(ValueError, match=f"a condition of {FRAMES} slots does not have {FRAMES + 1}"):
            asked(replace(call, frames=FRAMES + 1), 1)


@pytest.mark.parametrize("kept", ["half", "int8", "fp8"])
def test_a_restored_stream_plays_what_it_would_have_played(
    make: Make, short_package: Package, shows: Any, kept: Any
) -> None:
    """Beside another one, and in another place than before."""
    backend = make(short_package, kept=kept, places=3)
    stream = ScoreStream(backend, StreamPolicy(seed=8))
    for step in range(70):
        if step % 10 == 0:
            stream.push(shows(step))
        stream.advance()
        stream.take()
    blob = stream.snapshot()
    other = ScoreStream.restore(backend, blob)
    assert other.segments.caches.place != stream.segments.caches.place
    sound: list[list[Any]] = [[], []]
    for s, heard in zip((stream, other), sound, strict=True):
        for _ in range(40):
            s.advance()
            if chunk := s.take():
                heard.append(chunk.samples)
    assert np.array_equal(stream.segments.columns, other.segments.columns)
    assert np.array_equal(*map(np.concatenate, sound))


def heard(stream: ScoreStream, shows: Any, steps: int) -> list[Any]:
    """Columns and chunks of so many steps more."""
    found = list[Any]()
    for _ in range(steps):
        if stream.now % 10 == 0:
            stream.push(shows(stream.now))
        stream.advance()
        found.append(stream.segments.columns[-1])
        if chunk := stream.take():
            found.append(chunk.samples)
    return found


@pytest.mark.parametrize("kept", ["half", "int8", "fp8"])
def test_a_stream_that_rested_plays_what_it_would_have_played(
    make: Make, short_package: Package, shows: Any, kept: Any
) -> None:
    """Two others had its place meanwhile, and it has another one then. Pictures came while it rested, and a policy."""
    policy, backend = StreamPolicy(seed=8), make(short_package, kept=kept, places=2)
    stays, rests = ScoreStream(make(short_package, kept=kept), policy), ScoreStream(backend, policy)
    for stream in (stays, rests):
        heard(stream, shows, 70)
    rests.rest(True)
    others = [ScoreStream(backend, StreamPolicy(seed=seed)) for seed in range(2)]
    for other in others:
        heard(other, shows, 20)
    with pytest.raises(ValueError, match="gave its place to another"):
        _ = rests.segments.caches.place
    for stream in (stays, rests):
        for picture in (3, 6):
            stream.push(shows(picture))
        stream.set_policy(replace(stream.policy, temperature=1.2))
    before = others.pop(1).segments.caches.place
    del other
    rests.rest(False)
    assert (rests.segments.caches.place, sum(map(len, backend._pools.values()))) == (before, 2)
    for one, other in zip(heard(stays, shows, 60), heard(rests, shows, 60), strict=True):
        assert np.array_equal(one, other)


def test_a_snapshot_of_a_stream_that_rests_is_the_one_of_before(
    make: Make, short_package: Package, shows: Any
) -> None:
    backend = make(short_package, places=1)
    stream = ScoreStream(backend, StreamPolicy(seed=8))
    heard(stream, shows, 70)
    blob = stream.snapshot()
    stream.rest(True)
    other = ScoreStream(backend, StreamPolicy())
    assert other.segments.caches.place == 0
    del other
    assert stream.snapshot() == blob


def test_only_who_rests_gives_its_place_up_and_who_rests_longest_first(
    make: Make, tiny_package: Package
) -> None:
    backend = make(tiny_package, places=3)
    plays, shorter, longest = (ScoreStream(backend, StreamPolicy(seed=seed)) for seed in range(3))
    for stream in (longest, shorter):
        stream.rest(True)
    pool, owners = plays.segments.caches.pool, list[ScoreStream]()
    for expected in (2, 1, 0):
        owners.append(ScoreStream(backend, StreamPolicy()))
        assert owners[-1].segments.caches.place == expected
    assert [owner.segments.caches.pool is pool for owner in owners] == [True, True, False]
    assert plays.segments.caches.place == 0


def test_a_full_device_makes_room_layer_by_layer_while_others_play(
    make: Make, short_package: Package, shows: Any
) -> None:
    """Nobody waits for more than a layer of who rests; one that comes back meanwhile plays on as if nothing had been."""
    policy, backend = StreamPolicy(seed=8), make(short_package, places=2)
    same, stream = ScoreStream(make(short_package), policy), ScoreStream(backend, policy)
    other, layers = ScoreStream(backend, StreamPolicy()), short_package.spec.decoder.layers
    assert layers > 1
    free = stream.segments.caches.pool.free
    for rested in (layers - 1, layers):
        heard(same, shows, 20)
        heard(stream, shows, 20)
        stream.rest(True)
        heard(other, shows, layers - 1)
        assert not free
        heard(other, shows, rested - (layers - 1))
        assert len(free) == rested - (layers - 1)
        stream.rest(False)
    for one, found in zip(heard(same, shows, 30), heard(stream, shows, 30), strict=True):
        assert np.array_equal(one, found)


def test_a_stream_for_which_there_is_no_place_rests_on(
    make: Make, short_package: Package, shows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ScoreStream(backend := make(short_package, places=1), StreamPolicy(seed=8))
    same = ScoreStream(make(short_package), StreamPolicy(seed=8))
    assert len(heard(stream, shows, 30)) == len(heard(same, shows, 30))
    stream.rest(True)
    other = ScoreStream(backend, StreamPolicy())

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as patched:
        for pool in ("CachePool", "ConditionPool"):
            patched.setattr(f"engine.backends.lockstep.{pool}", full)
        with pytest.raises(NoRoom, match="do not fit the memory"):
            stream.rest(False)
    del other
    stream.rest(False)
    for one, found in zip(heard(same, shows, 30), heard(stream, shows, 30), strict=True):
        assert np.array_equal(one, found)


def test_who_rests_on_for_want_of_a_place_keeps_no_other_one(
    make: Make, tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caches found none, and its condition's is another's as before."""
    stream = ScoreStream(backend := make(tiny_package, places=1), StreamPolicy())
    stream.rest(True)
    taken = [backend.new_caches(2, True, stream.segments.length)]

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    for pool in ("CachePool", "ConditionPool"):
        monkeypatch.setattr(f"engine.backends.lockstep.{pool}", full)
    with pytest.raises(NoRoom):
        stream.rest(False)
    assert backend.new_condition(stream.sight.room).place == taken[0].place == 0


def test_a_prompt_read_at_once_is_the_same_prompt(make: Make, tiny_package: Package) -> None:
    backend = make(tiny_package)
    tokens = np.random.default_rng(4).integers(0, backend.spec.decoder.card, (1, 9, 4))
    whole, slow = voiced(backend, [1, 1])
    at_once = backend.step(whole.caches, 1, whole.condition, whole.frames, tokens, np.zeros(1, np.int64))
    for position in range(9):
        one = tokens[:, position : position + 1]
        answer = backend.step(slow.caches, 1, slow.condition, slow.frames, one, np.array([position]))
    assert np.abs(at_once - answer).max() <= TOLERANCE
    read = [backend.read_caches(voice.caches, 1, 9) for voice in (whole, slow)]
    assert np.abs(read[0] - read[1]).max() <= TOLERANCE


def test_a_place_is_free_again_when_its_stream_is_gone(make: Make, tiny_package: Package) -> None:
    backend = make(tiny_package, places=2)
    voices = voiced(backend, [0, 1])
    del voices[0]
    gc.collect()
    assert Voice(backend, 7).caches.place == 0


def test_a_place_is_free_again_when_its_stream_broke(make: Make, short_package: Package, shows: Any) -> None:
    """What it raised refers to it, and is part of a circle."""
    backend = make(short_package, places=1)

    def broken(*_: Any) -> Any:
        raise RuntimeError("it broke")

    stream = ScoreStream(backend, StreamPolicy())
    stream.push(shows(0))
    stream.hear = broken  # type: ignore[method-assign]
    assert [str(error) for error in advance_all([(stream, 1)])] == ["it broke"]
    del stream
    assert ScoreStream(backend, StreamPolicy()).segments.caches.place == 0
    assert [pool.places for pools in backend._pools.values() for pool in pools] == [1, 1]


def test_a_device_without_memory_for_more_streams_says_so(
    make: Make, tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    backend = make(tiny_package)
    monkeypatch.setattr("engine.backends.lockstep.CachePool", full)
    with pytest.raises(NoRoom, match="do not fit the memory"):
        backend.new_caches(2, True, 24)


def test_a_machine_without_cuda_says_so(tiny_package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PackageError, match="no CUDA device"):
        LockstepBackend(load_model(tiny_package))


def test_a_gpu_that_knows_no_fp8_says_so(tiny_package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before weights are brought there: Triton says so when the first step is compiled."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    with pytest.raises(
        PackageError, match=r"fp8 need a GPU of compute capability 8\.9, and this one has 8\.6"
    ):
        LockstepBackend(load_model(tiny_package), kept="fp8")


@pytest.mark.parametrize(
    ("capability", "raised", "said"),
    [
        (
            (7, 5),
            PackageError,
            r"need a GPU of compute capability 8\.0, and this one has 7\.5.*--provider cuda",
        ),
        ((8, 0), MissingRuntime, r"Triton does not work here .*Failed to find C compiler.*gcc python3-dev"),
    ],
)
def test_a_gpu_that_triton_does_not_know_or_that_it_cannot_compile_for_is_refused(
    tiny_package: Package,
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    raised: type[Exception],
    said: str,
) -> None:
    """In words and before weights are brought there."""

    class Driver:
        @property
        def active(self) -> Any:
            raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr("triton.runtime.driver", Driver())
    with pytest.raises(raised, match=said):
        LockstepBackend(load_model(tiny_package), kept="int8")


def test_a_gpu_that_pytorch_was_not_built_for_is_refused(tiny_package: Package) -> None:
    """In words and before weights are brought there, as of RTX 50 under a PyTorch from before it."""
    with pretended() as device:
        device.lost = "CUDA error: no kernel image is available for execution on the device\nCompile with"
        with pytest.raises(
            PackageError, match=r"does not work on this GPU: CUDA error: no kernel .* device$"
        ):
            LockstepBackend(load_model(tiny_package), "cuda:0")


def test_a_device_is_lost_when_it_answers_nothing_more_and_not_when_a_call_fails(
    nano_package: Package,
) -> None:
    """Of what a library says first nothing tells the one from the other."""
    said = RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`")
    with pretended() as device:
        backend = LockstepBackend(load_model(nano_package), "cuda:0", torch.float32)
        ask = partial(ask_device, ModelPlayer(backend))
        check_device(said, ask)
        device.lost = "CUDA error: unspecified launch failure\nSearch for `cudaErrorLaunchFailure'"
        with pytest.raises(DeviceLost, match=r"the device is lost: CUDA error: unspecified launch failure$"):
            check_device(said, ask)


def test_another_gpu_than_the_processs_own_is_refused(
    tiny_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams, graphs and kernels are those of the current one: who waited for them would not wait for the other's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with pytest.raises(PackageError, match=r"cuda:1 .* choose it by CUDA_VISIBLE_DEVICES"):
        LockstepBackend(load_model(tiny_package), "cuda:1")


def test_uniforms_of_many_are_those_of_each() -> None:
    random = np.random.default_rng(0)
    seeds, steps = random.integers(0, 2**63 - 1, 50), random.integers(0, 100_000, 50)
    for count in (1, 4, 6):
        each = [uniforms(int(seed), int(step), count) for seed, step in zip(seeds, steps, strict=True)]
        assert np.array_equal(uniforms_of(seeds, steps, count), each)
        assert np.array_equal(uniforms_of(seeds[:3], steps[:3], count), each[:3])
