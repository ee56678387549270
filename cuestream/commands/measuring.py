"""This machine: `cuestream bench cpu` and `tune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cuestream.commands.options import EFFORT_HELP, MOST_THREADS, err, out
from cuestream.provenance import origin
from engine.errors import MediaError
from engine.library import DEFAULT_MODEL
from engine.media.output import check_place
from engine.spec import Effort


def bench(
    model: Annotated[
        str, typer.Argument(help="an exported model: its folder, or the name of one that ships")
    ] = DEFAULT_MODEL,
    seconds: Annotated[float, typer.Option(min=1, help="of music that is played, as fast as it goes")] = 30.0,
    threads: Annotated[int, typer.Option(min=0, max=MOST_THREADS, help="0 takes the machine's cores")] = 0,
    effort: Annotated[Effort, typer.Option(help=EFFORT_HELP)] = "full",
    profile: Annotated[
        Path | None, typer.Option(help="write a flame graph here, .svg, and print the operators")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print everything, every step's time too")] = False,
) -> None:
    """Say where the time of a live stream goes on this machine, and how near its steps are to what the memory allows."""
    from cuestream.bench import bench as measure
    from cuestream.bench import profile as take_profile
    from cuestream.bench import tables
    from cuestream.flame import svg
    from engine.library import find_model

    if profile:
        check_place(profile)
    folder = find_model(model)
    with err.status(f"playing {seconds:g} s"):
        found = measure(folder, seconds, threads, effort=effort)
        node = take_profile(folder, found, threads) if profile else None
    if profile and node:
        profile.write_text(
            svg(node, f"{found.model} {found.precision}: {node.seconds:.3f} s for a second of music"),
            encoding="utf-8",
        )
    if as_json:
        print(json.dumps({**origin(), **found.as_json()}))
        return
    for table in tables(found, node):
        out.print(table)


def tune(
    model: Annotated[
        str, typer.Argument(help="an exported model: its folder, or the name of one that ships")
    ] = DEFAULT_MODEL,
    seconds: Annotated[float, typer.Option(min=1, help="of music that each way plays in a round")] = 8.0,
    rounds: Annotated[int, typer.Option(min=1, help="times that each way is tried")] = 3,
) -> None:
    """Find how many threads play a model fastest on this machine, and use them from now on where --threads says nothing."""
    from cuestream.tuning import try_all
    from engine.backends.manifest import Manifest
    from engine.library import find_model
    from engine.threads import keep

    folder = find_model(model)
    with err.status("") as status:
        tried = try_all(folder, seconds, rounds, status.update)
    table = Table(title=f"{model}, {rounds} rounds of {seconds:g} s", title_justify="left")
    for name in ("threads", "real-time factor", "step p99/p50"):
        table.add_column(name, justify="right")
    for one in tried:
        table.add_row(str(one.threads), f"{one.real_time_factor:.3f}", f"{one.p99_over_p50:.2f}")
    out.print(table)
    try:
        path = keep(Manifest.read(folder).spec.digest, tried[0].threads)
    except OSError as error:
        raise MediaError(
            f"what was found cannot be kept: {error}; name a folder in CUESTREAM_CACHE"
        ) from error
    out.print(f"threads: {tried[0].threads}, kept in {path}", highlight=False, soft_wrap=True)
