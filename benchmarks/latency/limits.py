"""What no server could do better with this player and these limits: the lead that is kept, chunks, look-ahead."""

from __future__ import annotations

from typing import Any

from cuestream.players import PROCEDURAL, SYNTHETIC, find_player
from engine import codec
from engine.library import find_package, read_spec, recommended
from server.settings import Settings


def physical_limits(model: str, lead_ms: int, chunk_ms: int = 20) -> dict[str, Any]:
    """Milliseconds. A picture waits for the next piece to be made; what is made is heard when the lead before it was.

    Without any compute, a picture that comes just as a piece was begun is heard `answer_worst_ms` later, on average
    `answer_mean_ms`. lead_ms, chunk_ms: as for cuestream serve.
    """
    playout = Settings().playout.led_by(lead_ms)
    low_ms, high_ms = (samples * 1000 / playout.rate for samples in (playout.low, playout.high))
    own_ms, step_ms, behind = _steps(model)
    piece_ms = min(playout.most_steps(int(step_ms * playout.rate / 1000)) * step_ms, max(own_ms, chunk_ms))
    ahead_ms = high_ms - piece_ms + behind * step_ms
    return {
        "piece_ms": piece_ms,
        "lead_ms": [low_ms, high_ms],
        "structural_delay_ms": behind * step_ms,
        "step_ms": step_ms,
        "answer_mean_ms": ahead_ms + piece_ms / 2,
        "answer_worst_ms": ahead_ms + piece_ms,
    }


def _steps(model: str) -> tuple[float, float, int]:
    """Milliseconds of a piece that it makes by itself and of a step, and how many steps a code frame waits for others."""
    if model in (PROCEDURAL, SYNTHETIC):
        player = find_player(model)
        step_ms = 1000 / player.code_rate
        return player.defaults.chunk_steps * step_ms, step_ms, 0
    folder = find_package(model)
    spec = read_spec(folder)
    step_ms = 1000 / spec.code_rate
    behind = max(spec.decoder.delays) + codec.look_ahead(codec.codec_of(spec))
    return recommended(folder, spec).chunk_steps * step_ms, step_ms, behind
