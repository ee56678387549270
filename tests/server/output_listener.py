"""An RTMP server for one publisher, as a program: says `ready` when it listens, then writes what came into a file.

python output_listener.py URL FILE [PACKETS]   ends after so many packets, as a server that dies
"""

from __future__ import annotations

import sys
from contextlib import suppress
from itertools import islice

import av


def main(url: str, path: str, most: int | None) -> None:
    print("ready", flush=True)
    with (
        av.open(url, options={"listen": "1", "analyzeduration": "300000"}) as source,
        av.open(path, "w", format="matroska") as copy,
    ):
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in source.streams}
        with suppress(OSError):  # so FFmpeg says that the publisher has left
            for packet in islice(source.demux(), most):
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    copy.mux(packet)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
