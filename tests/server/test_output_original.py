"""The pictures' own sound in an output: where it was captured, whole, never over full scale; without it music is what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from output_rig import F32, RATE, beeps_from, job_of, jump_of, music_of, picture, shown_in, spoken

from server.audio.original_sound import Loudest, Source
from server.output.original import FADE, KNEE, TOLERANCE, Original, limited
from server.output.process import Process
from server.output.reel import Reel
from server.output.targets import Allowed
from server.output.wire import Report
from server.protocol.media import Kind

BLOCK = 960
DELAY = 21_600
MOST = 10 * RATE
BEEP = RATE
"""The sample of the beep, and of the flash."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    told: list[Report] = []
    monkeypatch.setattr("server.output.process.tell", told.append)
    return told


def reel_of(folder: Path, name: str, original: float | None, delay: int = DELAY, **limits: Any) -> Reel:
    job = job_of(f"file:{name}", "mixed", Allowed(folder=folder), delay, original, **limits)
    return Process(job)._reel


def beep(first: int, count: int, rate: int = RATE) -> F32:
    """[count] samples of the original sound from `first` on: a tone from BEEP on."""
    at = np.arange(first, first + count) / rate
    return (0.5 * np.sin(2 * np.pi * 1000 * at) * (at >= BEEP / RATE)).astype(np.float32)


def tone(first: int, count: int) -> F32:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(first, first + count) / RATE)).astype(np.float32)


def noise(count: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).uniform(-0.6, 0.6, count).astype(np.float32)


