"""What failed is tried again after pauses that grow, and never stop being numbers."""

from __future__ import annotations

from server.system.backoff import Backoff


def test_each_pause_is_twice_as_long_up_to_the_longest() -> None:
    backoff = Backoff(1.0, 30.0)
    assert [backoff.after() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert {backoff.after() for _ in range(3000)} == {30}  # as many doublings as no float holds
    backoff.reset()
    assert backoff.after() == 1
    assert Backoff(60.0, 30.0).after() == 30


def test_what_went_well_for_longer_than_the_pause_begins_with_the_first_one_again() -> None:
    backoff = Backoff(1.0, 30.0)
    assert [backoff.after(0.5) for _ in range(3)] == [1, 2, 4]
    assert [backoff.after(9.0) for _ in range(3)] == [1, 1, 1]
