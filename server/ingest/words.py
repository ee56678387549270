"""Why a video cannot be read, in words of whoever asked for it; FFmpeg has its own, some of which say nothing to them."""

from __future__ import annotations

from engine.errors import MediaError
from engine.media.source import reason
from server.ingest.pipe import Job

NO_VIDEO = "this is no video that can be read"
NO_PICTURE = "it has no moving picture that can be read"
STILL = "this is a still picture or a GIF, not a video"
PUBLISHER_LEFT = "the publisher left"
BROKE_OFF = "it broke off"
WORDS = {
    "Invalid argument": NO_VIDEO,  # a form that is none of those that are read
    "Invalid data found when processing input": NO_VIDEO,
    "Immediate exit requested": "nothing came for too long",
    "Input/output error": BROKE_OFF,
    "I/O error": BROKE_OFF,  # the same, on Windows
    "End of file": BROKE_OFF,
}
NAMED = dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "bmp"), STILL) | dict.fromkeys(
    ("mp3", "wav", "flac", "aac"), NO_PICTURE
)
"""What is said of files that are no video, by how their names end."""


def words(error: Exception, job: Job) -> str:
    if isinstance(error, MediaError):
        return NO_PICTURE
    said = WORDS.get(text := reason(error), text)
    if said == NO_VIDEO:
        return NAMED.get(job.url.partition("?")[0].rpartition(".")[2].lower(), NO_VIDEO)
    return PUBLISHER_LEFT if said == BROKE_OFF and job.listen else said
