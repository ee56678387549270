"""What the music remembers, as a client is told: the pictures that were shown, where they are, how often it is said."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from served import Serve, Served
from shell_client import Client

from engine.player import Player
from engine.spec import StreamPolicy
from server.core.orders import Remembered
from server.pictures.seeing import MOST_STAMPS, Stamps
from server.protocol.messages import HELD_CELLS
from server.sessions.memory_state import Remembering

ROUNDS = 24


def test_cells_are_pictures_that_were_shown_and_come_at_most_so_often(serve: Serve) -> None:
    with serve(memory_ms=200) as served, Client(served.ws) as client:
        client.start()
        client.play()
        for _ in range(ROUNDS):
            client.show()
            client.hear(client.at + 4800)
        told = [message for message in client.messages if message["type"] == "memory.state"]
        left_out = client.seq - next(iter(served.host.sessions.values())).watching.counts["shown"]
        assert 2 <= len(told) <= client.at / 48_000 / 0.2 + 2
        for message in told:
            times = [cell["at_us"] for cell in message["cells"]]
            assert times == sorted(times)
            for cell in message["cells"]:
                sent = cell["at_us"] / 1000  # how this client stamps its pictures
                assert cell["picture"] <= sent <= cell["picture"] + left_out
                assert cell["picture"] < client.seq
        newest = told[-1]["cells"][-1]
        assert newest["place"] == "window"
        assert newest["picture"] > 10
        assert newest["age_ms"] < 3000
        assert [each["cells"] for each in told if not each["cells"]] == []
        places = [tuple((cell["at_us"], cell["place"]) for cell in each["cells"]) for each in told]
        assert all(one != two for one, two in pairwise(places))


def test_who_comes_back_is_told_again(served: Served) -> None:
    client = Client(served.ws)
    client.start()
    client.play()
    client.until("memory.state")
    handle = client.until("resume.handle")["handle"]
    client.drop()
    with Client(served.ws) as again:
        again.resume(handle, client.at)
        assert again.until("memory.state")["cells"]


@pytest.mark.parametrize("longest", [2, 64])
def test_a_stream_says_what_it_holds(tiny_player: Player, longest: int) -> None:  # type: ignore[type-arg]
    policy = StreamPolicy(
        guidance=tiny_player.defaults.guidance, short_term_s=1.0, long_term_capacity=longest, recalled=2
    )
    stream = tiny_player.open(policy)
    shown = []
    for step in range(200):
        if step % 5 == 0:
            stream.push(np.full((tiny_player.side, tiny_player.side, 3), step, np.uint8), step)
            shown.append(step)
        stream.advance()
        while stream.take():
            pass
        held = tiny_player.held(stream)
        assert set(held.captured) == set(held.window)
        assert set(held.captured.values()) <= set(shown)
        assert set(held.recalled) <= set(held.memory)
        assert len(held.recalled) <= 2
    assert max(held.captured.values()) > 190


def test_long_term_memory_keeps_its_stamps_after_they_are_forgotten() -> None:
    stamps, remembering = Stamps(), Remembering(20.0)
    stamps.add(0, 0, 77)
    first = remembering.state(Remembered(0, ((0, 0),), (0,), ()), stamps, 10)
    assert first is not None
    assert [(c.at_us, c.picture, c.place, c.age_ms) for c in first.cells] == [(77, 0, "window", 200)]
    assert remembering.state(Remembered(0, ((0, 0),), (0,), ()), stamps, 99) is None
    for number in range(1, MOST_STAMPS + 10):
        stamps.add(0, number, 1000 + number)
    later = remembering.state(Remembered(0, ((2000, 2003),), (0, 1975), (0,)), stamps, 2005)
    assert later is not None
    assert [(c.at_us, c.picture, c.place) for c in later.cells] == [
        (77, 0, "recalled"),
        (3003, 2003, "window"),
    ]


def test_another_take_remembers_nothing_of_the_one_before() -> None:
    stamps, remembering = Stamps(), Remembering(20.0)
    stamps.add(0, 0, 77)
    remembering.state(Remembered(0, ((0, 0),), (0,), (0,)), stamps, 0)
    stamps.add(1, 0, 99)
    state = remembering.state(Remembered(1, ((0, 0),), (), ()), stamps, 0)
    assert state is not None
    assert [(cell.at_us, cell.picture) for cell in state.cells] == [(99, 1)]


def test_another_take_begins_with_the_picture_that_is_held() -> None:
    """Nothing was looked at since: neither while the scene is held nor before the next picture comes."""
    stamps, remembering = Stamps(), Remembering(20.0)
    for number in range(3):
        stamps.add(0, 50 * number, 1000 + number)
    state = remembering.state(Remembered(1, ((0, 0), (25, 0)), (), ()), stamps, 30)
    assert state is not None
    assert [(cell.at_us, cell.picture, cell.age_ms) for cell in state.cells] == [(1002, 2, 600)] * 2
    assert stamps.at_us(0, 60) == 1001  # music of the take before, heard later
    restored = Stamps(1, stamps.newest(1, 2))
    assert (restored.at_us(1, 0), restored.newest_us) == (1002, 1002)


def test_a_held_scene_stays_what_new_music_knows(served: Served) -> None:
    def known(client: Client) -> list[int]:
        told = [message for message in client.messages if message["type"] == "memory.state"]
        return [cell["at_us"] for cell in told[-1]["cells"]] if told else []

    with Client(served.ws) as client:
        client.start()
        client.play()
        for _ in range(3):
            client.show()
            client.hear(client.at + 4800)
        while 3000 not in known(client):
            client.until("memory.state")
        client.send("session.update", config={"hold_scene": True})
        client.until("session.updated")
        client.send("playback", action="reset_context")
        while set(known(client)) != {3000}:
            client.until("memory.state")


def test_the_newest_cells_are_told_when_there_are_too_many() -> None:
    stamps, remembering = Stamps(), Remembering(20.0)
    moments = tuple((step, step) for step in range(HELD_CELLS + 5))
    for step, _ in moments:
        stamps.add(0, step, step)
    state = remembering.state(Remembered(0, moments, (), ()), stamps, 0)
    assert state is not None
    assert [cell.at_us for cell in state.cells] == list(range(5, HELD_CELLS + 5))
