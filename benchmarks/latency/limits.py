"""What no server could do better with this player and these limits: the lead that is kept, chunks, look-ahead."""

from __future__ import annotations

from typing import Any

from benchmarks.latency.served import HOST_ONLY, HOST_PACED
from cuestream.players import PROCEDURAL, SYNTHETIC, find_player
from engine import codec
from engine.errors import CuestreamError
from engine.library import find_package, read_spec, recommended
from engine.spec import StreamPolicy
from server.core.playout import Limits as PlayoutLimits
from server.settings import Settings


def physical_limits(model: str, lead_ms: int, chunk_ms: int = 20) -> dict[str, Any]:
    """Milliseconds. A picture waits for the next piece to be made; what is made is heard when the lead before it was. Raises
    CuestreamError for a model that is not there and for limits that no server has.

    Without any compute, a picture that comes just as a piece was begun is heard `answer_worst_ms` later, on average
    `answer_mean_ms`. lead_ms, chunk_ms: as for cuestream serve.
    """
    try:
        settings = Settings(chunk_ms=chunk_ms, playout=PlayoutLimits().led_by(lead_ms))
    except ValueError as error:
        raise CuestreamError(str(error)) from error
    playout = settings.playout
    low_ms, high_ms = (samples * 1000 / playout.rate for samples in (playout.low, playout.high))
    own, code_rate, behind = _steps(model)
    step_ms = 1000 / code_rate
    piece_ms = settings.piece_steps(own, code_rate) * step_ms
    ahead_ms = high_ms - piece_ms + behind * step_ms
    return {
        "piece_ms": piece_ms,
        "lead_ms": [low_ms, high_ms],
        "structural_delay_ms": behind * step_ms,
        "step_ms": step_ms,
        "answer_mean_ms": ahead_ms + piece_ms / 2,
        "answer_worst_ms": ahead_ms + piece_ms,
    }


def _steps(model: str) -> tuple[int, int, int]:
    """Steps of a piece that it makes by itself, of a second, and how many a code frame waits for others."""
    if model in (PROCEDURAL, SYNTHETIC):
        player = find_player(model)
        return player.defaults.chunk_steps, player.code_rate, 0
    if model in (HOST_ONLY, HOST_PACED):
        from export.random_model import published_spec  # needs PyTorch, as its server does

        spec, own = published_spec("small"), StreamPolicy().chunk_steps
    else:
        folder = find_package(model)
        spec = read_spec(folder)
        own = recommended(folder, spec).chunk_steps
    behind = max(spec.decoder.delays) + codec.look_ahead(codec.codec_of(spec))
    return own, spec.code_rate, behind
