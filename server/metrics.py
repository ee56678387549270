"""What a Prometheus asks for at /metrics. One registry for each server; no label is a session, a client or an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
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
LeftOut = Literal["source", "rtp", "rtcp", "sctp"]
"""Why a packet of a peer was: its source is one too many, or it is none of these."""
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
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        moments = partial(Moments, registry=registry)
        self.sessions = gauge("cuestream_sessions", "Sessions by state", ["state"])
        self.opened = counter("cuestream_sessions_opened", "Sessions that began")
        self.ended = counter("cuestream_sessions_ended", "Sessions by why they ended", ["reason"])
        self.refused = counter("cuestream_sessions_refused", "Sessions that were refused", ["reason"])
        self.dropped = counter(
            "cuestream_connections_dropped",
            "Connections that were let go before they asked for something",
            ["reason"],
        )
        self.put_off = counter(
            "cuestream_websocket_reads_put_off",
            "Times that what a websocket sent was heard later, since it takes more than its share of the loop",
        )
        self.too_often = counter(
            "cuestream_rate_limited",
            "Connections, sessions and tokens of addresses that came too often",
            ["what"],
        )
        self.frames = counter("cuestream_inbound_frames", "Pictures that came in", ["result"])
        self.decoders_broken = counter(
            "cuestream_decoders_broken", "Processes that decoded pictures and ended on their own, or hung"
        )
        self.sent = counter("cuestream_audio_sent_samples", "Samples given to clients, at 48 kHz")
        self.concealed = counter("cuestream_concealed_samples", "Samples placed that were looped, 32 kHz")
        self.placed = counter("cuestream_placed_samples", "Samples placed, 32 kHz")
        self.picture_age = moments(
            "cuestream_picture_age_seconds",
            "How old the newest picture is in the music that is sent",
            bounds=AGES_S,
        )
        self.errors = counter("cuestream_protocol_errors", "Messages that were refused", ["code"])
        self.closes = counter("cuestream_websocket_closes", "Connections by close code", ["code"])
        self.resumes = counter("cuestream_resumes", "Resumes", ["result"])
        self.rejected = counter("cuestream_authentication_failures", "Tokens refused", ["reason"])
        self.real_time_factor = gauge(
            "cuestream_real_time_factor", "Time of a step over its music, all sessions"
        )
        self.hangs = counter("cuestream_engine_hangs", "Times that a step of the engine took too long")
        self.hanging = gauge(
            "cuestream_engine_hanging_seconds", "For how long a step has been taking too long now"
        )
        self.loop_lag = moments(
            "cuestream_loop_lag_seconds", "How late the event loop's tick was", bounds=LAGS_S
        )
        self.busy = gauge(
            "cuestream_loop_busy_ratio", "Share of its time that the event loop lately spent in ticks"
        )
        self.overhead = moments(
            "cuestream_chunk_overhead_seconds",
            "From the moment a chunk was due, or could be sent, until it was written to the socket",
            bounds=MOMENTS_S,
        )
        self.encoding = moments(
            "cuestream_chunk_encode_seconds",
            "To resample and encode a chunk for a websocket",
            bounds=MOMENTS_S,
        )
        self.listeners = gauge("cuestream_http_listeners", "Endless HTTP sounds")
        self.players = gauge("cuestream_whep_listeners", "Players by WHEP")
        self.peers = gauge("cuestream_webrtc_peers", "Peer connections", ["kind"])
        self.peers_ended = counter(
            "cuestream_webrtc_peers_ended", "Peer connections by why they ended", ["reason"]
        )
        self.peers_refused = counter(
            "cuestream_webrtc_offers_refused", "Offers that were not answered", ["status"]
        )
        self.unheard = counter(
            "cuestream_webrtc_undecoded_frames",
            "Frames of sound that were left out since its decoder or the loop was slower",
        )
        self.packets_left_out = counter(
            "cuestream_webrtc_packets_left_out",
            "Packets of peers that could not be read, or were of one source too many",
            ["reason"],
        )
        self.recordings = gauge("cuestream_recordings", "Recordings that run")
        self.recordings_ended = counter(
            "cuestream_recordings_ended", "Recordings by why they ended", ["reason"]
        )
        self.recordings_refused = counter(
            "cuestream_recordings_refused", "Recordings that did not begin", ["reason"]
        )
        self.recorded_bytes = counter("cuestream_recorded_bytes", "Bytes of recordings that ended")
        self.recording_left_out = counter(
            "cuestream_recording_left_out_pictures", "Pictures that a recording left out"
        )
        self.films_broken = counter(
            "cuestream_recording_films_broken",
            "Films that ended before their recording, by why, of recordings that ended",
            ["reason"],
        )
        self.ingests = gauge("cuestream_ingests", "Sessions that the server feeds")
        self.ingest_attempts = counter("cuestream_ingest_attempts", "Workers by how they ended", ["result"])
        self.ingest_pictures = counter("cuestream_ingest_pictures", "Pictures that workers gave")
        self.ingests_refused = counter(
            "cuestream_ingests_refused", "Addresses that were not begun with", ["reason"]
        )
        self.outputs = gauge("cuestream_outputs", "Outputs that run")
        self.outputs_ended = counter("cuestream_outputs_ended", "Outputs by why they ended", ["reason"])
        self.outputs_refused = counter("cuestream_outputs_refused", "Outputs that did not begin", ["code"])
        self.output_reconnects = counter(
            "cuestream_output_reconnects", "Connections made anew, of outputs that ended"
        )
        self.output_lost = counter(
            "cuestream_output_lost_samples", "Samples that outputs that ended sent to nobody, 48 kHz"
        )
        self.output_left_out = counter(
            "cuestream_output_left_out_pictures", "Pictures left out of outputs that ended"
        )
        self.output_original = counter(
            "cuestream_output_original_seconds", "Seconds of original sound in outputs that ended"
        )
        self.output_lost_original = counter(
            "cuestream_output_lost_original_samples",
            "Samples of original sound that came too late or too many for outputs that ended, 48 kHz",
        )
        self.listeners_refused = counter(
            "cuestream_http_listeners_refused", "Listeners that were too many for their session"
        )
        self.left_out = counter(
            "cuestream_skipped_samples",
            "Samples placed that clients were not given since they were too far behind, 32 kHz",
        )
        self.skipped = counter(
            "cuestream_http_skipped_samples",
            "Samples that a slow HTTP listener or a WebRTC track missed, 48 kHz",
        )
        self.checkpoints = counter("cuestream_checkpoints", "Checkpoints by what came of them", ["result"])
        self.checkpoint_s = Histogram(
            "cuestream_checkpoint_seconds",
            "Time to pack and write a checkpoint, beside the loop and the engine",
            buckets=WRITES_S,
            registry=registry,
        )
        self.checkpoint_bytes = gauge("cuestream_checkpoint_bytes", "Size of all checkpoints")
        for family, values in self._known():
            for value in values:
                family.labels(value)

    def leave_out(self, why: LeftOut) -> None:
        """A packet of a peer."""
        self.packets_left_out.labels(why).inc()

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
            (self.packets_left_out, get_args(LeftOut)),
            (self.recordings_ended, get_args(EndReason)),
            (self.recordings_refused, ("off", "running", "at_once", "not_started")),
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
