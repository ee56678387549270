"""`python -m server.pictures.worker`: decodes pictures for the server, which started it, and is gone when its input ends.

The operating system bounds its memory, and ends it when a picture takes too much of the processor; it writes no file.
"""

from __future__ import annotations

import sys

from engine.frames import U8
from server.pictures.imaging import Eyes
from server.pictures.wire import Answer, Forget, Job, LookBack, Picture, Ready, Seen, asked
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import Kind
from server.system.confinement import confine
from server.system.environment import end_after, end_with_the_input
from server.system.records import packed


def main() -> None:
    end_with_the_input()
    records = asked(sys.stdin.buffer)
    job = next(records)
    assert isinstance(job, Job)
    confine(job.memory_bytes)
    limits, eyes = Limits(image_pixels=job.image_pixels), dict[str, Eyes]()  # bound: one for each way
    say(Ready())
    for record in records:
        if isinstance(record, Forget):
            eyes.pop(record.way, None)
        elif isinstance(record, Picture | LookBack):
            if record.way not in eyes:
                eyes[record.way] = Eyes(job.side, limits)
            end_after(job.picture_s)
            seen = see(eyes[record.way], record)
            end_after(0)
            say(seen)


def say(answer: Answer) -> None:
    sys.stdout.buffer.write(packed(answer))
    sys.stdout.buffer.flush()


def see(eyes: Eyes, asked: Picture | LookBack) -> Seen:
    """Whatever happens is an answer."""
    try:
        pixels = _pixels(eyes, asked)
    except ProtocolError as error:
        return Seen(None, str(error.code), error.text)
    except Exception as error:
        kind = Kind(asked.kind).name if isinstance(asked, Picture) else "video"
        return Seen(None, str(ErrorCode.DECODE_FAILED), f"{kind}: {type(error).__name__}")
    return Seen(None if pixels is None else bytearray(pixels.data))


def _pixels(eyes: Eyes, asked: Picture | LookBack) -> U8 | None:
    if isinstance(asked, LookBack):
        return eyes.look_back()
    if asked.looked_at:
        return eyes.see(asked.media())
    eyes.pass_over(asked.media())
    return None


if __name__ == "__main__":
    main()
