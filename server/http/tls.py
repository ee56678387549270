"""The certificate that a server shows, from two files; read again on SIGHUP."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CuestreamError


class TlsError(CuestreamError):
    """The files are no certificate and its key."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM. cert: with the intermediate ones behind it. key: without a password; None when it is in the same file."""

    cert: Path
    key: Path | None = None

    def check(self) -> None:
        """Raises TlsError."""
        self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def load_into(self, context: ssl.SSLContext) -> None:
        """For connections that come from now on. Raises TlsError."""
        for path in filter(None, (self.cert, self.key)):
            if not path.is_file():
                raise TlsError(f"{path}: no such file")
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except ssl.SSLError as error:
            names = self.cert.name if self.key is None else f"{self.cert.name} and {self.key.name}"
            why = "the key is another certificate's" if "MISMATCH" in str(error) else str(error)
            raise TlsError(f"{names}: expected a certificate and its key in PEM; {why}") from error
        except (OSError, ValueError) as error:
            raise TlsError(f"{self.cert.name}: {error}") from error


def _no_password() -> str:
    raise TlsError("the key has a password; a server that starts by itself cannot ask for it")
