"""A publisher that is not ours: FFmpeg's WHIP muxer, in its own process, shows H.264 and Opus; the music is heard by WHEP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import av
import pytest
from rtc_client import closing, eventually, player
from served import Serve
from test_webrtc_session import ended, hears
from whip_muxer import __file__ as muxer

from cuestream.players import find_player
from engine.synthetic import tone_hz

pytestmark = pytest.mark.usefixtures("loopback")
KEY = "a key for tests"


@pytest.mark.skipif("whip" not in av.formats_available, reason="this FFmpeg has no WHIP muxer")
def test_what_ffmpeg_publishes_is_heard(serve: Serve, tmp_path: Path) -> None:
    async def play() -> None:
        hearer = player()
        async with closing(hearer):
            await eventually(lambda: served.host.find("film"))
            assert (await hearer.post(f"{served.http}/v1/whep/film", KEY))[0] == 201
            await hearer.ears.until(lambda pcm: hears(tone_hz(0, True), pcm))
            _, said = await asyncio.to_thread(process.communicate, timeout=20)
            assert (process.returncode, said) == (0, "")
            await eventually(lambda: ended(served, "left") == 1)  # by DELETE

    with serve(api_key=KEY, player=find_player("synthetic"), ice_addresses=("127.0.0.1",)) as served:
        command = [sys.executable, muxer, f"{served.http}/v1/whip/film", KEY, str(tmp_path), "3"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                asyncio.run(play())
            finally:
                process.kill()
