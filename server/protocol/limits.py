"""Every limit of the protocol, each a field with its default and its reason. An operator may change any of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes of one websocket message, times are in the unit of the name."""

    text_bytes: int = 64 * 1024
    """A JSON message; the largest of ours, a full `memory.state`, is below 32 KiB."""
    depth: int = 16
    """Objects and arrays inside each other in a JSON message; ours need 3."""
    messages_per_s: int = 50
    """JSON messages from a client; above it they are refused with `rate_limited`."""
    errors_per_min: int = 30
    """Refused messages from a client; above it the connection is closed with 1008."""
    bad_pictures_per_min: int = 120
    """Pictures that could not be decoded or were too large; above it the connection is closed with 1008."""
    connects_per_min: int = 120
    """Connections from one address; above it the upgrade is refused with HTTP 429."""
    starts_per_min: int = 30
    """Sessions from one address, begun or invited; above it 4429."""
    bad_tokens_per_min: int = 10
    """Tokens that are not valid from one address; above it no token from there is looked at, 4429."""
    reported_fields: int = 32
    """Names of unknown fields that a connection hears about, each once; later ones are only counted."""

    image_bytes: int = 1024 * 1024
    """A video message. Pictures are shown to the model at a few hundred pixels; 448 pixels of JPEG are 40 KiB."""
    image_pixels: int = 4096 * 2304
    """Width times height of a picture, read from its header before it is decoded."""
    kept_bytes: int = 128 * 1024**2
    """Of the pictures of H.264 or VP8 that others refer to, read from its header as well; 4096 x 2304 has 14 MB each."""
    raw_video: bool = False
    """Whether I420 and RGB24 pictures are taken."""
    fps: int = 60
    """Pictures a second; above it they are dropped and counted."""
    audio_bytes: int = 256 * 1024
    """An audio message, in either direction; 500 ms of 48 kHz stereo in 32-bit floats are 188 KiB."""
    ext_bytes: int = 1024
    """All extensions of one binary message."""

    credit_ms: int = 500
    """Audio that may be sent beyond what was reported as played."""
    skip_behind_ms: int = 2_000
    """A listener this far behind is moved to the newest music with a crossfade."""
    slow_consumer_ms: int = 10_000
    """A listener this far behind is closed with 4413."""

    memory_ms: int = 500
    """Between two `memory.state`, at least."""

    resume_window_s: int = 30
    """How long a session outlives its connection."""
    resume_grace_s: int = 2
    """How long music goes on being made without a connection; then the session waits."""
    catch_up_ms: int = 500
    """A gap up to this is replayed after a resume; a longer one is skipped with a crossfade."""

    handshake_s: int = 5
    """From the upgrade to `session.start` or `session.resume`; then 4400."""
    heartbeat_s: int = 10
    """Between websocket pings; also how long an answer may take, then 4408."""
    clock_ping_s: int = 2
    """How often a client should send `ping` to keep its clock in step."""
    drain_s: int = 30
    """From `go_away` with `session_limit` to the close; a server that leaves says its own time (`--drain`)."""
    session_s: int = 43_200
    """Length of a session; then 4440."""
    idle_s: int = 60
    """Without a picture, also while it plays, paused or stopped; then `session.ended` and 1000."""


DEFAULTS = Limits()
