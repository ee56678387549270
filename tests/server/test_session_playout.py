"""Audio as the master clock: no gap, the lead inside its limits, lateness concealed, clients served where they stopped."""

from __future__ import annotations

import numpy as np
import pytest
from rig import HOP, RATE, TICK_S, Rig, TonePlayer, black, by_index, check_in_order, config, rig, tone

from engine.errors import PackageError
from engine.spec import StreamPolicy
from server.core.checkpoint import Checkpoint
from server.core.clock import PlayClock
from server.core.conceal import HELD_S, Concealer, needed
from server.core.controls import Duck, Fade, Gain, VerbFade
from server.core.delivery import Patience
from server.core.errors import SessionError
from server.core.mixing import Ducking
from server.core.orders import Orders
from server.core.playout import Limits, Music
from server.core.session import Session
from server.engine_thread.voices import Voice
from server.settings import Settings

LOW, HIGH = Limits().low, Limits().high


def test_deadlines_are_absolute() -> None:
    clock = PlayClock(RATE, 100.0, 640)
    assert [clock.due_s(640 + n * 640) for n in (0, 1, 180_000)] == pytest.approx([100.0, 100.02, 3700.0])
    assert [clock.position(t) for t in (99.0, 100.0, 100.02, 3700.0)] == [640, 640, 1280, 640 + 3600 * RATE]


@pytest.mark.parametrize(
    "speed", [lambda _: 1.3, lambda t: 3.0 if int(t * 4) % 2 else 0.2], ids=["steady", "varied"]
)
def test_a_minute_without_a_gap(speed: object) -> None:
    """The second engine stands nearly still for 250 ms of each 500."""
    played = rig(speed=speed)
    chunks = played.run(60)
    check_in_order(chunks, 0)
    assert len(chunks) > 59 * 50
    assert not any(chunk.concealed for chunk in chunks)
    assert np.array_equal(played.pcm, tone(0, len(played.pcm)))
    assert max(played.leads) <= HIGH
    assert min(played.leads[50:]) > 0
    starts = [chunk.due_s - chunk.first_sample / RATE for chunk in chunks]
    assert np.ptp(starts) < 1e-9


def test_the_lead_stays_between_its_limits() -> None:
    played = rig()
    played.run(60)
    assert LOW <= min(played.leads) <= max(played.leads) <= HIGH
    assert played.levels == ["on_time"]


@pytest.mark.parametrize("lead_ms", [40, 100, 200, 340, 2000])
def test_a_lead_that_was_chosen_is_kept_and_its_pieces_fit_in(lead_ms: int) -> None:
    limits = Limits().led_by(lead_ms)
    steps = Settings(playout=limits).piece_steps(5, 50)
    policy = StreamPolicy(chunk_steps=steps)
    played = rig(policy=policy, limits=limits)
    chunks = played.run(20)
    assert not any(chunk.concealed for chunk in chunks)
    assert max(played.leads) <= limits.high
    assert min(played.leads[50:]) > 0
    assert steps * HOP <= limits.high - limits.low


@pytest.mark.parametrize(
    ("own", "chunk_ms", "lead_ms", "steps"),
    [
        (5, 20, 340, 5),
        (5, 100, 340, 5),
        (5, 200, 600, 10),
        (5, 20, 100, 2),
        (41, 20, 340, 9),
        (5, 20, 40, 1),
        (5, 40, 120, 2),
        (5, 40, 140, 2),
        (5, 40, 200, 5),
    ],
)
def test_a_piece_is_a_chunk_at_least_and_fits_in_the_lead(
    own: int, chunk_ms: int, lead_ms: int, steps: int
) -> None:
    settings = Settings(chunk_ms=chunk_ms, playout=Limits().led_by(lead_ms))
    assert settings.piece_steps(own, 50) == steps


@pytest.mark.parametrize(("chunk_ms", "lead_ms"), [(200, 600), (300, 900), (500, 1000), (500, 2000)])
def test_long_chunks_have_no_gap_and_are_resumed(chunk_ms: int, lead_ms: int) -> None:
    settings = Settings(chunk_ms=chunk_ms, playout=Limits().led_by(lead_ms))
    policy = StreamPolicy(chunk_steps=settings.piece_steps(5, 50))
    chosen = settings.session(config(policy=policy, limits=settings.playout))
    played = rig(policy=policy, limits=chosen.limits, patience=chosen.patience)
    chunks = played.run(20)
    assert {len(chunk.samples) for chunk in chunks} == {chosen.limits.chunk}
    assert not any(chunk.concealed for chunk in chunks)
    assert max(played.leads) <= chosen.limits.high
    assert min(played.leads[50:]) > 0
    heard = chunks[-1].first_sample
    played.session.detach(played.now)
    played.run(1.5)
    played.session.resume(played.now, heard)
    check_in_order(played.run(5), heard)
    at = {chunk.first_sample: chunk for chunk in played.chunks}
    assert np.array_equal(
        np.concatenate([at[first].samples for first in sorted(at)]), tone(0, len(at) * chosen.limits.chunk)
    )


