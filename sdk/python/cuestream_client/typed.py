"""Addresses as people type them."""

from __future__ import annotations

import re

from cuestream_client.secrets import without_secrets

HOST_AND_PORT = re.compile(
    r"(?!(?:https?|wss?|\d+):)(?:[\w.-]+|\[[\da-f:.]+\]):\d+(?:/\S*)?", re.ASCII | re.IGNORECASE
)
"""Nothing that may be read in another way: an IPv6 address in brackets, no number in the host's place."""


def address(typed: str, scheme: str = "http", port: int = 8765) -> str:
    """With the scheme: HOST:PORT alone has this one, everything else its own. Raises ValueError for what may mean several things,
    such as a host alone, which could be `https` as well.

    port: that an example has.
    """
    if HOST_AND_PORT.fullmatch(typed):
        return f"{scheme}://{typed}"
    if "://" not in typed:
        raise ValueError(
            f"an address such as host:{port} or {scheme}://host:{port} was expected, found {without_secrets(typed)!r}"
        )
    return typed
