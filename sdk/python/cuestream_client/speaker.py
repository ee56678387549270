"""The player on a sound card, through sounddevice, which is imported here and only when a card is opened."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from cuestream_client.client import Client
from cuestream_client.errors import ClientError, MissingExtra
from cuestream_client.messages import AudioFormat
from cuestream_client.music import F32, Chunk
from cuestream_client.player import Comfort, Player
from cuestream_client.session import Playout

LATENCY_S = 0.06
"""Of the card at least. PortAudio's `low` is 9 ms through PulseAudio: on a busy machine that ran dry seven times in 12 s, 60 ms
never."""
LINUX = "; on Linux also: apt-get install libportaudio2"


class Speaker:
    """`with Speaker(audio) as speaker: speaker.put(chunk)`. The card calls `fill` in a thread of its own."""

    def __init__(
        self, audio: AudioFormat, device: int | str | None = None, comfort: Comfort | None = None
    ) -> None:
        self.player = Player(audio.sample_rate, audio.channels, comfort)
        self._device = device
        self._lock = threading.Lock()
        self._stream: Any = None

    @classmethod
    def of(cls, client: Client, device: int | str | None = None) -> Self:
        """A speaker for the music of a client that is connected; the server hears from it what was heard."""
        if client.session.created is None:
            raise ClientError("connect the client first: how the music comes is known then")
        speaker = cls(client.session.audio, device)
        client.follow(lambda: speaker.playout)
        return speaker

    def __enter__(self) -> Self:
        """Raises MissingExtra without sounddevice or PortAudio, ClientError when the card cannot be opened."""
        library = _sounddevice()
        rate, channels = self.player.rate, self.player.channels
        try:
            low_s = library.query_devices(self._device, "output")["default_low_output_latency"]
            self._stream = library.OutputStream(
                rate,
                device=self._device,
                channels=channels,
                dtype="float32",
                latency=max(LATENCY_S, low_s),
                callback=self.fill,
            )
            self._stream.start()
        except library.PortAudioError as error:
            raise ClientError(f"no sound card for {rate} Hz, {channels} channels: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def put(self, chunk: Chunk) -> None:
        with self._lock:
            self.player.put(chunk)

    def expect(self, more: bool) -> None:
        """Whether more music is to come: an empty buffer is an underrun only then."""
        with self._lock:
            self.player.expecting = more

    @property
    def playout(self) -> Playout:
        with self._lock:
            return self.player.playout

    @property
    def peak(self) -> float:
        """Of what was played last, full scale 1."""
        return self.player.peak

    def fill(self, out: F32, count: int, time: object, status: object) -> None:
        """The card's callback. out: float32 [count, C]."""
        with self._lock:
            out[:] = self.player.read(count)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingExtra("to play music sounddevice is needed", "play", LINUX) from error
    except OSError as error:
        raise MissingExtra(f"sounddevice finds no PortAudio ({error})", "play", LINUX) from error
    return sounddevice