def test_the_lead_that_is_kept_unless_one_is_chosen() -> None:
    assert Limits().led_by(340) == Limits()
    assert Settings().piece_steps(StreamPolicy().chunk_steps, 50) == StreamPolicy().chunk_steps


def test_the_engine_is_told_of_whole_pieces_only() -> None:
    """Nothing is ordered that the engine could not act on: ten pieces a second, ten orders."""
    played, told = rig(), []
    poll = played.session.poll
    played.session.poll = lambda now: (told.append((made := poll(now))[0]), made)[1]  # type: ignore[method-assign]
    played.run(10)
    wanted = [orders.wanted for orders in told if orders and orders.wanted is not None]
    assert all(samples % (5 * HOP) == 0 for samples in wanted)
    assert wanted == sorted(set(wanted))
    assert 100 <= len(wanted) <= 110


def test_what_is_known_of_placed_music_keeps_no_samples_in_memory() -> None:
    played = rig()
    played.run(2)
    assert all(span.about.samples.base is None for span in played.session.playout.spans)


def test_the_session_says_when_its_next_chunk_is_due() -> None:
    played = rig()
    assert played.session.chunk_due_s is None
    played.run(1)
    for _ in range(50):
        due_s = played.session.chunk_due_s
        assert due_s is not None
        played.tick()
        assert played.chunks[-1].due_s == pytest.approx(due_s)
    played.session.pause(played.now)
    played.run(1)
    assert played.session.chunk_due_s is None


def test_a_chunk_says_how_old_its_picture_is() -> None:
    """A frame each 100 ms, stamped with what sounds when it comes: heard between the lead and a little more later."""
    played = rig()
    played.before = lambda r: r.session.frame(r.now, black()) if round(r.now / TICK_S) % 5 == 0 else None
    ages = [chunk.age_steps for chunk in played.run(10)[100:]]
    assert 10 <= min(ages) <= max(ages) <= 30


def test_a_slow_engine_is_concealed_and_told_and_recovers() -> None:
    """Half speed for 20 s in a minute."""
    played = rig(speed=lambda t: 0.5 if 5 <= t < 25 else 3.0)
    chunks = played.run(60)
    check_in_order(chunks, 0)
    assert len(chunks) > 59 * 50
    made_up = [chunk.due_s for chunk in chunks if chunk.concealed]
    assert 5 < min(made_up) < max(made_up) < 26
    levels = played.levels[1:]
    assert levels[:3] == ["looks_less", "shorter_context", "concealing"]
    assert levels[-3:] == ["shorter_context", "looks_less", "on_time"]
    assert played.session.playout.counts["concealed_samples"] == 640 * len(made_up)
    assert max(played.leads) <= HIGH
    # no sample of the music was left out: what was made up lies between
    last = chunks[-1]
    assert not last.concealed
    late = played.session.playout.ring.end - played.session.playout.played
    assert np.array_equal(last.samples, tone(last.first_sample - late, 640))
    assert 9.0 < late / RATE < 11.0
    # and nothing clicks: no step is larger than some times what the tone itself does
    assert np.abs(np.diff(played.pcm)).max() < 4 * np.abs(np.diff(tone(0, RATE * 10))).max()


def test_degradations_reach_the_stream_and_leave_it() -> None:
    played = rig(speed=lambda t: 0.0 if 2 <= t < 3 else 3.0)
    played.run(3)
    assert played.voice.policy.encode_every_steps == 30
    assert played.voice.policy.short_term_s == 5.0
    played.run(20)
    assert played.voice.policy == played.session.policy


def test_an_engine_that_is_gone_fades_to_silence() -> None:
    played = rig(speed=lambda t: 0.0 if t > 2 else 3.0)
    chunks = played.run(12)
    assert np.abs(chunks[-1].samples).max() == 0
    assert all(chunk.concealed for chunk in chunks[150:])


@pytest.mark.parametrize("pieces", [[1, 639, 1000, 7, 8353], [10000]])
def test_the_loop_is_one_piece_however_it_is_asked_for(pieces: list[int]) -> None:
    history = tone(0, needed(RATE))
    whole = Concealer.after(history, RATE).play(10000)
    concealer = Concealer.after(history, RATE)
    assert np.array_equal(np.concatenate([concealer.play(n) for n in pieces]), whole)


