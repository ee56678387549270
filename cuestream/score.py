"""One video to its scored result: make the music into a WAV beside the output, then finish (mix, loudness, mux) in one go.

The WAV is valid at every moment, and the timeline grows beside it. An interrupted run is finished with what was made up to there;
a killed one leaves these two.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from cuestream import __version__, music
from cuestream.players import needs_whole_file
from cuestream.plot import check_plot, plot
from engine.errors import MediaError
from engine.media.finish import FinishReport, FinishSettings, Part, finish
from engine.media.output import check_output, check_place
from engine.media.source import reason
from engine.media.video import VideoInfo, probe
from engine.media.wav import WavWriter
from engine.player import Player
from engine.spec import StreamPolicy

Stage = Literal["making"] | Part
Progress = Callable[[Stage, float, float], None]
"""Called with what is done to the music, and the seconds of it that are done and to do."""


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """What to do with one video."""

    video: Path
    output: Path
    policy: StreamPolicy
    settings: FinishSettings
    offline: bool = False
    as_published: bool = False
    timeline: Path | None = None
    plot: Path | None = None


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What came out. `real_time_factor` is seconds of compute for a second of music, reading and encoding included."""

    model: str
    label: str
    """Empty, or what a listener ought to know of the music."""
    finished: FinishReport
    music_s: float
    compute_s: float
    interrupted: bool
    missing_s: float
    """What the file declares beyond the end of its pictures: it was cut off. 0 where somebody interrupted."""

    @property
    def real_time_factor(self) -> float:
        return self.compute_s / self.music_s if self.music_s else 0.0


def score(job: ScoreJob, player: Player[Any], progress: Progress) -> ScoreReport:
    """Raises CuestreamError, one line, before any work where the result could not be written; nothing is half-written."""
    info = check(job.video, job.output, job.settings.audio_only, job.timeline, job.plot)
    wav, lines = (job.output.with_name(f".{job.output.name}.{kind}") for kind in ("wav", "jsonl"))
    began, records = time.monotonic(), list[dict[str, Any]]()
    try:
        made_s, interrupted = _make_music(job, info, player, wav, lines, records, progress)
        finished, interrupted = _finish(job, wav, interrupted, progress)
        compute_s = time.monotonic() - began
        if job.timeline is not None:
            _put(lines, job.timeline)
        if job.plot is not None:
            plot(job.plot, job.video, wav, records, info, player.label)
    finally:
        for path in (wav, lines):
            path.unlink(missing_ok=True)
    missing_s = 0.0 if interrupted else max(0.0, info.declared_s - made_s)
    return ScoreReport(player.name, player.label, finished, made_s, compute_s, interrupted, missing_s)


def check(video: Path, output: Path, audio_only: bool, timeline: Path | None, plot: Path | None) -> VideoInfo:
    """What is known of the video. Raises CuestreamError where it is none, or a result could not be written."""
    info = probe(video)
    check_output(output, video, audio_only)
    taken = [video, output]
    for path in (timeline, plot):
        if path is not None:
            _check_side_output(path, taken)
            taken.append(path)
    if plot is not None:
        check_plot(plot)
    return info


def _make_music(
    job: ScoreJob,
    info: VideoInfo,
    player: Player[Any],
    wav: Path,
    lines: Path,
    records: list[dict[str, Any]],
    progress: Progress,
) -> tuple[float, bool]:
    """Seconds of music written to the WAV, and whether somebody pressed Ctrl-C; without any music that is raised on."""
    made_s = 0.0
    sample_rate = player.sample_rate
    with ExitStack() as stack:
        writer = stack.enter_context(WavWriter(wav, sample_rate))
        timeline = stack.enter_context(_lines(lines)) if job.timeline else None
        _write_line(timeline, _header(job, player))
        try:
            for piece in _pieces(job, info, player):
                writer.append(piece.samples)
                made_s += len(piece.samples) / sample_rate
                _write_line(timeline, piece.record)
                if job.plot is not None:
                    records.append(piece.record)
                progress("making", made_s, info.duration_s)
        except KeyboardInterrupt:
            if not made_s:
                raise
            return made_s, True
    return made_s, False


def _finish(job: ScoreJob, wav: Path, interrupted: bool, progress: Progress) -> tuple[FinishReport, bool]:
    """The first Ctrl-C ends the making of music, and that is over: it takes a second one to lose what was made."""
    try:
        return finish(job.video, wav, job.output, job.settings, progress), interrupted
    except KeyboardInterrupt:
        if interrupted:
            raise
        return finish(job.video, wav, job.output, job.settings, progress), True


def _pieces(job: ScoreJob, info: VideoInfo, player: Player[Any]) -> Iterator[music.Piece]:
    if job.offline:
        return music.whole(needs_whole_file(player), job.video, info, job.policy, job.as_published)
    return music.live(player, job.video, info, job.policy)


def _header(job: ScoreJob, player: Player[Any]) -> dict[str, Any]:
    return {
        "cuestream": __version__,
        "video": job.video.name,
        "model": player.name,
        "label": player.label,
        "spec_digest": player.digest,
        "mode": "offline" if job.offline else "live",
        "policy": asdict(job.policy),
    }


@contextmanager
def _lines(path: Path) -> Iterator[TextIO]:
    """A text file to write to. Any error of the disk is a MediaError."""
    try:
        with path.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise MediaError(f"{path}: cannot be written: {reason(error)}") from error


def _write_line(file: TextIO | None, record: dict[str, Any]) -> None:
    if file is not None:
        file.write(json.dumps(record) + "\n")


def _put(lines: Path, timeline: Path) -> None:
    try:
        timeline.write_bytes(lines.read_bytes())
    except OSError as error:
        raise MediaError(f"{timeline}: cannot be written: {error.strerror}") from error


def _check_side_output(path: Path, taken: Sequence[Path]) -> None:
    check_place(path)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise MediaError(f"{path}: cannot be written: Permission denied")
    if path.resolve() in [each.resolve() for each in taken]:
        raise MediaError(
            f"{path}: is the video, the result or another file of it; expected a name of its own"
        )
