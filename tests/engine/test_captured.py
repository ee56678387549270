"""What streams give to a piece of work lies together as they gave it, and captured work answers as the work itself."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.torch_version import TorchVersion

from engine.backends import captured as graphs
from engine.backends.captured import BATCHES, Captured, Parts, capture, lanes_up_to

CPU = torch.device("cpu")


def test_lanes_are_enough_for_everybody_and_no_more() -> None:
    assert lanes_up_to(1) == [1]
    assert lanes_up_to(5) == [1, 2, 3, 4, 5]
    assert lanes_up_to(64) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert lanes_up_to(BATCHES[-1]) == list(BATCHES)


@pytest.mark.parametrize("there", [np.asarray, torch.from_numpy])
def test_parts_of_one_shape_lie_side_by_side(there) -> None:  # type: ignore[no-untyped-def]
    given = np.random.default_rng(0).integers(0, 9, (3, 2, 4))
    parts = Parts.alike([there(part) for part in given])
    assert (parts.room, parts.dtype, parts.on_host) == ((2, 4), torch.int64, there is np.asarray)
    assert np.array_equal(parts.joined(CPU).numpy(), given)


def test_numbers_are_parts_too() -> None:
    assert Parts.alike(list(np.array([3, 1]))).joined(CPU).tolist() == [3, 1]


@pytest.mark.parametrize("there", [np.asarray, torch.from_numpy])
def test_shorter_parts_lie_at_the_beginning_of_the_same_room(there) -> None:  # type: ignore[no-untyped-def]
    given = [np.full((length, 2), length, np.float32) for length in (1, 3)]
    parts = Parts.of_lengths([there(part) for part in given])
    assert parts.room == (4, 2)
    assert parts.joined(CPU)[:, :, 0].tolist() == [[1, 0, 0, 0], [3, 3, 3, 0]]
    assert Parts.of_lengths(given, 32).room == (32, 2)


def test_captured_work_answers_as_the_work_itself(cuda: str) -> None:
    """For every number of streams, and whoever was asked before."""
    device = torch.device(cuda)

    def work(x: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.sum(1) * at, x.amax(1)

    given = np.random.default_rng(1).random((7, 5), np.float32)
    at = np.arange(7) + 1
    kept = torch.from_numpy(given).to(device)
    for source in (list(given), list(kept)):
        make = partial(capture, memory=torch.cuda.graph_pool_handle())
        captured = Captured(work, 7, [Parts.alike(source), Parts.alike(list(at))], device, make)
        captured.capture_all()
        for count in (7, 1, 5, 2):
            inputs = [Parts.alike(source[:count]), Parts.alike(list(at[:count]))]
            for found, expected in zip(
                captured(inputs), work(kept[:count], torch.from_numpy(at[:count]).to(device)), strict=True
            ):
                assert torch.equal(found.cpu(), expected.cpu())


def test_a_graph_that_goes_takes_nothing_that_another_works_in(cuda: str) -> None:
    """Few rows and columns of many numbers: their sum is taken in parts, which lie where cuBLAS works."""
    x, weight = (torch.ones(shape, device=cuda) for shape in ((4, 8192), (8192, 8)))
    memory = torch.cuda.graph_pool_handle()
    (graph, answer), other = (capture(lambda: x @ weight, memory) for _ in range(2))
    del other
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    graph.replay()
    assert torch.equal(answer.cpu(), (x @ weight).cpu())


def test_the_largest_graph_is_made_first() -> None:
    """The others work in its memory; of the smaller ones' PyTorch's allocator would put no pieces together for it."""
    made = list[int]()

    def make(work: Callable[[], torch.Tensor]) -> Any:
        answer = work()
        made.append(len(answer))
        return None, answer

    Captured(torch.neg, 6, [Parts.alike(np.zeros((6, 2)))], CPU, make).capture_all()
    assert made == [6, 4, 3, 2, 1]


class Stream:
    """One of CUDA's, which does nothing."""

    current: Stream
    made = 0

    def __init__(self) -> None:
        Stream.made += 1

    def wait_stream(self, _: Stream) -> None:
        pass

    def synchronize(self) -> None:
        pass


class On:
    """As `torch.cuda.stream`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        self._before, Stream.current = Stream.current, self._stream

    def __exit__(self, *_: object) -> None:
        Stream.current = self._before


def never(*_: Any, **__: Any) -> None:
    pass


def full(*_: Any) -> None:
    raise torch.AcceleratorError("CUDA error: out of memory")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> type[Stream]:
    """PyTorch's own captures, on streams that do nothing."""
    Stream.current, Stream.made = Stream(), 0
    of_cuda = {"Stream": Stream, "current_stream": lambda: Stream.current, "stream": On}
    of_cuda |= {"current_device": lambda: 0}
    for name, instead in (of_cuda | {"synchronize": never, "empty_cache": never}).items():
        monkeypatch.setattr(torch.cuda, name, instead)
    allocators = "_host_emptyCache", "_cuda_endAllocateToPool", "_cuda_releasePool"
    for name in (*allocators, "_cuda_clearCublasWorkspaces"):
        monkeypatch.setattr(torch._C, name, never, raising=False)
    monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", None)
    monkeypatch.setattr(graphs, "_aside", cache(Stream))
    return Stream


