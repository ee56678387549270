"""Where the command line begins: Ctrl-C while its parts are still being loaded ends it without a word."""

from __future__ import annotations

import sys

from cuestream import INTERRUPTED


def main() -> None:
    try:
        from cuestream.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
