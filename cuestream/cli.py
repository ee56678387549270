"""`cuestream`: score files, play live, look at models, export and verify packages. Errors are one line and exit with code 2."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from cuestream import __version__
from cuestream.gpu.command import run as bench_gpu
from engine.errors import CuestreamError, MediaError, MissingRuntime, PackageError
from engine.library import DEFAULT_MODEL
from engine.media.output import TARGETS, check_place
from engine.media.video import VIDEO_ENDINGS

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
out, err = Console(), Console(stderr=True)

INTERRUPTED = 130
CUT_OFF_S = 1.0
"""What a video has to lack of its declared length to be worth a word."""
MOST_SEED = 2**63 - 1
MOST_THREADS = max(8, os.cpu_count() or 1)


class Mix(StrEnum):
    keep = "keep"
    duck = "duck"
    drop = "drop"


class Precision(StrEnum):
    fp32 = "fp32"
    fp16 = "fp16"
    fp8 = "fp8"
    int8 = "int8"
    int4 = "int4"


class Rounding(StrEnum):
    gptq = "gptq"
    nearest = "nearest"


class Operators(StrEnum):
    onnxruntime = "onnxruntime"
    standard = "standard"


class Provider(StrEnum):
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    tensorrt_native = "tensorrt-native"
    torch = "torch"


ROUNDING_HELP = (
    "how int4 is made: gptq (the default there) solves it on music that the model plays; nearest rounds each weight alone, "
    "in a fraction of the time and memory, and plays worse"
)


PROVIDER_HELP = (
    "who runs the model: its graphs on the cpu; on an NVIDIA GPU its weights by torch (CUDA graphs, Triton), or, of an export "
    "with --operators standard, its graphs"
)


class EffortName(StrEnum):
    full = "full"
    light = "light"


EFFORT_HELP = (
    "light: a large model on a small machine plays with half the window, a third of the context at a hand-over, "
    "and looks twice a second; cuts are seen at once as ever"
)


class Size(StrEnum):
    tiny = "tiny"
    small = "small"
    medium = "medium"


def main() -> NoReturn:
    """The entry point: what a user can mend is printed as one line."""
    for sent in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs are born deaf to the first
        signal.signal(sent, signal.default_int_handler)
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
        _say("interrupted before there was anything to keep")
        sys.exit(INTERRUPTED)
    except Exception as error:  # click's own usage errors bring their text and code
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))


def _fail(message: str) -> NoReturn:
    _say(message)
    sys.exit(2)


def _say(message: str) -> None:
    err.print(f"cuestream: {' '.join(message.split())}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def score(
    source: Annotated[Path, typer.Argument(help="a video, or a folder of videos")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="a file, its ending says what kind; or a folder for a folder"),
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
    ] = Mix.keep,
    audio_only: Annotated[
        bool, typer.Option("--audio-only", help="write sound alone (wav, flac, mp3, m4a, ogg, opus)")
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
    provider: Annotated[Provider, typer.Option(help=PROVIDER_HELP)] = Provider.cpu,
    effort: Annotated[EffortName, typer.Option(help=EFFORT_HELP)] = EffortName.full,
) -> int:
    """Write a video back with the music that the engine made for it. What is not chosen is as the model's makers recommend."""
    from cuestream.players import at_effort, find_player, needs_whole_file
    from cuestream.score import ScoreJob
    from engine.media.finish import FinishSettings

    if as_published and live:
        raise MediaError("--as-published reproduces whole-file scoring; add --offline")
    player = at_effort(find_player(model, threads, provider.value), effort.value)
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
        policy = replace(player.defaults, seed=seed, key=key, **wanted)
        player.check(policy)
    except ValueError as error:
        raise MediaError(str(error)) from error
    settings = FinishSettings(mix.value, loudness or None, audio_only, gain)
    pairs = _pairs(source, output, audio_only)
    if len(pairs) > 1 and (timeline or plot):
        raise MediaError("--timeline and --plot are for one video, not for a folder")
    if player.label:
        err.print(f"model {player.name}: {player.label}", style="yellow", highlight=False)
    jobs = [
        ScoreJob(video, to, policy, settings, not live, as_published, timeline, plot) for video, to in pairs
    ]
    return _run(jobs, player)


