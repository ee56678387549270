"""The JSON control messages of `cuestream.v1`, each a frozen struct with its `type`, and the ranges of their fields.

A field that may be left out is UNSET then. docs/protocol.md of the project says what each means; the golden vectors beside it
hold this file and the server to the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

SUBPROTOCOL = "cuestream.v1"
PROTOCOL_MINOR = 0
SAFE_INTEGER = 2**53 - 1
"""The largest integer on the wire: JavaScript holds it exactly."""

EventId = Annotated[str, Meta(min_length=1, max_length=64)]
Name = Annotated[str, Meta(max_length=128)]
Text = Annotated[str, Meta(max_length=1024)]
Handle = Annotated[str, Meta(min_length=1, max_length=1024)]
Url = Annotated[str, Meta(max_length=2048)]
Minor = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0, le=SAFE_INTEGER)]
"""Also microseconds and indices of samples."""
Revision = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Millis = Annotated[int, Meta(ge=0, le=86_400_000)]
Measured = Annotated[float, Meta(ge=0, le=86_400_000)]
CreditMs = Annotated[int, Meta(ge=60, le=10_000)]
Guidance = Annotated[float, Meta(ge=0, le=20)]
Temperature = Annotated[float, Meta(ge=0, le=10)]
TopK = Annotated[int, Meta(ge=0, le=65_536)]
TopP = Annotated[float, Meta(ge=0, le=1)]
ShortTermS = Annotated[float, Meta(ge=0.5, le=3600)]
Energy = Annotated[float, Meta(ge=-1, le=1)]
GainDb = Annotated[float, Meta(ge=-60, le=12)]
FadeMs = Annotated[int, Meta(ge=0, le=10_000)]
ThresholdDb = Annotated[float, Meta(ge=-80, le=0)]
DepthDb = Annotated[float, Meta(ge=0, le=60)]
AttackMs = Annotated[int, Meta(ge=1, le=1_000)]
ReleaseMs = Annotated[int, Meta(ge=1, le=10_000)]
Key: TypeAlias = Literal["seed", "free", "C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"]
CutResponse: TypeAlias = Literal["ignore", "gentle", "follow"]
AudioCodec: TypeAlias = Literal["pcm_s16", "pcm_f32", "opus", "flac"]
VideoCodec: TypeAlias = Literal["jpeg", "webp", "png", "h264", "vp8", "i420", "rgb24"]
RecordedAudio: TypeAlias = Literal["flac", "wav", "opus"]
Action: TypeAlias = Literal["play", "pause", "stop", "reset_context"]


class AudioFormat(Struct, frozen=True):
    """How sound travels."""

    codec: AudioCodec
    sample_rate: Annotated[int, Meta(ge=8_000, le=192_000)]
    channels: Annotated[int, Meta(ge=1, le=2)]


class VideoFormat(Struct, frozen=True):
    """How pictures should travel: any of the codecs, at most so many a second, the longer edge at most so long."""

    codecs: Annotated[tuple[VideoCodec, ...], Meta(min_length=1, max_length=8)]
    fps: Annotated[float, Meta(gt=0, le=240)]
    max_edge: Annotated[int, Meta(ge=1, le=16_384)]


class SessionLimits(Struct, frozen=True):
    """The limits that a client has to know."""

    text_bytes: Count
    image_bytes: Count
    audio_bytes: Count
    messages_per_s: Count
    credit_ms: CreditMs
    resume_window_s: Count
    session_s: Count


class Duck(Struct, frozen=True):
    """The music steps back while the original sound is louder than `threshold_db`."""

    enabled: bool
    threshold_db: ThresholdDb
    depth_db: DepthDb
    attack_ms: AttackMs
    release_ms: ReleaseMs


class Config(Struct, frozen=True):
    """Everything that holds now."""

    guidance: Guidance
    temperature: Temperature
    top_k: TopK
    top_p: TopP
    seed: Count
    short_term_s: ShortTermS
    key: Key
    energy: Energy
    cut_response: CutResponse
    hold_scene: bool
    gain_db: GainDb
    mute: bool
    fade_ms: FadeMs
    duck: Duck


class DuckPatch(Struct, frozen=True):
    """The fields of `Duck` that change."""

    enabled: bool | UnsetType = UNSET
    threshold_db: ThresholdDb | UnsetType = UNSET
    depth_db: DepthDb | UnsetType = UNSET
    attack_ms: AttackMs | UnsetType = UNSET
    release_ms: ReleaseMs | UnsetType = UNSET


class ConfigPatch(Struct, frozen=True):
    """The fields of `Config` that change."""

    guidance: Guidance | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    top_k: TopK | UnsetType = UNSET
    top_p: TopP | UnsetType = UNSET
    seed: Count | UnsetType = UNSET
    short_term_s: ShortTermS | UnsetType = UNSET
    key: Key | UnsetType = UNSET
    energy: Energy | UnsetType = UNSET
    cut_response: CutResponse | UnsetType = UNSET
    hold_scene: bool | UnsetType = UNSET
    gain_db: GainDb | UnsetType = UNSET
    mute: bool | UnsetType = UNSET
    fade_ms: FadeMs | UnsetType = UNSET
    duck: DuckPatch | UnsetType = UNSET


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every control message may have."""

    event_id: EventId | UnsetType = UNSET


class SessionStart(Message, frozen=True, tag="session.start"):
    protocol_minor: Minor
    client: Name | UnsetType = UNSET
    audio: AudioFormat | UnsetType = UNSET
    original: AudioFormat | UnsetType = UNSET
    config: ConfigPatch | UnsetType = UNSET


class SessionResume(Message, frozen=True, tag="session.resume"):
    protocol_minor: Minor
    handle: Handle
    received_through_sample: Count
    played_through_sample: Count
    client: Name | UnsetType = UNSET


