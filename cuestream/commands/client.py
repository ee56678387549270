"""`cuestream live` and `obs`: the commands of the client, which is published alone."""

from __future__ import annotations

import typer

from engine.errors import MissingRuntime


def live(context: typer.Context) -> int:
    """Send a camera, the screen, a file, an address or OBS to a server, and play its music (cuestream live --help)."""
    return _client(context.args, "live")


def obs(context: typer.Context) -> int:
    """Put the music into OBS: source, ducking, service (cuestream obs --help)."""
    return _client(context.args, "obs")


def _client(arguments: list[str], command: str) -> int:
    """The commands of the client, which is published alone."""
    try:
        from cuestream_client.command import app, run
        from cuestream_client.obs.command import app as obs_app
    except ImportError as error:
        raise MissingRuntime(
            f"this command needs {error.name}; install the client: pip install 'cuestream-client[cli,video,play]'"
        ) from error
    return run(arguments, f"cuestream {command}", {"live": app, "obs": obs_app}[command])
