"""Who is due, and when: against a plain table of moments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.sessions.schedule import SPARE, Agenda

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "take"]), st.sampled_from("abcd"), st.integers(0, 20)),
    max_size=60,
)


@given(STEPS)
def test_it_agrees_with_a_table(steps: list[tuple[str, str, int]]) -> None:
    agenda, table = Agenda(), dict[str, float]()
    for verb, key, at_s in steps:
        if verb == "put":
            agenda.put(key, at_s)
            table[key] = at_s
        elif verb == "drop":
            agenda.drop(key)
            table.pop(key, None)
        else:
            due = sorted((when, name) for name, when in table.items() if when <= at_s)
            taken = agenda.take(at_s)
            assert sorted(taken) == sorted(name for _, name in due)
            assert [table[name] for name in taken] == [when for when, _ in due]
            for name in taken:
                del table[name]
        assert agenda.next_s == (min(table.values()) if table else None)


def test_what_is_moved_for_ever_leaves_nothing_behind() -> None:
    agenda = Agenda()
    for moment in range(10_000):
        agenda.put("a", float(moment))
    assert len(agenda._notes) <= 2 + SPARE
    assert agenda.take(1e9) == ["a"]
