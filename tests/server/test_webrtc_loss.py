"""A browser behind a bad network: a fifth of the datagrams lost, the others up to 200 ms late and out of order. Nothing grows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from impairment import Impairment, Proxy, candidate_of, moved, without_candidates
from rtc_client import Lamp, RtcClient, browser, closing, eventually, send
from served import Serve, Served

from cuestream.players import find_player
from server.pictures.mailbox import MOST_CHAINED
from server.webrtc.limits import PeerLimits

pytestmark = pytest.mark.usefixtures("loopback")
BAD = Impairment(loss=0.2, jitter_s=0.2)
LIMITS = PeerLimits()


async def meet(client: RtcClient, served: Served, proxy: Proxy) -> None:
    offer = json.dumps({"type": "offer", "sdp": without_candidates(await client.offer())})
    _, body, headers = await asyncio.to_thread(
        send, "POST", served.http + "/v1/offer", offer, "application/json"
    )
    answer = json.loads(body)["sdp"]
    await client.take(moved(answer, await proxy.open(candidate_of(answer))), headers)


def held(served: Served) -> dict[str, int]:
    """How much waits in each place of the only peer."""
    (peer,) = served.app.state.peers._open.values()
    found: dict[str, int] = {"tasks": len(asyncio.all_tasks())}
    for transceiver in peer.connection.getTransceivers():
        receiver, kind = transceiver.receiver, transceiver.kind
        found[f"{kind} encoded"] = receiver._RTCRtpReceiver__decoder_queue.qsize()
        found[f"{kind} decoded"] = receiver.track._queue.qsize() if receiver.track else 0
        if nack := receiver._RTCRtpReceiver__nack_generator:
            found["missing"] = len(nack.missing)
        if music := transceiver.sender.track:
            found["music"] = len(music._frames)
        found["datagrams"] = receiver.transport.transport._connection._queue.qsize()
    sctp = peer.connection.sctp
    found["messages"] = len(sctp._outbound_queue) + len(sctp._sent_queue) + len(sctp._data_channel_queue)
    (hosted,) = served.host.sessions.values()
    found["video"] = max(len(way._mailbox._waiting) for way in hosted._ways)
    found["line"] = len(hosted.line._outbox)
    return found


BOUNDS = {
    "audio encoded": LIMITS.encoded_sounds,
    "video encoded": 0,
    "audio decoded": 1,
    "video decoded": 0,
    "video": MOST_CHAINED,
    "missing": 130,
    "music": LIMITS.waiting_ms // 20,
    "datagrams": 300,
    "messages": 300,
    "line": 512,
}
"""`datagrams` and `messages` are aiortc's own; the others are limits."""


def test_nothing_grows_and_the_session_lives_on_a_bad_network(serve: Serve) -> None:
    async def play() -> None:
        lamp, proxy = Lamp(size=(320, 240)), Proxy(seed=7)
        client = browser(lamp)
        async with closing(client):
            await meet(client, served, proxy)
            await client.start(config={"seed": 0})
            client.send("playback", action="play")
            await client.ears.until(lambda pcm: bool(len(pcm) and np.abs(pcm).max() > 1000))
            (hosted,) = served.host.sessions.values()
            before, proxy.now = proxy.passed, BAD
            client.ears.forget()
            sizes: list[dict[str, int]] = []
            while len(sizes) < 25 or not len(client.ears.pcm):
                lamp.level = 230 if len(sizes) % 8 < 4 else 40
                await asyncio.sleep(0.2)
                sizes.append(await asyncio.to_thread(served.on_loop, lambda: held(served)))
            most = {name: max(size[name] for size in sizes) for name in sizes[0]}
            assert {name: most[name] for name in BOUNDS if most[name] > BOUNDS[name]} == {}
            half = len(sizes) // 2
            tasks = [size["tasks"] for size in sizes]
            assert max(tasks[half:]) <= max(tasks[:half]) + 3, tasks
            assert proxy.lost > 0.15 * (proxy.lost + proxy.passed - before)
            shown = hosted.watching.counts["shown"]
            client.messages.clear()
            client.send("ping", t_us=1)
            await client.until("pong")
            await eventually(lambda: hosted.watching.counts["shown"] > shown)  # keyframes are asked for
            assert hosted.core.shown_state == "playing"
            proxy.now = Impairment(loss=1.0)
            await eventually(lambda: hosted.core.shown_state == "detached")
        proxy.close()

    with serve(
        player=find_player("synthetic"), ice_addresses=("127.0.0.1",), peers=PeerLimits(lost_s=2.5)
    ) as served:
        asyncio.run(play())


def test_the_proxy_loses_what_it_is_told_to() -> None:
    async def play() -> None:
        got: list[bytes] = []

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                self.transport.sendto(data, addr)

        class Ears(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                got.append(data)

        loop = asyncio.get_running_loop()
        echo, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        proxy = Proxy(seed=1)
        port = await proxy.open(echo.get_extra_info("sockname"))
        line, _ = await loop.create_datagram_endpoint(Ears, remote_addr=("127.0.0.1", port))
        proxy.now = Impairment(loss=0.2, jitter_s=0.02)
        for n in range(500):
            line.sendto(n.to_bytes(2, "big"))
            if n % 50 == 49:
                await asyncio.sleep(0.02)
        await eventually(lambda: proxy.lost + proxy.passed - 500 >= 380 and len(got) >= 280)
        assert 280 <= len(got) <= 360  # 0.8 ** 2
        assert got != sorted(got)
        for transport in (line, echo):
            transport.close()
        proxy.close()

    asyncio.run(play())
