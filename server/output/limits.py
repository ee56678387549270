"""The limits of outputs. An operator may change each."""

from __future__ import annotations

from dataclasses import dataclass

from server.system.disk import GB


@dataclass(frozen=True, slots=True)
class OutputLimits:
    at_once: int = 4
    """Outputs of all sessions; each has a process of its own."""
    memory_bytes: int = 1024**3
    """Address space of such a process, and as much of the program that speaks SRT; pictures of 1920 x 1080 take 0.3 GB of it."""
    length_s: float = 12 * 3600.0
    """Of one output; then it is finished."""
    folder_bytes: int = 20 * GB
    """All that lies in the folder; when it is full, no file begins and what runs is finished."""
    free_bytes: int = GB // 2
    """What stays free on the disk, the same."""
    delay_ms: int = 5_000
    """The longest that pictures may be held back."""
    waiting_s: float = 10.0
    """Music that may wait for a slow target; then a connection is made anew, and a file has failed."""
    waiting_pictures: int = 128
    waiting_picture_bytes: int = 128 * 1024 * 1024
    """Pictures that may wait for it; then the oldest goes and is counted."""
    waiting_sounds: int = 512
    """Stretches of original sound that wait for it, the same."""
    held_pictures: int = 512
    held_bytes: int = 64 * 1024 * 1024
    """Pictures that are held back for the delay; then the oldest goes and is counted."""
    held_sound_s: float = 10.0
    """Original sound that is held back for the delay; then what is new is left out and counted."""
    original_late_ms: int = 500
    """How long after its moment original sound may come and still be heard; the whole output waits for what the delay of the
    pictures is shorter."""
    connect_s: float = 10.0
    """For a target to answer."""
    stall_s: float = 10.0
    """For a target to take anything at all."""
    finish_s: float = 10.0
    """For what waits to be sent at the end; then it is cut off."""
    retry_s: float = 1.0
    """Before the second try to connect; twice as long each time."""
    retry_most_s: float = 30.0
    give_up_s: float = 600.0
    """Without a connection; then the output has failed."""
    fps: int = 25
    """Of pictures that are encoded here."""
    video_kbps: int = 3_000
    """Of them, at most."""