class SessionUpdate(Message, frozen=True, tag="session.update"):
    config: ConfigPatch


class Playback(Message, frozen=True, tag="playback"):
    action: Action


class SceneChange(Message, frozen=True, tag="scene.change"):
    at_us: Count | UnsetType = UNSET


class FlowCredit(Message, frozen=True, tag="flow.credit"):
    credit_ms: CreditMs


class PlayoutReport(Message, frozen=True, tag="playout.report"):
    played_through_sample: Count
    buffer_ms: Measured
    underruns: Count = 0
    clock_ppm: Annotated[float, Meta(ge=-10_000, le=10_000)] = 0.0


class Ping(Message, frozen=True, tag="ping"):
    t_us: Count


class SessionEnd(Message, frozen=True, tag="session.end"):
    fade_ms: FadeMs | UnsetType = UNSET


class Recording(Message, frozen=True, tag="recording"):
    action: Literal["start", "stop"]
    audio: RecordedAudio = "flac"
    video: bool = False


class SessionCreated(Message, frozen=True, tag="session.created"):
    protocol_minor: Minor
    session_id: Name
    server: Name
    model: Name
    label: Text
    """What a listener must be told of the music, empty when there is nothing."""
    steps_per_s: Annotated[int, Meta(ge=1, le=1000)]
    audio: AudioFormat
    video: VideoFormat
    limits: SessionLimits
    revision: Revision
    config: Config


class SessionResumed(Message, frozen=True, tag="session.resumed"):
    protocol_minor: Minor
    session_id: Name
    first_sample: Count
    consumed_messages: Count
    audio: AudioFormat
    video: VideoFormat
    limits: SessionLimits
    revision: Revision
    config: Config


class SessionUpdated(Message, frozen=True, tag="session.updated"):
    revision: Revision
    config: Config


class SessionEnded(Message, frozen=True, tag="session.ended"):
    reason: Literal["asked", "idle", "session_limit", "failed"]
    samples: Count


class State(Message, frozen=True, tag="state"):
    playback: Literal["playing", "paused", "stopped"]
    health: Literal["on_time", "degraded", "concealing", "waiting"]
    level: Annotated[int, Meta(ge=0, le=16)]


class SceneCut(Message, frozen=True, tag="scene.cut"):
    at_us: Count
    response: CutResponse
    from_sample: Count


class MemoryCell(Struct, frozen=True):
    """A picture that the music knows."""

    at_us: Count
    picture: Count
    place: Literal["window", "recalled", "memory"]
    age_ms: Millis


class MemoryState(Message, frozen=True, tag="memory.state"):
    cells: Annotated[tuple[MemoryCell, ...], Meta(max_length=256)]


class Latency(Message, frozen=True, tag="latency"):
    p50_ms: Measured
    p95_ms: Measured
    p99_ms: Measured
    buffer_ms: Measured
    real_time_factor: Annotated[float, Meta(ge=0, le=1000)]


class ResumeHandle(Message, frozen=True, tag="resume.handle"):
    """An event that is printed does not show what opens a session."""

    handle: Handle
    resumable: bool
    expires_ms: Millis
    consumed_messages: Count

    def __repr__(self) -> str:
        return f"ResumeHandle(handle=…, expires_ms={self.expires_ms}, consumed_messages={self.consumed_messages})"


class RecordingState(Message, frozen=True, tag="recording.state"):
    recording_id: Name
    state: Literal["recording", "finished", "failed"]
    samples: Count
    paths: Annotated[tuple[Url, ...], Meta(max_length=8)]
    reason: Literal["asked", "session_ended", "length", "quota", "disk", "failed"] | UnsetType = UNSET
    text: Text = ""


class VideoRequest(Message, frozen=True, tag="video.request"):
    video: VideoFormat


class GoAway(Message, frozen=True, tag="go_away"):
    time_left_ms: Millis
    reason: Literal["draining", "restarting", "session_limit"]
    reconnect_url: Url | UnsetType = UNSET


class WarningMessage(Message, frozen=True, tag="warning"):
    code: Name
    text: Text
    param: Name | UnsetType = UNSET


class ErrorMessage(Message, frozen=True, tag="error"):
    code: Name
    text: Text
    fatal: bool
    param: Name | UnsetType = UNSET
    retry_after_ms: Millis | UnsetType = UNSET


class Pong(Message, frozen=True, tag="pong"):
    t_us: Count
    server_us: Count


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


def _by_type(union: Any) -> dict[str, Any]:
    return {kind.__struct_config__.tag: kind for kind in get_args(union)}


CLIENT: dict[str, type[ClientMessage]] = _by_type(ClientMessage)
SERVER: dict[str, type[ServerMessage]] = _by_type(ServerMessage)


def patch(changes: dict[str, Any]) -> ConfigPatch:
    """A patch of keyword arguments, `duck` a dict of its own. Raises ValueError with the field that is wrong."""
    if not isinstance(changes, dict):
        raise ValueError(f"a configuration is a dict such as {{'gain_db': -6}}; this one is {changes!r}")
    known = ConfigPatch.__struct_fields__
    if unknown := changes.keys() - set(known):
        named = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"no such field of the configuration: {named}; there are {', '.join(known)}")
    try:
        return msgspec.convert(changes, ConfigPatch)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def merged(old: ConfigPatch, new: ConfigPatch) -> ConfigPatch:
    """Both patches, one after the other."""
    changes = _named(new)
    if isinstance(old.duck, DuckPatch) and isinstance(new.duck, DuckPatch):
        changes["duck"] = msgspec.structs.replace(old.duck, **_named(new.duck))
    return msgspec.structs.replace(old, **changes)


def _named(struct: ConfigPatch | DuckPatch) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not UNSET}
