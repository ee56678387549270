"""What streams give to a piece of work lies together as they gave it, and captured work answers as the work itself."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

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
