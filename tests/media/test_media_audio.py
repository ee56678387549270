"""Laws of sound: every file becomes one unbroken 48 kHz stereo signal on the video's clock."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from clips import Clip, Sound, impulse, make, make_sound, mux_sound, noise

from engine.errors import MediaError
from engine.media.audio import SAMPLE_RATE_OUT, Signal, Stereo, measure_loudness, read_stereo
from engine.media.mix import mix
from engine.media.wav import WavWriter

PCM = "pcm_f32le"


def all_of(path: Path, start_s: float = 0.0) -> Stereo:
    return np.concatenate(list(read_stereo(path, start_s)), axis=1)


def sine(seconds: float, level: float, hertz: float = 997.0) -> Stereo:
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE_OUT)) / SAMPLE_RATE_OUT)
    return np.stack([wave, wave]).astype(np.float32)


def decibels(signal_: Stereo) -> float:
    return float(20 * np.log10(np.sqrt(np.square(signal_).mean())))


@pytest.mark.parametrize(
    ("rate", "layout", "channels"),
    [
        (48_000, "stereo", 2),
        (44_100, "stereo", 2),
        (32_000, "mono", 1),
        (48_000, "5.1", 6),
        (96_000, "7.1", 8),
        (48_000, "9 channels", 9),
    ],
)
@pytest.mark.parametrize("start_s", [0.0, 0.25, -0.25])
def test_an_impulse_stays_at_its_sample(
    tmp_path: Path, rate: int, layout: str, channels: int, start_s: float
) -> None:
    sound = Sound(impulse(1.0, 0.5, rate, channels), rate, layout, PCM)
    signal_ = all_of(make_sound(tmp_path / "sound.wav", sound), start_s)
    assert signal_.shape == (2, round((1.0 - start_s) * SAMPLE_RATE_OUT))
    assert np.abs(signal_).argmax(axis=1).tolist() == [round((0.5 - start_s) * SAMPLE_RATE_OUT)] * 2


def test_mono_is_as_loud_on_both_sides(tmp_path: Path) -> None:
    sound = Sound(impulse(0.2, 0.1, channels=1), layout="mono", codec=PCM)
    assert np.abs(all_of(make_sound(tmp_path / "sound.wav", sound))).max() == 0.5


def test_channels_that_have_no_place_are_heard_on_both_sides_as_loud_as_they_are(tmp_path: Path) -> None:
    """As the tracks of a field recorder."""
    sound = Sound(noise(0.5, 0.1, channels=9), layout="9 channels", codec=PCM)
    left, right = all_of(make_sound(tmp_path / "sound.wav", sound))
    assert np.array_equal(left, right)
    assert decibels(left) == pytest.approx(-20, abs=0.1)


def test_of_sound_from_all_around_what_has_no_direction_is_heard(tmp_path: Path) -> None:
    """Ambisonics of the first order, as of a 360 degree camera: only its first channel, and only its third, has an impulse."""
    peaks = []
    for heard in (0, 2):
        samples = impulse(0.5, 0.25, channels=4) * np.eye(4, dtype=np.float32)[:, heard : heard + 1]
        path = tmp_path / "around.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libopus", 48_000, {"mapping_family": "2"}, layout="ambisonic 1")
            mux_sound(container, stream, Sound(samples, layout="ambisonic 1"))
        peaks.append(float(np.abs(all_of(path)).max()))
    assert peaks == [pytest.approx(0.41, abs=0.05), pytest.approx(0, abs=1e-3)]  # observed: 0.413 of 0.5, 0.0


@pytest.mark.parametrize("name", ["late.mkv", "late.mov"])
def test_sound_that_starts_late_is_led_in_by_silence(tmp_path: Path, name: str) -> None:
    sound = Sound(impulse(1.0, 0.25), codec="pcm_s16le", delay_s=0.5)
    signal_ = all_of(make(tmp_path / name, Clip(frames=20, sound=sound)))
    assert np.abs(signal_).argmax() == 0.75 * SAMPLE_RATE_OUT


def test_a_gap_in_the_sound_becomes_silence(tmp_path: Path) -> None:
    sound = Sound(noise(0.5, 0.1)[:, : 20 * 1024], gap_s=0.5)
    signal_ = all_of(make(tmp_path / "gap.mkv", Clip(frames=20, sound=sound)))
    gap = slice(10 * 1024, 10 * 1024 + SAMPLE_RATE_OUT // 2)
    assert signal_.shape[1] == pytest.approx(20 * 1024 + SAMPLE_RATE_OUT // 2, abs=48)
    # Observed: 16 samples of the noise's resampling tail; Matroska rounds times to 1 ms (48 samples).
    assert not signal_[:, gap][:, 64:-64].any()
    assert decibels(signal_[:, gap.stop :]) == pytest.approx(-20, abs=0.5)


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    path = make(tmp_path / "mute.mp4", Clip(frames=2))
    with pytest.raises(MediaError, match="expected a sound track"):
        all_of(path)


def test_a_signal_is_silent_after_its_end() -> None:
    whole = noise(0.01, 0.1)
    signal_ = Signal([whole[:, :100], whole[:, 100:]])
    taken = np.concatenate([signal_.take(7), signal_.take(200), signal_.take(1000)], axis=1)
    assert np.array_equal(taken[:, :480], whole)
    assert not taken[:, 480:].any()


def test_loudness_of_a_sine_is_its_level() -> None:
    # BS.1770: a 997 Hz sine at 0 dB in one channel reads -3.01 LUFS, so in both channels -20 dB reads -20.
    tone = sine(3.0, 0.1)
    loudness = measure_loudness(tone[:, i : i + 4321] for i in range(0, tone.shape[1], 4321))
    assert loudness.lufs == pytest.approx(-20.0, abs=0.05)  # observed -20.006
    assert loudness.rms == pytest.approx(0.1 / np.sqrt(2), rel=1e-4)
    assert loudness.samples == tone.shape[1]


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0])
def test_silence_has_no_loudness(seconds: float) -> None:
    loudness = measure_loudness([sine(seconds, 0.0)])
    assert (loudness.lufs, loudness.rms) == (-np.inf, 0.0)


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_appended_is_what_is_read(tmp_path: Path, channels: int) -> None:
    music = noise(0.5, 0.5, channels=channels)
    with WavWriter(tmp_path / "music.wav", SAMPLE_RATE_OUT, channels) as wav:
        for start in range(0, music.shape[1], 5000):
            wav.append(music[0, start : start + 5000] if channels == 1 else music[:, start : start + 5000])
        assert wav.samples == music.shape[1]
    assert np.array_equal(all_of(wav.path), np.broadcast_to(music, (2, music.shape[1])))


def test_a_wav_never_appended_to_is_a_file_without_sound(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "music.wav"):
        pass
    assert list(read_stereo(tmp_path / "music.wav")) == []


def test_a_killed_run_leaves_the_music_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "music.wav"
    script = (
        "import os, sys, numpy as np; from pathlib import Path; from engine.media.wav import WavWriter\n"
        "wav = WavWriter(Path(sys.argv[1]))\n"
        "for _ in range(3): wav.append(np.full(32_000, 0.25, np.float32))\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path)], check=False, env=dict(os.environ))
    assert run.returncode == -signal.SIGKILL
    assert all_of(path).shape == (2, 3 * SAMPLE_RATE_OUT)


def test_a_wav_refuses_a_wrong_shape(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "music.wav", channels=2) as wav, pytest.raises(ValueError, match=r"\[2, n\]"):
        wav.append(np.zeros(10, np.float32))
    with pytest.raises(ValueError, match="1 or 2 channels"):
        WavWriter(tmp_path / "music.wav", channels=3)


def test_a_wav_in_a_missing_directory_is_a_media_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"cannot be written: No such file"):
        WavWriter(tmp_path / "missing" / "music.wav")


MUSIC, SPEECH = noise(3.0, 0.05), np.pad(noise(1.0, 0.1), ((0, 0), (48_000, 48_000)))


def mixed(kind: str, original: Stereo | None = SPEECH, gain: float = 1.0, music: Stereo = MUSIC) -> Stereo:
    source = None if original is None else Signal([original])
    frames = list(mix(Signal([music]), source, kind, gain, music.shape[1]))  # type: ignore[arg-type]
    assert [frame.pts for frame in frames] == np.cumsum([0, *(f.samples for f in frames)])[:-1].tolist()
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def test_drop_is_the_music_alone() -> None:
    assert np.array_equal(mixed("drop"), MUSIC)


def test_keep_is_the_sum() -> None:
    assert np.abs(mixed("keep") - (MUSIC + SPEECH)).max() < 1e-7  # observed 3e-8: a float32 sum


@pytest.mark.parametrize("kind", ["keep", "duck", "drop"])
def test_without_original_sound_every_mix_is_drop(kind: str) -> None:
    assert np.array_equal(mixed(kind, None), MUSIC)


def test_duck_lowers_the_music_only_while_the_original_is_loud() -> None:
    music = mixed("duck") - SPEECH
    before, during, after = music[:, :48_000], music[:, 57_600:96_000], music[:, 120_000:]
    assert np.abs(before - MUSIC[:, :48_000]).max() < 1e-7
    lowered = decibels(during) - decibels(MUSIC)
    assert -13 < lowered < -8  # observed -10.5 dB
    assert decibels(after) - decibels(MUSIC) == pytest.approx(0, abs=0.3)


def test_the_limiter_holds_one_decibel_below_full_scale() -> None:
    limited = mixed("drop", gain=20.0)
    assert np.abs(limited).max() <= 0.8911
    assert limited.shape == MUSIC.shape


def test_the_limiter_does_not_move_the_sound() -> None:
    assert np.abs(mixed("drop", music=impulse(1.0, 0.5))).argmax() == 24_000