def _pairs(source: Path, output: Path | None, audio_only: bool) -> list[tuple[Path, Path]]:
    """Videos and where their results go; a result that is not named lies beside its video as NAME.scored.ENDING."""
    if not source.is_dir():
        if output is not None and output.is_dir():
            output = output / _scored_name(source, audio_only)
        return [(source, output or source.with_name(_scored_name(source, audio_only)))]
    videos = sorted(
        p for p in source.iterdir() if p.suffix.lower() in VIDEO_ENDINGS and ".scored" not in p.suffixes
    )
    if not videos:
        raise MediaError(f"{source}: no videos in this folder; known endings are {' '.join(VIDEO_ENDINGS)}")
    folder = output or source
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
    return [(video, folder / _scored_name(video, audio_only)) for video in videos]


def _scored_name(video: Path, audio_only: bool) -> str:
    kept = video.suffix.lower() in (".mp4", ".m4v", ".mov", ".mkv", ".webm")
    return f"{video.stem}.scored{'.wav' if audio_only else video.suffix if kept else '.mkv'}"


def _run(jobs: list[Any], player: Any) -> int:
    """Score each video; in a folder one that fails does not stop the others."""
    from cuestream.progress import scoring
    from cuestream.score import score as run

    failed = 0
    for job in jobs:
        try:
            with scoring(err, job.video.name) as progress:
                report = run(job, player, progress)
        except CuestreamError as error:
            if len(jobs) == 1:
                raise
            failed += 1
            _say(str(error))
            continue
        done = report.finished
        out.print(
            f"{done.output}: {done.duration_s:.2f} s, {report.real_time_factor:.2f} s of compute for a second of music, "
            f"music at {done.measured_lufs + done.gain_db:.1f} LUFS, original sound: {done.mix}"
            f"{', ' if report.label else ''}{report.label}",
            highlight=False,
            soft_wrap=True,
        )
        if report.interrupted:
            _say(f"interrupted; {done.output} holds the music up to {report.music_s:.2f} s")
            sys.exit(INTERRUPTED)
        if report.missing_s > CUT_OFF_S:
            _say(
                f"{job.video}: its pictures end {report.missing_s:.1f} s before the length that the file declares"
            )
    if failed:
        _fail(f"{failed} of {len(jobs)} videos could not be scored")
    return 0


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def live(context: typer.Context) -> int:
    """Send a camera, the screen, a file, an address or OBS to a server, and play its music (cuestream live --help)."""
    return _client(context.args, "live")


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
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


@app.command()
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
    provider: Annotated[Provider, typer.Option(help=PROVIDER_HELP)] = Provider.cpu,
    effort: Annotated[EffortName, typer.Option(help=EFFORT_HELP)] = EffortName.full,
    raw_video: Annotated[
        bool, typer.Option("--raw-video", help="also take pictures without a codec: RGB24, I420")
    ] = False,
    recordings: Annotated[
        Path | None, typer.Option(help="folder that sessions may be recorded into; without it none is")
    ] = None,
    recordings_gb: Annotated[
        float, typer.Option(min=0.001, help="when so much lies in that folder, nothing more is recorded")
    ] = 20.0,
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
        typer.Option(help="an address, or file:NAME, that the server reads and plays for by itself"),
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
) -> None:
    """Play live: a page for camera, screen or file, a websocket, endless sound for OBS, all on one port."""
    _need_serve()
    from cuestream.players import at_effort, find_player, in_pieces, prepare, threads_beside
    from server.app import make_app
    from server.ingest.address import Forbidden, shown_of
    from server.ingest.limits import IngestLimits
    from server.ingest.standing import feed_of, sound_path
    from server.output.limits import OutputLimits
    from server.pictures.decoders import DecoderLimits
    from server.playout import Limits as PlayoutLimits
    from server.protocol.limits import Limits
    from server.recording.shelf import RecordingLimits
    from server.room import GB
    from server.serving import check_address, is_loopback, listen, make_server
    from server.settings import Settings
    from server.tls import Certificate, TlsError
    from server.webrtc.routes import missing

    check_address(host, api_key, insecure, name or ())
    if tls_key and not tls_cert:
        raise TlsError("--tls-key needs --tls-cert")
    certificate = Certificate(tls_cert, tls_key) if tls_cert else None
    if certificate:
        certificate.check()
    reads = IngestLimits(ingest_private, ingest_files, frozenset(ingest_port or ()))
    try:
        fed = feed_of(ingest, reads) if ingest else None
    except (Forbidden, OSError) as error:
        raise CuestreamError(f"--ingest {shown_of(ingest or '')}: {error}") from error
    room = RecordingLimits(folder_bytes=int(recordings_gb * GB))
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
            limits=Limits(raw_video=raw_video),
            recordings=recordings,
            recording=room,
            outputs=outputs,
            output=OutputLimits(folder_bytes=int(outputs_gb * GB)),
            push_hosts=tuple(push or ()),
            ingest=reads,
            ice_addresses=tuple(ice_address or ()),
            ice_servers=tuple(ice_server or ()),
            names=tuple(name or ()),
            proxies=tuple(proxy or ()),
            redirect=redirect,
        )
    except ValueError as error:
        raise CuestreamError(str(error)) from error

    def say(text: str) -> None:
        err.print(f"ingest: {text}", markup=False, highlight=False, soft_wrap=True)

    lines = listen(host, port)
    with err.status("loading the model") as status:
        player = at_effort(
            find_player(model, threads or threads_beside(model), provider.value, max_sessions), effort.value
        )
        player = in_pieces(player, settings.piece_steps(player.defaults.chunk_steps, player.code_rate))
        if provider is Provider.torch:
            status.update(
                f"making graphs for up to {max_sessions} streams; kernels are compiled the first time, which takes minutes"
            )
        prepare(player, settings.room_s)
        application = make_app(player, settings, is_loopback(host), fed, say, host)
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host

    def ready(port: int) -> None:
        err.print(
            f"{player.name} plays at http{'s' if certificate else ''}://{shown}:{port}/ (Ctrl-C ends it)",
            highlight=False,
        )
        if fed:
            where = f"http{'s' if certificate else ''}://{shown}:{port}{sound_path(application.state.host)}"
            err.print(f"what it reads is played at {where}", markup=False, highlight=False, soft_wrap=True)

    if without := missing():
        err.print(without, style="yellow", highlight=False, markup=False)
    if player.label:
        err.print(f"model {player.name}: {player.label}", style="yellow", highlight=False)
    make_server(application, host, port, drain, ready, certificate).run(lines)


