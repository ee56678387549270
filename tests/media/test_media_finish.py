"""Laws of the result: in step with the video, as loud as asked, as long as the video, never half a file."""

import errno
import fcntl
import os
import re
import resource
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import Clip, Sound, cut_off, impulse, make, make_sound, noise

from engine.errors import MediaError
from engine.media import reserved
from engine.media.audio import SAMPLE_RATE_OUT, Stereo, measure_loudness, read_stereo
from engine.media.finish import FinishReport, FinishSettings, finish
from engine.media.output import TARGETS, check_output, check_place, replacing
from engine.media.video import VideoReader, probe
from engine.media.wav import WavWriter

PLAIN = FinishSettings(loudness_lufs=None)
VIDEO_ENDINGS = [ending for ending, target in TARGETS.items() if target.holds_video and ending != ".webm"]
SOUND_ENDINGS = [ending for ending, target in TARGETS.items() if not target.holds_video]
AAC_FRAME = 1024


def music_of(path: Path, samples: Stereo, rate: int = 32_000) -> Path:
    with WavWriter(path, rate, samples.shape[0]) as wav:
        wav.append(samples)
    return path


def clip_of(tmp_path: Path, name: str = "clip.mp4", **changes: object) -> Path:
    return make(tmp_path / name, replace(Clip(frames=20), **changes))  # type: ignore[arg-type]


def quiet(tmp_path: Path, seconds: float = 2.0) -> Path:
    return music_of(tmp_path / "quiet.wav", np.zeros((1, round(seconds * 32_000)), np.float32))


def loud(tmp_path: Path, seconds: float = 2.0, level: float = 0.05) -> Path:
    return music_of(tmp_path / "loud.wav", noise(seconds, level, 32_000, 1))


def sound_of(path: Path) -> Stereo:
    return np.concatenate(list(read_stereo(path, first_s(path))), axis=1)


def first_s(path: Path) -> float:
    """Where the video starts, or the sound of a file without video: MP3 counts its encoder's delay."""
    with av.open(str(path)) as container:
        stream = (container.streams.video or container.streams.audio)[0]
        return float((stream.start_time or 0) * (stream.time_base or 0))


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def times_of(path: Path) -> list[float]:
    return [frame.time_s for frame in VideoReader(path, 8)]


def nothing_left(directory: Path, *kept: Path) -> bool:
    return sorted(directory.iterdir()) == sorted(kept)


# Length and kind


@pytest.mark.parametrize("ending", VIDEO_ENDINGS)
def test_the_video_is_copied_and_the_sound_ends_with_it(tmp_path: Path, ending: str) -> None:
    video = clip_of(tmp_path, sound=Sound(noise(1.0, 0.1), codec="aac"))
    report = finish(video, loud(tmp_path, 3.0), tmp_path / f"scored{ending}", PLAIN)
    assert report == FinishReport(report.output, "keep", 2.0, report.measured_lufs, 0.0, False)
    with av.open(str(report.output)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec.canonical_name, stream.sample_rate, stream.layout.name) == (
            "aac",
            48_000,
            "stereo",
        )
        assert len(container.streams.video) == 1
    assert packets_of(report.output) == packets_of(video)
    assert times_of(report.output) == pytest.approx(times_of(video), abs=1e-3)
    # The last AAC frame is full: decoded to its end it is up to one frame longer than the video.
    assert 0 <= sound_of(report.output).shape[1] - 2 * SAMPLE_RATE_OUT <= AAC_FRAME


@pytest.mark.parametrize("ending", SOUND_ENDINGS)
def test_a_sound_ending_gives_sound_alone(tmp_path: Path, ending: str) -> None:
    video = clip_of(tmp_path)
    settings = replace(PLAIN, audio_only=True)
    report = finish(video, loud(tmp_path), tmp_path / f"scored{ending.upper()}", settings)
    with av.open(str(report.output)) as container:
        assert not container.streams.video
        assert container.streams.audio[0].codec.canonical_name == TARGETS[ending].codec.removeprefix(
            "lib"
        ).replace("mp3lame", "mp3")
    # Observed: exact for wav, flac and opus; mp3 and aac end with a whole frame.
    assert 0 <= sound_of(report.output).shape[1] - 2 * SAMPLE_RATE_OUT <= 1152


