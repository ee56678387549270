"""The latency benchmark measures what it says: cards, figures, and a real server whose clicks come where its chunks say so."""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import numpy as np
import pytest

pytest.importorskip("websockets", reason="the benchmark needs cuestream[serve]")
pytest.importorskip("prometheus_client", reason="the benchmark needs cuestream[serve]")

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from benchmarks.latency import figures, framing
from benchmarks.latency.__main__ import BRIGHT, DARK
from benchmarks.latency.card import RATE, Card
from benchmarks.latency.limits import physical_limits
from benchmarks.latency.listener import SCENE_S, Heard, Listener, Plan
from benchmarks.latency.load import play_together, scene
from benchmarks.latency.served import ENCODE, OVERHEAD, Seen, serving
from server.protocol.media import Kind, Media, StreamId, encode_media


def card(*came_s: float, buffer_s: float = 0.05) -> Card:
    """Stretches of 100 ms that came then."""
    made = Card(buffer_s)
    for number, at_s in enumerate(came_s):
        made.hear(at_s, number * RATE // 10, RATE // 10, number)
    return made


def test_lateness_counts_from_the_first_stretch_and_does_not_add_up() -> None:
    rows = card(5.0, 5.11, 5.19, 5.34).rows()
    assert rows[:, figures.LATE] == pytest.approx([0, 0.01, -0.01, 0.04])
    assert rows[:, figures.HEARD] == pytest.approx([5.05, 5.15, 5.25, 5.35])


def test_what_comes_too_late_is_an_underrun_and_the_card_begins_again() -> None:
    late = card(5.0, 5.16, 5.26, 5.36)
    assert late.underruns == 1
    assert late.rows()[:, figures.LATE] == pytest.approx([0, 0.06, 0, 0])
    assert late.rows()[:, figures.HEARD] == pytest.approx([5.05, 5.21, 5.31, 5.41])


def test_a_stretch_that_does_not_go_on_where_the_one_before_ended_is_a_gap() -> None:
    one = card(5.0, 5.1)
    one.hear(5.2, 3 * RATE // 10, RATE // 10, 0)
    one.hear(5.3, 4 * RATE // 10, RATE // 10, 0)
    one.hear(5.4, 4 * RATE // 10, RATE // 10, 0)
    assert (card(5.0, 5.1).gaps, one.gaps) == (0, 2)


@pytest.mark.parametrize("piece", [1, 7, 200, 10**6])
def test_frames_are_whole_however_they_come_and_are_what_the_library_reads(piece: int) -> None:
    said = [(framing.TEXT, b"{}"), (framing.BINARY, bytes(126)), (framing.BINARY, bytes(range(256)) * 300)]
    said += [(framing.PING, b"?"), (framing.CLOSE, b"\x03\xe8"), (framing.BINARY, b"")]
    sent = b"".join(Frame(Opcode(opcode), data).serialize(mask=False) for opcode, data in said)
    frames, heard = framing.Frames(), []
    for at in range(0, len(sent), piece):
        heard += [(opcode, bytes(data)) for opcode, data in frames.feed(sent[at : at + piece])]
    assert heard == said
    server = ServerProtocol(state=State.OPEN)
    server.receive_data(b"".join(framing.masked(opcode, data) for opcode, data in said[:4]))
    found = [(e.opcode, bytes(e.data)) for e in server.events_received() if isinstance(e, Frame)]
    assert found == said[:4]


def test_a_part_of_a_message_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a whole message"):
        list(framing.Frames().feed(Frame(Opcode.TEXT, b"{", fin=False).serialize(mask=False)))


def test_a_card_has_played_what_came_and_was_due() -> None:
    playing = card(5.0, 5.1)
    played = [playing.played(at_s) for at_s in (4.0, 5.05, 5.1, 9.0)]
    assert played == pytest.approx([0, 0, 2400, 9600], abs=1)
    assert Card(0.05).played(1.0) == 0


def heard(rows: list[list[float]], pictures: list[list[float]] = [], loud_s: tuple[float, ...] = ()) -> Heard:  # noqa: B006
    shown = np.array(pictures).reshape(-1, 2)
    return Heard(0.0, rows[0][0], np.array(rows), shown, loud_s, 0, 0, 0, 0, None)


def test_an_answer_is_the_first_chunk_that_names_the_picture() -> None:
    rows = [[10.0, 0, 10, 9.0e6], [10.1, 0, 10.1, 9.6e6], [10.2, 0, 10.2, 9.6e6], [10.3, 0.002, 10.3, 10.0e6]]
    one = heard(rows)
    assert figures.answer_delays(one, one.rows) == pytest.approx([0.5, 0.3])
    assert figures.ages(one.rows) == pytest.approx([1.0, 0.5, 0.6, 0.3])
    assert figures.jitter(one.rows, figures.sound_lengths(one.rows)) == pytest.approx([0, 0, 0.002])


def test_a_click_belongs_to_the_turn_before_it() -> None:
    one = heard([[0.0, 0, 0, 0]], [[1.0, 1], [1.5, 0], [3.0, 1], [5.0, 1]], (1.3, 3.4))
    assert figures.clicks(one) == pytest.approx([0.3, 0.4])


def test_shares_are_of_chunks_and_of_listeners() -> None:
    on_time = heard([[n / 10, 0.001, n / 10, 0] for n in range(10)])
    late = heard([[n / 10, 0.045 * (n == 5), n / 10, 0] for n in range(10)])
    shares = figures.shares([on_time, late], 0.0)
    assert (shares["C40"], shares["C50"], shares["later_than_40_ms"]) == (0.95, 1.0, 1)
    assert (shares["listeners_C40"], shares["listeners_C50"]) == (0.5, 1.0)
    assert figures.shares([late], 0.55)["later_than_40_ms"] == 0
    refused = replace(late, first_s=None, rows=np.zeros((0, 4)), error="no room")
    some = figures.shares([late, refused], 0.0)
    assert (some["listeners"], some["heard_nothing"], some["errors"]) == (1, 1, ["no room"])


def test_chunks_that_come_while_the_server_gives_something_up_are_counted() -> None:
    """From the word of it to the next word."""
    level = {"type": "state", "playback": "playing", "health": "on_time"}
    media = encode_media(Media(Kind.PCM_S16, StreamId.MUSIC, 0, 0, bytes(8), dur=2))
    sent = b""
    for step in (0, 2, 0):
        said = msgspec.json.encode(level | {"level": step})
        sent += Frame(Opcode.TEXT, said).serialize(mask=False)
        sent += Frame(Opcode.BINARY, media).serialize(mask=False)
    listener = Listener(Plan("ws://127.0.0.1:1/", 12, "pcm_s16", 1.0, (), (), 0.06, 0.0, False))
    listener.opened.set()
    listener.data_received(sent)
    assert (listener.degraded, len(listener.card.rows())) == (1, 3)


def test_percentiles_of_the_server_are_bounds_of_buckets_since_it_was_looked_at() -> None:
    before = Seen(1.0, 2.0, 50, {OVERHEAD: {0.001: 5, 0.01: 5, float("inf"): 5}})
    after = Seen(3.0, 2.5, 60, {OVERHEAD: {0.001: 95, 0.01: 105, float("inf"): 105}})
    since = after.since(before)
    assert (since.at_s, since.cpu_s, since.rss_mb) == (2.0, 0.5, 60)
    assert [since.ms(OVERHEAD, share) for share in (0.5, 0.9, 0.95)] == [1, 1, 10]
    assert since.ms(ENCODE, 0.5) is None


def test_the_limits_are_those_of_the_lead_and_the_chunk() -> None:
    limits = physical_limits("synthetic", 340)
    low_ms, high_ms = limits["lead_ms"]
    assert (limits["piece_ms"], limits["structural_delay_ms"]) == (100, 0)
    assert physical_limits("synthetic", 900, 300)["piece_ms"] == 300
    assert physical_limits("synthetic", 40)["piece_ms"] == 20
    assert low_ms < limits["answer_mean_ms"] < limits["answer_worst_ms"] == high_ms


def test_a_real_server_is_heard_and_its_clicks_come_in_the_chunks_that_name_their_picture() -> None:
    """What a chunk claims to know is what its sound says: the piece that first names a turned picture holds its click."""
    plan = Plan("", 8, "pcm_s16", SCENE_S + 1.0, scene(DARK), scene(BRIGHT), 0.06, 0.0, True)
    with serving("synthetic", 2, 1, 20) as served:
        before = served.look()
        begins_s = time.monotonic()
        loaded = play_together([replace(plan, url=served.url, begins_s=begins_s) for _ in range(2)], 1)
        since = served.look().since(before)
    for one in loaded.heard:
        assert (one.error, one.gaps) == (None, 0)
        (turned_s,) = one.pictures[one.pictures[:, 1] > 0, 0]
        rows = one.rows
        first = rows[np.searchsorted(rows[:, figures.NEWEST], int(turned_s * 1e6)), :]
        (click,) = (row for row in rows if row[figures.CAME] in one.loud_s and row[figures.CAME] > turned_s)
        assert 0 <= click[figures.HEARD] - first[figures.HEARD] < 0.1
    chunks = sum(len(one.rows) for one in loaded.heard)
    assert max(since.buckets[OVERHEAD].values()) >= chunks
    assert max(since.buckets[ENCODE].values()) >= chunks
