"""`cuestream score` as a user runs it: the right result, or one line and exit code 2, and never half a file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import pytest
from clips import Clip, Sound, cut_off, make, make_sound, noise
from rich.console import Console

from cuestream import cli
from cuestream.progress import scoring
from cuestream.score import ScoreJob, Stage, score
from engine.media.audio import measure_loudness, read_stereo
from engine.media.finish import FinishReport, FinishSettings, finish
from engine.media.video import VideoReader, probe
from engine.synthetic import SyntheticPlayer
from training.composer.soundfont import SOUND_FONT_VARIABLE

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; gives exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cuestream", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handler is the process's, not the test's
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return command


def complaint(said: str) -> str:
    """The one line that an error prints, after the notice about what plays."""
    lines = [line for line in said.splitlines() if line and not line.startswith("model ")]
    assert len(lines) == 1, said
    assert lines[0].startswith("cuestream: ")
    return lines[0]


def shown_until(video: Path) -> float:
    """When the last frame stops being shown, in seconds from the first."""
    reader = VideoReader(video, 8)
    for _ in reader:
        pass
    return reader.end_s


GOOD = {
    "plain.mp4": Clip(),
    "one-pixel.mkv": Clip(width=1, height=1, codec="ffv1", pixel_format="bgr0"),
    "odd.mkv": Clip(width=33, height=47, codec="ffv1", pixel_format="yuv444p"),
    "alpha.mov": Clip(codec="qtrle", pixel_format="argb"),
    "ten-bit.mkv": Clip(codec="ffv1", pixel_format="yuv420p10le"),
    "variable.mp4": Clip(frames=5, times_ms=(0, 40, 400, 440, 900)),
    "rotated.mp4": Clip(rotation=90),
    "one-frame.mp4": Clip(frames=1),
    "late.mp4": Clip(start_s=0.5),
    "spoken.mkv": Clip(sound=Sound(noise(1.0, 0.1))),
}


def test_music_too_short_for_a_loudness_has_none(run: Run, tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", Clip(frames=1))
    code, said, _ = run("score", clip, "-o", tmp_path / "scored.mp4", "--model", "random-tiny")
    assert (code, "music at no loudness" in said, "inf" in said) == (0, True, False), said


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("mode", ["--live", "--offline"])
def test_any_video_is_scored_to_its_length(run: Run, tmp_path: Path, name: str, mode: str) -> None:
    video = make(tmp_path / name, GOOD[name])
    output = tmp_path / f"scored{video.suffix}"
    code, _, said = run("score", video, "-o", output, mode)
    assert code == 0, said
    before, after = probe(video), probe(output)
    assert (after.width, after.height, after.frame_count) == (before.width, before.height, before.frame_count)
    heard = sum(block.shape[1] for block in read_stereo(output)) / 48_000
    assert heard == pytest.approx(shown_until(output), abs=0.05)  # an AAC frame is 21 ms; 25 ms were seen
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([video.name, output.name])


@pytest.mark.parametrize("mode", ["--live", "--offline"])
def test_energy_is_heard_in_either_mode(run: Run, tmp_path: Path, mode: str) -> None:
    video = make(tmp_path / "clip.mp4", Clip())

    def music(name: str, *options: str) -> np.ndarray:
        code, _, said = run("score", video, "-o", tmp_path / name, "--mix", "drop", mode, *options)
        assert code == 0, said
        return np.concatenate(list(read_stereo(tmp_path / name)), 1)

    plain = music("plain.wav")
    assert np.array_equal(music("same.wav", "--energy", "0"), plain)
    assert not np.array_equal(music("lively.wav", "--energy", "1"), plain)


@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3", ".m4a", ".ogg"])
def test_the_ending_says_what_kind(run: Run, tmp_path: Path, ending: str) -> None:
    video = make(tmp_path / "clip.mp4", Clip())
    code, _, said = run("score", video, "-o", tmp_path / f"music{ending}", "--audio-only")
    assert code == 0, said
    with av.open(str(tmp_path / f"music{ending}")) as container:
        assert [stream.type for stream in container.streams] == ["audio"]


def test_the_loudness_is_the_one_asked_for(run: Run, tmp_path: Path) -> None:
    video = make(tmp_path / "clip.mp4", Clip(frames=30))
    run("score", video, "-o", tmp_path / "music.wav", "--loudness", "-20")
    loudness = measure_loudness(read_stereo(tmp_path / "music.wav"))
    assert loudness.lufs == pytest.approx(-20, abs=0.5)


def test_the_same_seed_gives_the_same_music_and_another_does_not(run: Run, tmp_path: Path) -> None:
    video = make(tmp_path / "clip.mp4", Clip())
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert run("score", video, "-o", tmp_path / f"{name}.wav", "--seed", seed)[0] == 0
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_folder_is_scored_one_by_one_and_a_bad_file_does_not_stop_it(run: Run, tmp_path: Path) -> None:
    videos, results = tmp_path / "videos", tmp_path / "results"
    videos.mkdir()
    make(videos / "a.mp4", Clip())
    (videos / "b.mp4").write_text("not a video")
    make(videos / "c.avi", Clip(codec="mpeg4"))
    (videos / "notes.txt").write_text("passed over")
    code, _, said = run("score", videos, "-o", results)
    assert code == 2
    assert "b.mp4" in said
    assert "1 of 3 videos" in said
    assert sorted(p.name for p in results.iterdir()) == ["a.scored.mp4", "c.scored.mkv"]


def test_a_folder_may_be_scored_as_sound_of_any_kind(run: Run, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mts"):
        make(tmp_path / "videos" / name, Clip(frames=3))
    results = tmp_path / "results"
    code, _, said = run(
        "score", tmp_path / "videos", "-o", results, "--format", "mp3", "--model", "synthetic"
    )
    assert code == 0
    assert sorted(path.name for path in results.iterdir()) == ["a.scored.mp3", "b.scored.mp3"]
    assert "\n\n" not in said


@pytest.mark.parametrize(("kind", "only"), [("text", False), ("mp4", True)])
def test_a_kind_that_no_result_can_be_is_refused(run: Run, tmp_path: Path, kind: str, only: bool) -> None:
    make(tmp_path / "a.mp4", Clip(frames=3))
    code, _, said = run("score", tmp_path, "--format", kind, *["--audio-only"] * only)
    assert (code, f"--format {kind}: " in complaint(said)) == (2, True)


def test_a_run_goes_on_where_one_before_it_ended(run: Run, tmp_path: Path) -> None:
    command = (
        "score",
        tmp_path / "videos",
        "-o",
        tmp_path / "results",
        "--model",
        "synthetic",
        "--skip-existing",
    )
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make(tmp_path / "videos" / name, Clip(frames=20))
    assert run(*command)[0] == 0
    made = {path: path.read_bytes() for path in sorted((tmp_path / "results").iterdir())}
    whole, short, missing = made
    make(short, Clip(frames=5))  # as an interrupted run left it
    missing.unlink()
    before = whole.stat().st_ino
    code, _, said = run(*command)
    assert code == 0
    assert "1 of 3 videos have their result already" in said
    assert whole.stat().st_ino == before
    assert {path: path.read_bytes() for path in made} == made
    assert run(*command, "--format", "flac")[0] == 0
    assert len(list((tmp_path / "results").iterdir())) == 6


def test_videos_of_a_folder_take_no_result_from_each_other(run: Run, tmp_path: Path) -> None:
    video, results = make(tmp_path / "a.mkv", Clip(frames=3)), tmp_path / "results"
    for name in ("A.avi", "b.mkv", ".hidden.mkv", "b.scored.mkv"):
        shutil.copyfile(video, tmp_path / name)
    (tmp_path / "folder.mp4").mkdir()
    assert run("score", tmp_path, "-o", results, "--model", "synthetic")[0] == 0
    named = ["A.avi.scored.mkv", "a.mkv.scored.mkv", "b.scored.mkv"]
    assert sorted(path.name for path in results.iterdir()) == named


def test_a_run_beside_another_takes_nothing_of_it(tmp_path: Path) -> None:
    video, player = make(tmp_path / "a.mkv", Clip()), SyntheticPlayer()
    sound = ScoreJob(video, tmp_path / "to.wav", player.defaults, FinishSettings(audio_only=True))
    film = replace(sound, output=tmp_path / "to.mkv", settings=FinishSettings())

    def beside(*_: object) -> None:
        score(sound, player, lambda *_: None)

    score(film, player, beside)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "to.mkv", "to.wav"]


def test_each_pass_over_the_music_tells_how_far_it_is(tmp_path: Path) -> None:
    """Of a long film the measuring and mixing take minutes, too."""
    video, player = make(tmp_path / "a.mkv", Clip(frames=50)), SyntheticPlayer()
    told: list[tuple[str, float, float]] = []
    shown = Console(file=StringIO(), force_terminal=True, width=120)
    with scoring(shown, "a.mkv") as bar:

        def tell(stage: Stage, seconds: float, total: float) -> None:
            told.append((stage, seconds, total))
            bar(stage, seconds, total)

        score(ScoreJob(video, tmp_path / "to.mkv", player.defaults, FinishSettings()), player, tell)
        shown.print()
    stages = {stage: [seconds for each, seconds, _ in told if each == stage] for stage, _, _ in told}
    assert list(stages) == ["making", "measuring", "mixing"]
    for seconds in stages.values():
        assert seconds == sorted(seconds)
        assert len(seconds) > 5
        assert seconds[-1] == pytest.approx(told[-1][2], abs=0.1)
    assert "mixing and writing" in shown.file.getvalue()  # type: ignore[attr-defined]


def test_the_timeline_covers_the_music_without_gaps(run: Run, tmp_path: Path) -> None:
    video = make(tmp_path / "clip.mp4", Clip(frames=20))
    run(
        "score",
        video,
        "-o",
        tmp_path / "m.wav",
        "--timeline",
        tmp_path / "t.jsonl",
        "--plot",
        tmp_path / "t.png",
    )
    header, *chunks = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert header["model"] == "starter"
    assert header["mode"] == "live"
    ends = [0.0, *(c["start_s"] + c["duration_s"] for c in chunks)]
    assert [c["start_s"] for c in chunks] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(2.0)
    for chunk in chunks:
        assert chunk["newest_frame_s"] <= chunk["start_s"] + chunk["duration_s"]
        assert chunk["age_s"] >= 0
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_truncated_video_is_scored_up_to_the_damage(run: Run, tmp_path: Path) -> None:
    video = cut_off(make(tmp_path / "clip.mkv", Clip(frames=40, codec="ffv1")), 0.6)
    code, _, said = run("score", video, "-o", tmp_path / "out.mkv")
    assert code == 0, said
    lasts_s = probe(tmp_path / "out.mkv").duration_s
    assert 1.0 < lasts_s < 3.0
    assert f"{4 - lasts_s:.1f} s before the length that the file declares" in complaint(said)


def test_bad_input_is_one_line_and_exit_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("a text file named mp4")
    (tmp_path / "empty.mp4").touch()
    make_sound(tmp_path / "sound.m4a", Sound(noise(0.5, 0.1), codec="aac"))
    make(tmp_path / "picture.png", Clip(frames=1, codec="png", pixel_format="rgb24"))
    (tmp_path / "videos").mkdir()
    make(tmp_path / "videos" / "a.mp4", Clip(frames=1))
    video = make(tmp_path / "clip.mp4", Clip())
    output, whole = tmp_path / "out.mp4", video.read_bytes()
    cases: list[tuple[list[object], str]] = [
        (["score", tmp_path / "missing.mp4", "-o", output], "missing.mp4"),
        (["score", tmp_path / "text.mp4", "-o", output], "text.mp4"),
        (["score", tmp_path / "empty.mp4", "-o", output], "empty.mp4"),
        (["score", tmp_path / "sound.m4a", "-o", output], "sound.m4a"),
        (["score", video, "-o", tmp_path / "nowhere" / "out.mp4"], "nowhere"),
        (["score", video, "-o", tmp_path / "out.xyz"], ".xyz"),
        (["score", video, "-o", video], "is the input itself"),
        (["score", video, "-o", output, "--audio-only"], ".wav"),
        (["score", video, "-o", output, "--model", "nonesuch"], "random-tiny, starter"),
        (["score", video, "-o", output, "--temperature", "-1"], "temperature"),
        (["score", video, "-o", output, "--key", "H"], "C Db D Eb"),
        (["score", video, "-o", output, "--model", "random-tiny", "--key", "D"], "cannot be held to D"),
        (["score", video, "-o", output, "--model", "random-tiny", "--energy", "0.5"], "sees no motion"),
        (["score", video, "-o", output, "--as-published"], "--offline"),
        (["score", video, "-o", output, "--timeline", tmp_path / "nowhere" / "t.jsonl"], "nowhere"),
        (["score", video, "-o", output, "--timeline", video], "name of its own"),
        (["score", video, "-o", output, "--plot", output], "name of its own"),
        (["score", video, "-o", output, "--plot", tmp_path / "t.docx"], ".png .svg or .pdf, found .docx"),
        (["score", tmp_path / "picture.png", "-o", output], "is a picture, not a video"),
        (["score", tmp_path / "videos", "-o", output], "need a folder, whose name has no .mp4"),
        (["score", tmp_path / "videos", "-o", video / "below"], "Not a directory"),
        (["score", video, "-o", output, "--format", "mp3"], "its ending says what kind"),
        (["info", "nonesuch"], "random-tiny, starter"),
        (["score", tmp_path / "nofolder" / "x.mp4"], "x.mp4"),
    ]
    for arguments, expected in cases:
        code, _, said = run(*arguments)
        assert code == 2, (arguments, said)
        assert expected in complaint(said), arguments
    assert video.read_bytes() == whole
    assert not output.exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("score", "--gain", "nan"),
        ("score", "--gain", "200"),
        ("score", "--loudness", "inf"),
        ("score", "--threads", "-1"),
        ("compare", "--seed", "-1"),
        ("compare", "--seconds", "inf"),
        ("random", "--seed", str(2**64)),
        ("score", "--threads", "100000"),
        ("serve", "--threads", "-2"),
        ("serve", "--port", "99999"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(run: Run, command: str, option: str, value: str) -> None:
    given = {"score": ["clip.mp4"], "compare": ["starter"] * 2, "random": ["tiny"], "serve": []}
    code, _, said = run(command, *given[command], option, value)
    assert code == 2
    assert f"Invalid value for '{option}'" in said


@pytest.mark.usefixtures("sound_font")
def test_the_composer_scores_a_clip_and_says_that_it_did(run: Run, tmp_path: Path) -> None:
    video, output = make(tmp_path / "clip.mp4", Clip(frames=20)), tmp_path / "out.mp4"
    to = ("-o", output, "--timeline", tmp_path / "t.jsonl", "--plot", tmp_path / "t.png")
    code, printed, said = run("score", video, *to, "--model", "procedural")
    assert code == 0, said
    label = "procedural music (composed by rules, not by the model)"
    assert label in printed
    assert label in said
    heard = np.concatenate([block[0] for block in read_stereo(output)])
    assert len(heard) / 48_000 == pytest.approx(2.0, abs=0.05)
    assert np.abs(heard).max() > 0.01
    header, *chunks = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert (header["model"], header["label"], header["mode"]) == ("procedural", label, "live")
    assert sum(chunk["duration_s"] for chunk in chunks) == pytest.approx(2.0)
    assert all(0 <= chunk["age_s"] <= 0.2 for chunk in chunks)
    assert chunks[-1]["counts"]["pushed"] == 20


@pytest.mark.usefixtures("sound_font")
def test_the_composer_follows_its_seed(run: Run, tmp_path: Path) -> None:
    video = make(tmp_path / "clip.mp4", Clip())
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert (
            run("score", video, "-o", tmp_path / f"{name}.wav", "--model", "procedural", "--seed", seed)[0]
            == 0
        )
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.usefixtures("sound_font")
def test_the_composer_is_live_only(run: Run, tmp_path: Path) -> None:
    video, output = make(tmp_path / "clip.mp4", Clip()), tmp_path / "out.mp4"
    code, _, said = run("score", video, "-o", output, "--model", "procedural", "--offline")
    assert code == 2
    assert "live only" in complaint(said)
    assert not output.exists()


@pytest.mark.usefixtures("sound_font")
@pytest.mark.parametrize("missing", ["a sound font", "tinysoundfont"])
def test_what_the_composer_misses_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "tinysoundfont":
        monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    else:
        monkeypatch.setenv(SOUND_FONT_VARIABLE, str(tmp_path / "nowhere.sf3"))
    video, line = make(tmp_path / "clip.mp4", Clip()), tmp_path / "t.jsonl"
    to = ("-o", tmp_path / "out.mp4", "--timeline", line)
    code, _, said = run("score", video, *to, "--model", "procedural")
    assert code == 2
    expected = {"a sound font": "fluidr3mono-gm-soundfont", "tinysoundfont": "pip install --no-deps"}
    assert expected[missing] in complaint(said)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]
    code, printed, _ = run("info", "procedural")
    assert code == 0
    assert "not ready" in printed


def test_the_composer_is_described(run: Run) -> None:
    code, printed, said = run("info", "procedural")
    assert code == 0, said
    for expected in ("procedural", "percussion, bass, harmony, melody", "same seed", "sound font"):
        assert expected in printed


def test_the_test_tones_are_labelled_wherever_they_play(run: Run, tmp_path: Path) -> None:
    video, output, line = make(tmp_path / "clip.mp4", Clip()), tmp_path / "out.wav", tmp_path / "t.jsonl"
    code, printed, said = run("score", video, "-o", output, "--timeline", line, "--model", "synthetic")
    assert code == 0, said
    label = "synthetic test tones"
    header = json.loads(line.read_text().splitlines()[0])
    assert all(label in " ".join(text.split()) for text in (printed, said, header["label"]))
    assert label in run("info", "synthetic")[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"Title [dQw4w9WgXcQ]", "Title [dQw4w9WgXcQ]"),
        (b"not utf-8 \xff", r"not utf-8 \udcff"),
        (b"from 5$^$ on", "from 5$^$ on"),
        (b"x" * 242, "x" * 242),
    ],
)
def test_any_name_that_a_file_can_have_is_taken_and_said(
    run: Run, tmp_path: Path, name: bytes, said: str
) -> None:
    made = make(tmp_path / "clip.mp4", Clip(frames=3))
    video = made.rename(tmp_path / os.fsdecode(name + b".mp4"))
    output = tmp_path / "to" / video.name
    output.parent.mkdir()
    sides = ("--timeline", tmp_path / "t.jsonl", "--plot", tmp_path / "p.png")
    code, out, err = run("score", video, "-o", output, *sides, "--model", "synthetic")
    assert code == 0, err
    assert f"{said}.mp4: " in out
    assert [path.name for path in output.parent.iterdir()] == [video.name]


def test_a_disk_too_full_for_the_timeline_is_one_line(run: Run, tmp_path: Path) -> None:
    video, output = make(tmp_path / "clip.mp4", Clip()), tmp_path / "out.mp4"
    (tmp_path / ".out.mp4.jsonl").symlink_to("/dev/full")
    to = ("-o", output, "--timeline", tmp_path / "t.jsonl", "--model", "synthetic")
    code, _, said = run("score", video, *to)
    assert code == 2
    assert (
        complaint(said)
        == f"cuestream: {tmp_path / '.out.mp4.jsonl'}: cannot be written: No space left on device"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("arguments", [[""], ["clip.mp4", "-o", ""]])
def test_a_name_of_nothing_is_not_the_folder_here(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    make(tmp_path / "clip.mp4", Clip(frames=3))
    monkeypatch.chdir(tmp_path)
    code, _, said = run("score", *arguments, "--model", "synthetic")
    assert code == 2
    assert "Invalid value" in said
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_wrong_usage_is_exit_code_2(run: Run) -> None:
    code, _, said = run("score")
    assert code == 2
    assert "Traceback" not in said
    assert run("--version")[0] == 0


def test_an_interrupted_run_that_keeps_nothing_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("cuestream.score.finish", finish)
    video, output = make(tmp_path / "clip.mp4", Clip()), tmp_path / "out.mp4"
    to = ("-o", output, "--timeline", tmp_path / "t.jsonl", "--model", "synthetic")
    code, _, said = run("score", video, *to)
    assert code == 130
    assert complaint(said) == f"cuestream: interrupted; nothing is kept of {output}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


def test_an_interrupt_when_the_music_is_made_loses_nothing_of_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rings = iter([KeyboardInterrupt])

    def interrupted(*given: Any) -> FinishReport:
        for ring in rings:
            raise ring
        return finish(*given)

    monkeypatch.setattr("cuestream.score.finish", interrupted)
    video, output = make(tmp_path / "clip.mp4", Clip()), tmp_path / "out.mp4"
    code, _, said = run("score", video, "-o", output, "--model", "synthetic")
    assert code == 130
    assert complaint(said) == f"cuestream: interrupted; {output} holds the music up to 1.00 s"
    assert shown_until(output) == 1.0


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What no run is through with in a minute."""
    return make(tmp_path_factory.mktemp("long") / "long.mp4", Clip(frames=6000))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_a_valid_file_up_to_there(
    long_video: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    output, timeline, growing = (tmp_path / name for name in ("out.mp4", "t.jsonl", ".out.mp4.jsonl"))
    command = [sys.executable, "-m", "cuestream", "score", long_video, "-o", output, "--timeline", timeline]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not growing.exists() or growing.stat().st_size < 20_000):
            time.sleep(0.05)  # until music has been made; the run itself takes far longer
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    heard = np.concatenate([block[0] for block in read_stereo(output)])
    assert 0.5 < len(heard) / 48_000 < 590
    assert probe(output).frame_count > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "t.jsonl"]
