"""The client's session on a virtual clock, over lines that break at random places."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from fake_server import CHUNK, RATE, Line, Take, ramp
from hypothesis import given, settings
from hypothesis import strategies as st

from cuestream_client import messages as m
from cuestream_client.closes import CLOSES, ENDS, Patience, after_close
from cuestream_client.comeback import Next
from cuestream_client.control import encode
from cuestream_client.errors import Closed, TooMuch
from cuestream_client.media import Flag, Kind, Media, Size, StreamId
from cuestream_client.music import Chunk
from cuestream_client.outbox import KEPT_MESSAGES, Outbox
from cuestream_client.pictures import Form, Pictures
from cuestream_client.session import Picture, Playout, Session
from cuestream_client.stats import Stats
from cuestream_client.ticket import Ticket, read, written
from server.access.limiting import Bucket
from server.protocol import messages as t
from server.protocol.control import decode_client
from server.protocol.control import encode as encode_theirs
from server.protocol.errors import FAULTS, ErrorCode

STEP_S = 0.02


@dataclass
class World:
    """A client, a server and the line between them, 20 ms at a time. What is on the line when it breaks is gone."""

    chance: random.Random = field(default_factory=lambda: random.Random(0))
    now: float = 100.0
    takes: dict[str, Take] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    seen: list[m.ServerMessage] = field(default_factory=list)
    todo: Next | None = None
    line: Line | None = None
    listens: bool = True
    delay: int = 3

    def __post_init__(self) -> None:
        patience = Patience(
            most_s=1.0, stable_s=0.0
        )  # so that the calm at the end of a test is longer than a pause
        self.session = self.client_of(patience, None)
        self.up: deque[tuple[float, str | bytes]] = deque()
        self.down: deque[tuple[float, str | bytes]] = deque()
        self.connect()

    def client_of(self, patience: Patience, ticket: Ticket | None) -> Session:
        return Session("ws://x", None, patience, lambda: self.now, self.chance.random, ticket)

    def hand_over(self) -> None:
        """Another program goes on: all that it has is the ticket. A second lies between."""
        ticket = self.session.ticket
        assert ticket is not None
        text = written(ticket, unix_s=50_000.0)
        self.up.clear()
        self.down.clear()
        self.session.close()
        self.now += 1000.0  # its clock is another one
        self.session = self.client_of(Patience(most_s=1.0, stable_s=0.0), read(text, unix_s=50_001.0))
        self.connect()

    def connect(self) -> None:
        self.todo, self.line = None, Line(self.takes)
        self.session.opened()

    def cut(self, code: int = 1006) -> None:
        self.up.clear()
        self.down.clear()
        self.line = None
        self.todo = self.session.lost(code)
        self.retry_at = self.now + self.todo.pause_s

    def step(self) -> None:
        self.now += STEP_S
        for take in self.takes.values():
            take.advance()
        if self.line is None:
            if self.todo and self.todo.then != "stop" and self.now >= self.retry_at:
                self.connect()
            return
        arrives = self.now + self.delay * STEP_S
        self.session.tick()
        while (raw := self.session.take()) is not None:
            self.up.append((arrives, raw))
        while self.up and self.up[0][0] <= self.now:
            self.line.feed(self.up.popleft()[1])
        self.down.extend((arrives, raw) for raw in self.line.due())
        self._receive()
        if self.line.close and not self.down:
            self.cut(self.line.close)

    def go_away(self, to: str) -> None:
        assert self.line is not None
        self.line.say(t.GoAway(0, "draining", reconnect_url=to))
        self.step()

    def _receive(self) -> None:
        while self.down and self.down[0][0] <= self.now:
            seen = self.session.receive(self.down.popleft()[1])
            if isinstance(seen, Chunk):
                self.chunks.append(seen)
                if self.listens:
                    self.session.report(Playout(seen.session, seen.end, 40.0))
            elif seen is not None:
                self.seen.append(seen)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()


def heard(chunks: list[Chunk]) -> np.ndarray:
    return np.concatenate([chunk.samples[:, 0] for chunk in chunks])


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 6))
def test_every_sample_comes_once_whatever_the_line_does(seed: int, delay: int) -> None:
    world = World(random.Random(seed), delay=delay)
    world.session.send(m.Playback("play"))
    sent = 0
    for step in range(600):
        world.step()
        if step % 7 == 0:
            world.session.send(m.SceneChange(sent))
            sent += 1
        if world.line and step > 60 and world.chance.random() < 0.03:
            world.cut()
    before = world.chunks[-1].end
    world.run(200)
    chunks = world.chunks
    assert len(world.takes) == 1
    assert world.session.counts["resumed"] > 0
    firsts = [chunk.first_sample for chunk in chunks]
    assert firsts == [0, *(chunk.end for chunk in chunks[:-1])]
    np.testing.assert_array_equal(heard(chunks) * 32_768, ramp(0, chunks[-1].end))
    assert chunks[-1].end > before
    changes = [x.at_us for x in world.takes["s0"].seen if isinstance(x, t.SceneChange)]
    assert changes == list(range(sent))
    assert world.session.outbox.lost == 0


def test_a_gap_that_the_server_skips_is_a_gap_and_nothing_comes_twice() -> None:
    world = World(delay=1)
    world.session.send(m.Playback("play"))
    world.run(60)
    world.takes["s0"].catch_up = CHUNK
    world.cut()
    world.run(60)
    breaks = [(a, b) for a, b in zip(world.chunks, world.chunks[1:], strict=False) if b.first_sample != a.end]
    assert len(breaks) == 1
    assert breaks[0][1].first_sample > breaks[0][0].end
    assert breaks[0][1].crossfade
    assert world.session.music is not None
    assert world.session.music.counts["skipped_samples"] == breaks[0][1].first_sample - breaks[0][0].end


def test_a_session_that_is_gone_is_begun_anew_as_it_was() -> None:
    world = World(delay=1)
    world.session.send(m.Playback("play"))
    world.session.send(m.SessionUpdate(m.patch({"gain_db": -6})))
    world.run(60)
    world.takes["s0"].ended = True
    world.cut()
    world.session.send(m.SessionUpdate(m.patch({"guidance": 5.0, "duck": {"enabled": True}})))
    world.run(100)
    assert list(world.takes) == ["s0", "s1"]
    again = world.takes["s1"]
    assert (again.config.gain_db, again.config.guidance, again.config.duck.enabled) == (-6.0, 5.0, True)
    assert again.playing
    new = [chunk for chunk in world.chunks if chunk.session == 2]
    assert new[0].first_sample == 0
    assert world.session.played_through == new[-1].end


def test_another_client_goes_on_by_a_ticket_from_what_was_heard_on_the_same_clock() -> None:
    world = World()
    world.session.send(m.Playback("play"))
    world.run(200)
    before, heard_through = world.session.now_us, world.session.played_through
    world.chunks.clear()
    world.hand_over()
    assert world.session.now_us == pytest.approx(before + 1_000_000, abs=2)
    world.session.send(m.SceneChange(7))
    world.run(100)
    assert len(world.takes) == 1
    assert world.chunks[0].first_sample == heard_through
    assert world.session.counts["resumed"] == 1
    assert [x.at_us for x in world.takes["s0"].seen if isinstance(x, t.SceneChange)] == [7]


def test_a_ticket_whose_session_is_gone_begins_another_that_plays_if_it_played() -> None:
    world = World()
    world.session.send(m.Playback("play"))
    world.run(200)
    world.takes["s0"].ended = True
    world.hand_over()
    world.run(200)
    assert list(world.takes) == ["s0", "s1"]
    assert world.takes["s1"].playing


def test_there_is_no_ticket_before_a_handle_came_nor_after_the_end_nor_once_it_is_too_old() -> None:
    world = World()
    world.run(8)
    assert world.session.ticket is None
    world.run(60)
    ticket = world.session.ticket
    assert ticket is not None
    assert (ticket.handle, ticket.played, ticket.plays) == ("s0", 0, False)
    text = written(ticket, unix_s=0.0)
    assert read(text, unix_s=29.0) is not None
    assert read(text, unix_s=31.0) is None
    for none in ("", "{}", "null", text.replace("ws:", "x:")):
        with pytest.raises(ValueError, match="no ticket"):
            read(none, unix_s=0.0)
    world.session.close()
    assert world.session.ticket is None


def test_a_session_that_was_to_end_is_not_begun_anew() -> None:
    world = World(delay=1)
    world.run(60)
    world.takes["s0"].ended = True
    world.session.send(m.SessionEnd())
    world.cut()
    world.run(60)
    assert world.todo is not None
    assert world.todo.then == "stop"
    assert list(world.takes) == ["s0"]


def test_a_session_at_its_limit_is_followed_by_another() -> None:
    world = World(delay=0)
    world.session.send(m.Playback("play"))
    world.run(30)
    world.session.receive(encode_theirs(t.SessionEnded("session_limit", 5)))
    world.cut(4440)
    world.run(60)
    assert list(world.takes) == ["s0", "s1"]
    assert world.session.ended is None
    assert world.chunks[-1].session == 2


def test_the_same_report_is_said_once() -> None:
    world = World(delay=0)
    world.session.send(m.Playback("play"))
    world.run(30)
    world.takes["s0"].playing = False
    world.run(50)
    before = sum(isinstance(x, t.PlayoutReport) for x in world.takes["s0"].seen)
    world.run(100)
    assert sum(isinstance(x, t.PlayoutReport) for x in world.takes["s0"].seen) == before


def test_a_listener_who_hears_nothing_gets_no_more_than_its_credit() -> None:
    world = World(delay=1, listens=False)
    world.session.send(m.Playback("play"))
    world.run(200)
    assert world.chunks[-1].end == RATE // 2


def test_a_report_never_goes_back_or_beyond_what_came() -> None:
    world = World(delay=0)
    world.session.send(m.Playback("play"))
    world.run(20)
    world.listens = False
    world.session.report(Playout(1, 10**9))
    assert world.session.music is not None
    assert world.session.played_through == world.session.music.received_through
    world.session.report(Playout(1, 5))
    assert world.session.played_through == world.session.music.received_through
    world.session.report(Playout(7, 5))
    assert world.session.played_through == 0


@pytest.mark.parametrize(("code", "then"), [*CLOSES.items(), (1006, "resume"), (4999, "resume")])
def test_each_close_code_is_followed_as_the_table_says(code: int, then: str) -> None:
    world = World(delay=0)
    world.run(30)
    following = world.session.lost(code)
    assert following.then == then
    if then == "stop":
        assert world.session.state == "over"
        with pytest.raises(Closed):
            world.session.send(m.Playback("play"))
        return
    world.session.opened()
    greeting = world.session.take()
    assert isinstance(greeting, str)
    assert ("session.resume" in greeting) == (then == "resume")


def test_a_session_whose_place_was_taken_is_asked_for_again() -> None:
    """1013 is a new session for who had none; who came back to one comes back again, and in the time that was asked for."""
    world = World()
    world.run(60)
    handle = world.session._handle
    assert handle
    world.session.lost(1006)
    world.session.opened()
    world.session.take()
    world.session.receive(encode_theirs(t.ErrorMessage("capacity", "full", True, retry_after_ms=5000)))
    following = world.session.lost(1013)
    assert (following.then, world.session._handle) == ("resume", handle)
    assert following.pause_s >= 5
    world.session.opened()
    assert handle in str(world.session.take())


def test_pauses_double_to_a_bound_and_then_it_gives_up() -> None:
    patience = Patience(first_s=0.25, most_s=4.0, first_attempts=8)
    session = Session("ws://x", patience=patience, clock=lambda: 0.0, chance=lambda: 1.0)
    pauses = [session.refused(None, "nobody there") for _ in range(8)]
    assert [p.pause_s for p in pauses[:7]] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert pauses[7].gave_up
    assert "gave up after 8 attempts; nobody there" in pauses[7].why
    least = Session("ws://x", patience=patience, clock=lambda: 0.0, chance=lambda: 0.0)
    assert least.refused(None, "").pause_s == 0.125


def test_a_line_that_broke_is_no_attempt_to_come_back() -> None:
    world = World(delay=0)
    world.run(30)
    assert not world.session.lost(1006).gave_up
    assert not any(world.session.refused(None, "still away").gave_up for _ in range(11))
    assert world.session.refused(None, "still away").why == "gave up after 12 attempts; still away"


def test_a_server_that_came_back_without_the_session_is_not_kept_waiting() -> None:
    world = World(delay=0)
    world.run(30)
    world.session.lost(1006)
    for _ in range(6):
        world.session.refused(None, "still away")
    world.session.opened()
    following = world.session.lost(4404)
    assert following.then == "retry"
    assert following.pause_s <= 0.25


def test_a_server_that_begins_sessions_and_knows_none_of_them_is_given_up() -> None:
    """What it says to who resumes is an answer, which this is not."""
    world = World(delay=0)
    world.session._comeback._patience = Patience()
    for at in range(13):
        world.run(15)  # until a handle came, and not for long
        assert world.session._handle
        assert world.session.lost(4404).gave_up == (at == 12)
        world.connect()


def test_a_resume_that_nobody_asked_for_is_none_and_the_greeting_still_waits() -> None:
    now = 0.0
    session = Session("ws://x", clock=lambda: now)
    session.opened()
    session.take()
    line = Line({"s0": Take()})
    line.feed(encode(m.SessionResume(0, "s0", 0, 0)))
    (resumed,) = line.due()
    assert session.receive(resumed) is None
    assert (session.state, session.counts["ignored"]) == ("greeting", 1)
    now = 10.0
    assert session.is_unanswered


@pytest.mark.parametrize("moment", ["greeting", "open", "lost", "resuming"])
@pytest.mark.parametrize("code", [*CLOSES, 1006, 4999])
def test_after_each_code_at_each_moment_the_next_greeting_is_as_the_table_says(
    code: int, moment: str
) -> None:
    """A session is asked for again as long as it may be there: also where who resumes is told to come later."""
    world = World(delay=0)
    if moment == "greeting":
        world.session.take()
    else:
        world.run(30)
    if moment in ("lost", "resuming"):
        world.session.lost()
    if moment == "resuming":
        world.session.opened()
        world.session.take()
    began = moment != "greeting"
    then = after_close(code)
    if code == 1013 and moment == "resuming":
        then = "resume"
    if then == "resume" and not began:
        then = "retry"
    assert world.session.lost(code).then == then
    if then == "stop":
        assert world.session.state == "over"
        return
    world.session.opened()
    greeting = str(world.session.take())
    assert ("session.resume" if then == "resume" else "session.start") in greeting
    assert world.session.take() is None  # and nothing else before its answer


def test_a_pause_that_the_server_asks_for_is_kept() -> None:
    session = Session("ws://x", clock=lambda: 0.0, chance=lambda: 0.0)
    session.opened()
    session.receive(encode_theirs(t.ErrorMessage("capacity", "full", True, retry_after_ms=7000)))
    following = session.lost(1013)
    assert (following.then, following.pause_s) == ("retry", 7.0)
    assert "capacity" in following.why


def test_a_wait_that_was_asked_for_is_kept_up_to_a_limit() -> None:
    """Beyond it a session is not begun, and one that stood is asked for again."""
    patience = Patience(asked_s=60.0)
    session = Session("ws://x", patience=patience, clock=lambda: 0.0)
    following = session.refused(429, "not now", 60.0)
    assert (following.then, following.pause_s, following.asked_s) == ("retry", 60.0, 60.0)
    following = session.refused(429, "not now", 86400.0)
    assert (following.then, following.gave_up, following.asked_s) == ("stop", False, 86400.0)
    assert following.why == "not now; it asks to come again in 86400 s"
    world = World(delay=0)
    world.run(30)
    world.session.lost()
    following = world.session.refused(503, "not now", 86400.0)
    assert (following.then, following.pause_s, following.asked_s) == ("resume", 120.0, 86400.0)


def test_how_long_to_wait_is_of_the_error_that_a_connection_ends_with_and_of_no_other() -> None:
    world = World(delay=0)
    world.run(30)
    world.session.receive(
        encode_theirs(t.ErrorMessage("recording_refused", "", False, retry_after_ms=60_000))
    )
    following = world.session.lost()
    assert (following.then, following.pause_s, following.asked_s) == ("resume", 0.0, 0.0)
    world.session.opened()
    world.session.receive(encode_theirs(t.ErrorMessage("capacity", "full", True, retry_after_ms=60_000)))
    assert world.session.lost(1013).pause_s == 60.0


@pytest.mark.parametrize("code", FAULTS)
def test_an_error_says_what_follows_also_where_the_line_breaks_before_its_close(code: ErrorCode) -> None:
    close = FAULTS[code].close
    assert ENDS.get(code) == close
    if close is not None:
        world = World(delay=0)
        world.run(30)
        world.session.receive(encode_theirs(t.ErrorMessage(code, "so it is", True)))
        following = world.session.lost()
        assert (following.code, following.then) == (close, CLOSES[close])


@pytest.mark.parametrize(
    "url", ["nonsense", "ws://", "http://y/", "ws://y:0/", "ws://y:x/", "ws://[y/", "ws://y/v1/stream#there"]
)
def test_a_server_that_goes_away_to_what_is_no_address_is_heard_to_its_end(url: str) -> None:
    world = World(delay=0)
    world.run(30)
    world.session.receive(encode_theirs(t.GoAway(0, "draining", reconnect_url=url)))
    assert not world.session.wants_to_leave
    assert world.session.lost(1001).url == "ws://x"


@pytest.mark.parametrize(
    ("status", "then"),
    [
        *[(status, "stop") for status in (400, 401, 403, 404, 501, 505)],
        *[(status, "retry") for status in (408, 429, 500, 503)],
    ],
)
def test_a_refused_upgrade_is_followed_by_its_status(status: int, then: str) -> None:
    assert Session("ws://x").refused(status, "no").then == then


@pytest.mark.parametrize("status", [408, 429, 502])
def test_an_upgrade_that_is_refused_for_now_is_tried_again_with_the_handle(status: int) -> None:
    world = World(delay=0)
    world.run(30)
    world.session.lost()
    assert world.session.refused(status, "not now").then == "resume"
    assert not world.session.begins


def test_a_greeting_that_is_refused_ends_its_connection_and_says_why() -> None:
    session = Session("ws://x")
    session.opened()
    session.take()
    session.receive(encode_theirs(t.ErrorMessage("bad_request", "no room for that", False)))
    assert session.wants_to_leave
    following = session.lost(1001)
    assert (following.then, following.code, following.why) == ("stop", 4400, "bad_request: no room for that")


def test_a_resume_that_is_refused_is_followed_by_a_new_session() -> None:
    world = World(delay=0)
    world.run(30)
    world.session.lost()
    world.session.opened()
    world.session.take()
    world.session.receive(encode_theirs(t.ErrorMessage("bad_request", "never sent", False)))
    assert world.session.wants_to_leave
    assert world.session.lost(1001).then == "retry"
    assert world.session.begins


def test_an_error_within_a_session_does_not_end_it() -> None:
    world = World(delay=0)
    world.run(30)
    world.session.receive(encode_theirs(t.ErrorMessage("bad_request", "no", False)))
    assert not world.session.wants_to_leave
    assert world.session.lost().why == "closed with 1006"


def test_a_server_that_goes_away_is_left_in_time_for_the_one_it_names() -> None:
    world = World(delay=0)
    world.run(30)
    assert world.line is not None
    world.line.say(t.GoAway(30_000, "draining", reconnect_url="ws://other/v1/stream"))
    world.step()
    assert not world.session.wants_to_leave
    world.run(80)
    assert world.session.wants_to_leave
    following = world.session.lost(1001)
    assert (following.then, following.url, following.pause_s) == ("resume", "ws://other/v1/stream", 0.0)


def test_where_nobody_answers_there_the_place_before_is_tried_too_until_one_of_them_does() -> None:
    world = World(delay=0)
    world.run(30)
    before, other = world.session.url, "ws://other/v1/stream"
    world.go_away(other)
    tried = [world.session.lost().url for _ in range(6)]
    assert tried == [other, other, other, before, other, before]
    world.connect()
    world.run(30)  # and it stands there: that is its place
    assert {world.session.lost().url for _ in range(4)} == {before}


def test_where_nobody_answers_for_long_the_place_of_the_beginning_is_tried_too() -> None:
    world = World(delay=0)
    first, second, third = world.session.url, "ws://second/v1/stream", "ws://third/v1/stream"
    world.run(30)
    world.go_away(second)
    assert [world.session.lost().url for _ in range(3)] == [second] * 3
    world.connect()
    world.run(30)
    tried = [world.session.lost().url for _ in range(12)]
    assert tried == [second] * 9 + [first, second, first]  # its session may still be there for half a minute
    world = World(delay=0)
    for place in (second, third):
        world.run(30)
        world.go_away(place)
        tried = [world.session.lost().url]
        world.connect()
    tried += [world.session.lost().url for _ in range(6)]
    assert tried == [third] * 3 + [second, first, third, second]


def test_who_answers_and_has_no_room_is_asked_again() -> None:
    world = World(delay=0)
    world.run(30)
    world.go_away("ws://other/v1/stream")
    world.session.lost()
    assert {world.session.refused(503, "full").url for _ in range(6)} == {"ws://other/v1/stream"}


def test_a_server_that_goes_away_and_names_no_other_is_heard_to_its_end() -> None:
    world = World(delay=0)
    world.run(30)
    assert world.line is not None
    world.line.say(t.GoAway(2000, "draining"))
    world.run(80)
    assert not world.session.wants_to_leave
    assert world.session.lost(1001).then == "resume"


def test_no_server_talks_a_client_out_of_encryption() -> None:
    session = Session("wss://x", clock=lambda: 0.0)
    session.opened()
    session.receive(encode_theirs(t.GoAway(1000, "draining", reconnect_url="ws://other/v1/stream")))
    assert session.lost(1001).url == "wss://x"


def test_only_the_newest_picture_is_sent_and_control_goes_first() -> None:
    world = World(delay=0)
    world.run(3)
    for at in (1, 2, 3):
        world.session.push(Picture(Kind.JPEG, b"\xff\xd8\xff\xd9", at))
    world.session.send(m.Playback("play"))
    assert isinstance(world.session.take(), str)
    world.run(2)
    assert [picture.ts for picture in world.takes["s0"].pictures] == [3]
    assert world.session.counts["replaced_pictures"] == 2


def test_what_breaks_the_protocol_is_counted_and_left_alone() -> None:
    world = World(delay=0)
    world.run(3)
    for raw in ("{", '{"type":"state"}', b"short", '{"type":"newer.kind","x":1}'):
        assert world.session.receive(raw) is None
    assert world.session.counts["ignored"] == 1
    assert sum(n for name, n in world.session.counts.items() if name.startswith("refused")) == 3
    assert world.session.state == "open"


def test_what_was_looped_is_counted() -> None:
    world = World(delay=0)
    world.run(3)
    session = world.session
    assert session.music is not None
    payload = ramp(0, 2 * CHUNK).tobytes()
    session.music.add(Media(Kind.PCM_S16, StreamId.MUSIC, 0, 0, payload, Flag.CONCEALED, 0, 2 * CHUNK))
    session.music.add(Media(Kind.PCM_S16, StreamId.MUSIC, 1, CHUNK, payload, Flag.CONCEALED, 0, 2 * CHUNK))
    stats = Stats.of(session)
    assert (stats.concealed_samples, stats.repeated_samples, stats.received_through) == (
        3 * CHUNK,
        CHUNK,
        3 * CHUNK,
    )


def test_the_clocks_are_compared() -> None:
    world = World(delay=1)
    world.run(20)
    offset = world.session.sync.offset_us
    assert offset is not None
    assert abs(offset - 1_000_000) < 50_000


def test_no_burst_is_faster_than_the_server_takes_messages_and_reports_pass_it() -> None:
    world, took = World(delay=0), list[tuple[float, t.Message]]()
    world.run(3)
    for at in range(200):
        world.session.send(m.SessionUpdate(m.patch({"seed": at})))
    bucket = Bucket(50, 50)
    for step in range(400):
        world.now += STEP_S
        world.session.report(Playout(1, 0, buffer_ms=step))
        world.session.tick()
        while (raw := world.session.take()) is not None:
            assert bucket.allows(world.now)
            message = decode_client(raw).message
            assert isinstance(message, t.Message)
            took.append((world.now, message))
    seeds = [x.config.seed for _, x in took if isinstance(x, t.SessionUpdate)]
    assert seeds == list(range(200))
    reports = [(at, x.buffer_ms) for at, x in took if isinstance(x, t.PlayoutReport)]
    pauses = [later - sooner for (sooner, _), (later, _) in pairwise(reports)]
    assert max(pauses) < 0.2


def test_what_waits_and_what_passes_take_turns() -> None:
    outbox = Outbox()
    outbox.add(m.SceneChange(1))
    outbox.add(m.SceneChange(2))
    for at in range(3):
        outbox.add(m.Ping(at))
    outbox.add(m.PlayoutReport(7, 0.0))
    out = [outbox.take() for _ in range(5)]
    assert out == [m.Ping(2), m.SceneChange(1), m.PlayoutReport(7, 0.0), m.SceneChange(2), None]


def test_control_messages_wait_for_a_connection_up_to_their_bound() -> None:
    session = Session("ws://x")
    for _ in range(KEPT_MESSAGES):
        session.send(m.SceneChange())
    with pytest.raises(TooMuch):
        session.send(m.SceneChange())
    assert len(session.outbox) == KEPT_MESSAGES


def test_an_outbox_that_nobody_acknowledges_forgets_the_oldest_sent() -> None:
    outbox = Outbox()
    for at in range(KEPT_MESSAGES + 10):
        outbox.add(m.SceneChange(at))
        assert outbox.take() == m.SceneChange(at)
    assert len(outbox) == KEPT_MESSAGES
    outbox.rewind(1)
    assert outbox.lost == 10
    assert encode(outbox.take() or m.Ping(0)) == encode(m.SceneChange(10))


@pytest.mark.parametrize("form", ["rgb24", "i420"])
def test_raw_frames_travel_with_their_size(form: Form) -> None:
    video = m.VideoFormat(("jpeg", "rgb24", "i420"), 8.0, 320)
    frame = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    small = Pictures(form).prepare(frame, 7, video)
    assert (small.kind, small.at_us) == (Kind[form.upper()], 7)
    large = Pictures(form).prepare(frame.repeat(20, 0).repeat(20, 1), 7, video)
    for picture, size in ((small, Size(50, 30)), (large, Size(320, 192))):
        assert picture.size == size
        assert len(picture.payload) == size.width * size.height * 3 // (2 if form == "i420" else 1)
    if form == "rgb24":
        assert small.payload == frame.tobytes()
    with pytest.raises(ValueError, match=form):
        Pictures(form).prepare(frame, 7, m.VideoFormat(("jpeg",), 8.0, 320))
