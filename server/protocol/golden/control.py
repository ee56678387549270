"""Control messages worth an example: each type, each limit's last allowed value, and what an older side meets."""

from __future__ import annotations

from server.protocol.config import ConfigPatch, DuckPatch, first_config
from server.protocol.errors import ErrorCode
from server.protocol.limits import DEFAULTS
from server.protocol.messages import (
    AudioFormat,
    ErrorMessage,
    FlowCredit,
    GoAway,
    Latency,
    MemoryCell,
    MemoryState,
    Message,
    Ping,
    Playback,
    PlayoutReport,
    Pong,
    Recording,
    RecordingState,
    ResumeHandle,
    SceneChange,
    SceneCut,
    SessionCreated,
    SessionEnd,
    SessionEnded,
    SessionLimits,
    SessionResume,
    SessionResumed,
    SessionStart,
    SessionUpdate,
    SessionUpdated,
    State,
    VideoFormat,
    VideoRequest,
    WarningMessage,
)
from server.protocol.values import SAFE_INTEGER

CONFIG = first_config(
    guidance=3.0, temperature=1.0, top_k=250, top_p=0.0, seed=SAFE_INTEGER, short_term_s=10.0
)
MUSIC = AudioFormat("pcm_s16", 48_000, 2)
VIDEO = VideoFormat(("jpeg", "webp"), 4.0, 448)
LIMITS = SessionLimits(
    text_bytes=DEFAULTS.text_bytes,
    image_bytes=DEFAULTS.image_bytes,
    audio_bytes=DEFAULTS.audio_bytes,
    messages_per_s=DEFAULTS.messages_per_s,
    credit_ms=DEFAULTS.credit_ms,
    resume_window_s=DEFAULTS.resume_window_s,
    session_s=DEFAULTS.session_s,
)
EVERYTHING = ConfigPatch(
    guidance=0.0,
    temperature=10.0,
    top_k=0,
    top_p=0.95,
    seed=0,
    short_term_s=0.5,
    key="Bb",
    energy=-1.0,
    cut_response="gentle",
    hold_scene=True,
    gain_db=-60.0,
    mute=True,
    fade_ms=10_000,
    duck=DuckPatch(enabled=True, threshold_db=-80.0, depth_db=60.0, attack_ms=1, release_ms=10_000),
)

CONTROL: dict[str, Message] = {
    "start": SessionStart(0, client="golden/1.0", audio=MUSIC, config=ConfigPatch(seed=7), event_id="e1"),
    "start_smallest": SessionStart(0),
    "start_with_original_sound": SessionStart(0, original=AudioFormat("opus", 48_000, 1)),
    "resume": SessionResume(0, "handle.of.the.last.second", 4_800_000, 4_776_000, client="golden/1.0"),
    "update_gain": SessionUpdate(ConfigPatch(gain_db=-6.5), event_id="e2"),
    "update_everything": SessionUpdate(EVERYTHING),
    "update_nothing": SessionUpdate(ConfigPatch()),
    "play": Playback("play"),
    "pause": Playback("pause"),
    "stop": Playback("stop"),
    "reset_context": Playback("reset_context", event_id="ünïcode ♪ 🎵"),
    "change_now": SceneChange(),
    "change_at": SceneChange(at_us=12_345_678),
    "credit": FlowCredit(2_000),
    "report": PlayoutReport(96_000, 41.5, underruns=1, clock_ppm=-37.25),
    "ping": Ping(SAFE_INTEGER),
    "end": SessionEnd(fade_ms=2_000),
    "created": SessionCreated(
        protocol_minor=0,
        session_id="s-golden",
        server="cuestream/0.1.0",
        model="random-tiny",
        label="random weights, so this is noise and not music",
        steps_per_s=50,
        audio=MUSIC,
        video=VIDEO,
        limits=LIMITS,
        revision=0,
        config=CONFIG,
        event_id="e1",
    ),
    "resumed": SessionResumed(
        protocol_minor=0,
        session_id="s-golden",
        first_sample=4_800_000,
        consumed_messages=12,
        audio=MUSIC,
        video=VIDEO,
        limits=LIMITS,
        revision=3,
        config=CONFIG,
    ),
    "updated": SessionUpdated(1, CONFIG, event_id="e2"),
    "ended": SessionEnded("asked", 172_800_000),
    "state": State("playing", "degraded", 2),
    "cut": SceneCut(12_345_678, "follow", 595_200),
    "memory": MemoryState(
        (
            MemoryCell(0, 0, "recalled", 12_000),
            MemoryCell(4_000_000, 32, "memory", 8_000),
            MemoryCell(9_500_000, 76, "window", 2_500),
        )
    ),
    "memory_empty": MemoryState(()),
    "record": Recording("start", audio="wav", video=True, event_id="e4"),
    "record_smallest": Recording("start"),
    "record_stop": Recording("stop"),
    "recording": RecordingState("20261125-120000-golden", "recording", 0, (), event_id="e4"),
    "recording_finished": RecordingState(
        "20261125-120000-golden",
        "finished",
        4_800_000,
        ("/v1/recordings/20261125-120000-golden/music.flac?token=abc",),
        "asked",
    ),
    "latency": Latency(240.0, 310.5, 420.25, 180.0, 0.42),
    "handle": ResumeHandle("handle.of.this.second", True, 30_000, 12),
    "video_request": VideoRequest(VIDEO),
    "go_away": GoAway(30_000, "draining", reconnect_url="wss://other.example/v1/stream"),
    "warning": WarningMessage("unknown_field", "unknown field ignored: sparkle", param="sparkle"),
    "error": ErrorMessage(
        str(ErrorCode.BAD_REQUEST),
        "Expected `float` <= 12.0 - at `$.config.gain_db`",
        False,
        param="config.gain_db",
        event_id="e3",
    ),
    "error_capacity": ErrorMessage(
        str(ErrorCode.CAPACITY), "every place is taken", True, retry_after_ms=5_000
    ),
    "pong": Pong(1_000_000, 77_000_000),
}

LOOSE: dict[str, tuple[str, str, Message | None, list[str]]] = {
    "spaces_and_order": (
        "client",
        ' {\n "event_id" : "e9", "action":"\\u0070lay" ,"type":"playback" } ',
        Playback("play", event_id="e9"),
        [],
    ),
    "whole_number_as_gain": (
        "client",
        '{"type":"session.update","config":{"gain_db":-6}}',
        SessionUpdate(ConfigPatch(gain_db=-6.0)),
        [],
    ),
    "unknown_fields": (
        "client",
        '{"type":"session.update","config":{"gain_db":1.5,"sparkle":{"gain_db":[1]}},"shine":null}',
        SessionUpdate(ConfigPatch(gain_db=1.5)),
        ["config.sparkle", "shine"],
    ),
    "defaults_left_out": (
        "client",
        '{"type":"playout.report","played_through_sample":1,"buffer_ms":0}',
        PlayoutReport(1, 0.0),
        [],
    ),
    "unknown_client_type": ("client", '{"type":"dance","event_id":"e4"}', None, []),
    "unknown_server_type": ("server", '{"type":"session.start","protocol_minor":0}', None, []),
    "unknown_error_code": (
        "server",
        '{"type":"error","code":"of_tomorrow","text":"","fatal":true,"severity":3}',
        ErrorMessage("of_tomorrow", "", True),
        ["severity"],
    ),
}
"""Name: direction, text, message (None: of an unknown type), ignored fields."""
