"""Who is let in and how often: tokens, sessions and connections, counted for each address. Lives on the event loop."""

from __future__ import annotations

from collections.abc import Callable

from server.access.rates import Visitors
from server.access.secrets import Anybody, Caller, Door
from server.metrics import Metrics
from server.protocol.limits import Limits


class TooOften(Exception):
    """An address asked for too much. retry_s: when to ask again."""

    def __init__(self, text: str, retry_s: float) -> None:
        super().__init__(text)
        self.retry_s = retry_s


class Admission:
    def __init__(self, door: Door, limits: Limits, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._door, self._metrics, self._monotonic = door, metrics, monotonic
        self._connects, self._starts = Visitors(limits.connects_per_min), Visitors(limits.starts_per_min)
        self._bad_tokens = Visitors(limits.bad_tokens_per_min)

    def caller(self, token: str | None, address: str | None) -> Caller:
        """Who comes with this token, from there. Raises TooOften when too many were wrong; the token is not looked at then."""
        now_s = self._monotonic()
        if not self._bad_tokens.may(address, now_s):
            raise self._too_often("tokens", "wrong tokens", self._bad_tokens)
        caller = self._door.caller(token, now_s)
        if isinstance(caller, Anybody):
            self._metrics.rejected.labels(caller.reason).inc()
            self._bad_tokens.allows(address, now_s)
        return caller

    def check_start(self, address: str | None) -> None:
        """A session is begun or invited. Raises TooOften."""
        if not self._starts.allows(address, self._monotonic()):
            raise self._too_often("sessions", "sessions", self._starts)

    def check_connect(self, address: str | None) -> None:
        """A websocket is opened. Raises TooOften."""
        if not self._connects.allows(address, self._monotonic()):
            raise self._too_often("connections", "connections", self._connects)

    def _too_often(self, label: str, what: str, visitors: Visitors) -> TooOften:
        self._metrics.too_often.labels(label).inc()
        return TooOften(f"at most {visitors.per_min} {what} a minute from one address", visitors.retry_s)
