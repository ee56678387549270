"""The reading side of a connection, without the connection: control messages and media as they come from a client.

It says each unknown name once as a warning, and drops media that come twice or late. Whether a message may come now, or so soon,
is the session's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from server.protocol.control import Unknown, decode_client
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.media import UP, Media, StreamId, UnknownKind, decode_media, newer
from server.protocol.messages import ClientMessage, WarningMessage


@dataclass(slots=True)
class Reader:
    limits: Limits = DEFAULTS
    _reported: set[tuple[str, str]] = field(default_factory=set)
    """Bound: limits.reported_fields, then none is said any more."""
    _newest: dict[StreamId, int] = field(default_factory=dict)  # bound: the streams there are

    def control(self, raw: bytes | str) -> tuple[ClientMessage | None, list[WarningMessage]]:
        """A message, None when its type is unknown, and what to tell the sender. Raises ProtocolError."""
        received = decode_client(raw, self.limits)
        if isinstance(received.message, Unknown):
            unknown = received.message
            return None, self._report("unknown_type", (unknown.type,), unknown.event_id or UNSET)
        return received.message, self._report("unknown_field", received.ignored, received.message.event_id)

    def media(self, raw: bytes) -> Media | None:
        """A binary message, None when it is unknown or not newer than the one before. Raises ProtocolError."""
        media = decode_media(raw, self.limits)
        if isinstance(media, UnknownKind):
            return None
        if media.stream not in UP:
            raise ProtocolError(ErrorCode.INVALID_MEDIA, f"stream {media.stream.value} goes the other way")
        before = self._newest.get(media.stream)
        if before is not None and not newer(media.seq, before):
            return None
        self._newest[media.stream] = media.seq
        return media

    def _report(self, code: str, names: tuple[str, ...], event_id: str | UnsetType) -> list[WarningMessage]:
        warnings = []
        for name in names:
            if (code, name) not in self._reported and len(self._reported) < self.limits.reported_fields:
                self._reported.add((code, name))
                text = f"{code.replace('_', ' ')} ignored: {name}"
                warnings.append(WarningMessage(code, text, param=name, event_id=event_id))
        return warnings
