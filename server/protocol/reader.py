"""What one connection received: messages, and what was ignored of them, counted.

The state of a connection's reading side, without the connection. It takes control messages and media as they come, says
each unknown name once as a warning, and counts what is lost or unknown. It knows neither order nor rate: whether a message
may come now, or so soon, is the session's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic

from msgspec import UNSET, UnsetType

from server.protocol.control import M, Received, Unknown
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.media import Media, StreamId, UnknownKind, decode_media, newer
from server.protocol.messages import WarningMessage
from server.protocol.values import U32


@dataclass(slots=True)
class Counts:
    """Since the connection began."""

    messages: int = 0
    unknown_types: int = 0
    unknown_fields: int = 0
    unknown_kinds: int = 0
    lost: int = 0
    """Sequence numbers that were skipped."""
    stale: int = 0
    """Media that came twice or too late; dropped."""


@dataclass(slots=True)
class Reader(Generic[M]):
    """decode, streams: `decode_client` and `UP` in a server, `decode_server` and `DOWN` in a client."""

    decode: Callable[[bytes | str, Limits], Received[M]]
    streams: frozenset[StreamId]
    limits: Limits = DEFAULTS
    counts: Counts = field(default_factory=Counts)
    _reported: set[tuple[str, str]] = field(default_factory=set)
    """Bound: limits.reported_fields, then only counted."""
    _newest: dict[StreamId, int] = field(default_factory=dict)  # bound: the streams there are

    def control(self, raw: bytes | str) -> tuple[M | None, list[WarningMessage]]:
        """A message, None when its type is unknown, and what to tell the sender. Raises ProtocolError."""
        received = self.decode(raw, self.limits)
        self.counts.messages += 1
        self.counts.unknown_fields += len(received.ignored)
        if isinstance(received.message, Unknown):
            self.counts.unknown_types += 1
            unknown = received.message
            return None, self._report("unknown_type", (unknown.type,), unknown.event_id or UNSET)
        return received.message, self._report("unknown_field", received.ignored, received.message.event_id)

    def media(self, raw: bytes) -> Media | None:
        """A binary message, None when it is unknown or not newer than the one before. Raises ProtocolError."""
        media = decode_media(raw, self.limits)
        self.counts.messages += 1
        if isinstance(media, UnknownKind):
            self.counts.unknown_kinds += 1
            return None
        if media.stream not in self.streams:
            raise ProtocolError(ErrorCode.INVALID_MEDIA, f"stream {media.stream.value} goes the other way")
        return media if self._in_order(media) else None

    def _in_order(self, media: Media) -> bool:
        before = self._newest.get(media.stream)
        if before is not None and not newer(media.seq, before):
            self.counts.stale += 1
            return False
        self.counts.lost += 0 if before is None else (media.seq - before - 1) & U32
        self._newest[media.stream] = media.seq
        return True

    def _report(self, code: str, names: tuple[str, ...], event_id: str | UnsetType) -> list[WarningMessage]:
        warnings = []
        for name in names:
            if (code, name) not in self._reported and len(self._reported) < self.limits.reported_fields:
                self._reported.add((code, name))
                text = f"{code.replace('_', ' ')} ignored: {name}"
                warnings.append(WarningMessage(code, text, param=name, event_id=event_id))
        return warnings
