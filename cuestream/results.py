"""Which videos are scored, where their results go, and which of these are there already."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import av

from engine.errors import MediaError
from engine.media.output import TARGETS, target_of
from engine.media.source import open_input
from engine.media.video import VIDEO_ENDINGS, probe

CUT_OFF_S = 1.0
"""What a file has to lack of its length to count as cut off."""

_KEPT_ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def pairs(source: Path, output: Path | None, kind: str | None, audio_only: bool) -> list[tuple[Path, Path]]:
    """Videos and their results; one that is not named lies beside its video as NAME.scored.ENDING.

    kind: such as mp3, of results that are not named; None is wav of sound alone, and else as the video, where results may be so.
    """
    ending = _ending(kind, audio_only)
    if not source.is_dir():
        if output is None or output.is_dir():
            return [(source, (output or source.parent) / _name(source, ending))]
        if kind is not None:
            raise MediaError(f"{output}: its ending says what kind; --format is for a folder of results")
        return [(source, output)]
    videos = sorted(filter(_is_to_score, source.iterdir()))
    if not videos:
        raise MediaError(f"{source}: no videos in this folder; known endings are {' '.join(VIDEO_ENDINGS)}")
    folder = output or source
    _make(folder)
    names = [_name(video, ending) for video in videos]
    alike = Counter(name.lower() for name in names)
    return [
        (video, folder / (_name(video, ending, whole=True) if alike[name.lower()] > 1 else name))
        for video, name in zip(videos, names, strict=True)
    ]


def is_made(video: Path, result: Path) -> bool:
    """Whether the result is there and as long as the video: one of a run that was interrupted is shorter."""
    if not result.is_file():
        return False
    try:
        with open_input(result) as container:
            made_s = (container.duration or 0) / av.time_base
        return made_s >= probe(video).duration_s - CUT_OFF_S
    except MediaError:
        return False


def _ending(kind: str | None, audio_only: bool) -> str | None:
    if kind is None:
        return ".wav" if audio_only else None
    ending = f".{kind.lower().removeprefix('.')}"
    target_of(Path(f"--format {kind}: results{ending}"), audio_only)
    return ending


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise MediaError(f"{folder}: expected a folder for the results of a folder, found a file")
    if not folder.exists() and folder.suffix.lower() in TARGETS:
        raise MediaError(
            f"{folder}: the results of a folder need a folder, whose name has no {folder.suffix}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder}: cannot be written: {error.strerror}") from error


def _is_to_score(path: Path) -> bool:
    """Not what a run made; nor what is hidden, such as the files that macOS leaves beside those of a foreign disk."""
    seen = path.suffix.lower() in VIDEO_ENDINGS and ".scored" not in path.suffixes
    return seen and not path.name.startswith(".") and path.is_file()


def _name(video: Path, ending: str | None, whole: bool = False) -> str:
    """whole: with the video's ending, which tells it from another one."""
    ending = ending or (video.suffix if video.suffix.lower() in _KEPT_ENDINGS else ".mkv")
    return f"{video.name if whole else video.stem}.scored{ending}"
