"""The worker's sound: frames of any form in, stretches of 16 bits at 48 kHz out, each with the moment at which it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import av
from av.audio.resampler import AudioResampler

from engine.media.graph import pull
from engine.media.stereo import to_stereo
from server.ingest.pipe import MOST_SOUND_BYTES, SAMPLE_BYTES, SOUND_RATE, Kind, Record

LEAST = SOUND_RATE // 25
"""Samples that are sent together."""
MOST = MOST_SOUND_BYTES // (2 * SAMPLE_BYTES)
APART_S = 0.02
"""Sound whose time is so far from where the frame before it ended does not go on from there."""


class Sounding:
    def __init__(self) -> None:
        self._resample: Callable[[av.AudioFrame], Iterable[av.AudioFrame]] | None = None
        self._form: tuple[str, str, int] | None = None
        self._channels = 2
        self._waiting = bytearray()  # bound: LEAST and one frame
        self._begins_s = self._ends_s = 0.0  # by the source's clock: of what waits, of all that came
        self._goes_on = False

    def records(self, frame: av.AudioFrame, zero_s: float) -> Iterator[Record]:
        """zero_s: when time 0 of the source is shown."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        time_s = self._ends_s if frame.time is None else frame.time
        if self._resample is None or form != self._form or abs(time_s - self._ends_s) > APART_S:
            yield from self._cut(zero_s, 0)
            self._begin(frame, form, time_s)
        assert self._resample is not None
        self._ends_s += frame.samples / frame.sample_rate
        for part in self._resample(frame):
            self._waiting += part.to_ndarray().tobytes()
        yield from self._cut(zero_s, LEAST)

    def _begin(self, first: av.AudioFrame, form: tuple[str, str, int], time_s: float) -> None:
        self._form, self._channels = form, min(first.layout.nb_channels, 2)
        self._resample = _resampler(first)
        self._begins_s = self._ends_s = time_s
        self._goes_on = False

    def _cut(self, zero_s: float, least: int) -> Iterator[Record]:
        """What waits, once it is `least` samples long."""
        size = SAMPLE_BYTES * self._channels
        while len(self._waiting) >= max(1, least) * size:
            payload = bytes(self._waiting[: MOST * size])
            del self._waiting[: len(payload)]
            time_us = int(1e6 * (zero_s + self._begins_s))
            yield Record(Kind.SOUND, self._channels, int(self._goes_on), time_us, payload)
            self._begins_s += len(payload) / (size * SOUND_RATE)
            self._goes_on = True


def _resampler(first: av.AudioFrame) -> Callable[[av.AudioFrame], Iterable[av.AudioFrame]]:
    """For frames like the first one: mono stays mono, everything else becomes stereo."""
    if first.layout.nb_channels == 1:
        return AudioResampler("s16", "mono", SOUND_RATE).resample
    graph = to_stereo(first, f"{SOUND_RATE}:osf=s16")

    def resample(frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        graph.push(frame)
        return pull(graph)

    return resample
