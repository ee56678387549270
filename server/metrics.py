"""What a Prometheus asks for at /metrics. One registry for each server; no label is a session, a client or an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from server.access.limiting import Bucket
from server.histogram import Moments
from server.protocol.errors import CLOSES, ErrorCode
from server.protocol.values import EndReason
from server.sessions.lifetime import Ended

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PAGES_PER_S = 10.0
"""So often the page is made, and as many times at once. It takes the event loop 2.3 ms with 64 sessions, and everybody asks."""
AGES_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
WRITES_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
MOMENTS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.02, 0.04, 0.1, 0.5)
LAGS_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
REFUSALS = (
    ErrorCode.BAD_REQUEST,
    ErrorCode.INVALID_JSON,
    ErrorCode.INVALID_UTF8,
    ErrorCode.INVALID_MEDIA,
    ErrorCode.MESSAGE_TOO_LARGE,
    ErrorCode.UNEXPECTED_MESSAGE,
    ErrorCode.BAD_HANDSHAKE,
    ErrorCode.UNSUPPORTED_CODEC,
    ErrorCode.DECODE_FAILED,
    ErrorCode.FRAME_TOO_LARGE,
    ErrorCode.RATE_LIMITED,
    ErrorCode.UNAUTHORIZED,
    ErrorCode.FORBIDDEN,
    ErrorCode.SESSION_NOT_FOUND,
    ErrorCode.SESSION_EXPIRED,
    ErrorCode.RECORDING_OFF,
    ErrorCode.RECORDING_REFUSED,
)
"""Errors that say that something which came was refused; the others say what became of a connection or a session."""

PeerEnd = Literal[
    "not_connected",
    "failed",
    "lost",
    "left",
    "closed",
    "superseded",
    "over",
    "refused",
    "stopped",
]
"""Why a peer connection ended."""
CheckpointResult = Literal[
    "written",
    "failed",
    "no_room",
    "restored",
    "expired",
    "damaged",
    "other_model",
]
"""What became of one."""


class Metrics:
    """Counters only grow; gauges are what is now."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.sessions = Gauge("cuestream_sessions", "Sessions by state", ["state"], registry=registry)
        self.opened = Counter("cuestream_sessions_opened", "Sessions that began", registry=registry)
        self.ended = Counter(
            "cuestream_sessions_ended", "Sessions by why they ended", ["reason"], registry=registry
        )
        self.refused = Counter(
            "cuestream_sessions_refused", "Sessions that were refused", ["reason"], registry=registry
        )
        self.dropped = Counter(
            "cuestream_connections_dropped",
            "Connections that were let go before they asked for something",
            ["reason"],
            registry=registry,
        )
        self.put_off = Counter(
            "cuestream_websocket_reads_put_off",
            "Times that what a websocket sent was heard later, since it takes more than its share of the loop",
            registry=registry,
        )
        self.too_often = Counter(
            "cuestream_rate_limited",
            "Connections, sessions and tokens of addresses that came too often",
            ["what"],
            registry=registry,
        )
        self.frames = Counter(
            "cuestream_inbound_frames", "Pictures that came in", ["result"], registry=registry
        )
        self.decoders_broken = Counter(
            "cuestream_decoders_broken",
            "Processes that decoded pictures and ended on their own, or hung",
            registry=registry,
        )
        self.sent = Counter(
            "cuestream_audio_sent_samples", "Samples given to clients, at 48 kHz", registry=registry
        )
        self.concealed = Counter(
            "cuestream_concealed_samples", "Samples placed that were looped, 32 kHz", registry=registry
        )
        self.placed = Counter("cuestream_placed_samples", "Samples placed, 32 kHz", registry=registry)
        self.picture_age = Moments(
            "cuestream_picture_age_seconds",
            "How old the newest picture is in the music that is sent",
            bounds=AGES_S,
            registry=registry,
        )
        self.errors = Counter(
            "cuestream_protocol_errors", "Messages that were refused", ["code"], registry=registry
        )
        self.closes = Counter(
            "cuestream_websocket_closes", "Connections by close code", ["code"], registry=registry
        )
        self.resumes = Counter("cuestream_resumes", "Resumes", ["result"], registry=registry)
        self.rejected = Counter(
            "cuestream_authentication_failures", "Tokens refused", ["reason"], registry=registry
        )
        self.real_time_factor = Gauge(
            "cuestream_real_time_factor", "Time of a step over its music, all sessions", registry=registry
        )
        self.hangs = Counter(
            "cuestream_engine_hangs", "Times that a step of the engine took too long", registry=registry
        )
        self.hanging = Gauge(
            "cuestream_engine_hanging_seconds",
            "For how long a step has been taking too long now",
            registry=registry,
        )
        self.loop_lag = Moments(
            "cuestream_loop_lag_seconds",
            "How late the event loop's tick was",
            bounds=LAGS_S,
            registry=registry,
        )
        self.busy = Gauge(
            "cuestream_loop_busy_ratio",
            "Share of its time that the event loop lately spent in ticks",
            registry=registry,
        )
        self.overhead = Moments(
            "cuestream_chunk_overhead_seconds",
            "From the moment a chunk was due, or could be sent, until it was written to the socket",
            bounds=MOMENTS_S,
            registry=registry,
        )
        self.encoding = Moments(
            "cuestream_chunk_encode_seconds",
            "To resample and encode a chunk for a websocket",
            bounds=MOMENTS_S,
            registry=registry,
        )
        self.listeners = Gauge("cuestream_http_listeners", "Endless HTTP sounds", registry=registry)
        self.players = Gauge("cuestream_whep_listeners", "Players by WHEP", registry=registry)
        self.peers = Gauge("cuestream_webrtc_peers", "Peer connections", ["kind"], registry=registry)
        self.peers_ended = Counter(
            "cuestream_webrtc_peers_ended",
            "Peer connections by why they ended",
            ["reason"],
            registry=registry,
        )
        self.peers_refused = Counter(
            "cuestream_webrtc_offers_refused", "Offers that were not answered", ["status"], registry=registry
        )
        self.unheard = Counter(
            "cuestream_webrtc_undecoded_frames",
            "Frames of sound that were left out since its decoder or the loop was slower",
            registry=registry,
        )
        self.recordings = Gauge("cuestream_recordings", "Recordings that run", registry=registry)
        self.recordings_ended = Counter(
            "cuestream_recordings_ended", "Recordings by why they ended", ["reason"], registry=registry
        )
        self.recordings_refused = Counter(
            "cuestream_recordings_refused", "Recordings that did not begin", ["reason"], registry=registry
        )
        self.recorded_bytes = Counter(
            "cuestream_recorded_bytes", "Bytes of recordings that ended", registry=registry
        )
        self.recording_left_out = Counter(
            "cuestream_recording_left_out_pictures", "Pictures that a recording left out", registry=registry
        )
        self.films_broken = Counter(
            "cuestream_recording_films_broken",
            "Films that ended before their recording, by why, of recordings that ended",
            ["reason"],
            registry=registry,
        )
        self.ingests = Gauge("cuestream_ingests", "Sessions that the server feeds", registry=registry)
        self.ingest_attempts = Counter(
            "cuestream_ingest_attempts", "Workers by how they ended", ["result"], registry=registry
        )
        self.ingest_pictures = Counter(
            "cuestream_ingest_pictures", "Pictures that workers gave", registry=registry
        )
        self.ingests_refused = Counter(
            "cuestream_ingests_refused", "Addresses that were not begun with", ["reason"], registry=registry
        )
        self.outputs = Gauge("cuestream_outputs", "Outputs that run", registry=registry)
        self.outputs_ended = Counter(
            "cuestream_outputs_ended", "Outputs by why they ended", ["reason"], registry=registry
        )
        self.outputs_refused = Counter(
            "cuestream_outputs_refused", "Outputs that did not begin", ["code"], registry=registry
        )
        self.output_reconnects = Counter(
            "cuestream_output_reconnects", "Connections made anew, of outputs that ended", registry=registry
        )
        self.output_lost = Counter(
            "cuestream_output_lost_samples",
            "Samples that outputs that ended sent to nobody, 48 kHz",
            registry=registry,
        )
        self.output_left_out = Counter(
            "cuestream_output_left_out_pictures",
            "Pictures left out of outputs that ended",
            registry=registry,
        )
        self.output_original = Counter(
            "cuestream_output_original_seconds",
            "Seconds of original sound in outputs that ended",
            registry=registry,
        )
        self.output_lost_original = Counter(
            "cuestream_output_lost_original_samples",
            "Samples of original sound that came too late or too many for outputs that ended, 48 kHz",
            registry=registry,
        )
        self.listeners_refused = Counter(
            "cuestream_http_listeners_refused",
            "Listeners that were too many for their session",
            registry=registry,
        )
        self.left_out = Counter(
            "cuestream_skipped_samples",
            "Samples placed that clients were not given since they were too far behind, 32 kHz",
            registry=registry,
        )
        self.skipped = Counter(
            "cuestream_http_skipped_samples",
            "Samples that a slow HTTP listener or a WebRTC track missed, 48 kHz",
            registry=registry,
        )

        self.checkpoints = Counter(
            "cuestream_checkpoints", "Checkpoints by what came of them", ["result"], registry=registry
        )
        self.checkpoint_s = Histogram(
            "cuestream_checkpoint_seconds",
            "Time to pack and write a checkpoint, beside the loop and the engine",
            buckets=WRITES_S,
            registry=registry,
        )
        self.checkpoint_bytes = Gauge(
            "cuestream_checkpoint_bytes", "Size of all checkpoints", registry=registry
        )
        for family, values in self._known():
            for value in values:
                family.labels(value)

    def _known(self) -> tuple[tuple[Counter, Iterable[str]], ...]:
        """Every value that the label of a counter has. They all begin with 0: an alarm's `increase` does not see the first value
        of a series."""
        return (
            (self.ended, get_args(Ended)),
            (self.refused, ("capacity", "hanging", "draining", "restarting")),
            (self.dropped, ("slow", "half_open", "connections", "unread")),
            (self.too_often, ("connections", "sessions", "tokens")),
            (self.frames, ("taken", "shown", "refused", "too_many", "dropped", "ignored")),
            (self.errors, map(str, REFUSALS)),
            (self.closes, (*map(str, CLOSES), "1005", "1006", "other")),
            (self.resumes, ("resumed", "bad_request", "session_expired", "session_not_found")),
            (self.rejected, ("no_token", "wrong_token")),
            (self.peers_ended, get_args(PeerEnd)),
            (self.peers_refused, ("400", "422", "503")),
            (self.recordings_ended, get_args(EndReason)),
            (self.recordings_refused, ("off", "running", "at_once")),
            (self.films_broken, ("not_started", "behind", "hung", "broke", "failed")),
            (self.ingest_attempts, ("ended", "failed", "forbidden")),
            (self.ingests_refused, ("at_once", "forbidden", "unknown")),
            (self.outputs_ended, get_args(EndReason)),
            (self.outputs_refused, ("bad_request", "output_off", "output_forbidden", "output_refused")),
            (self.checkpoints, get_args(CheckpointResult)),
        )

    def page(self) -> bytes:
        return generate_latest(self.registry)


class Page:
    """The page of metrics as it is handed out; who asks too often is given the one before. measure: brings gauges up to now."""

    def __init__(
        self, metrics: Metrics, measure: Callable[[], object], monotonic: Callable[[], float]
    ) -> None:
        self._metrics, self._measure, self._monotonic = metrics, measure, monotonic
        self._made = Bucket(PAGES_PER_S, PAGES_PER_S)
        self._text = b""

    def text(self) -> bytes:
        if self._made.allows(self._monotonic()):
            self._measure()
            self._text = self._metrics.page()
        return self._text
