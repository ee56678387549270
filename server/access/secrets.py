"""Who may come in: the operator's key, client secrets that open one session once, tokens of addresses and resume handles.

Everything that leaves the server is signed with a key that is drawn when it starts, or kept with the checkpoints; nothing else is
stored but which secrets are still unused. Tokens of addresses are signed with the operator's key where there is one: OBS keeps an
address for longer than a server runs. It reads no clock: `now_s`, monotonic, is an argument.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

SECRET_S = 60
"""How long a client secret may wait to be used."""
MOST_SECRETS = 1024
HANDLE_SPARE_S = 5.0
"""A handle is a second old or two when the connection breaks."""
SESSION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Of a session that is not named by us."""
NO_KEY_ASKED = (
    "this server asks for no key, and does not know what came as one; a client secret opens one session, once"
)
STRETCH = {"n": 2**14, "r": 8, "p": 1}
"""Of scrypt: 50 ms when a server starts, and so for each guess of whoever has an address and wants the key."""


@dataclass(frozen=True, slots=True)
class Anybody:
    """No token, or none that we know: may resume with a handle, and nothing else where a key is asked for."""

    reason: Literal["no_token", "wrong_token"]


@dataclass(frozen=True, slots=True)
class Operator:
    """Has the key, or is on a server that asks for none."""


@dataclass(frozen=True, slots=True)
class Invited:
    """Has a client secret for this session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Hearing:
    """Has a token of a session's addresses: may hear it, and do nothing else. turns: may also look at it and turn it."""

    session_id: str
    turns: bool = False


Caller: TypeAlias = Anybody | Operator | Invited | Hearing


@dataclass(frozen=True, slots=True)
class Identity:
    """A session: another one that gets the same name has another nonce."""

    session_id: str
    nonce: str


class _Handle(msgspec.Struct, frozen=True):
    session: str
    made_s: float
    nonce: str = ""


class Door:
    """api_key: None lets everybody in who can reach the server."""

    def __init__(
        self,
        api_key: str | None,
        resume_window_s: float,
        signing: bytes | None = None,
        epoch_s: Callable[[], float] = float,
    ) -> None:
        """signing: the key of a server before this one, whose handles are to be good here. epoch_s: when `now_s` was 0."""
        self._api_key, self._resume_window_s = api_key, resume_window_s
        self._signing, self._epoch_s = signing or secrets.token_bytes(32), epoch_s
        self._lasting = (
            self._signing
            if api_key is None
            else hashlib.scrypt(api_key.encode(), salt=b"cuestream addresses", **STRETCH)
        )
        self._unused: dict[str, tuple[str, float]] = {}  # bound: MOST_SECRETS, then the oldest goes

    @property
    def asks_for_a_key(self) -> bool:
        return self._api_key is not None

    def invite(self, session_id: str, now_s: float) -> str:
        """A secret that opens this session once, within `SECRET_S`; one before it opens nothing any more."""
        unused = self._unused.items()
        self._unused = {s: held for s, held in unused if held[1] > now_s and held[0] != session_id}
        if len(self._unused) >= MOST_SECRETS:
            del self._unused[next(iter(self._unused))]
        secret = "cs_" + secrets.token_urlsafe(32)
        self._unused[secret] = (session_id, now_s + SECRET_S)
        return secret

    def caller(self, token: str | None, now_s: float) -> Caller:
        """Who comes with this token."""
        if token is not None and token in self._unused:
            session_id, until_s = self._unused[token]
            return Invited(session_id) if now_s < until_s else Anybody("wrong_token")
        if token is not None and (hearing := self._hearing(token)):
            return hearing
        if self._api_key is None:
            return Operator() if token is None else Anybody("wrong_token")
        if token is None:
            return Anybody("no_token")
        same = hmac.compare_digest(token.encode(), self._api_key.encode())
        return Operator() if same else Anybody("wrong_token")

    def withdraw(self, session_id: str) -> None:
        """It is open, or is not to be; its secret opens nothing any more."""
        self._unused = {s: held for s, held in self._unused.items() if held[0] != session_id}

    def stream_of(self, bearer: str) -> str:
        """The session of a stream key: always the same, also in a server after this one that signs with the same key."""
        return f"s-{self._sign('stream', bearer)[:16]}"

    def invited_ids(self, now_s: float) -> set[str]:
        """Sessions that somebody may still open."""
        return {session_id for session_id, until_s in self._unused.values() if until_s > now_s}

    def handle(self, session: Identity, now_s: float) -> str:
        """What a client comes back with."""
        body = _text(msgspec.json.encode(_Handle(session.session_id, self._epoch_s() + now_s, session.nonce)))
        return f"{body}.{self._sign('resume', body)}"

    def session_of(self, handle: str, now_s: float) -> tuple[Identity | None, bool]:
        """The session of a handle that we made, None for another; and whether it is still good."""
        body, _, signature = handle.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("resume", body).encode()):
            return None, False
        held = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Handle)
        age_s = self._epoch_s() + now_s - held.made_s
        return Identity(held.session, held.nonce), age_s <= self._resume_window_s + HANDLE_SPARE_S

    def listening(self, session_id: str) -> str:
        """A token for an address: it lets its bearer hear this session, and nothing else."""
        return f"{session_id}.{self._sign('listen', session_id, self._lasting)}"

    def tending(self, session_id: str) -> str:
        """The same for a page: its bearer may also look at the session and turn it."""
        return f"{session_id}.{self._sign('tend', session_id, self._lasting)}"

    def may_listen(self, session_id: str, token: str) -> bool:
        hearing = self._hearing(token)
        return hearing is not None and hearing.session_id == session_id

    def _hearing(self, token: str) -> Hearing | None:
        session_id = token.partition(".")[0]
        for made, turns in ((self.listening, False), (self.tending, True)):
            if hmac.compare_digest(token.encode(), made(session_id).encode()):
                return Hearing(session_id, turns)
        return None

    def downloading(self, recording_id: str) -> str:
        """The same for the files of a recording; empty where no key is asked for."""
        return self._sign("download", recording_id) if self.asks_for_a_key else ""

    def may_download(self, recording_id: str, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._sign("download", recording_id).encode())

    def _sign(self, use: str, text: str, key: bytes | None = None) -> str:
        return _text(hmac.digest(key or self._signing, f"{use}.{text}".encode(), hashlib.sha256))


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer TOKEN`, if there is one."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" and token else None


def new_session_id() -> str:
    return "s-" + secrets.token_urlsafe(12)


def new_identity(session_id: str) -> Identity:
    return Identity(session_id, secrets.token_urlsafe(12))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
