"""REST: sessions are made, looked at, changed and ended by plain requests.

JSON in and out; an error is `{"error": {code, text}}` with the code of `docs/protocol.md`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from cuestream import __version__
from engine.errors import NoRoom
from server.access.rates import address_of
from server.access.secrets import NO_KEY_ASKED, SECRET_S, SESSION_NAME, Anybody, Hearing, Operator, bearer
from server.core.errors import SessionError
from server.http.answers import About, Made, Secret, Shown, Urls
from server.http.endless import ENDINGS
from server.http.refusals import Refused
from server.protocol import PROTOCOL_MINOR, SUBPROTOCOL
from server.protocol.config import ConfigPatch
from server.protocol.control import parse, strangers
from server.protocol.errors import ProtocolError
from server.sessions.host import RETRY_S, Draining, Hanging, Host
from server.sessions.hosted import Hosted
from server.wire_controls import followed

MOST_BODY = 64 * 1024
NAMES = "a session's name has letters, digits, - and _, 64 at most"
T = TypeVar("T", bound=Struct)


class Make(Struct, frozen=True):
    """Body of POST /v1/sessions, which may be left out. session_id: a name for it, instead of one that is drawn."""

    session_id: (
        Annotated[str, Meta(extra_json_schema={"pattern": f"^{SESSION_NAME.pattern}$"})] | UnsetType
    ) = UNSET


class Change(Struct, frozen=True):
    """Body of PATCH /v1/sessions/{id}: the same words as on the websocket."""

    config: ConfigPatch | UnsetType = UNSET
    playback: Literal["play", "pause", "stop", "reset_context"] | UnsetType = UNSET
    change_now: bool = False


def host_of(request: Request) -> Host:
    host: Host = request.app.state.host
    return host


def check_key(request: Request, tended: str | None = None) -> None:
    """tended: the session that who has the token of its page may also ask this of. Raises Refused, TooOften."""
    caller = host_of(request).admission.caller(bearer(request.headers), address_of(request))
    if isinstance(caller, Anybody):
        raise Refused(401, "unauthorized", _unknown(request))
    tends = tended is not None and caller == Hearing(tended, turns=True)
    if not (isinstance(caller, Operator) or tends):
        raise Refused(403, "forbidden", "this token does not allow that; the key does")


def _unknown(request: Request) -> str:
    """What somebody is told who is nobody here."""
    if not host_of(request).settings.api_key:
        return NO_KEY_ASKED
    if bearer(request.headers) is None:
        return "this server asks for its key: Authorization: Bearer KEY"
    return "that is not this server's key, nor a token that is valid"


def find(request: Request) -> Hosted:
    hosted = host_of(request).find(request.path_params["session_id"])
    if hosted is None:
        raise Refused(404, "session_not_found", "no such session here")
    return hosted


async def create(request: Request) -> Response:
    check_key(request)
    host, name = host_of(request), (await body(request, Make)).session_id
    try:
        if name is not UNSET:
            await _check_name(host, name)
        host.admission.check_start(address_of(request))
        session_id, secret = host.invite(None if name is UNSET else name)
    except (Draining, Hanging, NoRoom) as error:
        raise no_session(host, error) from None
    made = Made(
        session_id=session_id,
        client_secret=Secret(secret, SECRET_S),
        urls=urls(request, session_id),
        protocol=SUBPROTOCOL,
        resume_window_s=host.settings.limits.resume_window_s,
        limits=host.settings.told,
        model=host.player.name,
        label=host.player.label,
    )
    return answer(made, 201, location=f"/v1/sessions/{session_id}", cache_control="no-store")


async def _check_name(host: Host, name: str) -> None:
    """Raises Refused, or Hanging while a session that had the name is being forgotten."""
    if not SESSION_NAME.fullmatch(name):
        raise Refused(400, "bad_request", NAMES)
    if host.holds(name):
        raise Refused(409, "bad_request", f"the session {name} is open already, or waits for its client")
    await host.vacate(name)


def no_session(host: Host, error: Draining | Hanging | NoRoom) -> Refused:
    """Why nobody new is let in."""
    if isinstance(error, Draining):
        host.metrics.refused.labels("draining").inc()
        return Refused(503, "draining", "the server is going away", RETRY_S)
    if isinstance(error, Hanging):
        host.metrics.refused.labels("hanging").inc()
        return Refused(503, "model_unavailable", "the engine does not answer", RETRY_S)
    host.metrics.refused.labels("capacity").inc()
    return Refused(503, "capacity", str(error), error.retry_s)


async def look(request: Request) -> Response:
    check_key(request, request.path_params["session_id"])
    return answer(_shown(request, find(request)))


async def addresses(request: Request) -> Response:
    """Of a session of that name, whether it is open yet or not."""
    check_key(request)
    name = request.path_params["session_id"]
    if not SESSION_NAME.fullmatch(name):
        raise Refused(404, "session_not_found", NAMES)
    return answer(urls(request, name), cache_control="no-store")


async def change(request: Request) -> Response:
    check_key(request, request.path_params["session_id"])
    wanted = await body(request, Change)
    hosted, now_s = find(request), host_of(request).monotonic()  # it may have ended meanwhile
    try:
        if wanted.config is not UNSET:
            hosted.update(now_s, wanted.config)
        if wanted.playback is not UNSET:
            hosted.playback(now_s, wanted.playback)
        if wanted.change_now:
            hosted.change(now_s)
    except SessionError as error:
        raise Refused(409, error.code, str(error)) from None
    if hosted.line and wanted.config is not UNSET:
        hosted.line.say(hosted.updated())
    return answer(_shown(request, hosted))


async def end(request: Request) -> Response:
    """One that was made and not opened yet gives its place back, one that waits for its client after a restart its name."""
    check_key(request)
    host, session_id = host_of(request), request.path_params["session_id"]
    if host.find(session_id) is None and session_id in host.door.invited_ids(host.monotonic()):
        host.door.withdraw(session_id)
    elif not host.forget(session_id):
        find(request).end(host.monotonic())
    return Response(status_code=204)


async def version(request: Request) -> Response:
    player = host_of(request).player
    about = About(
        server="cuestream",
        version=__version__,
        protocol=SUBPROTOCOL,
        protocol_minor=PROTOCOL_MINOR,
        model=player.name,
        label=player.label,
        config=host_of(request).config,
        follows=followed(player.follows),
        asks_for_a_key=host_of(request).door.asks_for_a_key,
        webrtc=request.app.state.peers is not None,
        records=host_of(request).recorder.shelf is not None,
        outputs=host_of(request).outputs.kinds,
    )
    return answer(about)


async def live(request: Request) -> Response:
    """503 when the engine's thread has ended, or hangs for good: the process is to be started again."""
    alive = host_of(request).is_alive
    return JSONResponse({"status": "ok" if alive else "engine ended or hangs"}, 200 if alive else 503)


