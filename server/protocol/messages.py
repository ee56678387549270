"""The JSON control messages, each a frozen struct with its `type`. `CLIENT` and `SERVER` say who may send which.

A field that may be left out is UNSET then; nothing on the wire is null. Unknown fields are ignored, unknown types are not
an error (`server.protocol.control`), so that a newer side can talk to an older one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from server.protocol import values as v
from server.protocol.config import Config, ConfigPatch

HELD_CELLS = 256
"""Cells that a `memory.state` lists, the newest ones."""


class AudioFormat(Struct, frozen=True):
    """How sound travels. One message holds a whole number of samples of every channel."""

    codec: v.AudioCodec
    sample_rate: v.SampleRate
    channels: v.Channels


class VideoFormat(Struct, frozen=True):
    """How pictures should travel: any of the codecs, at most so many a second, the longer edge at most so long."""

    codecs: Annotated[tuple[v.VideoCodec, ...], Meta(min_length=1, max_length=8)]
    fps: v.Fps
    max_edge: v.Edge


class SessionLimits(Struct, frozen=True):
    """The limits that a client has to know."""

    text_bytes: v.Count
    image_bytes: v.Count
    audio_bytes: v.Count
    messages_per_s: v.Count
    credit_ms: v.CreditMs
    resume_window_s: v.Count
    session_s: v.Count


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every control message may have."""

    event_id: v.EventId | UnsetType = UNSET


class SessionStart(Message, frozen=True, tag="session.start"):
    """The first message of a new session."""

    protocol_minor: v.Minor
    client: v.Name | UnsetType = UNSET
    audio: AudioFormat | UnsetType = UNSET
    """How the music should come; the server answers how it will."""
    original: AudioFormat | UnsetType = UNSET
    """How the original sound will be sent; left out when it will not."""
    config: ConfigPatch | UnsetType = UNSET


class SessionResume(Message, frozen=True, tag="session.resume"):
    """The first message of a connection that goes on with a session."""

    protocol_minor: v.Minor
    handle: v.Handle
    received_through_sample: v.Sample
    """One after the last sample received: the server goes on here."""
    played_through_sample: v.Sample
    """One after the last sample heard: credit counts from here."""
    client: v.Name | UnsetType = UNSET


class SessionUpdate(Message, frozen=True, tag="session.update"):
    """Changes what it names. All of it or, when a value is refused, nothing."""

    config: ConfigPatch


class Playback(Message, frozen=True, tag="playback"):
    """play: make music. pause: hold it; play goes on from there. stop: end it and forget the context; play begins anew.
    reset_context: forget the context and play on. The configuration stays in all of them."""

    action: Literal["play", "pause", "stop", "reset_context"]


class SceneChange(Message, frozen=True, tag="scene.change"):
    """Change now: a cut, whatever the pictures and `cut_response` say."""

    at_us: v.Micros | UnsetType = UNSET
    """When the new scene begins; left out: with the next picture."""


class FlowCredit(Message, frozen=True, tag="flow.credit"):
    """How much audio may be on its way beyond what was reported as played; it replaces the credit that held before."""

    credit_ms: v.CreditMs


class PlayoutReport(Message, frozen=True, tag="playout.report"):
    """Acknowledges playout. Sent at least every 200 ms while music plays."""

    played_through_sample: v.Sample
    """One after the last sample that was heard."""
    buffer_ms: v.Measured
    underruns: v.Count = 0
    """Since the session began."""
    clock_ppm: v.Ppm = 0.0


class Ping(Message, frozen=True, tag="ping"):
    """Asks for the time; the answer gives the round trip and the offset of the clocks."""

    t_us: v.Micros


class SessionEnd(Message, frozen=True, tag="session.end"):
    """Fade out, and end the session."""

    fade_ms: v.FadeMs | UnsetType = UNSET
    """Left out: the configured one."""


class Recording(Message, frozen=True, tag="recording"):
    """Begins or ends a recording of the session on the server. Its answer is a `recording.state`."""

    action: Literal["start", "stop"]
    audio: v.RecordedAudio = "flac"
    video: bool = False
    """Also a film of the pictures that come, with the music."""


class SessionCreated(Message, frozen=True, tag="session.created"):
    """The session as it is, after `session.start`."""

    protocol_minor: v.Minor
    session_id: v.Name
    server: v.Name
    model: v.Name
    label: v.Text
    """What a listener must be told of the music, empty when there is nothing."""
    steps_per_s: Annotated[int, Meta(ge=1, le=1000)]
    audio: AudioFormat
    video: VideoFormat
    limits: SessionLimits
    revision: v.Revision
    config: Config


class SessionResumed(Message, frozen=True, tag="session.resumed"):
    """The session goes on, after `session.resume`."""

    protocol_minor: v.Minor
    session_id: v.Name
    first_sample: v.Sample
    """Where the sound goes on: the sample asked for, or a later one when the gap was skipped."""
    consumed_messages: v.Count
    """Control messages of the client that the session has seen; later ones have to be sent again."""
    audio: AudioFormat
    video: VideoFormat
    limits: SessionLimits
    revision: v.Revision
    config: Config


