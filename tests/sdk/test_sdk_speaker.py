"""The player on a sound card: what the card is asked for."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cuestream_client.messages import AudioFormat
from cuestream_client.speaker import Speaker


@pytest.mark.parametrize(("low_s", "asked_s"), [(0.009, 0.06), (0.12, 0.12)])
def test_a_card_has_time_enough_not_to_run_dry(
    monkeypatch: pytest.MonkeyPatch, low_s: float, asked_s: float
) -> None:
    asked: list[dict[str, Any]] = []

    def stream(rate: int, **how: Any) -> SimpleNamespace:
        asked.append(how)
        return SimpleNamespace(start=lambda: None, close=lambda: None)

    card = SimpleNamespace(
        query_devices=lambda device, kind: {"default_low_output_latency": low_s},
        OutputStream=stream,
        PortAudioError=OSError,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    with Speaker(AudioFormat("pcm_s16", 48_000, 2), "pulse"):
        assert [(how["device"], how["latency"]) for how in asked] == [("pulse", asked_s)]
