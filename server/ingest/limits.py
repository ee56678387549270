"""What the server may read by itself, and how much that may take. It needs nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """Of each ingest, a process of its own, unless it says otherwise."""

    private: bool = False
    """Whether private addresses and this machine may be read too; link-local ones never are."""
    files: Path | None = None
    """The folder whose files may be read; None: no file is."""
    ports: frozenset[int] = frozenset()
    """Where publishers may be waited for; none by default."""
    at_once: int = 4
    """Ingests of all sessions; each takes a core's share and `memory_bytes` at most."""
    connect_s: float = 10.0
    """To connect and to find a video in what comes. A listener waits for its publisher as long as its session lives."""
    silence_s: float = 10.0
    """Without a picture; then the worker is killed and begins again."""
    attempts: int = 8
    """In a row without a picture; then it is given up. A listener never is."""
    backoff_s: float = 1.0
    """Before the second attempt; twice as long before each one after it."""
    most_backoff_s: float = 30.0
    memory_bytes: int = 1024**3
    """Address space of a worker; a film of 1920 x 1080 takes 0.4 GB of it."""
    cpu_s: float = 30.0
    """Processor time of a worker until it has its next picture; it gives a few each second, however long it lives."""
    packet_bytes: int = 8 * 1024**2
    """One packet of video or sound, before it is decoded."""
    url_chars: int = 2_048
