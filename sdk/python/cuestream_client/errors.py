"""One family of errors: what this client raises. The message is one line, without secrets."""

from __future__ import annotations

from cuestream_client.secrets import without_secrets


class ClientError(Exception):
    """Anything that goes wrong between a program and a server."""

    def __init__(self, text: str) -> None:
        super().__init__(without_secrets(text))


class ProtocolError(ClientError):
    """A message breaks the protocol. `code` is the protocol's word for it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Refused(ClientError):
    """The server refused, and another attempt would not help, or not before `retry_s`, which is longer than the client waits.
    `code`: the close code, or the HTTP status. `word`: the server's own for it, such as "capacity"; None of a close, and where a
    proxy answered in its place."""

    def __init__(self, code: int, text: str, retry_s: float | None = None, word: str | None = None) -> None:
        super().__init__(f"refused with {code}: {text}")
        self.code, self.text, self.retry_s, self.word = code, without_secrets(text), retry_s, word


class Unreachable(ClientError):
    """No connection after all attempts."""


class Untrusted(Unreachable):
    """No TLS: its certificate is not trusted, or what answers there speaks another language. Another attempt would not help."""


class Closed(ClientError):
    """The session is over; nothing can be sent."""


class TooMuch(ClientError):
    """A bounded queue is full, and what was to go in may not be dropped."""


class MissingExtra(ClientError):
    """An optional library is not installed; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str, hint: str = "") -> None:
        super().__init__(f"{what}; install the extra: pip install 'cuestream-client[{extra}]'{hint}")
