"""`cuestream score`."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from cuestream import INTERRUPTED
from cuestream.commands.options import (
    EFFORT_HELP,
    MOST_THREADS,
    PROVIDER_HELP,
    err,
    named,
    out,
    say,
)
from engine.backends.providers import CPU, Provider
from engine.errors import CuestreamError, MediaError
from engine.library import DEFAULT_MODEL
from engine.media.mix import Mix
from engine.spec import Effort

NOT_LOUD = "no loudness (it takes 0.4 s of sound)"


def score(
    source: Annotated[Path, typer.Argument(parser=named, help="a video, or a folder of videos")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=named,
            help="a file, its ending says what kind; or a folder for a folder",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="an exported model: its folder, or the name of one that ships; or procedural, or synthetic"
        ),
    ] = DEFAULT_MODEL,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--offline", help="as a live stream would see it, or with the whole video in view"
        ),
    ] = True,
    mix: Annotated[
        Mix, typer.Option(help="what becomes of the original sound: both, music ducks under it, music only")
    ] = "keep",
    audio_only: Annotated[
        bool, typer.Option("--audio-only", help="write sound alone (wav, flac, mp3, m4a, ogg, opus)")
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="kind of results that are not named, as of a folder: flac, mp3, mp4, ...",
            show_default=False,
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="of a folder, not the videos whose whole result is there: goes on with a run",
        ),
    ] = False,
    loudness: Annotated[
        float, typer.Option(min=-70, max=0, help="target of the music in LUFS; 0 leaves it as it is")
    ] = -16.0,
    gain: Annotated[float, typer.Option(min=-60, max=12, help="further gain of the music in dB")] = 0.0,
    seed: Annotated[int, typer.Option(help="the same seed, video and model give the same music")] = 0,
    guidance: Annotated[
        float | None, typer.Option(help="how firmly the music follows the picture; 1 turns it off")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="how freely tokens are drawn; 0 takes the likeliest")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="draw from the k likeliest tokens; 0 from all")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="draw from the nucleus of this mass instead; 0 is off")
    ] = None,
    short_term: Annotated[
        float | None, typer.Option(help="seconds that an old scene keeps sounding (live)")
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            help="key signature by its major scale: C Db D ... B; seed: the seed chooses; free: none"
        ),
    ] = "seed",
    energy: Annotated[
        float, typer.Option(min=-1, max=1, help="-1 as calm as if nothing moved, 1 as lively as if all did")
    ] = 0.0,
    timeline: Annotated[
        Path | None, typer.Option(help="write cuts, memory and age of the picture as JSON lines")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="draw the timeline (png, svg, pdf)")] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published", help="offline: keep the published reader's faults, to compare with it"
        ),
    ] = False,
    threads: Annotated[int, typer.Option(min=0, max=MOST_THREADS, help="cores to use; 0 takes all")] = 0,
    provider: Annotated[Provider, typer.Option(help=PROVIDER_HELP)] = CPU,
    effort: Annotated[Effort, typer.Option(help=EFFORT_HELP)] = "full",
) -> int:
    """Write a video back with the music that the engine made for it. What is not chosen is as the model's makers recommend."""
    from cuestream.players import at_effort, find_player, needs_whole_file
    from cuestream.results import is_made, pairs
    from cuestream.score import ScoreJob, check
    from engine.media.finish import FinishSettings

    if as_published and live:
        raise MediaError("--as-published reproduces whole-file scoring; add --offline")
    found = pairs(source, output, kind, audio_only)
    if len(found) > 1 and (timeline or plot):
        raise MediaError("--timeline and --plot are for one video, not for a folder")
    wanted_pairs = [pair for pair in found if not (skip_existing and is_made(*pair))]
    # Before a model is loaded; in a folder, one that fails does not stop the others.
    if len(found) == len(wanted_pairs) == 1:
        check(*found[0], audio_only, timeline, plot)
    player = at_effort(find_player(model, threads, provider), effort)
    if not live:
        needs_whole_file(player)
    chosen: dict[str, Any] = {
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "short_term_s": short_term,
    }
    try:
        wanted = {name: value for name, value in chosen.items() if value is not None}
        policy = replace(player.defaults, seed=seed, key=key, energy=energy, **wanted)
        player.check(policy)
    except ValueError as error:
        raise MediaError(str(error)) from error
    if energy and "energy" not in player.follows:
        raise MediaError(f"the model {player.name} sees no motion, so --energy means nothing to it")
    settings = FinishSettings(mix, loudness or None, audio_only, gain)
    if player.label:
        err.print(f"model {player.name}: {player.label}", style="yellow", highlight=False, soft_wrap=True)
    if skipped := len(found) - len(wanted_pairs):
        say(f"{skipped} of {len(found)} videos have their result already")
    jobs = [
        ScoreJob(video, to, policy, settings, not live, as_published, timeline, plot)
        for video, to in wanted_pairs
    ]
    return _run(jobs, player)


def _run(jobs: list[Any], player: Any) -> int:
    """Score each video; in a folder one that fails does not stop the others."""
    from cuestream.progress import scoring
    from cuestream.results import CUT_OFF_S
    from cuestream.score import score as run

    failed = 0
    for number, job in enumerate(jobs, 1):
        counted = f"{number} of {len(jobs)}: " if len(jobs) > 1 else ""
        try:
            with scoring(err, f"{counted}{job.video.name}") as progress:
                report = run(job, player, progress)
        except CuestreamError as error:
            if len(jobs) == 1:
                raise
            failed += 1
            say(str(error))
            continue
        except KeyboardInterrupt:
            say(f"interrupted; nothing is kept of {job.output}")
            sys.exit(INTERRUPTED)
        done = report.finished
        loud = f"{done.measured_lufs + done.gain_db:.1f} LUFS" if isfinite(done.measured_lufs) else NOT_LOUD
        out.print(
            f"{done.output}: {done.duration_s:.2f} s, {report.real_time_factor:.2f} s of compute for a second of music, "
            f"music at {loud}, original sound: {done.mix}"
            f"{', ' if report.label else ''}{report.label}",
            highlight=False,
            soft_wrap=True,
        )
        if done.left_out:
            say(f"{done.output}: without {'; '.join(done.left_out)} of the video")
        if report.interrupted:
            say(f"interrupted; {done.output} holds the music up to {report.music_s:.2f} s")
            sys.exit(INTERRUPTED)
        if report.missing_s > CUT_OFF_S:
            say(
                f"{job.video}: its pictures end {report.missing_s:.1f} s before the length that the file declares"
            )
    if failed:
        say(f"{failed} of {len(jobs)} videos could not be scored")
    return 2 if failed else 0
