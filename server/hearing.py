"""How loud the original sound is, for ducking. It is measured and forgotten; nothing of it is stored or mixed."""

from __future__ import annotations

from typing import Any

import numpy as np

from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import Kind, Media
from server.protocol.messages import AudioFormat

SILENCE_DB = -100.0
KINDS: dict[Kind, np.dtype[Any]] = {Kind.PCM_S16: np.dtype("<i2"), Kind.PCM_F32: np.dtype("<f4")}


def check_original(form: AudioFormat) -> None:
    """Raises ProtocolError for a codec that is not listened to."""
    if form.codec not in ("pcm_s16", "pcm_f32"):
        said = f"original sound is heard as pcm_s16 or pcm_f32, not as {form.codec}"
        raise ProtocolError(ErrorCode.UNSUPPORTED_CODEC, said, "original.codec")


def level_db(media: Media) -> float:
    """Root mean square over all channels, dB of full scale. Raises ProtocolError for a codec that is not listened to."""
    if media.kind not in KINDS:
        raise ProtocolError(ErrorCode.UNSUPPORTED_CODEC, f"original sound is not heard as {media.kind.name}")
    samples = np.frombuffer(media.payload, KINDS[media.kind]).astype(np.float64)
    full = 32768.0 if media.kind is Kind.PCM_S16 else 1.0
    power = float(np.mean(np.square(samples / full))) if len(samples) else 0.0
    return max(SILENCE_DB, 10 * float(np.log10(power))) if np.isfinite(power) and power > 0 else SILENCE_DB
