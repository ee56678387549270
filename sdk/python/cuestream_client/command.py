"""The command `live`: `cuestream live` where the server's package is installed too, `cuestream-client live` where it is not.

There the word may be left out.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args

import typer
from rich.console import Console

from cuestream_client.errors import ClientError
from cuestream_client.live import Live, LiveJob
from cuestream_client.messages import Key
from cuestream_client.meters import Meters
from cuestream_client.obs.command import ObsPassword, ObsUrl
from cuestream_client.obs.command import app as obs_app
from cuestream_client.obs.places import Place, find_place
from cuestream_client.sources import Source
from cuestream_client.typed import address

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
err = Console(stderr=True)


@app.command()
def live(
    server: Annotated[str, typer.Argument(help="its address, or HOST:PORT")] = "http://127.0.0.1:8765",
    camera: Annotated[str | None, typer.Option(help="a camera: its number, or its name")] = None,
    screen: Annotated[bool, typer.Option("--screen", help="what is seen on the screen")] = False,
    file: Annotated[Path | None, typer.Option(help="a video")] = None,
    url: Annotated[str | None, typer.Option(help="a video's address: http, rtsp, rtmp, ...")] = None,
    obs: Annotated[bool, typer.Option("--obs", help="the program of OBS, by its websocket")] = False,
    obs_url: ObsUrl = None,
    obs_password: ObsPassword = None,
    session: Annotated[
        str | None, typer.Option(help="name of the session, for others to hear it: /obs?session=NAME")
    ] = None,
    silent: Annotated[
        bool, typer.Option("--silent", help="play nothing here: the music is heard elsewhere")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="write the music (.wav, .flac) instead of playing it"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="sound card: a part of its name")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="stop after so much music")] = None,
    seed: Annotated[int | None, typer.Option(help="the same seed and pictures give the same music")] = None,
    guidance: Annotated[float | None, typer.Option(help="how firmly the music follows the picture")] = None,
    key: Annotated[
        str | None, typer.Option(help="key signature by its major scale: C Db D ... B; seed or free")
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="-1 as calm as if nothing moved, 1 as lively as if all did"),
    ] = None,
    gain: Annotated[float | None, typer.Option(help="of the music, in dB")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="CUESTREAM_API_KEY", help="what the server wants to see")
    ] = None,
) -> None:
    """Send a camera, the screen, a file, an address or OBS to a server, and play its music. Ctrl-C ends it."""
    wanted = {"seed": seed, "guidance": guidance, "key": key, "energy": energy, "gain_db": gain}
    if key not in (None, *get_args(Key)):
        raise ValueError(f"--key {key}: expected one of {' '.join(get_args(Key))}")
    config: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    source = _source(camera, screen, file, url, find_place(obs_url, obs_password) if obs else None)
    show(Live(LiveJob(address(server), source, token, session, silent, output, device, config, seconds)))


def show(run: Live) -> None:
    """Run with meters where there is a terminal, and say what came of it."""
    meters = Meters(run.board)
    try:
        if err.is_terminal:
            with meters.shown(err):
                run.run()
        else:
            run.say = lambda text: err.print(text, markup=False, highlight=False, soft_wrap=True)
            run.run()
    except KeyboardInterrupt:
        run.stop.set()
    board = run.board
    err.print(
        f"{board.music_s:.1f} s of music for {board.pictures} pictures, {board.cuts} cuts, {board.underruns} underruns, "
        f"resumed {board.resumed} times{', ' if board.label else ''}{board.label}",
        highlight=False,
        soft_wrap=True,
    )


def run(arguments: list[str], name: str, app: typer.Typer = app) -> int:
    """Returns the exit code; what a user can mend is one line and 2."""
    try:
        code = app(arguments, prog_name=name, standalone_mode=False)
    except (ClientError, ValueError) as error:
        err.print(f"{name}: {' '.join(str(error).split())}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except Exception as error:  # click's usage errors bring their text and code
        display = getattr(error, "show", None)
        if display is None:
            raise
        display()
        return int(getattr(error, "exit_code", 2))
    return code if isinstance(code, int) else 0  # of Ctrl-C, in typer's words


def main() -> NoReturn:
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal cannot show is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    word, *rest = sys.argv[1:] or [""]
    if named := {"live": app, "obs": obs_app}.get(word):
        sys.exit(run(rest, f"cuestream-client {word}", named))
    sys.exit(run(sys.argv[1:], "cuestream-client"))


def _source(
    camera: str | None, screen: bool, file: Path | None, url: str | None, obs: Place | None
) -> Source | Place:
    given = {"camera": camera, "screen": "" if screen else None, "file": file and str(file), "url": url}
    chosen = [(place, name) for place, name in given.items() if name is not None]
    if len(chosen) + (obs is not None) != 1:
        raise ValueError("say what to look at: one of --camera, --screen, --file, --url and --obs")
    if obs:
        return obs
    ((place, name),) = chosen
    if file is not None and not file.is_file():
        raise ValueError(f"{file}: no such file")
    return Source(place, name)  # type: ignore[arg-type]