class SessionUpdated(Message, frozen=True, tag="session.updated"):
    """Everything that holds now; audio with this revision was made with it."""

    revision: v.Revision
    config: Config


class SessionEnded(Message, frozen=True, tag="session.ended"):
    """The last message of a session."""

    reason: Literal["asked", "idle", "session_limit", "failed"]
    samples: v.Sample
    """Length of the music."""


class State(Message, frozen=True, tag="state"):
    """Whether music plays and how well; sent when it changes."""

    playback: Literal["playing", "paused", "stopped"]
    health: Literal["on_time", "degraded", "concealing", "waiting"]
    """degraded: by `level` steps. concealing: what is heard was looped. waiting: no picture has come yet."""
    level: Annotated[int, Meta(ge=0, le=16)]


class SceneCut(Message, frozen=True, tag="scene.cut"):
    """A cut was seen in the video, or asked for."""

    at_us: v.Micros
    response: v.CutResponse
    from_sample: v.Sample
    """The first sample of the music that may know of it."""


class MemoryCell(Struct, frozen=True):
    """A picture that the music knows."""

    at_us: v.Micros
    """When it was captured."""
    picture: v.Count
    """How many were looked at before it."""
    place: Literal["window", "recalled", "memory"]
    """window: in the short-term window. recalled: in long-term memory, and heard now. memory: kept there."""
    age_ms: v.Millis
    """How old it is in what sounds now."""


class MemoryState(Message, frozen=True, tag="memory.state"):
    """What the music remembers of the video, the oldest first; sent when it changes."""

    cells: Annotated[tuple[MemoryCell, ...], Meta(max_length=HELD_CELLS)]


class Latency(Message, frozen=True, tag="latency"):
    """Once a second, over the last ten: how old the picture is in what is heard, and how fast music is made."""

    p50_ms: v.Measured
    p95_ms: v.Measured
    p99_ms: v.Measured
    buffer_ms: v.Measured
    """Music made and not yet played."""
    real_time_factor: v.Ratio
    """Time to make music over its length; above 1 it is late."""


class ResumeHandle(Message, frozen=True, tag="resume.handle"):
    """Once a second. A new handle replaces the one before."""

    handle: v.Handle
    resumable: bool
    expires_ms: v.Millis
    """How long after the connection is lost the handle is good."""
    consumed_messages: v.Count


class RecordingState(Message, frozen=True, tag="recording.state"):
    """How a recording stands; sent when it begins, when it ends, and after a resume while it runs."""

    recording_id: v.Name
    state: Literal["recording", "finished", "failed"]
    samples: v.Sample
    """Its length so far."""
    paths: Annotated[tuple[v.Url, ...], Meta(max_length=8)]
    """Of its files at this server, once it is finished."""
    reason: v.EndReason | UnsetType = UNSET
    """Why it ended."""
    text: v.Text = ""
    """What failed."""


class VideoRequest(Message, frozen=True, tag="video.request"):
    """How pictures should come from now on."""

    video: VideoFormat


class GoAway(Message, frozen=True, tag="go_away"):
    """The server leaves. A client resumes at the address, or at the same one, before the time is over."""

    time_left_ms: v.Millis
    reason: Literal["draining", "restarting", "session_limit"]
    reconnect_url: v.Url | UnsetType = UNSET


class WarningMessage(Message, frozen=True, tag="warning"):
    """Something was ignored; said once."""

    code: v.Name
    text: v.Text
    param: v.Name | UnsetType = UNSET


class ErrorMessage(Message, frozen=True, tag="error"):
    """What was refused, or why the connection is about to be closed (`fatal`)."""

    code: v.Name
    text: v.Text
    fatal: bool
    param: v.Name | UnsetType = UNSET
    retry_after_ms: v.Millis | UnsetType = UNSET


class Pong(Message, frozen=True, tag="pong"):
    """Answers a ping with its time and ours."""

    t_us: v.Micros
    server_us: v.ServerMicros


ClientMessage: TypeAlias = (
    SessionStart
    | SessionResume
    | SessionUpdate
    | Playback
    | SceneChange
    | FlowCredit
    | PlayoutReport
    | Ping
    | Recording
    | SessionEnd
)
ServerMessage: TypeAlias = (
    SessionCreated
    | SessionResumed
    | SessionUpdated
    | SessionEnded
    | State
    | SceneCut
    | MemoryState
    | Latency
    | ResumeHandle
    | RecordingState
    | VideoRequest
    | GoAway
    | WarningMessage
    | ErrorMessage
    | Pong
)


def by_type(union: Any) -> dict[str, Any]:
    """The messages of a union, by their `type`."""
    return {tag_of(kind): kind for kind in get_args(union)}


def tag_of(kind: type[Message]) -> str:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    assert isinstance(info.tag, str)
    return info.tag


CLIENT: dict[str, type[ClientMessage]] = by_type(ClientMessage)
SERVER: dict[str, type[ServerMessage]] = by_type(ServerMessage)