def run(reel: Reel, music: F32, said: dict[int, list[tuple[int, Any]]], bright: int = BEEP) -> None:
    """Pictures each 40 ms, bright from a sample on. said: original sound and its place, by the block before which it comes."""
    dark, light = picture(0, 16).payload, picture(0, 240).payload
    for number in range(len(music) // BLOCK):
        at = number * BLOCK
        if number % 2 == 0:
            shown = picture(0, 16)
            reel.pictured(
                at, type(shown)(shown.kind, shown.stream, number, 0, light if at >= bright else dark)
            )
        for sample, sound in said.get(number, []):
            reel.sounded(sample, sound)
        reel.heard(at, music[at : at + BLOCK])
    reel.close()


def lines(rate: int, kind: Kind, channels: int, seconds: float = 2.0, late: int = 5) -> dict[int, Any]:
    """The beep in stretches of 100 ms, each `late` blocks after it was captured."""
    said: dict[int, Any] = {}
    for n in range(int(10 * seconds)):
        samples = beep(n * rate // 10, rate // 10, rate)
        whole = samples if channels == 1 else np.stack([samples, samples], axis=1)
        said.setdefault((n + 1) * 5 + late, []).append((n * RATE // 10, spoken(whole, rate, kind, n > 0)))
    return said


@pytest.mark.parametrize(
    ("rate", "kind", "channels"),
    [
        (48_000, Kind.PCM_S16, 2),
        (48_000, Kind.PCM_F32, 1),
        (44_100, Kind.PCM_S16, 1),
        (44_100, Kind.PCM_F32, 2),
        (8_000, Kind.PCM_S16, 1),
        (96_000, Kind.PCM_F32, 2),
    ],
)
def test_a_beep_is_heard_with_its_flash(tmp_path: Path, rate: int, kind: Kind, channels: int) -> None:
    reel = reel_of(tmp_path, "a.mkv", 1.0)
    run(reel, np.zeros(3 * RATE, np.float32), lines(rate, kind, channels))
    heard = music_of(tmp_path / "a.mkv")[1]
    assert abs(beeps_from(tmp_path / "a.mkv") - jump_of(shown_in(tmp_path / "a.mkv"))) <= 1 / 25 + 0.002
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.03)
    assert reel.lost_original == 0
    assert reel.original_samples == pytest.approx(2 * RATE, abs=RATE // 100)


@pytest.mark.parametrize("delay", [0, 4_800, DELAY, 4 * RATE])
def test_the_delay_of_the_pictures_is_that_of_their_sound(tmp_path: Path, delay: int) -> None:
    """Whatever it is; with a short one everything waits for sound that comes late."""
    reel = reel_of(tmp_path, "a.mkv", 1.0, delay)
    said = lines(RATE, Kind.PCM_S16, 2, late=15)
    run(reel, np.zeros(3 * RATE + delay, np.float32), said)
    assert abs(beeps_from(tmp_path / "a.mkv") - jump_of(shown_in(tmp_path / "a.mkv"))) <= 1 / 25 + 0.002
    assert reel.lost_original == 0


@pytest.mark.parametrize("gain", [None, 0.0, 1.0])
def test_music_is_the_same_sample_for_sample_when_nothing_is_said(tmp_path: Path, gain: float | None) -> None:
    music = noise(2 * RATE)
    plain, other = reel_of(tmp_path, "plain.mkv", None), reel_of(tmp_path, "other.mkv", gain)
    for reel in (plain, other):
        run(reel, music, {})
    for read in (music_of, shown_in):
        before, after = read(tmp_path / "plain.mkv"), read(tmp_path / "other.mkv")
        np.testing.assert_array_equal(np.asarray(before[1]), np.asarray(after[1]))
    assert other.original_samples == other.lost_original == 0


def test_original_sound_is_added_to_the_music_by_its_gain() -> None:
    original = Original(0.5, 0, MOST)
    voice = np.stack([tone(0, BLOCK), -tone(0, BLOCK)], axis=1)
    original.put(0, spoken(voice))
    original.put(BLOCK, spoken(voice))
    taken = original.take(0, BLOCK)
    assert taken is not None
    np.testing.assert_allclose(taken[FADE:], 0.5 * voice[FADE:], atol=1e-6)
    assert original.take(5 * BLOCK, BLOCK) is None


def heard_of(original: Original, seconds: float, said: dict[int, list[tuple[int, Any]]]) -> F32:
    """[n], the left channel. said: what comes before which block."""
    parts = []
    for number in range(int(seconds * RATE / BLOCK)):
        for sample, sound in said.get(number, []):
            original.put(sample, sound)
        taken = original.take(number * BLOCK, BLOCK)
        parts.append(np.zeros(BLOCK, np.float32) if taken is None else taken[:, 0])
    return np.concatenate(parts)


def unsteady(voice: F32, seed: int, offset: int) -> dict[int, Any]:
    """A voice in stretches of 20 ms that come in order, up to 30 ms after their moments, one of 20 up to 150 ms, which holds up
    those behind it. They are taken for as much later as they come."""
    rng, came = np.random.default_rng(seed), 0.0
    said: dict[int, Any] = {}
    for n in range(len(voice) // BLOCK):
        came = max(came, n * BLOCK + rng.uniform(0, 0.15 if rng.random() < 0.05 else 0.03) * RATE)
        sound = spoken(voice[n * BLOCK : (n + 1) * BLOCK], goes_on=n > 0)
        said.setdefault(int(came) // BLOCK, []).append((int(came) + offset, sound))
    return said


@pytest.mark.parametrize("seed", range(5))
def test_an_unsteady_network_is_not_heard(seed: int) -> None:
    """After a moment the voice stands where it was captured, within the tolerance, and has no gap."""
    voice, offset = noise(4 * RATE, seed), RATE // 2
    heard = heard_of(Original(1.0, 0, MOST), 4.0, unsteady(voice, seed, offset))[2 * RATE : 4 * RATE]
    near = voice[2 * RATE - offset - TOLERANCE : 3 * RATE - offset]
    begin = 2 * RATE - offset - TOLERANCE + int(np.correlate(near, heard[:RATE], "valid").argmax())
    np.testing.assert_allclose(heard, voice[begin : begin + len(heard)], atol=1e-6)


@pytest.mark.parametrize("drift", [-0.02, 0.02])
def test_a_clock_that_differs_is_followed(drift: float) -> None:
    """By 2 %, far more than any does: a beep after 8 s is where it belongs."""
    original, said = Original(1.0, 0, MOST), {}
    for n in range(500):
        moment = int(n * BLOCK * (1 + drift)) + DELAY
        loud = (0.5 if n >= 400 else 0.0) * np.ones(BLOCK, np.float32)
        said.setdefault(n, []).append((moment, spoken(loud, goes_on=n > 0)))
    heard = heard_of(original, 10.0, said)
    wanted = int(400 * BLOCK * (1 + drift)) + DELAY
    late = RATE * abs(drift)  # it is looked at once a second
    assert abs(int(np.argmax(heard > 0.25)) - wanted) <= TOLERANCE + late


def test_who_falls_silent_begins_anew_where_it_belongs() -> None:
    original = Original(1.0, 0, MOST)
    said: dict[int, Any] = {0: [(BLOCK, spoken(tone(0, BLOCK), goes_on=False))]}
    said[100] = [(101 * BLOCK, spoken(np.full(BLOCK, 0.5, np.float32)))]  # its own count goes on
    heard = heard_of(original, 4.0, said)
    assert int(np.argmax(heard > 0.4)) == pytest.approx(101 * BLOCK, abs=FADE)
    assert original.lost == 0
    assert not heard[2 * BLOCK : 101 * BLOCK].any()


def test_what_stands_alone_is_faded() -> None:
    original = Original(1.0, 0, MOST)
    heard = heard_of(original, 0.2, {0: [(480, spoken(np.full(2 * BLOCK, 0.5, np.float32)))]})
    assert np.abs(np.diff(heard)).max() <= 0.5 / FADE + 1e-6
    assert heard.max() == 0.5


def test_what_comes_too_late_too_early_or_twice_is_left_out_and_counted() -> None:
    original = Original(1.0, 0, 4 * BLOCK)
    original.take(0, 10 * BLOCK)
    original.put(9 * BLOCK, spoken(tone(0, BLOCK), goes_on=False))
    assert original.lost == BLOCK
    original.put(20 * BLOCK, spoken(tone(0, BLOCK), goes_on=False))
    assert original.lost == 2 * BLOCK
    for _ in range(2):
        original.put(10 * BLOCK, spoken(tone(0, BLOCK), goes_on=False))
    assert original.lost == 3 * BLOCK
    taken = original.take(10 * BLOCK, BLOCK)
    assert taken is not None
    assert original.samples == BLOCK


def test_what_is_held_is_bounded() -> None:
    original = Original(1.0, 0, RATE)
    for n in range(200):
        original.put(n * BLOCK, spoken(tone(0, BLOCK), goes_on=n > 0))
    assert sum(len(piece.samples) for piece in original._pieces) <= RATE
    assert original.lost == 150 * BLOCK


def test_two_who_speak_are_both_heard(tmp_path: Path) -> None:
    reel = reel_of(tmp_path, "a.mkv", 1.0)
    said: dict[int, Any] = {}
    sources: tuple[Source, Source] = ("ingest", "websocket")
    for n in range(100):
        for source, hz in zip(sources, (400, 1000), strict=True):
            at = np.arange(n * BLOCK, (n + 1) * BLOCK) / RATE
            voice = (0.2 * np.sin(2 * np.pi * hz * at)).astype(np.float32)
            said.setdefault(n + 1, []).append((n * BLOCK, spoken(voice, goes_on=n > 0, source=source)))
    run(reel, np.zeros(3 * RATE, np.float32), said)
    heard = music_of(tmp_path / "a.mkv")[1][RATE : 2 * RATE]
    levels = np.abs(np.fft.rfft(heard)) / len(heard) * 2
    assert levels[[400, 1000]] == pytest.approx(0.2, abs=0.02)
    assert reel.lost_original == 0


def test_nothing_is_over_full_scale_and_what_is_quiet_stays() -> None:
    samples = np.linspace(-4, 4, 10_001, dtype=np.float32).reshape(-1, 1)
    rounded = limited(samples.copy())
    quiet_ones = np.abs(samples) <= KNEE
    np.testing.assert_array_equal(rounded[quiet_ones], samples[quiet_ones])
    assert np.abs(rounded).max() <= 1.0
    assert (np.diff(rounded[:, 0]) >= 0).all()
    assert np.diff(rounded[:, 0]).max() <= 8 / 10_000 * 1.001


def test_what_is_no_number_is_silence() -> None:
    broken = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    np.testing.assert_array_equal(spoken(broken).floats()[:, 0], [0, 1, -1, 0.5])


def test_the_loudest_of_late_counts() -> None:
    loudest = Loudest()
    assert loudest.of(0.0, -10, 0.5) == -10
    assert loudest.of(0.4, -60, 0.5) == -10
    assert loudest.of(0.6, -50, 0.5) == -50
    assert loudest.of(0.7, -90, 0.0) == -90
    for n in range(5000):
        loudest.of(1 + n / 1e6, -n / 50, 10)
    assert len(loudest._levels) <= 1024
