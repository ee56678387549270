"""Client of a Cuestream server: video goes up, music for it comes down.

messages, control, media            the wire protocol `cuestream.v1`
session, comeback, outbox, music    a session without I/O: credits, resume, what follows a close
bucket                              how fast it may talk
aio, client                         the same on websockets, for asyncio and for threads
pictures                            frames to JPEG at the server's rate
player, drift, resample, speaker    drift-corrected playback
live, sources, recorder, command    `cuestream live`
"""

from cuestream_client.aio import AsyncClient
from cuestream_client.client import Client
from cuestream_client.closes import Patience
from cuestream_client.comeback import Next
from cuestream_client.errors import (
    ClientError,
    Closed,
    MissingExtra,
    ProtocolError,
    Refused,
    TooMuch,
    Unreachable,
    Untrusted,
)
from cuestream_client.messages import AudioFormat
from cuestream_client.music import Chunk
from cuestream_client.session import Playout
from cuestream_client.stats import Stats

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "AudioFormat",
    "Chunk",
    "Client",
    "ClientError",
    "Closed",
    "MissingExtra",
    "Next",
    "Patience",
    "Playout",
    "ProtocolError",
    "Refused",
    "Stats",
    "TooMuch",
    "Unreachable",
    "Untrusted",
]