def test_the_loop_goes_on_where_a_steady_sound_was() -> None:
    """A steady sound of any pitch: the loop is nearly the sound itself."""
    for pitch in (0.011, 0.037, 0.21):
        sound = np.sin(np.arange(needed(RATE) + RATE) * pitch).astype(np.float32)
        history = sound[: needed(RATE)]
        played = Concealer.after(history, RATE).play(RATE)
        both = np.concatenate((history[-100:], played))
        assert np.abs(np.diff(both)).max() < 1.5 * pitch
    assert np.abs(Concealer.after(history, RATE).play(int(HELD_S * RATE))[-RATE:]).max() > 0.9
    assert not Concealer.after(history[:100], RATE).play(RATE)[1000:].any()


def test_a_loop_that_slept_makes_nothing_up() -> None:
    played = rig()
    played.run(5)
    played.now += 3600
    chunks = played.run(5)
    check_in_order(chunks)
    assert not any(chunk.concealed for chunk in chunks)
    assert len(chunks) < 255


# --- clients that go, come back or stop listening


def test_five_seconds_without_a_line_lose_no_sample() -> None:
    """The client had played 100 ms less than it was sent; everything by index is what an uninterrupted run played."""
    whole = by_index(rig_run(20))
    played = rig()
    played.run(5)
    heard = played.chunks[-1].first_sample - 3200
    played.session.detach(played.now)
    assert played.run(5) == []
    assert played.session.shown_state == "detached"
    assert played.session.playout.ring.end - heard < 3 * RATE  # the grace, and what was on its way
    played.session.resume(played.now, heard)
    chunks = played.run(8)
    check_in_order(chunks, heard)
    assert not any(chunk.concealed or chunk.crossfade for chunk in chunks)
    for first, samples in by_index(chunks).items():
        assert np.array_equal(samples, whole[first])
    # and it is no later than before: what waited was the lead
    assert played.session.delivery is not None
    assert played.session.delivery.behind(played.session.playout, played.now) <= 640
    assert played.session.playout.lead(played.now) <= HIGH


def rig_run(seconds: float) -> list:  # type: ignore[type-arg]
    return rig().run(seconds)


def test_a_client_that_comes_back_is_caught_up_in_bursts_of_its_credit() -> None:
    played = rig()
    played.run(5)
    heard = played.chunks[-1].first_sample
    played.session.detach(played.now)
    played.run(3)
    played.acknowledges = False
    played.session.resume(played.now, heard)
    assert len(played.run(0.02)) == 25  # 500 ms
    assert played.run(0.2) == []
    played.session.report(heard + 6400)
    assert len(played.run(0.02)) == 10


def test_a_client_with_less_credit_than_a_chunk_gets_one_at_a_time() -> None:
    played = rig(patience=Patience(credit=Limits().chunk - 1))
    played.acknowledges = False
    (first,) = played.run(1)
    assert played.run(1) == []
    played.session.report(first.first_sample + len(first.samples))
    (second,) = played.run(1)
    assert second.first_sample == first.first_sample + len(first.samples)


@pytest.mark.parametrize("seconds", [29.5, 31.0])
def test_a_session_waits_thirty_seconds_for_its_client(seconds: float) -> None:
    played = rig()
    played.run(4)
    heard = played.session.playout.ring.end
    played.session.detach(played.now)
    played.run(seconds)
    if seconds < 30:
        played.session.resume(played.now, heard)
        check_in_order(played.run(2), heard)
        return
    with pytest.raises(SessionError, match="waits 30 s for a client") as caught:
        played.session.resume(played.now, heard)
    assert caught.value.code == "session_expired"
    assert played.session.state == "expired"
    assert played.voices._voices == {}


def test_a_client_that_asks_for_too_much_is_moved_to_the_present_by_one_crossfade() -> None:
    played = rig()
    played.run(12)
    played.session.resume(played.now, 0)
    chunks = played.run(2)
    assert [chunk.discontinuity for chunk in chunks[:3]] == [True, False, False]
    assert chunks[0].crossfade
    check_in_order(chunks, 0)
    assert chunks[0].first_sample > 11 * RATE
    with pytest.raises(SessionError, match="were placed") as caught:
        played.session.resume(played.now, 100 * RATE)
    assert caught.value.code == "bad_request"


