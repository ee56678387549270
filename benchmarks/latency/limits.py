"""What no server could do better with this player and these limits: the lead that is kept, chunks, look-ahead."""

from __future__ import annotations

from typing import Any

from cuestream.players import find_player
from engine import codec
from engine.player import ModelPlayer
from server.settings import Settings


def physical_limits(model: str) -> dict[str, Any]:
    """Milliseconds. A picture waits for the next chunk to be made; what is made is heard when the lead before it was.

    Without any compute, a picture that comes just as a chunk was begun is heard `answer_worst_ms` later, on average
    `answer_mean_ms`.
    """
    player, playout = find_player(model, 1), Settings().playout
    step_ms = 1000 / player.code_rate
    chunk_ms = player.defaults.chunk_steps * step_ms
    high_ms = playout.high * 1000 / playout.rate
    low_ms = playout.low * 1000 / playout.rate
    behind = 0
    if isinstance(player, ModelPlayer):
        spec = player.backend.spec
        behind = max(spec.decoder.delays) + codec.look_ahead(codec.codec_of(spec))
    ahead_ms = high_ms - chunk_ms + behind * step_ms
    return {
        "chunk_ms": chunk_ms,
        "lead_ms": [low_ms, high_ms],
        "structural_delay_ms": behind * step_ms,
        "step_ms": step_ms,
        "answer_mean_ms": ahead_ms + chunk_ms / 2,
        "answer_worst_ms": ahead_ms + chunk_ms,
    }
