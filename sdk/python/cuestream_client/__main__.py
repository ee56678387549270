"""`cuestream-client`: the command, or one line that says what it needs."""

from __future__ import annotations

import sys
from typing import NoReturn

from cuestream_client.errors import MissingExtra


def main() -> NoReturn:
    try:
        from cuestream_client.command import main as command
    except ImportError as error:
        print(f"cuestream-client: {MissingExtra(f'the command needs {error.name}', 'cli')}", file=sys.stderr)
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