def test_webm_takes_webm(tmp_path: Path) -> None:
    video = clip_of(tmp_path, "clip.webm", codec="libvpx-vp9", frames=10)
    report = finish(video, loud(tmp_path), tmp_path / "scored.webm", PLAIN)
    assert packets_of(report.output) == packets_of(video)


def test_music_that_stops_cuts_the_result(tmp_path: Path) -> None:
    video = clip_of(tmp_path, frames=40)
    report = finish(video, loud(tmp_path, 2.5), tmp_path / "scored.mp4", PLAIN)
    assert report.cut
    assert 2.0 <= report.duration_s <= 2.5  # whole groups of pictures that need each other
    frames = times_of(report.output)
    assert frames == pytest.approx([i / 10 for i in range(len(frames))], abs=2e-3)
    assert probe(report.output).duration_s == pytest.approx(report.duration_s, abs=0.01)
    assert 0 <= sound_of(report.output).shape[1] - report.duration_s * SAMPLE_RATE_OUT <= AAC_FRAME


def test_sound_alone_is_cut_where_the_music_stops(tmp_path: Path) -> None:
    report = finish(clip_of(tmp_path, frames=40), loud(tmp_path, 2.5), tmp_path / "scored.wav", PLAIN)
    assert (report.cut, report.duration_s) == (True, 2.5)
    assert sound_of(report.output).shape[1] == 2.5 * SAMPLE_RATE_OUT


def test_music_a_little_short_is_followed_by_silence(tmp_path: Path) -> None:
    report = finish(clip_of(tmp_path), loud(tmp_path, 1.8), tmp_path / "scored.wav", PLAIN)
    assert (report.cut, report.duration_s) == (False, 2.0)
    signal = sound_of(report.output)
    assert signal.shape[1] == 2 * SAMPLE_RATE_OUT
    assert not signal[:, round(1.81 * SAMPLE_RATE_OUT) :].any()


