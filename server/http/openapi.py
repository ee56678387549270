"""The REST side as OpenAPI, from the same structs that read its bodies."""

from __future__ import annotations

from typing import Any

import msgspec

from cuestream import __version__
from server.http.endless import ENDINGS
from server.http.rest import Change, Make
from server.ingest.rest import Feed
from server.output.outputs import OutputState
from server.output.rest import Push
from server.protocol.config import Config
from server.protocol.messages import RecordingState, SessionLimits
from server.recording.rest import Begin
from server.webrtc.bodies import Answered, Offered

KINDS = (
    Answered,
    Begin,
    Change,
    Config,
    Feed,
    Make,
    Offered,
    OutputState,
    Push,
    RecordingState,
    SessionLimits,
)
SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"


def description() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(KINDS, ref_template="#/components/schemas/{name}")
    session, recording = [_path("session_id")], [_path("recording_id")]
    one = "/v1/sessions/{session_id}"
    key: list[dict[str, list[str]]] = [{"key": []}]
    paths = {
        "/v1/sessions": {
            "post": _operation("Make a session", "201", key)
            | {"requestBody": {"content": {"application/json": {"schema": _ref("Make")}}}}
        },
        one: {
            "parameters": session,
            "get": _operation("Look at a session", "200", key),
            "patch": _operation("Change its configuration or playback", "200", key)
            | {"requestBody": {"content": {"application/json": {"schema": _ref("Change")}}}},
            "delete": _operation("Fade out and end it", "204", key),
        },
        f"{one}/urls": {
            "parameters": session,
            "get": _operation("Where it is reached, whether it is open yet or not", "200", key),
        },
        **{
            f"{one}/audio.{ending}": {
                "parameters": session,
                "get": _operation(f"Its music without end, as {kind}", "200"),
            }
            for ending, kind in ENDINGS.items()
        },
        f"{one}/recording": {
            "parameters": session,
            "post": _operation("Begin to record it", "201", key)
            | {"requestBody": {"content": {"application/json": {"schema": _ref("Begin")}}}},
            "delete": _operation("Finish its recording", "200", key),
        },
        f"{one}/output": {
            "parameters": session,
            "post": _operation("Push it to a server, or write it to a file, while it plays", "201", key)
            | {"requestBody": {"content": {"application/json": {"schema": _ref("Push")}}}},
            "get": _operation("Look at its output", "200", key),
            "delete": _operation("Finish its output", "200", key),
        },
        f"{one}/ingest": {
            "parameters": session,
            "post": _operation(
                "Feed it from an address that the server reads; opens it if nobody has", "201", key
            )
            | {"requestBody": {"content": {"application/json": {"schema": _ref("Feed")}}}},
            "get": _operation("How that goes", "200", key),
            "delete": _operation("Read no more", "200", key),
        },
        "/v1/recordings": {
            "parameters": [_query("session"), _query("before")],
            "get": _operation("List recordings, the newest first", "200", key),
        },
        "/v1/recordings/{recording_id}": {
            "parameters": recording,
            "get": _operation("Look at a recording", "200", key),
        },
        "/v1/recordings/{recording_id}/{name}": {
            "parameters": [*recording, _path("name")],
            "get": _operation("Fetch one of its files", "200", key),
        },
        **_webrtc(key),
        "/v1/version": {"get": _operation("What this server is", "200")},
        "/healthz": {"get": _operation("Whether it lives", "200")},
        "/readyz": {"get": _operation("Whether it takes a new session; 503 when not", "200")},
        "/metrics": {"get": _operation("For Prometheus", "200")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cuestream", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _webrtc(key: list[dict[str, list[str]]]) -> dict[str, Any]:
    """Without the extra, all of them answer 501."""
    session, peer = [_path("session_id")], [_path("peer_id")]
    offers = {"options": _operation("What is taken here", "200")}
    publish = _operation("Show a session pictures, by WHIP", "201", key) | _text(SDP)
    talk = _operation("Pictures, music and messages over one peer connection", "201", key)
    talk |= {"requestBody": {"content": {"application/json": {"schema": _ref("Offered")}}}}
    talk["responses"]["201"]["content"] = {"application/json": {"schema": _ref("Answered")}}
    return {
        "/v1/whip": {"post": publish, **offers},
        "/v1/whip/{session_id}": {"parameters": session, "post": publish, **offers},
        "/v1/whep/{session_id}": {
            "parameters": session,
            "post": _operation("Hear a session's music, by WHEP", "201", key) | _text(SDP),
            **offers,
        },
        "/v1/offer": {"post": talk, **offers},
        "/v1/peers/{peer_id}": {
            "parameters": peer,
            "patch": _operation("Trickle candidates", "204", key) | _text(FRAGMENT),
            "delete": _operation("End a peer; its session waits for another", "200", key),
            "options": _operation("What is taken here", "200"),
        },
    }


def _text(kind: str) -> dict[str, Any]:
    return {"requestBody": {"content": {kind: {"schema": {"type": "string"}}}}}


def _operation(
    summary: str, status: str, security: list[dict[str, list[str]]] | None = None
) -> dict[str, Any]:
    answers = {status: {"description": summary}}
    if security:
        answers["401"] = {"description": "No key, or a wrong one"}
    return {"summary": summary, "responses": answers} | ({"security": security} if security else {})


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string"}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
