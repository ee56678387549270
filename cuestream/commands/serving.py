"""`cuestream serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuestream.commands.options import (
    EFFORT_HELP,
    MOST_THREADS,
    PROVIDER_HELP,
    err,
    need_serve,
)
from engine.backends.providers import CPU, TORCH, Provider
from engine.errors import CuestreamError, NoRoom
from engine.library import DEFAULT_MODEL
from engine.spec import Effort


def serve(
    model: Annotated[
        str,
        typer.Option(
            help="an exported model: its folder, or the name of one that ships; or procedural, or synthetic"
        ),
    ] = DEFAULT_MODEL,
    host: Annotated[
        str, typer.Option(help="address to listen on; 0.0.0.0 is all of them and needs a key")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port for everything; 0 takes a free one")
    ] = 8765,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="CUESTREAM_API_KEY", help="what clients must show; without it everybody may in"),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="listen for others without a key all the same")
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(help="what a proxy in front of the server is called, such as music.example"),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="another site whose pages may use this server, such as http://localhost:5173"),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="address or network of a proxy on another machine, whose X-Forwarded-* is believed"
        ),
    ] = None,
    max_sessions: Annotated[
        int, typer.Option(min=1, help="sessions at once; fewer when the device is full")
    ] = 8,
    most_busy: Annotated[
        float,
        typer.Option(min=0, max=1, help="share of the event loop's time from which on nobody more is let in"),
    ] = 0.6,
    chunk_ms: Annotated[
        int, typer.Option(help="music sent at once, 20 to 500 ms; long chunks let many sessions play")
    ] = 20,
    lead_ms: Annotated[
        int,
        typer.Option(
            help="music made ahead at most; a short lead answers sooner and bears less load, from 40 ms"
        ),
    ] = 340,
    video_fps: Annotated[
        float, typer.Option(help="pictures a second that clients are asked for, at most 60")
    ] = 12.0,
    video_edge: Annotated[
        int,
        typer.Option(
            min=32,
            max=1920,
            help="pixels of their longer edge; the music needs no more, films and outputs may",
        ),
    ] = 320,
    decoders: Annotated[
        int,
        typer.Option(min=1, max=64, help="processes that decode pictures; one is enough for a few cameras"),
    ] = 1,
    drain: Annotated[
        float, typer.Option(min=0, help="seconds that clients have to leave after Ctrl-C; again: at once")
    ] = 10.0,
    tls_cert: Annotated[
        Path | None, typer.Option(help="a certificate in PEM, for https and wss; read again on SIGHUP")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its key; without it in the same file")] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="a folder where sessions are kept, so that they go on when the server is started again"
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_THREADS,
            help="cores of the engine; 0 takes all but one, which sends what is made",
        ),
    ] = 0,
    provider: Annotated[Provider, typer.Option(help=PROVIDER_HELP)] = CPU,
    effort: Annotated[Effort, typer.Option(help=EFFORT_HELP)] = "full",
    raw_video: Annotated[
        bool, typer.Option("--raw-video", help="also take pictures without a codec: RGB24, I420")
    ] = False,
    session_hours: Annotated[
        float,
        typer.Option(min=0.01, max=8760, help="longest that a session plays; then its client begins anew"),
    ] = 12.0,
    recordings: Annotated[
        Path | None, typer.Option(help="folder that sessions may be recorded into; without it none is")
    ] = None,
    recordings_gb: Annotated[
        float, typer.Option(min=0.001, help="when so much lies in that folder, nothing more is recorded")
    ] = 20.0,
    recording_hours: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=8760, help="longest that one recording lasts; default: as --session-hours"
        ),
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(help="folder that sessions may be written to while they play; without it none is"),
    ] = None,
    outputs_gb: Annotated[
        float, typer.Option(min=0.001, help="when so much lies in that folder, nothing more is written to it")
    ] = 20.0,
    push: Annotated[
        list[str] | None,
        typer.Option(help="a host that sessions may be pushed to by RTMP and SRT; '*' is all of them"),
    ] = None,
    ingest: Annotated[
        str | None,
        typer.Option(
            envvar="CUESTREAM_INGEST",
            help="an address, or file:NAME, that the server reads and plays for by itself",
        ),
    ] = None,
    ingest_files: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="folder whose files may be read as file:NAME; without it none is",
        ),
    ] = None,
    ingest_port: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=65535,
            help="a port where RTMP or SRT publishers may be waited for; without it none is",
        ),
    ] = None,
    ingest_private: Annotated[
        bool, typer.Option("--ingest-private", help="also read private addresses and this machine")
    ] = False,
    ice_address: Annotated[
        list[str] | None,
        typer.Option(help="an address of this machine where WebRTC is listened for; default: all"),
    ] = None,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(help="stun:HOST:PORT, which tells a server behind an address translation its address"),
    ] = None,
    redirect: Annotated[
        str | None,
        typer.Option(help="base URL of another server, for WHIP publishers when this one has no room"),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER, a limit of docs/live.md that has no option: starts_per_min=300"),
    ] = None,
) -> None:
    """Play live: a page for camera, screen or file, a websocket, endless sound for OBS, all on one port."""
    need_serve()
    from cuestream.players import at_effort, find_player, in_pieces, prepare, threads_beside
    from server.app import make_app
    from server.core.playout import Limits as PlayoutLimits
    from server.http.serving import check_address, is_loopback, listen, make_server
    from server.http.tls import Certificate, TlsError
    from server.ingest.address import Forbidden, shown_of
    from server.ingest.limits import IngestLimits
    from server.ingest.standing import feed_of, sound_path
    from server.limits import limited
    from server.output.limits import OutputLimits
    from server.pictures.decoders import DecoderLimits
    from server.protocol.limits import Limits
    from server.recording.shelf import RecordingLimits
    from server.settings import Settings
    from server.system.disk import GB, make_writable
    from server.system.environment import open_as_many_files_as_may
    from server.webrtc.routes import missing

    check_address(host, api_key, insecure, name or ())
    if tls_key and not tls_cert:
        raise TlsError("--tls-key needs --tls-cert")
    certificate = Certificate(tls_cert, tls_key) if tls_cert else None
    if certificate:
        certificate.check()
    ports, session_s = frozenset(ingest_port or ()), 3600 * session_hours
    recording = RecordingLimits(
        length_s=3600 * recording_hours if recording_hours else session_s,
        folder_bytes=int(recordings_gb * GB),
    )
    try:
        settings = Settings(
            model=model,
            api_key=api_key,
            max_sessions=max_sessions,
            most_busy=most_busy,
            chunk_ms=chunk_ms,
            playout=PlayoutLimits().led_by(lead_ms),
            video_fps=video_fps,
            video_edge=video_edge,
            decoders=DecoderLimits(count=decoders),
            checkpoints=checkpoints,
            limits=Limits(raw_video=raw_video, session_s=round(session_s)),
            recordings=recordings,
            recording=recording,
            outputs=outputs,
            output=OutputLimits(length_s=session_s, folder_bytes=int(outputs_gb * GB)),
            push_hosts=tuple(push or ()),
            ingest=IngestLimits(ingest_private, ingest_files, ports),
            ice_addresses=tuple(ice_address or ()),
            ice_servers=tuple(ice_server or ()),
            names=tuple(name or ()),
            origins=tuple(origin or ()),
            proxies=tuple(proxy or ()),
            redirect=redirect,
        )
        settings = limited(settings, limit or ())
    except ValueError as error:
        raise CuestreamError(str(error)) from error
    try:
        fed = feed_of(ingest, settings.ingest) if ingest else None
    except (Forbidden, OSError) as error:
        raise CuestreamError(f"--ingest {shown_of(ingest or '')}: {error}") from error

    for folder, what, mode in (
        (recordings, "recordings", 0o777),
        (outputs, "outputs", 0o777),
        (checkpoints, "checkpoints", 0o700),
    ):
        if folder:
            make_writable(folder, what, mode)

    def say(text: str) -> None:
        err.print(f"ingest: {text}", highlight=False, soft_wrap=True)

    open_as_many_files_as_may()
    lines = listen(host, port)
    with err.status("loading the model") as status:
        player = at_effort(
            find_player(model, threads or threads_beside(model), provider, max_sessions), effort
        )
        player = in_pieces(player, settings.piece_steps(player.defaults.chunk_steps, player.code_rate))
        if provider == TORCH:
            status.update(
                f"making graphs for up to {max_sessions} streams; kernels are compiled the first time, which takes minutes"
            )
        try:
            prepare(player, settings.room_s)
        except NoRoom as error:
            raise CuestreamError(f"{error.message}; serve fewer: --max-sessions") from error
        application = make_app(player, settings, is_loopback(host), fed, say, host)
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host

    def ready(port: int) -> None:
        err.print(
            f"{player.name} plays at http{'s' if certificate else ''}://{shown}:{port}/ (Ctrl-C ends it)",
            highlight=False,
            soft_wrap=True,
        )
        if fed:
            where = f"http{'s' if certificate else ''}://{shown}:{port}{sound_path(application.state.host)}"
            where = where if err.is_terminal else shown_of(where)  # a log is read by others, too
            err.print(f"what it reads is played at {where}", highlight=False, soft_wrap=True)

    if without := missing():
        err.print(f"all but WebRTC is served; {without}", style="yellow", highlight=False, soft_wrap=True)
    if player.label:
        err.print(f"model {player.name}: {player.label}", style="yellow", highlight=False, soft_wrap=True)
    make_server(application, host, port, drain, ready, certificate).run(lines)