def test_a_video_cut_off_is_finished_up_to_there(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    video = make(tmp_path / "cut.mp4", Clip(frames=60, gop=6, options={"movflags": "faststart"}), image)
    cut_off(video, 0.6)
    report = finish(video, loud(tmp_path, 5.0), tmp_path / "scored.mp4", PLAIN)
    assert 1.0 < report.duration_s < 4.5
    assert len(times_of(report.output)) == pytest.approx(report.duration_s * 10, abs=1)


# Step


@pytest.mark.parametrize("ending", [*VIDEO_ENDINGS, *SOUND_ENDINGS])
@pytest.mark.parametrize("delay_s", [0.0, 0.5])
def test_an_impulse_of_the_original_stays_on_its_picture(tmp_path: Path, ending: str, delay_s: float) -> None:
    sound = Sound(impulse(1.0, 0.5), delay_s=delay_s)
    video = clip_of(tmp_path, "clip.mov", sound=sound)
    report = finish(video, quiet(tmp_path), tmp_path / f"scored{ending}", PLAIN)
    # Observed: 0 samples off for every ending; the lossy codecs may smear the peak over a few.
    assert np.abs(sound_of(report.output)).argmax(axis=1) == pytest.approx(
        [(0.5 + delay_s) * SAMPLE_RATE_OUT] * 2, abs=4
    )


@pytest.mark.parametrize("ending", [*VIDEO_ENDINGS, ".wav"])
def test_the_music_starts_on_the_first_frame(tmp_path: Path, ending: str) -> None:
    music = music_of(tmp_path / "music.wav", impulse(2.0, 0.25, 32_000, 1))
    report = finish(clip_of(tmp_path), music, tmp_path / f"scored{ending}", PLAIN)
    assert np.abs(sound_of(report.output)).argmax() % (2 * SAMPLE_RATE_OUT) == pytest.approx(12_000, abs=4)


@pytest.mark.parametrize("name", ["late.mkv", "late.mov", "late.ts"])
def test_a_video_that_starts_late_stays_in_step_with_its_sound(tmp_path: Path, name: str) -> None:
    codec = "mp2" if name.endswith("ts") else "pcm_s16le"
    video = clip_of(tmp_path, name, start_s=0.5, sound=Sound(impulse(2.0, 1.0), codec=codec))
    report = finish(video, quiet(tmp_path), tmp_path / "scored.wav", PLAIN)
    mp4 = finish(video, quiet(tmp_path), tmp_path / "scored.mp4", PLAIN)
    # Observed: 0 samples off for MOV, 16 for Matroska, whose times are rounded to 1 ms (48 samples), and 481
    # for MP2 in MPEG-TS: the encoder's own delay, which that format has no place for.
    tolerance = {".mov": 4, ".mkv": 24, ".ts": 500}[video.suffix]
    for path in (report.output, mp4.output):
        assert np.abs(sound_of(path)).argmax() == pytest.approx(0.5 * SAMPLE_RATE_OUT, abs=tolerance)


@pytest.mark.parametrize("name", ["bframes.mkv", "bframes.ts", "bframes.mov", "packed.avi"])
def test_every_container_can_be_copied_into_mp4(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    video = clip_of(tmp_path, name, codec=codec, gop=20)
    report = finish(video, loud(tmp_path), tmp_path / "scored.mp4", PLAIN)
    assert times_of(report.output) == pytest.approx([i / 10 for i in range(20)], abs=2e-3)
    assert report.duration_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("ending", VIDEO_ENDINGS)
@pytest.mark.parametrize("name", ["turned.mp4", "turned.mkv"])
def test_rotation_survives_the_copy(tmp_path: Path, name: str, ending: str) -> None:
    video = clip_of(tmp_path, name, rotation=90, hflip=True)
    report = finish(video, loud(tmp_path), tmp_path / f"scored{ending}", PLAIN)
    assert (probe(report.output).width, probe(report.output).height) == (48, 64)
    first, copied = (next(iter(VideoReader(path, 16))) for path in (video, report.output))
    assert np.array_equal(first.pixels, copied.pixels)


def test_five_channels_are_mixed_down(tmp_path: Path) -> None:
    samples = np.zeros((6, 96_000), np.float32)
    samples[2] = impulse(2.0, 0.5)[0]  # centre
    video = clip_of(tmp_path, "clip.mov", sound=Sound(samples, layout="5.1", codec="pcm_s16le"))
    signal = sound_of(finish(video, quiet(tmp_path), tmp_path / "scored.wav", PLAIN).output)
    assert np.abs(signal).argmax(axis=1).tolist() == [24_000, 24_000]
    assert signal.max() == pytest.approx(0.5 * np.sqrt(0.5), abs=1e-3)


# Loudness and mix


@pytest.mark.parametrize("target", [-16.0, -23.0])
@pytest.mark.parametrize("level", [0.004, 0.05, 0.3])
def test_the_result_is_as_loud_as_asked(tmp_path: Path, target: float, level: float) -> None:
    settings = FinishSettings(loudness_lufs=target, mix="drop")
    report = finish(clip_of(tmp_path), loud(tmp_path, level=level), tmp_path / "scored.m4a", settings)
    measured = measure_loudness(read_stereo(report.output))
    assert measured.lufs == pytest.approx(target, abs=0.5)  # observed 0.10 to 0.11 below
    assert report.gain_db == pytest.approx(target - report.measured_lufs)


def test_near_silence_is_not_amplified(tmp_path: Path) -> None:
    report = finish(clip_of(tmp_path), loud(tmp_path, level=1e-3), tmp_path / "scored.wav", FinishSettings())
    assert report.gain_db == 0.0
    assert report.measured_lufs < -50


def test_silent_music_is_no_error(tmp_path: Path) -> None:
    report = finish(clip_of(tmp_path), quiet(tmp_path), tmp_path / "scored.mp4", FinishSettings())
    assert (report.gain_db, report.measured_lufs) == (0.0, -np.inf)


def test_music_gain_comes_on_top(tmp_path: Path) -> None:
    settings = FinishSettings(music_gain_db=-6.0)
    report = finish(clip_of(tmp_path), loud(tmp_path), tmp_path / "scored.wav", settings)
    assert measure_loudness(read_stereo(report.output)).lufs == pytest.approx(-22.0, abs=0.5)


def test_drop_keeps_nothing_of_the_original(tmp_path: Path) -> None:
    video = clip_of(tmp_path, sound=Sound(noise(2.0, 0.1), codec="aac"))
    report = finish(video, quiet(tmp_path), tmp_path / "scored.wav", replace(PLAIN, mix="drop"))
    assert (report.mix, sound_of(report.output).any()) == ("drop", False)


@pytest.mark.parametrize("kind", ["keep", "duck"])
def test_a_video_without_sound_is_scored_with_music_alone(tmp_path: Path, kind: str) -> None:
    settings = replace(PLAIN, mix=kind)  # type: ignore[arg-type]
    assert finish(clip_of(tmp_path), loud(tmp_path), tmp_path / "scored.wav", settings).mix == "drop"


def test_duck_makes_room_for_the_original(tmp_path: Path) -> None:
    speech = np.pad(noise(1.0, 0.1), ((0, 0), (0, 48_000)))
    video, music = clip_of(tmp_path, "clip.mov", sound=Sound(speech)), loud(tmp_path, level=0.05)
    kept = sound_of(finish(video, music, tmp_path / "kept.wav", PLAIN).output)
    ducked = sound_of(finish(video, music, tmp_path / "ducked.wav", replace(PLAIN, mix="duck")).output)
    alone = kept - speech
    during, after = slice(9_600, 48_000), slice(76_800, None)
    assert np.abs((ducked - speech)[:, during]).mean() < 0.4 * np.abs(alone[:, during]).mean()
    assert np.abs((ducked - speech)[:, after]).mean() > 0.97 * np.abs(alone[:, after]).mean()


# What goes wrong


def refused(video: Path, output: Path, expected: str, audio_only: bool = False) -> None:
    music = loud(video.parent)
    before = sorted(video.parent.iterdir())
    settings = replace(PLAIN, audio_only=audio_only)
    for attempt in (
        lambda: check_output(output, video, audio_only),
        lambda: finish(video, music, output, settings),
    ):
        with pytest.raises(MediaError) as error:
            attempt()
        assert expected in str(error.value)
        assert "\n" not in str(error.value)
        assert sorted(video.parent.iterdir()) == before


def test_a_good_output_passes_the_check_and_leaves_nothing(tmp_path: Path) -> None:
    video = clip_of(tmp_path)
    for ending in (*VIDEO_ENDINGS, *SOUND_ENDINGS):
        check_output(tmp_path / f"scored{ending}", video)
    assert nothing_left(tmp_path, video)


def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    video = clip_of(tmp_path)
    for stem in ("x" * 242, "x" * 243, "x" * 251, "ä" * 125):
        check_output(tmp_path / f"{stem}.mp4", video)
        with replacing(tmp_path / f"{stem}.mp4") as partial:
            partial.touch()
        assert (tmp_path / f"{stem}.mp4").exists()


def test_what_is_written_out_to_the_disk_is_open_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses it for any other file."""

    def fsync(file: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "out.wav") as partial:
        partial.write_bytes(b"x")
    assert (tmp_path / "out.wav").read_bytes() == b"x"


def test_a_result_that_may_not_replace_what_a_player_has_open_is_kept_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses it."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Access is denied")

    output = tmp_path / "out.wav"
    output.write_bytes(b"open")
    monkeypatch.setattr(os, "replace", refuse)
    for n, name in enumerate(("out (2).wav", "out (3).wav")):
        with (
            pytest.raises(MediaError, match=re.escape(f"the result is {tmp_path / name}")),
            replacing(output) as new,
        ):
            new.write_bytes(bytes([n]))
        assert (tmp_path / name).read_bytes() == bytes([n])
    assert output.read_bytes() == b"open"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["con.wav", "Nul.mp4", "com1.tar.flac", "LPT³.ogg", "conin$ .wav"])
def test_a_device_of_windows_is_no_output_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    check_place(tmp_path / name)
    monkeypatch.setattr(reserved, "ON_WINDOWS", True)
    with pytest.raises(MediaError, match=r"is the device [A-Z$0-9³]+ on Windows"):
        check_place(tmp_path / name)
    for other in ("console.wav", "a.con.wav", "com0.wav", "com10.wav", ".con.wav"):
        check_place(tmp_path / other)


def test_an_output_that_cannot_be_is_refused_before_and_after(tmp_path: Path) -> None:
    video = clip_of(tmp_path)
    (tmp_path / "directory.mp4").mkdir()
    protected = tmp_path / "protected.mp4"
    protected.touch(0o444)
    (tmp_path / "link.mp4").symlink_to(video)
    refused(video, tmp_path / "scored.xyz", "expected an ending out of .wav .flac")
    refused(video, tmp_path / "scored", "found none")
    refused(video, tmp_path / "scored.mp4", "sound alone: expected an ending out of .wav", audio_only=True)
    refused(video, tmp_path / "directory.mp4", "found a directory")
    refused(video, protected, "write-protected")
    refused(video, tmp_path / "missing" / "scored.mp4", "there is no directory")
    refused(video, video, "is the input itself")
    refused(video, tmp_path / "link.mp4", "is the input itself")
    refused(video, tmp_path / ("x" * 252 + ".mp4"), "name too long")
    refused(video, Path("/proc/scored.wav"), "cannot be written: No such file or directory")
    refused(video, Path("/proc/scored.mp4"), "cannot be written: No such file or directory")


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "ending", "found"),
    [
        ("a.mkv", "libvpx", "yuv420p", ".mp4", ".mp4 cannot hold vp8 video as it is; try .mkv "),
        ("b.mp4", "libx264", "yuv420p", ".webm", ".webm cannot hold h264 video as it is; try .mkv .mp4"),
        ("c.avi", "flashsv", "bgr24", ".mp4", ".mp4 cannot hold flashsv video as it is; try .wav .flac"),
    ],
)
def test_a_codec_that_does_not_fit_names_the_endings_that_do(
    tmp_path: Path, name: str, codec: str, pixel_format: str, ending: str, found: str
) -> None:
    video = clip_of(tmp_path, name, codec=codec, pixel_format=pixel_format, frames=2)
    refused(video, tmp_path / f"scored{ending}", found)


def test_files_put_behind_one_another_can_be_heard_but_not_copied(tmp_path: Path) -> None:
    video = clip_of(tmp_path, "joined.ts")
    video.write_bytes(2 * video.read_bytes())
    check_output(tmp_path / "out.wav", video, audio_only=True)
    with pytest.raises(MediaError, match=r"joined.ts: expected times that rise, .* -c copy joined.mkv"):
        check_output(tmp_path / "out.mp4", video)


def test_a_bare_stream_can_be_heard_but_not_copied(tmp_path: Path) -> None:
    video = clip_of(tmp_path, "bare.h264")
    refused(video, tmp_path / "scored.mp4", "ffmpeg -i bare.h264 bare.mkv")
    report = finish(video, loud(tmp_path), tmp_path / "scored.wav", PLAIN)
    assert sound_of(report.output).shape[1] == round(report.duration_s * SAMPLE_RATE_OUT) > 0


def test_apple_keeps_its_tag(tmp_path: Path) -> None:
    video = clip_of(tmp_path, codec="libx265")
    video.write_bytes(video.read_bytes().replace(b"hev1", b"hvc1"))
    report = finish(video, loud(tmp_path), tmp_path / "scored.mov", PLAIN)
    with av.open(str(report.output)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("ending", [".mov", ".mkv"])
def test_prores_stays_of_its_kind(tmp_path: Path, ending: str) -> None:
    video = clip_of(tmp_path, "clip.mov", codec="prores_ks", pixel_format="yuv444p10le")
    report = finish(video, loud(tmp_path), tmp_path / f"scored{ending}", PLAIN)
    with av.open(str(report.output)) as container:
        copy = container.streams.video[0].codec_context
        assert (copy.codec_tag, copy.pix_fmt) == ("ap4h", "yuv444p12le")


def test_frames_that_are_decoded_at_one_time_are_copied_one_after_another(tmp_path: Path) -> None:
    source, alike = clip_of(tmp_path, "source.mp4", codec="mpeg4"), tmp_path / "alike.mkv"
    with av.open(str(source)) as read, av.open(str(alike), "w") as written:
        copy = written.add_stream_from_template(read.streams.video[0])
        for at, packet in enumerate(packet for packet in read.demux(video=0) if packet.size):
            packet.stream, packet.time_base = copy, Fraction(1, 1000)
            packet.pts = packet.dts = at // 3 * 300
            written.mux(packet)
    report = finish(alike, loud(tmp_path), tmp_path / "scored.mp4", PLAIN)
    with av.open(str(report.output)) as container:
        times = [round(1000 * frame.time) for frame in container.decode(video=0)]
    assert times == [at // 3 * 300 + at % 3 for at in range(20)]


def test_titles_survive(tmp_path: Path) -> None:
    source, titled = clip_of(tmp_path, "untitled.mp4"), tmp_path / "titled.mp4"
    with av.open(str(source)) as read, av.open(str(titled), "w") as written:
        copy = written.add_stream_from_template(read.streams.video[0])
        written.metadata["title"] = "Ein schöner Film"
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = copy
                written.mux(packet)
    report = finish(titled, loud(tmp_path), tmp_path / "scored.mp4", PLAIN)
    with av.open(str(report.output)) as container:
        assert container.metadata["title"] == "Ein schöner Film"


def told(path: Path, source: Path, said_ms: Sequence[tuple[int, int]]) -> Path:
    """The source with its sound twice, subtitles that are shown from and until these times, and two chapters of a second each."""
    spoken = path.with_suffix(".srt")
    spoken.write_text(
        "".join(f"1\n00:00:0{a / 1000:.3f} --> 00:00:0{b / 1000:.3f}\n{a}\n\n" for a, b in said_ms)
    )
    with av.open(str(source)) as read, av.open(str(spoken)) as words, av.open(str(path), "w") as written:
        streams = [read.streams[0], read.streams[1], read.streams[1], words.streams[0]]
        copies = [written.add_stream_from_template(stream) for stream in streams]
        copies[2].metadata["language"], copies[3].metadata["language"] = "deu", "eng"
        named = [
            {"id": at, "start": at, "end": at + 1, "time_base": Fraction(1), "metadata": {"title": f"{at}"}}
            for at in (0, 1)
        ]
        written.set_chapters(named)
        for packet in (*read.demux(0, 1), *read.demux(1), *words.demux(0)):
            if packet.size:
                packet.stream = copies[packet.stream.index if packet.stream.type != "subtitle" else 3]
                written.mux(packet)
    return path


def subtitles_of(path: Path) -> list[tuple[bytes, int, int]]:
    with av.open(str(path)) as container:
        return [
            (bytes(each), each.pts, each.pts + each.duration)
            for each in container.demux(subtitles=0)
            if each.size
        ]


def chapters_of(path: Path) -> list[tuple[str, float, float]]:
    with av.open(str(path)) as container:
        found = container.chapters()
        return [
            (each["metadata"]["title"], *(float(each[at] * each["time_base"]) for at in ("start", "end")))
            for each in found
        ]


@pytest.mark.parametrize("start_s", [0.0, 0.4])
def test_chapters_and_subtitles_stay_on_their_pictures(tmp_path: Path, start_s: float) -> None:
    source = clip_of(tmp_path, "source.mkv", sound=Sound(noise(2.4, 0.1)), start_s=start_s)
    film = told(tmp_path / "film.mkv", source, [(300, 700), (1000, 1500), (2200, 9000), (9000, 9500)])
    report = finish(film, loud(tmp_path), tmp_path / "scored.mkv", PLAIN)
    off = round(1000 * start_s)
    expected = [(b"300", max(0, 300 - off), 700 - off), (b"1000", 1000 - off, 1500 - off)]
    expected += [(b"2200", 2200 - off, 2000)] if off else []
    assert subtitles_of(report.output) == expected
    assert chapters_of(report.output) == [("0", 0, 1 - start_s), ("1", 1 - start_s, 2 - start_s)]
    assert report.left_out == ("stream 2, audio (deu)",)
    with av.open(str(report.output)) as container:
        assert container.streams.subtitles[0].language == "eng"
        assert container.duration == pytest.approx(2e6, abs=3e4)


def test_chapters_and_subtitles_end_with_music_that_stops(tmp_path: Path) -> None:
    source = clip_of(tmp_path, "source.mkv", sound=Sound(noise(2.0, 0.1)))
    film = told(tmp_path / "film.mkv", source, [(300, 700), (800, 1500), (1500, 1900)])
    report = finish(film, loud(tmp_path, 1.0), tmp_path / "scored.mkv", PLAIN)
    assert subtitles_of(report.output) == [(b"300", 300, 700), (b"800", 800, 1000)]
    assert chapters_of(report.output) == [("0", 0, 1)]


def test_subtitles_that_the_result_cannot_hold_are_named(tmp_path: Path) -> None:
    source = clip_of(tmp_path, "source.mkv", sound=Sound(noise(2.0, 0.1)))
    film = told(tmp_path / "film.mkv", source, [(300, 700)])
    report = finish(film, loud(tmp_path), tmp_path / "scored.mp4", PLAIN)
    assert report.left_out == ("stream 2, audio (deu)", "stream 3, subtitle (eng)")
    assert chapters_of(report.output) == [("0", 0, 1), ("1", 1, 2)]
    assert finish(film, loud(tmp_path), tmp_path / "scored.wav", PLAIN).left_out == ()


def test_the_music_is_not_overwritten(tmp_path: Path) -> None:
    music = loud(tmp_path)
    content = music.read_bytes()
    with pytest.raises(MediaError, match="is the input itself"):
        finish(clip_of(tmp_path), music, music, PLAIN)
    assert music.read_bytes() == content


def test_music_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    video = clip_of(tmp_path)
    with pytest.raises(MediaError, match="no such file"):
        finish(video, tmp_path / "missing.wav", tmp_path / "scored.mp4", PLAIN)
    with pytest.raises(MediaError, match="found no samples"):
        finish(video, quiet(tmp_path, 0.0), tmp_path / "scored.mp4", PLAIN)
    assert nothing_left(tmp_path, video, tmp_path / "quiet.wav")


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".wav", ".flac", ".opus"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    video, music, output = clip_of(tmp_path), loud(tmp_path), tmp_path / f"scored{ending}"
    output.write_bytes(b"an older result")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        with pytest.raises(MediaError) as error:
            finish(video, music, output, PLAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value) == f"{output}: cannot be written: File too large"
    assert output.read_bytes() == b"an older result"
    assert nothing_left(tmp_path, video, music, output)


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, music = clip_of(tmp_path), loud(tmp_path)

    def interrupted(*streams: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.media.finish.interleaved", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finish(video, music, tmp_path / "scored.mp4", PLAIN)
    assert nothing_left(tmp_path, video, music)


def test_the_music_may_be_a_file_with_another_rate(tmp_path: Path) -> None:
    music = make_sound(tmp_path / "music.wav", Sound(noise(2.0, 0.1, 44_100), 44_100, codec="pcm_s16le"))
    report = finish(clip_of(tmp_path), music, tmp_path / "scored.wav", FinishSettings())
    assert measure_loudness(read_stereo(report.output)).lufs == pytest.approx(-16.0, abs=0.5)
