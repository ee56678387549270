"""The player on a virtual clock: its time is the samples that a sound card asks for."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cuestream_client.drift import MOST, Drift
from cuestream_client.music import F32, Chunk
from cuestream_client.player import Comfort, Player
from cuestream_client.resample import AFTER, BEFORE, between


def sine(first: int, count: int, turn: float) -> F32:
    """float32 [count, 1]; turn: radians for a sample."""
    return np.sin(turn * np.arange(first, first + count)).astype(np.float32)[:, None]


def play(
    player: Player, seconds: float, ppm: float, turn: float, chunk_s: float, block_s: float
) -> tuple[F32, F32]:
    """Music that comes in chunks by the server's clock, played by a card that is `ppm` faster.

    Returns what was heard, and after each block the buffer's level before it, in seconds, and the difference of the clocks that
    the player found, in millionths: float [blocks, 2].
    """
    chunk, block, sent = int(player.rate * chunk_s), int(player.rate * block_s), 0
    heard, found = [], []
    blocks = int(seconds / block_s)
    for number in range(blocks):
        now_s = number * block_s * (1 - ppm * 1e-6)
        while sent / player.rate <= now_s + player.comfort.target_s:
            player.put(Chunk(sent, sine(sent, chunk, turn), 1))
            sent += chunk
        level_s = player.level_s
        heard.append(player.read(block)[:, 0])
        found.append((level_s, player.drift.clock_ppm))
    return np.concatenate(heard), np.array(found)


@pytest.mark.parametrize("ppm", [200.0, -200.0])
def test_an_hour_of_drift_keeps_the_buffer_in_bounds_and_the_sine_continuous(ppm: float) -> None:
    rate, turn = 2000, 2 * np.pi * 20 / 2000
    player = Player(rate, 1, Comfort(target_s=0.4, least_s=0.4))
    heard, found = play(player, 3600, ppm, turn, 0.1, 0.2)
    levels, clocks = found.T
    assert player.underruns == 0
    assert levels.min() > 0.25
    assert levels.max() < 0.55
    assert abs(levels[-3000:].mean() - 0.4) < 0.06
    # Chunks beat with blocks once in 500 s, and what is found swings with it; observed means 200.0 and -200.0.
    assert abs(clocks[-10_000:].mean() - ppm) < 5
    begun = heard[int(rate * 0.02) :]
    bend = np.abs(begun[2:] - 2 * begun[1:-1] + begun[:-2]).max()
    assert (
        bend < turn**2 * (1 + 2 * MOST) * 1.02
    )  # observed 1.005; a jump of 0.1 % of full scale would be 1.25
    assert np.abs(heard).max() < 1.001


def test_without_drift_at_full_rate_the_tone_is_pure() -> None:
    rate, turn = 48_000, 2 * np.pi * 6000 / 48_000
    player = Player(rate, 1)
    heard, _ = play(player, 12, 100.0, turn, 0.02, 0.01)
    assert player.underruns == 0
    piece = heard[rate * 4 : rate * 5] * np.blackman(rate)
    spectrum = np.abs(np.fft.rfft(piece))
    peak = int(spectrum.argmax())
    assert abs(peak - 6000) < 35  # within the 0.5 % that the ratio may take
    away = spectrum.copy()
    away[peak - 50 : peak + 51] = 0
    assert 20 * np.log10(away.max() / spectrum[peak]) < -70


def test_values_at_whole_places_are_the_samples_themselves() -> None:
    samples = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    np.testing.assert_allclose(between(samples, 20.0, 1.0, 50), samples[20:70], atol=1e-6)
    assert between(samples, float(BEFORE), 1.0, 100 - BEFORE - AFTER).shape == (100 - BEFORE - AFTER, 2)


def test_values_between_samples_are_those_of_the_signal() -> None:
    turn = 2 * np.pi * 0.1
    samples = sine(0, 400, turn)
    places = 50 + 0.997 * np.arange(300)
    # observed 1.6e-4
    np.testing.assert_allclose(between(samples, 50.0, 0.997, 300)[:, 0], np.sin(turn * places), atol=3e-4)


def test_the_ratio_never_leaves_half_a_percent() -> None:
    drift = Drift()
    ratios = [drift.update(level, 0.06, 0.02) for level in np.linspace(0, 5, 2000)]
    ratios += [drift.update(0.0, 0.06, 0.02) for _ in range(5000)]
    assert max(ratios) <= 1 + MOST
    assert min(ratios) >= 1 - MOST


def test_an_underrun_fades_waits_for_more_and_wants_more() -> None:
    player = Player(48_000, 1, Comfort(target_s=0.05))
    loud = np.ones((2400, 1), np.float32)
    player.put(Chunk(0, loud, 1))
    first = player.read(4800)
    assert player.underruns == 1
    assert player.target_s == pytest.approx(0.075)
    assert np.abs(np.diff(first[:, 0])).max() < 0.02
    player.put(Chunk(2400, loud, 1))
    assert not player.read(480).any()
    player.put(Chunk(4800, loud, 1))
    assert player.read(960).max() > 0.9


def test_calm_makes_the_target_smaller() -> None:
    player = Player(2000, 1, Comfort(target_s=0.3))
    play(player, 200, 0.0, 0.05, 0.02, 0.02)
    assert 0.04 <= player.target_s < 0.2
    assert player.underruns == 0


def test_jitter_within_the_most_that_is_allowed_is_learnt() -> None:
    rate, block, chance = 2000, 40, random.Random(1)
    player = Player(rate, 1)
    arrivals = [number * 0.02 + chance.random() * 0.15 for number in range(10_000)]
    in_order = [max(arrivals[max(0, n - 10) : n + 1]) for n in range(len(arrivals))]
    sent = 0
    for number in range(10_000):
        while sent < len(in_order) and in_order[sent] <= number * 0.02:
            player.put(Chunk(sent * block, sine(sent * block, block, 0.05), 1))
            sent += 1
        player.read(block)
        if number == 5000:
            before = player.underruns
    assert player.underruns - before <= 2
    assert player.target_s > 0.06


def test_played_through_is_the_index_of_what_was_heard() -> None:
    player = Player(1000, 1, Comfort(target_s=0.1, fade_s=0.0))
    assert player.playout.session == 0
    player.put(Chunk(500, np.zeros((200, 1), np.float32), 1))
    assert (player.playout.session, player.playout.played_through) == (1, 500)
    player.read(100)
    assert abs(player.playout.played_through - 600) <= 1
    player.put(Chunk(9000, np.zeros((200, 1), np.float32), 1, crossfade=True))
    player.read(150)
    assert abs(player.playout.played_through - 9050) <= 2
    player.put(Chunk(0, np.zeros((200, 1), np.float32), 2))
    player.read(180)
    assert player.playout.session == 2
    assert 0 < player.playout.played_through < 60


def test_played_through_never_passes_what_was_put_in() -> None:
    player = Player(1000, 1, Comfort(target_s=0.05))
    put = 0
    for _ in range(100):
        player.put(Chunk(put, np.zeros((20, 1), np.float32), 1))
        put += 20
        player.read(37)
        assert player.playout.played_through <= put


def test_a_gap_that_nobody_faded_is_faded_here() -> None:
    player = Player(48_000, 1, Comfort(target_s=0.02))
    player.put(Chunk(0, np.ones((4800, 1), np.float32), 1))
    head = player.read(2400)
    player.put(Chunk(96_000, -np.ones((4800, 1), np.float32), 1))
    whole = np.concatenate((head, player.read(4800)))[300:]
    assert np.abs(np.diff(whole[:, 0])).max() < 0.02
    assert player.counts["joins"] == 1


def test_more_than_the_capacity_is_skipped_by_a_crossfade() -> None:
    player = Player(48_000, 1, Comfort(capacity_s=0.5))
    turn = 2 * np.pi * 100 / 48_000
    player.put(Chunk(0, sine(0, 4800, turn), 1))
    head = player.read(2400)
    player.put(Chunk(4800, sine(4800, 48_000, turn), 1))
    assert player.level_s == pytest.approx(0.06, abs=0.001)
    whole = np.concatenate((head, player.read(2000)))[300:]
    assert np.abs(np.diff(whole[:, 0])).max() < turn * 2
    assert player.counts["skipped_samples"] > 40_000
    assert player.playout.played_through > 48_000


def test_an_end_that_is_expected_is_no_underrun_and_plays_what_is_left() -> None:
    player = Player(48_000, 1)
    player.put(Chunk(0, np.ones((960, 1), np.float32), 1))
    assert not player.read(480).any()
    player.expecting = False
    assert player.read(960).any()
    assert player.underruns == 0
