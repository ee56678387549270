"""What is shown of what was said: errors and reasons reach logs, and what they quote may hold keys."""

from __future__ import annotations

import re

HIDDEN = (
    # name and password of an address
    (re.compile(r"""([a-z][a-z\d+.-]*://)[^\s/?#"'<>]*@""", re.IGNORECASE), r"\1…@"),
    # its query: signed ones have a key there
    (
        re.compile(r"""([a-z][a-z\d+.-]*://[^\s?#"'<>]*[?#])[^\s"'<>]*[^\s"'<>.,:;)]""", re.IGNORECASE),
        r"\1…",
    ),
    # of an address without a host
    (re.compile(r"""([?&#][\w.~-]+=)[^\s&#"'<>]+"""), r"\1…"),
    (re.compile(r"""(\bbearer\s+)[^\s"'<>]+""", re.IGNORECASE), r"\1…"),
    (re.compile(r"""(\bcuestream\.token\.)[^\s"'<>,]+""", re.IGNORECASE), r"\1…"),
)
"""What to hide, and what stands there then; the TypeScript client hides the same."""


def without_secrets(text: str) -> str:
    """The text without names, passwords and queries of addresses, and without tokens."""
    for secret, instead in HIDDEN:
        text = secret.sub(instead, text)
    return text
