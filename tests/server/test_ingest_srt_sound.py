"""The sound of a film that comes by SRT is with its pictures; judged by the clock that both come by."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, limits
from output_rig import beeps_after_flashes
from process import free_port
from served import Serve
from shell_client import ask
from srt_rig import needs_srt, sender


@needs_srt
def test_its_sound_is_with_its_pictures_in_an_output(serve: Serve, tmp_path: Path) -> None:
    port, film = free_port(), tmp_path / "flash.ts"
    write_video(film, 4 * FPS, "mpegts", beeps=True)
    with (
        serve(SYNTHETIC, ingest=limits(attempts=100), outputs=tmp_path) as served,
        sender(film, f"srt://127.0.0.1:{port}?mode=listener"),
    ):
        one = feed(served, f"srt://127.0.0.1:{port}")[1]
        ask("PATCH", one, {"config": {"gain_db": -60}})
        assert ask("POST", f"{one}/output", {"url": "file:a.mkv", "what": "mixed"})[0] == 201
        end_s = time.monotonic() + 20
        while ask("GET", f"{one}/output")[1]["original_s"] < 7:
            assert time.monotonic() < end_s
            time.sleep(0.05)
        assert ask("DELETE", f"{one}/output")[1]["state"] == "finished"
    after_s = beeps_after_flashes(tmp_path / "a.mkv")
    print("the beeps are so much after their flashes, s:", np.round(after_s, 3))
    assert len(after_s) >= 3
    assert abs(float(np.median(after_s))) <= 1 / 8 + 0.02
