"""`cuestream`: score files, play live, look at models, export and verify packages. Errors are one line and exit with code 2."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from cuestream import INTERRUPTED, __version__
from cuestream.commands import client, measuring, models, scoring, serving
from cuestream.commands.options import out, say
from cuestream.gpu.command import run as bench_gpu
from engine.errors import CuestreamError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
benches = typer.Typer(no_args_is_help=True, help="Measure this machine.")
PASSED_ON: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}
"""Of commands whose options are the client's."""

app.command()(scoring.score)
app.command(**PASSED_ON)(client.live)
app.command(**PASSED_ON)(client.obs)
app.command()(serving.serve)
app.command()(models.info)
app.command()(models.export)
app.command()(models.tensorrt)
app.command()(models.random)
app.add_typer(benches, name="bench")
benches.command("gpu")(bench_gpu)
benches.command("cpu")(measuring.bench)
app.command()(measuring.tune)
app.command()(models.convert)
app.command()(models.verify)
app.command()(models.compare)


def main() -> NoReturn:
    """The entry point: what a user can mend is printed as one line."""
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal cannot show is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except CuestreamError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}")
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        sys.exit(INTERRUPTED)
    except Exception as error:  # click's own usage errors bring their text and code
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))


def _fail(message: str) -> NoReturn:
    say(message)
    sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"cuestream {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Watches video and plays music for it."""
