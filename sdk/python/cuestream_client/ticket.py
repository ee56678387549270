"""What another client needs to go on with a session: that of this program when it is started again, or of another one.

A program keeps it as text. Processes share no monotonic clock, so that the time between two of them is told by the wall's.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from cuestream_client.messages import AudioFormat
from cuestream_client.rest import parted


class Ticket(msgspec.Struct, frozen=True):
    """A session at one moment, unix_s. handle: who has it has the session. expires_s: for how long from then. now_us:
    the clock of pictures. played: one after the last sample that was heard. plays: whether music was asked for."""

    handle: str
    url: str
    expires_s: float
    now_us: int
    played: int
    audio: AudioFormat
    plays: bool
    urls: dict[str, Any] = {}
    unix_s: float = 0.0


def written(ticket: Ticket, unix_s: float) -> str:
    return msgspec.json.encode(replace(ticket, unix_s=unix_s)).decode()


def read(text: str, unix_s: float) -> Ticket | None:
    """As it is by now; None when its session waits no more. Raises ValueError for what is no ticket, without quoting it."""
    try:
        ticket = msgspec.json.decode(text, type=Ticket)
        parted(ticket.url)
    except (msgspec.MsgspecError, ValueError):
        raise ValueError("that is no ticket of a client") from None
    age_s = max(0.0, unix_s - ticket.unix_s)
    if age_s > ticket.expires_s:
        return None
    return replace(ticket, expires_s=ticket.expires_s - age_s, now_us=ticket.now_us + int(age_s * 1e6))