def no_graph(_: Any) -> None:
    raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")


def graph(ends: Callable[..., None] = never, launched: Callable[..., None] = never) -> type[Any]:
    """`torch.cuda.CUDAGraph`, whose capture ends so, and which is launched so."""
    begins, pool = {"capture_begin": never}, {"pool": never if ends is never else no_graph}
    return type("Graph", (), begins | pool | {"capture_end": ends, "replay": launched})


def test_who_has_no_memory_for_a_graph_works_on_where_it_worked_before(
    streams: type[Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made when its capture ends, and PyTorch leaves its stream after that."""
    before = streams.current
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph(ends=full))
    with pytest.raises(torch.OutOfMemoryError):
        capture(never, (0, 1))
    assert streams.current is before


def test_a_kernel_that_finds_no_memory_is_told_as_any_other_lack_of_it(
    streams: type[Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph())

    def loaded() -> None:
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="Triton"):
        capture(loaded, (0, 1))


@pytest.mark.parametrize("variable", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
@pytest.mark.parametrize(
    "said", ["operation failed due to a previous error during capture", "operation not permitted"]
)
def test_memory_that_is_freed_in_a_capture_is_a_lack_of_it(
    streams: type[Stream], monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    """As PyTorch's allocator does where it is told to split no large blocks. Any other capture that fails is a fault of ours."""

    def broken(*_: Any) -> None:
        raise torch.AcceleratorError(f"CUDA error: {said}")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph(ends=broken))
    monkeypatch.setenv(variable, "garbage_collection_threshold:0.8")
    with pytest.raises(torch.AcceleratorError):
        capture(never, (0, 1))
    monkeypatch.setenv(variable, "garbage_collection_threshold:0.8,max_split_size_mb:128")
    raised = torch.OutOfMemoryError if "capture" in said else torch.AcceleratorError
    with pytest.raises(raised, match=said):
        capture(never, (0, 1))


class Allocator:
    """PyTorch's, as it counts who uses a memory of graphs. It aborts the process where a graph that goes is not among them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recording, self.users = False, 0
        for name, done in {"_cuda_endAllocateToPool": self.end, "_cuda_releasePool": self.release}.items():
            monkeypatch.setattr(torch._C, name, done, raising=False)

    def begin(self) -> None:
        self.recording, self.users = True, self.users + 1

    def end(self, *_: Any) -> None:
        if not self.recording:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.recording = False

    def release(self, *_: Any) -> None:
        assert self.users, "released more often than it was taken"
        self.users -= 1


@pytest.mark.parametrize("version", ["2.12.1", "2.13.0+cu130", "2.14.1"])
@pytest.mark.parametrize("fails", ["warming", "capture", "launch", None])
def test_memory_has_no_user_left_by_a_capture_that_broke_off(
    streams: type[Stream], monkeypatch: pytest.MonkeyPatch, version: str, fails: str | None
) -> None:
    """Of a graph that goes PyTorch tells the allocator; of a capture that no graph came of, from 2.14 on; 2.12 goes on."""
    allocator, since = Allocator(monkeypatch), TorchVersion(version)
    monkeypatch.setattr(torch, "__version__", since)

    class Graph:
        made = False

        def capture_begin(self, *_: Any, **__: Any) -> None:
            allocator.begin()

        def capture_end(self) -> None:
            self.made = fails != "capture"
            if self.made or since >= (2, 13):
                allocator.end()
            if not self.made:
                full()

        def pool(self) -> None:
            if not self.made:
                no_graph(self)

        def replay(self) -> None:
            if fails == "launch":
                full()

        def __del__(self) -> None:
            if self.made or (fails == "capture" and since >= (2, 14)):
                allocator.release()

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    with pytest.raises(torch.OutOfMemoryError) if fails else nullcontext():
        capture(full if fails == "warming" else never, (0, 1))
    gc.collect()
    assert (allocator.recording, allocator.users) == (False, 0)


def test_what_cublas_works_in_is_the_graphs_own(
    streams: type[Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch keeps it for each stream, and gives it back when any graph of that stream goes: others would read what is freed."""
    kept, inside = set[Stream](), list[bool]()
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", kept.clear, raising=False)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph())

    def product() -> None:
        inside.append(streams.current not in kept)
        kept.add(streams.current)

    capture(product, (0, 1))
    assert (inside, kept) == ([True, False, True], set())


def test_a_graph_is_launched_once_before_it_is_counted_on(
    streams: type[Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is brought to the device then, for which there may be no memory."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph(launched=full))
    with pytest.raises(torch.OutOfMemoryError):
        capture(never, (0, 1))


def test_all_graphs_are_made_on_one_stream(streams: type[Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    """For each stream cuBLAS has memory of its own, and keeps it."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph())
    for _ in range(3):
        capture(never, (0, 1))
    assert streams.made == 1
