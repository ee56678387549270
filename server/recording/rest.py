"""REST of recordings: begin and end one of a session, look at it, list all of them, fetch their files.

Begin and end wait until the files are open, or finished. A recording outlives its session; who has the key, or the token of its
addresses, may fetch it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from server.access.secrets import bearer
from server.core.errors import SessionError
from server.http.refusals import Refused
from server.http.rest import answer, body, check_key, find, host_of
from server.protocol.values import RecordedAudio
from server.recording.shelf import FILES, ID, Recorded, Shelf
from server.recording.tape import Recorder, Tape

WAIT_S = 15.0
"""For the disk, when a recording begins or ends."""
RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")
"""The first byte and the last one; without a first, so many at the end."""
MOST_LISTED = 200
"""Recordings in one answer; `before` asks for those that follow."""


class Begin(Struct, frozen=True):
    """Body of POST /v1/sessions/{id}/recording. video: also a film of the pictures that come, with the music."""

    audio: RecordedAudio = "flac"
    video: bool = False


class Listed(Struct, frozen=True):
    """Answer of GET /v1/recordings, the newest first."""

    recordings: tuple[Recorded, ...]


async def begin(request: Request) -> Response:
    check_key(request)
    wanted = await body(request, Begin)
    hosted = find(request)  # it may have ended meanwhile
    try:
        tape = hosted.record(wanted.audio, wanted.video)
    except SessionError as error:
        raise Refused(409, error.code, str(error)) from None
    return await _answer(tape, 201)


async def end(request: Request) -> Response:
    check_key(request)
    tape = find(request).tape
    if tape is None:
        raise Refused(409, "bad_request", "this session is not being recorded")
    tape.end("asked")
    return await _answer(tape, 200, ended=True)


async def _answer(tape: Tape, status: int, ended: bool = False) -> Response:
    """How it stands once its files are open, or it has ended."""
    try:
        async with asyncio.timeout(WAIT_S):
            while tape.told is None or (ended and tape.told.state == "recording"):
                tape.changed.clear()
                await tape.changed.wait()
    except TimeoutError:
        raise Refused(503, "internal", f"the disk did not answer within {WAIT_S:g} s") from None
    recorded = tape.recorded
    if recorded.state == "failed":
        raise Refused(507, "recording_refused", recorded.text)
    return _shown(recorded, status)


async def look(request: Request) -> Response:
    shelf, recording_id = _open(request)
    recorder = host_of(request).recorder
    if tape := recorder.tapes.get(recording_id):
        return _shown(tape.recorded)
    kept = await asyncio.to_thread(_kept, shelf, recorder, recording_id)
    if kept is None:
        raise Refused(404, "not_found", "no such recording here")
    return _shown(kept)


async def index(request: Request) -> Response:
    """The newest first. `session`: only its own. `before`: those that are older than this recording."""
    check_key(request)
    shelf, recorder = _shelf(request), host_of(request).recorder
    session_id, before = (request.query_params.get(name) for name in ("session", "before"))
    if before is not None and not ID.fullmatch(before):
        raise Refused(400, "bad_request", "expected the id of a recording as `before`")
    ids = await asyncio.to_thread(shelf.ids, before)
    # after the folder is read, for what lies there and does not run now has ended
    running = {tape.id: tape.recorded for tape in recorder.tapes.values()}

    def found() -> Iterator[Recorded]:
        for recording_id in ids:
            recorded = running.get(recording_id) or _kept(shelf, recorder, recording_id)
            if recorded and session_id in (None, recorded.session_id):
                yield recorded

    return _shown(await asyncio.to_thread(lambda: Listed(tuple(islice(found(), MOST_LISTED)))))


def _shown(about: Recorded | Listed, status: int = 200) -> Response:
    return answer(about, status, cache_control="no-store")


def _kept(shelf: Shelf, recorder: Recorder, recording_id: str) -> Recorded | None:
    """One that ended."""
    kept = shelf.about(recording_id)
    return kept and msgspec.structs.replace(kept, paths=recorder.paths(recording_id, kept.files))


async def fetch(request: Request) -> Response:
    shelf, recording_id = _open(request)
    name: str = request.path_params["name"]
    if recording_id in host_of(request).recorder.tapes:
        raise Refused(409, "recording_running", "it is still being written")
    path = await asyncio.to_thread(shelf.file, recording_id, name)
    if path is None:
        raise Refused(404, "not_found", "no such recording or file here")
    await asyncio.to_thread(_check_range, request, path)
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return FileResponse(path, media_type=FILES[name], filename=f"{recording_id}-{name}", headers=headers)


def _check_range(request: Request, path: Path) -> None:
    """What is no range, or several, is answered with the whole file, as RFC 9110 has it (14.2). Raises Refused."""
    found, size = RANGE.fullmatch(request.headers.get("range", "")), path.stat().st_size
    first, last = found.groups("") if found else ("", "")
    is_one = int(first) <= int(last or first) if first else int(last or 0) > 0
    if not is_one:
        request.scope["headers"] = [each for each in request.scope["headers"] if each[0] != b"range"]
    elif first and int(first) >= size:
        said = {"content-range": f"bytes */{size}"}
        raise Refused(416, "range_beyond", f"the file has {size} bytes", told=said)


def _open(request: Request) -> tuple[Shelf, str]:
    """The shelf and the recording's id, for who may see it."""
    host, recording_id = host_of(request), request.path_params["recording_id"]
    token = request.query_params.get("token", "")
    if bearer(request.headers) is not None or not host.door.may_download(recording_id, token):
        check_key(request)
    return _shelf(request), recording_id


def _shelf(request: Request) -> Shelf:
    shelf = host_of(request).recorder.shelf
    if shelf is None:
        raise Refused(404, "recording_off", "this server does not record; start it with --recordings FOLDER")
    return shelf
