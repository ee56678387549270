"""The pretended CUDA device shows what is wrong on a real one: what is read or written too early, or may not be captured."""

from __future__ import annotations

import pytest
import torch
from pretended import pretended

from engine.backends.captured import capture

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the CUDA device that is here is tested on")


def test_what_is_read_before_the_device_is_waited_for_is_not_there_yet() -> None:
    with pretended():
        there = torch.arange(3.0, device="cuda:0") + 1
        here = torch.zeros(3, pin_memory=True)
        here.copy_(there, non_blocking=True)
        assert here.tolist() == [0, 0, 0]
        torch.cuda.current_stream().synchronize()
        assert here.tolist() == [1, 2, 3]


@pytest.mark.parametrize("pinned", [True, False])
def test_a_pinned_buffer_that_is_written_too_early_is_what_the_device_reads(pinned: bool) -> None:
    with pretended():
        told, there = torch.zeros(3, pin_memory=pinned), torch.empty(3, device="cuda:0")
        there.copy_(told, non_blocking=True)
        told[:] = 7
        assert there.tolist() == ([7, 7, 7] if pinned else [0, 0, 0])


def test_a_tensor_of_the_device_meets_none_of_the_host() -> None:
    with pretended():
        there = torch.ones(3, device="cuda:0")
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="copy it to the host first"):
            there.numpy()


def test_a_graph_does_its_work_again_where_it_did_it_first() -> None:
    with pretended():
        given = torch.zeros(2, device="cuda:0")
        graph, answer = capture(lambda: given * 2, torch.cuda.graph_pool_handle())
        for number in (3, 4):
            given.fill_(number)
            graph.replay()
            assert answer.tolist() == [2 * number] * 2


def test_nothing_waits_for_the_device_in_a_capture() -> None:
    with pretended():
        given, here = torch.ones(2, device="cuda:0"), torch.ones(2)
        for work in (
            lambda: given.sum().item(),
            lambda: given[given > 0],
            given.cpu,
            lambda: given.copy_(here),
        ):
            with pytest.raises(RuntimeError, match="captur"):
                capture(work, torch.cuda.graph_pool_handle())
