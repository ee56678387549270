"""AES-128 of HLS segments (RFC 8216, 4.3.2.4): CBC, padded as PKCS#7 says; read from the front alone."""

from __future__ import annotations

from typing import Protocol

BLOCK = 16


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


class Decrypted:
    """A file whose encrypted one is `source`. Raises OSError where `cryptography` is not installed."""

    def __init__(self, source: Readable, key: bytes, iv: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError:
            raise OSError("HLS with AES-128 needs cryptography: pip install 'cuestream[serve]'") from None
        self._decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        self._source = source
        self._held = b""  # decrypted; the last block may be padding
        self._length = 0  # of what came encrypted
        self._over = False

    def read(self, size: int) -> bytes:
        """At least a byte, but at the end. Raises OSError when it is cut short or not padded."""
        while len(self._held) <= BLOCK and not self._over:
            self._fill(size)
        most = len(self._held) if self._over else len(self._held) - BLOCK
        data, self._held = self._held[: min(size, most)], self._held[min(size, most) :]
        return data

    def _fill(self, size: int) -> None:
        data = self._source.read(max(size, BLOCK))
        self._length += len(data)
        self._held += self._decryptor.update(data)
        if not data:
            self._over = True
            self._held = _unpadded(self._held, self._length)

    def close(self) -> None:
        self._source.close()


def _unpadded(held: bytes, length: int) -> bytes:
    count = held[-1] if held else 0
    if length % BLOCK or not 1 <= count <= BLOCK or held[-count:] != bytes([count]) * count:
        raise OSError("an encrypted segment was cut short, or has another key")
    return held[:-count]