def test_a_client_that_stalls_is_skipped_then_let_go_in_bounded_memory() -> None:
    played = rig()
    played.run(5)
    played.acknowledges = False
    played.run(4)
    played.acknowledges = True
    assert played.session.delivery is not None
    played.session.report(played.session.delivery.cursor)
    chunks = played.run(2)
    assert sum(chunk.discontinuity for chunk in chunks) == 1
    check_in_order(played.chunks, 0)
    played.acknowledges = False
    played.run(12)
    assert [event.kind for event in played.events if event.kind == "slow_consumer"]
    assert played.session.shown_state == "detached"
    held = played.session.playout
    assert len(held.spans) <= 1550
    assert held.ready <= HIGH
    assert held.ring.end - held.ring.first <= 31 * RATE


def test_nothing_grows_in_an_hour() -> None:
    """A client without reports and credit, as a plain HTTP stream is."""
    played = rig(patience=Patience(credit=None))
    for _ in range(60):
        assert len(played.run(10)) in (480, *range(495, 503))
        played.chunks.clear()
        played.leads.clear()
    held = played.session.playout
    assert (len(held.spans), len(played.session._events)) == (1550, 0)


# --- verbs


def test_pausing_keeps_the_place() -> None:
    played = rig()
    played.run(5)
    played.session.pause(played.now)
    played.run(3)
    assert played.session.state == "paused"
    end = played.chunks[-1]
    assert end.samples[-1] == 0
    assert played.run(10) == []
    played.session.play(played.now)
    chunks = played.run(2)
    check_in_order(played.chunks, 0)
    assert chunks[0].first_sample == end.first_sample + 640
    assert np.array_equal(chunks[20].samples, tone(chunks[20].first_sample, 640))


def test_stopping_forgets_the_music() -> None:
    played = rig()
    played.run(5)
    played.session.stop(played.now)
    played.run(1)
    assert played.session.state == "stopped"
    played.session.play(played.now)
    chunks = played.run(2)
    check_in_order(played.chunks, 0)
    assert chunks[0].take == 1
    assert np.array_equal(chunks[20].samples, tone(20 * 640, 640))
    played.session.stop(played.now)
    played.session.play(played.now)
    assert played.run(2)[-1].take == 2


@pytest.mark.parametrize(
    ("verbs", "ends"),
    [
        (("stop", "play", "stop"), "stopped"),
        (("stop", "pause"), "stopped"),
        (("stop", "play", "pause"), "stopped"),
        (("stop", "pause", "play"), "playing"),
        (("pause", "stop"), "stopped"),
        (("pause", "play"), "playing"),
    ],
)
def test_of_verbs_within_a_fade_the_last_one_holds_and_a_stop_always_forgets(
    verbs: tuple[str, ...], ends: str
) -> None:
    played = rig()
    played.run(5)
    for verb in verbs:
        getattr(played.session, verb)(played.now)
    played.run(2)
    assert played.session.state == ends
    assert played.session.take == ("stop" in verbs)
    played.session.play(played.now)
    played.run(1)
    played.session.stop(played.now)
    played.run(1)
    assert played.session.state == "stopped"


def test_a_picture_of_the_old_context_is_not_from_the_future_of_the_new_one() -> None:
    played = rig()
    played.before = lambda r: r.session.frame(r.now, black())
    played.run(10)
    played.session.reset_context(played.now)
    chunks = played.run(3)
    ages = [chunk.age_steps for chunk in chunks if chunk.take == 1]
    assert 0 <= min(ages) <= max(ages) <= 30


def test_frames_that_do_not_fit_are_refused() -> None:
    played = rig()
    for frame in (black(9), black().astype(np.float32)):
        with pytest.raises(SessionError) as caught:
            played.session.frame(0.0, frame)
        assert caught.value.code == "bad_request"


def test_a_config_that_cannot_play_is_refused() -> None:
    with pytest.raises(ValueError, match="fits between the limits of the lead; got 32000 samples"):
        config(policy=StreamPolicy(chunk_steps=50))
    with pytest.raises(ValueError, match="lasts as long as the session waits"):
        config(resume_s=60.0)


def test_what_is_not_a_number_is_silence() -> None:
    played = rig()
    played.run(2)
    samples = np.full(3200, np.nan, np.float32)
    first = played.session.playout.played + played.session.playout.ready
    played.session.playout.add(Music(samples, first, 0, 0, 0, 0))
    heard = np.concatenate([chunk.samples for chunk in played.run(2)])
    assert np.isfinite(heard).all()
    assert (heard == 0).sum() == 3200