async def ready(request: Request) -> Response:
    """503 when a new session would be refused now."""
    try:
        host_of(request).admit()
    except Draining:
        return JSONResponse({"status": "draining"}, 503)
    except Hanging:
        return JSONResponse({"status": "hanging"}, 503)
    except NoRoom:
        return JSONResponse({"status": "full"}, 503)
    return JSONResponse({"status": "ready"})


def urls(request: Request, session_id: str) -> Urls:
    """Where the session is reached, as the caller reached us. Sound addresses carry a token that lets one listen, no more; those
    of pages one that lets them turn the session too, where no server writes it down."""
    host = host_of(request)
    base = str(request.base_url).rstrip("/")
    tending = f"#token={host.door.tending(session_id)}" if host.door.asks_for_a_key else ""
    token = f"?token={host.door.listening(session_id)}" if host.door.asks_for_a_key else ""
    sounds = {ending: f"{base}/v1/sessions/{session_id}/audio.{ending}{token}" for ending in ENDINGS}
    obs, control = (f"{base}/{page}?session={session_id}{tending}" for page in ("obs", "control"))
    found = Urls(f"ws{base.removeprefix('http')}/v1/stream", sounds, obs, control)
    if not request.app.state.peers:
        return found
    whip, whep = f"{base}/v1/whip/{session_id}", f"{base}/v1/whep/{session_id}{token}"
    return msgspec.structs.replace(found, offer=f"{base}/v1/offer", whip=whip, whep=whep)


def _shown(request: Request, hosted: Hosted) -> Shown:
    state = hosted.state()
    return Shown(
        session_id=hosted.id,
        state=hosted.core.shown_state,
        playback=state.playback,
        health=state.health,
        level=state.level,
        samples=hosted.wire_samples(hosted.core.playout.ring.end),
        concealed_samples=hosted.wire_samples(hosted.core.playout.counts["concealed_samples"]),
        pictures=dict(hosted.watching.counts),
        revision=hosted.revisions.newest,
        config=hosted.config,
        recording=hosted.tape.id if hosted.tape else None,
        output=hosted.output.state if hosted.output else None,
        urls=urls(request, hosted.id),
    )


def answer(told: Struct, status: int = 200, **headers: str) -> Response:
    """headers: with `_` for `-`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(msgspec.json.encode(told), status, sent, "application/json")


async def read_body(request: Request, most: int) -> bytes:
    """Raises Refused."""
    read = b""
    try:
        async for part in request.stream():
            read += part
            if len(read) > most:
                host_of(request).metrics.errors.labels("message_too_large").inc()
                raise Refused(413, "message_too_large", f"a body has at most {most} bytes")
    except ClientDisconnect:
        raise Refused(400, "bad_request", "the client left before its body ended") from None
    return read


async def body(request: Request, kind: type[T], most: int = MOST_BODY) -> T:
    """Raises Refused, also for what nobody would look at."""
    read = await read_body(request, most)
    try:
        tree = parse(read or b"{}")
        asked = msgspec.convert(tree, kind)
    except (ProtocolError, msgspec.ValidationError) as error:
        text = error.text if isinstance(error, ProtocolError) else str(error)
        raise Refused(400, "bad_request", text) from None
    if unknown := strangers(tree, kind):
        raise Refused(400, "bad_request", f"unknown: {', '.join(unknown)}")
    return asked
