"""`cuestream-client`: the command, or one line that says what it needs. Ctrl-C while it loads ends it without a word."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from cuestream_client.errors import MissingExtra

INTERRUPTED = 130


def main() -> NoReturn:
    for sent in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs are born deaf to the first
        signal.signal(sent, signal.default_int_handler)
    try:
        try:
            from cuestream_client.command import main as command
        except ImportError as error:
            print(
                f"cuestream-client: {MissingExtra(f'the command needs {error.name}', 'cli')}", file=sys.stderr
            )
            sys.exit(2)
        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