def test_another_context_is_crossfaded_and_loses_no_index() -> None:
    played = rig()
    played.run(5)
    played.session.reset_context(played.now)
    chunks = played.run(5)
    check_in_order(played.chunks, 0)
    assert chunks[-1].take == 1
    late = played.session.playout.ring.end - played.session.playout.played
    assert np.array_equal(chunks[-1].samples, tone(chunks[-1].first_sample - late, 640))
    assert np.abs(np.diff(played.pcm)).max() < 0.02


@pytest.mark.parametrize("before", ["created", "stopped"])
def test_another_context_while_nothing_plays_is_heard_from_its_first_sample(before: str) -> None:
    played = (
        rig() if before == "stopped" else Rig(Session(config(), 0.0), Voice(TonePlayer(), StreamPolicy()))
    )
    if before == "stopped":
        played.run(2)
        played.session.stop(played.now)
        played.run(1)
    else:
        played.session.attach(0.0)
        played.session.frame(0.0, black())
    assert played.session.state == before
    played.session.reset_context(played.now)
    played.session.play(played.now)
    chunks = played.run(2)
    assert len(chunks) > 80
    playout = played.session.playout
    assert chunks[0].first_sample == playout.ring.end - playout.played
    assert not any(chunk.concealed or chunk.crossfade for chunk in chunks)


@pytest.mark.parametrize(("verb", "ends"), [("pause", "paused"), ("stop", "stopped")])
def test_the_fades_of_playback_are_as_long_as_was_asked(verb: str, ends: str) -> None:
    played = rig()
    played.run(3)
    played.session.control(played.now, VerbFade(1.0))
    first = played.session.playout.ring.end
    getattr(played.session, verb)(played.now)
    faded = np.concatenate([chunk.samples for chunk in played.run(3)])
    assert (played.session.state, len(faded)) == (ends, RATE)
    level = np.abs(faded).reshape(50, -1).max(1) / np.abs(tone(first, RATE)).reshape(50, -1).max(1)
    assert level == pytest.approx(1 - (np.arange(50) + 0.5) / 50, abs=0.02)


# --- the engine's side and what a session keeps


def test_a_checkpoint_goes_on_elsewhere() -> None:
    """A second's worth of what the client heard is made again, unheard, and it goes on by index."""
    whole = by_index(rig_run(20))
    first = rig()
    first.run(6.5)
    assert first.session.checkpoint is not None
    checkpoint, heard = (
        Checkpoint.from_bytes(first.session.checkpoint.to_bytes()),
        first.chunks[-1].first_sample,
    )
    assert 0 < heard - checkpoint.placed < RATE
    settings = config()
    voice = Voice(first.voice.player, settings.policy, checkpoint=checkpoint)
    again = Rig(Session.restored(settings, checkpoint, 0.0), voice)
    again.session.resume(0.0, heard)
    chunks = again.run(5)
    check_in_order(chunks, heard)
    assert len(chunks) > 240
    for index, samples in by_index(chunks).items():
        assert np.array_equal(samples, whole[index])


def test_gains_come_along_with_a_checkpoint() -> None:
    played = rig()
    for control in (Gain(-6.0), Fade(0.5, over_s=30.0), Duck(Ducking())):
        played.session.control(played.now, control)
    played.run(3)
    checkpoint = played.session.checkpoint
    assert checkpoint is not None
    again = Checkpoint.from_bytes(checkpoint.to_bytes())
    assert (again.mix, again.policy, again.stream) == (checkpoint.mix, checkpoint.policy, checkpoint.stream)
    restored = Session.restored(config(), again, 0.0)
    assert restored.playout.mix == played.session.playout.mix
    assert restored.playout.ready == checkpoint.taken - checkpoint.played


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_damaged_checkpoint_is_refused(share: float) -> None:
    played = rig()
    played.run(3)
    assert played.session.checkpoint is not None
    blob = played.session.checkpoint.to_bytes()
    with pytest.raises(PackageError, match="expected a session's checkpoint"):
        Checkpoint.from_bytes(blob[: int(share * len(blob))])


def test_a_broken_stream_ends_its_session_and_no_other() -> None:
    good, bad = rig(), rig()
    good.voices.open("bad", bad.voice)
    bad.voice.stream.advance = None  # type: ignore[assignment,method-assign]
    reports = good.voices.tick({"bad": Orders(wanted=12800, frame=bad.session._orders.frame)})
    assert reports["bad"].failed is not None
    assert "TypeError" in reports["bad"].failed
    bad.session.heard(bad.now, reports["bad"])
    assert bad.session.state == "expired"
    assert len(good.run(2)) > 80
    assert HOP == 640
