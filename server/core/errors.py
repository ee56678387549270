"""What a client may get wrong, with the stable code that the wire carries."""

from __future__ import annotations

from engine.errors import CuestreamError


class SessionError(CuestreamError):
    """`code`: bad_request, session_expired, slow_consumer, recording_off, recording_refused, output_off, output_forbidden or
    output_refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