@app.command()
def info(
    model: Annotated[
        str,
        typer.Argument(
            help="an exported model: its folder, or the name of one that ships; or procedural, or synthetic"
        ),
    ],
) -> None:
    """Say what a model is: geometry, precision, graphs, sizes."""
    from cuestream.info import describe, describe_procedural, describe_synthetic
    from cuestream.players import PROCEDURAL, SYNTHETIC
    from engine.backends.manifest import Manifest
    from engine.library import find_model

    without_folder = {PROCEDURAL: describe_procedural, SYNTHETIC: describe_synthetic}
    known = without_folder.get(model)
    for title, rows in known() if known else describe(Manifest.read(find_model(model))):
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, value in rows:
            table.add_row(name, value)
        out.print(table)


@app.command()
def export(
    package: Annotated[str, typer.Argument(help="a published or converted package: a folder or a hub id")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    precision: Annotated[Precision, typer.Option(help="of matrices and caches")] = Precision.fp32,
    rounding: Annotated[Rounding | None, typer.Option(help=ROUNDING_HELP)] = None,
    operators: Annotated[
        Operators,
        typer.Option(help="ONNX Runtime's own, fastest on a CPU; or standard ones alone, for NVIDIA GPUs"),
    ] = Operators.onnxruntime,
    codec: Annotated[
        str | None, typer.Option(help="the codec's folder, file or hub id; none exports without audio")
    ] = None,
) -> None:
    """Write a package as ONNX graphs that the engine runs without PyTorch."""
    _need_export()
    from engine.library import carry
    from export.checkpoint import check_folder, load_package
    from export.onnx import export as write

    check_folder(output)
    loaded = load_package(package, codec)
    with err.status("loading") as status:
        write(
            loaded,
            output,
            precision.value,
            lambda name: status.update(f"exporting {name}"),
            operators=operators.value,
            rounding=rounding.value if rounding else None,
        )
    carry(Path(package), output)
    _say_exported(output)


@app.command()
def tensorrt(
    model: Annotated[str, typer.Argument(help="a model that was exported with --operators standard")],
    positions: Annotated[
        int | None, typer.Option(help="columns of a cache; what the model was trained on if left out")
    ] = None,
    held: Annotated[
        int | None,
        typer.Option(
            help="tokens of a condition; if left out, those that serve has room for and those of the recommended window"
        ),
    ] = None,
    places: Annotated[int, typer.Option(min=1, help="streams that may share a step")] = 8,
    measure: Annotated[
        bool, typer.Option("--measure", help="run every engine and say how long it takes")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Build a model's TensorRT engines for the GPU that is here; they are played with --provider tensorrt-native."""
    _need_export()
    from dataclasses import asdict

    from cuestream.players import ROOM_S, with_room
    from engine.backends.manifest import Manifest
    from engine.library import find_model, recommended
    from engine.sight import window_slots
    from export.tensorrt import Sizes, build

    folder = find_model(model)
    spec = Manifest.read(folder).spec
    own = recommended(folder, spec)
    served, alone = (window_slots(spec, p) * spec.vision.tokens for p in (with_room(own, ROOM_S), own))
    others = () if held or alone == served else (alone,)
    sizes = Sizes(positions or spec.trained_steps, held or served, places)
    with err.status("looking for TensorRT") as status:
        built = build(folder, sizes, measure, lambda name: status.update(f"building {name}"), others)
    if as_json:
        print(json.dumps([asdict(each) for each in built]))
        return
    table = Table("engine", "", "s", "layers", "plan MB", "device MB", "p50 ms", "p99 ms")
    for each in built:
        times = ("-" if ms is None else f"{ms:.3f}" for ms in (each.p50_ms, each.p99_ms))
        sizes_mb = (f"{size / 1e6:.1f}" for size in (each.plan_bytes, each.device_bytes))
        table.add_row(each.graph, each.how, f"{each.seconds:.1f}", str(each.layers), *sizes_mb, *times)
    out.print(table)


@app.command()
def random(
    size: Annotated[Size, typer.Argument(help="tiny, or the geometry of a published model")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    precision: Annotated[Precision, typer.Option(help="of matrices and caches")] = Precision.fp32,
    rounding: Annotated[Rounding | None, typer.Option(help=ROUNDING_HELP)] = None,
    operators: Annotated[
        Operators,
        typer.Option(help="ONNX Runtime's own, fastest on a CPU; or standard ones alone, for NVIDIA GPUs"),
    ] = Operators.onnxruntime,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="of the weights")] = 0,
) -> None:
    """Export a model with random weights, for tests and benchmarks; it plays noise."""
    _need_export()
    from export.checkpoint import check_folder
    from export.onnx import export as write
    from export.random_model import random_package, spec_of

    check_folder(output)
    with err.status("drawing weights") as status:
        package = random_package(spec_of(size.value), seed)
        write(
            package,
            output,
            precision.value,
            lambda name: status.update(f"exporting {name}"),
            operators=operators.value,
            rounding=rounding.value if rounding else None,
        )
    _say_exported(output)


def _say_exported(folder: Path) -> None:
    from engine.backends.manifest import Manifest

    made = Manifest.read(folder)
    out.print(
        f"{folder}: {made.spec.name} in {made.label}, spec {made.spec.digest}",
        highlight=False,
        soft_wrap=True,
    )


benches = typer.Typer(no_args_is_help=True, help="Measure this machine.")
app.add_typer(benches, name="bench")


benches.command("gpu")(bench_gpu)


@benches.command("cpu")
def bench(
    model: Annotated[
        str, typer.Argument(help="an exported model: its folder, or the name of one that ships")
    ] = DEFAULT_MODEL,
    seconds: Annotated[float, typer.Option(min=1, help="of music that is played, as fast as it goes")] = 30.0,
    threads: Annotated[int, typer.Option(min=0, max=MOST_THREADS, help="0 takes the machine's cores")] = 0,
    effort: Annotated[EffortName, typer.Option(help=EFFORT_HELP)] = EffortName.full,
    profile: Annotated[
        Path | None, typer.Option(help="write a flame graph here, .svg, and print the operators")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print everything, every step's time too")] = False,
) -> None:
    """Say where the time of a live stream goes on this machine, and how near its steps are to what the memory allows."""
    _need_export()
    from cuestream.bench import bench as measure
    from cuestream.bench import profile as take_profile
    from cuestream.bench import tables
    from cuestream.flame import svg
    from engine.library import find_model

    if profile:
        check_place(profile)
    folder = find_model(model)
    with err.status(f"playing {seconds:g} s"):
        found = measure(folder, seconds, threads, effort=effort.value)
        node = take_profile(folder, found, threads) if profile else None
    if profile and node:
        profile.write_text(
            svg(node, f"{found.model} {found.precision}: {node.seconds:.3f} s for a second of music")
        )
    if as_json:
        print(json.dumps(found.as_json()))
        return
    for table in tables(found, node):
        out.print(table)


@app.command()
def tune(
    model: Annotated[
        str, typer.Argument(help="an exported model: its folder, or the name of one that ships")
    ] = DEFAULT_MODEL,
    seconds: Annotated[float, typer.Option(min=1, help="of music that each way plays in a round")] = 8.0,
    rounds: Annotated[int, typer.Option(min=1, help="times that each way is tried")] = 3,
) -> None:
    """Find how many threads play a model fastest on this machine, and use them from now on where --threads says nothing."""
    _need_export()
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


@app.command()
def convert(
    package: Annotated[str, typer.Argument(help="a published package: a folder or a hub id")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    codec: Annotated[
        str | None, typer.Option(help="the codec's folder, file or hub id; none goes without")
    ] = None,
) -> None:
    """Write a published package as safetensors and a spec, without pickles."""
    _need_export()
    from engine.library import carry
    from export.checkpoint import check_folder, load_package, save_package

    check_folder(output)
    loaded = load_package(package, codec)
    save_package(loaded, output)
    carry(Path(package), output)
    out.print(f"{output}: {loaded.spec.name}, spec {loaded.spec.digest}", highlight=False, soft_wrap=True)


@app.command()
def verify(
    package: Annotated[str, typer.Argument(help="a published or converted package: a folder or a hub id")],
    against: Annotated[Path, typer.Option(help="a fixture: an .npz of arrays, with its .json beside it")],
    codec: Annotated[str | None, typer.Option(help="the codec's folder, file or hub id")] = None,
    tolerance: Annotated[
        float, typer.Option(help="largest absolute difference of embeddings and logits")
    ] = 2e-5,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> int:
    """Compare PyTorch and the exported graphs with the arrays of a fixture. Exit code 1 when they differ."""
    _need_export()
    from export.verify import verify as compare

    with err.status("exporting and comparing"):
        report = compare(package, against, codec, tolerance)
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        _print_report(report)
    return 0 if report.ok else 1


def _print_report(report: Any) -> None:
    table = Table("array", "torch", "onnx", "allowed")
    for name, sides in report.arrays.items():
        cells = ("-" if sides[s] is None else f"{sides[s]:.2e}" for s in ("torch", "onnx"))
        table.add_row(name, *cells, f"{report.tolerances[name]:.0e}")
    for name, sides in report.tokens.items():
        table.add_row(name, *("equal" if sides[s] else "NOT EQUAL" for s in ("torch", "onnx")), "equal")
    out.print(table)
    for name, reason in report.skipped.items():
        out.print(f"skipped {name}: {reason}", highlight=False, soft_wrap=True)
    out.print("ok" if report.ok else "NOT ok", style="green" if report.ok else "red")


@app.command()
def compare(
    first: Annotated[
        str, typer.Argument(help="an exported model: its folder, or the name of one that ships")
    ],
    second: Annotated[str, typer.Argument(help="another export of the same model")],
    seconds: Annotated[float, typer.Option(min=1, help="of music that the first one plays")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="of the video")] = 0,
    threads: Annotated[int, typer.Option(min=0, max=MOST_THREADS, help="cores to use; 0 takes all")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say how far an export is from another one of the same model, on the same music."""
    from engine.library import find_model
    from export.compare import compare as measure

    try:
        with err.status("playing"):
            found = measure(find_model(first), find_model(second), seconds, seed, threads)
    except ValueError as error:
        raise PackageError(str(error)) from None
    if as_json:
        print(json.dumps(found.as_json()))
        return
    table = Table("of the same music", found.first, found.second)
    table.add_row(
        "cross-entropy, nats", f"{found.cross_entropy_first:.4f}", f"{found.cross_entropy_second:.4f}"
    )
    table.add_row("its change", "", f"{100 * found.cross_entropy_change:+.2f} %")
    table.add_row("logits, relative error", "", f"{100 * found.logit_error:.2f} %")
    table.add_row("likeliest token the same", "", f"{100 * found.top1_agreement:.1f} %")
    table.add_row("features, relative error", "", f"{100 * found.feature_error:.2f} %")
    table.add_row("audio of the same codes, relative error", "", f"{100 * found.audio_error:.2f} %")
    out.print(table)


def _need_export() -> None:
    try:
        import onnx_ir  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingRuntime(
            f"this command needs {error.name}; install the extra: pip install 'cuestream[export]'"
        ) from error


def _need_serve() -> None:
    try:
        import msgspec  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise MissingRuntime(
            f"this command needs {error.name}; install the extra: pip install 'cuestream[serve]'"
        ) from error


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
