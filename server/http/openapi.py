"""The REST side as OpenAPI: every route with every status that it answers and the codes of its errors.

Bodies are described by the structs that read and write them. A test makes the answers and compares.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from cuestream import __version__
from server.http.answers import About, Made, Shown, Urls
from server.http.endless import ENDINGS
from server.http.refusals import Refusal
from server.http.rest import Change, Make
from server.ingest.feeding import FeedState
from server.ingest.rest import Feed
from server.output.outputs import OutputState
from server.output.rest import Push
from server.protocol.config import Config
from server.protocol.messages import SessionLimits
from server.protocol.schemas import schemas_of
from server.recording.rest import Begin, Listed
from server.recording.shelf import Recorded
from server.webrtc.bodies import Answered, Offered

KINDS = (
    About,
    Answered,
    Begin,
    Change,
    Config,
    Feed,
    FeedState,
    Listed,
    Made,
    Make,
    Offered,
    OutputState,
    Push,
    Recorded,
    Refusal,
    SessionLimits,
    Shown,
    Urls,
)
Codes: TypeAlias = dict[int, tuple[str, ...]]
"""Errors of an operation, by status."""
JSON, SDP, FRAGMENT = "application/json", "application/sdp", "application/trickle-ice-sdpfrag"
GUARDED: Codes = {400: ("bad_request",), 403: ("forbidden",)}
"""A host that is none; another site, or a name that is not ours."""
KEYED: Codes = GUARDED | {401: ("unauthorized",), 429: ("quota_exceeded",)}
BODY: Codes = {400: ("bad_request",), 413: ("message_too_large",)}
NO_SESSION: Codes = {404: ("session_not_found",)}
NO_ROOM: Codes = {503: ("capacity", "draining", "model_unavailable")}
SLOW_DISK: Codes = {503: ("internal",), 507: ("recording_refused",)}
NO_EXTRA: Codes = {501: ("webrtc_off",)}
OFFERED: Codes = (
    KEYED | BODY | NO_EXTRA | {415: ("bad_request",), 422: ("unsupported_codec",), 503: ("capacity",)}
)
PEER: Codes = GUARDED | {401: ("unauthorized",), 404: ("not_found",)}
ONE = "/v1/sessions/{session_id}"
RECORDINGS = "/v1/recordings"


def description() -> dict[str, Any]:
    _, schemas = schemas_of(KINDS, "#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cuestream", "version": __version__},
        "paths": {**_sessions(), **_recordings(), **_webrtc(), **_server()},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _sessions() -> dict[str, Any]:
    session = {"parameters": [_path("session_id")]}
    return {
        "/v1/sessions": {
            "post": _operation(
                "Make a session",
                201,
                KEYED,
                BODY,
                NO_ROOM,
                {409: ("bad_request",)},
                takes=_json(Make),
                gives=_json(Made),
            ),
        },
        ONE: session
        | {
            "get": _operation("Look at a session", 200, KEYED, NO_SESSION, gives=_json(Shown)),
            "patch": _operation(
                "Change its configuration or playback",
                200,
                KEYED,
                BODY,
                NO_SESSION,
                {409: ("bad_request",)},
                takes=_json(Change),
                gives=_json(Shown),
            ),
            "delete": _operation("Fade out and end it", 204, KEYED, NO_SESSION),
        },
        f"{ONE}/urls": session
        | {
            "get": _operation(
                "Where it is reached, whether it is open yet or not",
                200,
                KEYED,
                NO_SESSION,
                gives=_json(Urls),
            )
        },
        **{
            f"{ONE}/audio.{ending}": {
                "parameters": [_path("session_id"), _query("token")],
                "get": _operation(
                    f"Its music without end, as {kind}",
                    200,
                    GUARDED,
                    NO_SESSION,
                    {401: ("unauthorized",), 503: ("capacity",)},
                    gives={kind: {}},
                ),
            }
            for ending, kind in ENDINGS.items()
        },
        f"{ONE}/output": session
        | {
            "post": _operation(
                "Push it to a server, or write it to a file, while it plays",
                201,
                KEYED,
                BODY,
                NO_SESSION,
                {403: ("output_forbidden",), 409: ("output_off", "output_refused")},
                takes=_json(Push),
                gives=_json(OutputState),
            ),
            "get": _operation(
                "Look at its output", 200, KEYED, NO_SESSION, {404: ("not_found",)}, gives=_json(OutputState)
            ),
            "delete": _operation(
                "Finish its output",
                200,
                KEYED,
                NO_SESSION,
                {404: ("not_found",), 503: ("internal",)},
                gives=_json(OutputState),
            ),
        },
        f"{ONE}/ingest": session
        | {
            "post": _operation(
                "Feed it from an address that the server reads; opens it if nobody has",
                201,
                KEYED,
                BODY,
                NO_SESSION,
                NO_ROOM,
                {403: ("ingest_forbidden_url",), 409: ("bad_request",), 422: ("ingest_failed",)},
                takes=_json(Feed),
                gives=_json(FeedState),
            ),
            "get": _operation(
                "How that goes", 200, KEYED, NO_SESSION, {404: ("not_found",)}, gives=_json(FeedState)
            ),
            "delete": _operation(
                "Read no more", 200, KEYED, NO_SESSION, {404: ("not_found",)}, gives=_json(FeedState)
            ),
        },
    }


def _recordings() -> dict[str, Any]:
    recording = {"parameters": [_path("recording_id")]}
    unknown: Codes = {404: ("not_found", "recording_off")}
    fetch = _operation(
        "Fetch one of its files, or a range of it",
        200,
        KEYED,
        unknown,
        {409: ("recording_running",), 416: ("range_beyond",)},
        gives={"*/*": {}},
    )
    fetch["responses"]["206"] = {"description": "The range that was asked for"}
    return {
        f"{ONE}/recording": {
            "parameters": [_path("session_id")],
            "post": _operation(
                "Begin to record it",
                201,
                KEYED,
                BODY,
                NO_SESSION,
                SLOW_DISK,
                {409: ("recording_off", "recording_refused")},
                takes=_json(Begin),
                gives=_json(Recorded),
            ),
            "delete": _operation(
                "Finish its recording",
                200,
                KEYED,
                NO_SESSION,
                SLOW_DISK,
                {409: ("bad_request",)},
                gives=_json(Recorded),
            ),
        },
        RECORDINGS: {
            "parameters": [_query("session"), _query("before")],
            "get": _operation(
                "List recordings, the newest first",
                200,
                KEYED,
                {404: ("recording_off",)},
                gives=_json(Listed),
            ),
        },
        f"{RECORDINGS}/{{recording_id}}": recording
        | {"get": _operation("Look at a recording", 200, KEYED, unknown, gives=_json(Recorded))},
        f"{RECORDINGS}/{{recording_id}}/{{name}}": {
            "parameters": [_path("recording_id"), _path("name"), _query("token")],
            "get": fetch,
        },
    }


def _webrtc() -> dict[str, Any]:
    """Without the extra, all of them answer 501."""
    session, sdp = [_path("session_id")], {SDP: {"schema": {"type": "string"}}}
    options = {"options": _operation("What is taken here", 200, GUARDED, NO_EXTRA)}
    said, elsewhere = (
        "Show a session pictures, by WHIP",
        {"307": {"description": "No room; that server takes over"}},
    )
    publish = _operation(said, 201, OFFERED, NO_ROOM, takes=sdp, gives=sdp)
    publish_to = _operation(said, 201, OFFERED, NO_ROOM, NO_SESSION, takes=sdp, gives=sdp)
    for each in (publish, publish_to):
        each["responses"] |= elsewhere
    return {
        "/v1/whip": {"post": publish, **options},
        "/v1/whip/{session_id}": {"parameters": session, "post": publish_to, **options},
        "/v1/whep/{session_id}": {
            "parameters": session,
            "post": _operation(
                "Hear a session's music, by WHEP", 201, OFFERED, NO_SESSION, takes=sdp, gives=sdp
            ),
            **options,
        },
        "/v1/offer": {
            "post": _operation(
                "Pictures, music and messages over one peer connection",
                201,
                {status: codes for status, codes in OFFERED.items() if status != 415},
                {404: ("session_expired",)},
                takes=_json(Offered),
                gives=_json(Answered),
            ),
            **options,
        },
        "/v1/peers/{peer_id}": {
            "parameters": [_path("peer_id")],
            "patch": _operation(
                "Trickle candidates",
                204,
                PEER,
                BODY,
                dict.fromkeys((412, 415, 422, 428), ("bad_request",)),
                takes={FRAGMENT: {"schema": {"type": "string"}}},
            ),
            "delete": _operation("End a peer; its session waits for another", 200, PEER),
            "options": _operation("What is taken here", 200, GUARDED),
        },
    }


def _server() -> dict[str, Any]:
    """What is told of the server itself. Outside /v1 a refusal is plain text."""
    health = {"503": {"description": "It does not"}}
    live, ready = _operation("Whether it lives", 200), _operation("Whether it takes a new session", 200)
    for probe in (live, ready):
        probe["responses"] |= health
    return {
        "/v1/version": {"get": _operation("What this server is", 200, GUARDED, gives=_json(About))},
        "/healthz": {"get": live},
        "/readyz": {"get": ready},
        "/metrics": {"get": _operation("For Prometheus", 200)},
    }


def _operation(
    summary: str,
    status: int,
    *refusals: Codes,
    takes: dict[str, Any] | None = None,
    gives: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """takes, gives: media types of its body and of what it answers when it succeeds."""
    codes: dict[int, list[str]] = {}
    for refusal in refusals:
        for refused, added in refusal.items():
            known = codes.setdefault(refused, [])
            known.extend(code for code in added if code not in known)
    said: dict[str, Any] = {"description": summary} | ({"content": gives} if gives else {})
    answers = {str(refused): _refusal(codes[refused]) for refused in sorted(codes)}
    operation: dict[str, Any] = {"summary": summary, "responses": {str(status): said} | answers}
    if takes:
        operation["requestBody"] = {"content": takes}
    if 401 in codes:
        operation["security"] = [{"key": []}]
    return operation


def _refusal(codes: list[str]) -> dict[str, Any]:
    code = {"properties": {"error": {"properties": {"code": {"enum": sorted(codes)}}}}}
    schema = {"allOf": [_ref(Refusal), code]}
    return {"description": ", ".join(sorted(codes)), "content": {JSON: {"schema": schema}}}


def _json(kind: type[Struct]) -> dict[str, Any]:
    return {JSON: {"schema": _ref(kind)}}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string"}}


def _ref(kind: type[Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
