"""The commands `cuestream obs setup` and `cuestream obs remove`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from cuestream_client import rest
from cuestream_client.obs.connection import Obs
from cuestream_client.obs.places import find_place
from cuestream_client.obs.setup import Wanted, remove, set_up
from cuestream_client.typed import address

ObsUrl = Annotated[
    str | None, typer.Option(help="OBS's websocket; ws://127.0.0.1:4455, or as OBS on this machine has it")
]
ObsPassword = Annotated[
    str | None,
    typer.Option(envvar="OBS_WEBSOCKET_PASSWORD", help="its password; that of OBS on this machine is found"),
]
Name = Annotated[str, typer.Option(help="of the source in OBS")]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Put the music into OBS, by OBS's own websocket (OBS 28 and later).",
)
out = Console()


@app.command()
def setup(
    server: Annotated[
        str, typer.Argument(help="its address, or HOST:PORT, as OBS reaches it")
    ] = "http://127.0.0.1:8765",
    session: Annotated[str, typer.Option(help="name of the session that is heard")] = "show",
    name: Name = "Cuestream",
    scene: Annotated[
        list[str] | None, typer.Option(help="only into this scene; may be given several times")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="show what plays, too")] = False,
    quiet: Annotated[
        list[str] | None,
        typer.Option(help="the music pauses in this scene; may be given several times"),
    ] = None,
    no_cuts: Annotated[bool, typer.Option("--no-cuts", help="another scene is no cut for the music")] = False,
    monitor: Annotated[bool, typer.Option("--monitor", help="hear it on OBS's monitoring device")] = False,
    duck_under: Annotated[
        str, typer.Option(help="input whose sound the music yields to; the first microphone when left out")
    ] = "",
    no_duck: Annotated[bool, typer.Option("--no-duck", help="the music yields to nothing")] = False,
    whip: Annotated[
        bool, typer.Option("--whip", help="have OBS stream to the server, instead of where it streams now")
    ] = False,
    obs_url: ObsUrl = None,
    obs_password: ObsPassword = None,
    token: Annotated[
        str | None, typer.Option(envvar="CUESTREAM_API_KEY", help="the server's key, where it asks for one")
    ] = None,
) -> None:
    """Add the music of a session to OBS's scenes, ducked under the microphone. May be run again."""
    server = address(server)
    wanted = Wanted(
        rest.addresses(server, session, token),
        name,
        tuple(scene) if scene else None,
        overlay,
        tuple(quiet or ()),
        not no_cuts,
        monitor,
        None if no_duck else duck_under,
        (token or session) if whip else None,
    )
    place = find_place(obs_url, obs_password)
    with Obs(place.url, place.password) as obs:
        for line in set_up(obs, wanted):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if not whip:
        fed = rest.fed_from(server, session, token)
        said = (
            f"the server shows it pictures by itself: {fed}"
            if fed
            else f"now show it pictures: cuestream live {server} --obs --session {session} --silent"
        )
        out.print(said, markup=False, highlight=False, soft_wrap=True)
    if control := wanted.urls.get("control"):  # of a server that has it
        said = f"to turn the music from within OBS, add this under Docks, Custom Browser Docks: {control}"
        out.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command("remove")
def take_away(name: Name = "Cuestream", obs_url: ObsUrl = None, obs_password: ObsPassword = None) -> None:
    """Take the source out of OBS again. What OBS streams to stays as it is."""
    place = find_place(obs_url, obs_password)
    with Obs(place.url, place.password) as obs:
        out.print(remove(obs, name), markup=False, highlight=False, soft_wrap=True)
