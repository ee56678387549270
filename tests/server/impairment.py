"""A bad network between two ends that talk UDP over loopback: datagrams are lost, late and out of order, the same by its seed."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

Address = tuple[str, int]
CANDIDATE = re.compile(r"(a=candidate:\S+ 1 udp \d+) 127\.0\.0\.1 (\d+) ")


@dataclass(frozen=True, slots=True)
class Impairment:
    """loss: share of datagrams that never arrive. jitter_s: the others take up to so long, each on its own."""

    loss: float = 0.0
    jitter_s: float = 0.0


GOOD = Impairment()


class Proxy(asyncio.DatagramProtocol):
    """Stands at `address` for a server. `now`: how bad it is. `passed`, `lost`: datagrams, both ways."""

    def __init__(self, seed: int = 0) -> None:
        self.now, self.passed, self.lost = GOOD, 0, 0
        self._random = random.Random(seed)
        self._front: asyncio.DatagramTransport | None = None
        self._back: asyncio.DatagramTransport | None = None
        self._client: Address | None = None

    async def open(self, server: Address) -> int:
        """The port that stands for the server."""
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._back, _ = await loop.create_datagram_endpoint(lambda: _Back(self), remote_addr=server)
        return int(self._front.get_extra_info("sockname")[1])

    def close(self) -> None:
        for transport in (self._front, self._back):
            if transport:
                transport.close()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._client = addr
        if back := self._back:
            self._pass(lambda: back.sendto(data))

    def came_back(self, data: bytes) -> None:
        front, client = self._front, self._client
        if front and client:
            self._pass(lambda: front.sendto(data, client))

    def _pass(self, send: Callable[[], None]) -> None:
        if self._random.random() < self.now.loss:
            self.lost += 1
            return
        self.passed += 1
        delay_s = self._random.uniform(0, self.now.jitter_s)
        asyncio.get_running_loop().call_later(delay_s, send) if delay_s else send()


class _Back(asyncio.DatagramProtocol):
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._proxy.came_back(data)


def candidate_of(answer: str) -> Address:
    """Where a server's answer says that it listens."""
    found = CANDIDATE.search(answer)
    assert found
    return "127.0.0.1", int(found[2])


def moved(answer: str, port: int) -> str:
    """The answer with another port in its candidates."""
    return CANDIDATE.sub(rf"\1 127.0.0.1 {port} ", answer)


def without_candidates(offer: str) -> str:
    """So that the server answers to the proxy alone."""
    return "".join(line for line in offer.splitlines(keepends=True) if "candidate" not in line)
