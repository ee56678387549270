"""Where the command line begins: Ctrl-C while its parts are still being loaded ends it without a word."""

from __future__ import annotations

import signal
import sys

from cuestream import INTERRUPTED


def main() -> None:
    for sent in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs are born deaf to the first
        signal.signal(sent, signal.default_int_handler)
    try:
        from cuestream.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
