"""A batch job: the music for every video of a folder, from a server, some at once. What is there already is left alone.

    cuestream serve                                     # in another terminal, or on another machine
    pip install './sdk/python[video]'                   # in the root of this repository
    python examples/many_files.py videos/ music/ --at-once 4

A server plays in real time. Where the model is on this machine, `cuestream score videos/ -o scored/` needs no server, takes as
long as the machine needs, and writes films.
"""

import argparse
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cuestream_client import ClientError
from cuestream_client.live import Live, LiveJob
from cuestream_client.sources import Source
from cuestream_client.typed import address

ENDINGS = {".mp4", ".mkv", ".mov", ".webm"}
LEAVING = threading.Event()


def score(run: Live, music: Path) -> bool:
    """Whether the music is there; it gets its name when it is whole."""
    part = run.job.output
    try:
        run.run()
    except ClientError as error:  # the server is full for a minute, or gone; or the file cannot be read
        print(f"{run.job.source.name}: {error}", file=sys.stderr)
        return False
    if LEAVING.is_set():
        part.unlink()
        return False
    part.rename(music)
    print(f"{music}: {run.board.music_s:.1f} s for {run.board.pictures} pictures", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("music", type=Path)
    parser.add_argument(
        "--server", default="http://127.0.0.1:8765", help="or HOST:PORT; its key is CUESTREAM_API_KEY"
    )
    parser.add_argument("--at-once", type=int, default=4, help="a server takes 8 by itself (--max-sessions)")
    asked = parser.parse_args()

    server, runs = address(asked.server), dict[Path, Live]()
    videos = sorted(path for path in asked.videos.iterdir() if path.suffix.lower() in ENDINGS)
    asked.music.mkdir(parents=True, exist_ok=True)
    for video in videos:
        music = asked.music / f"{video.name}.flac"
        if not music.exists():
            source, part = Source("file", str(video)), music.with_suffix(".part.flac")
            runs[music] = Live(LiveJob(server, source, os.environ.get("CUESTREAM_API_KEY"), output=part))
    with ThreadPoolExecutor(asked.at_once) as pool:
        try:
            return 0 if all(list(pool.map(score, runs.values(), runs))) else 1
        except KeyboardInterrupt:
            LEAVING.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for run in runs.values():
                run.stop.set()
            return 130


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:  # there is no such folder
        sys.exit(f"{error.filename}: {error.strerror}")
    except ValueError as error:  # that is no address
        sys.exit(str(error))
