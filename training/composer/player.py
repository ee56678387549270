"""The composer among the players: what a shell asks before it opens a stream, and what it tells a listener."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.keys import check_unheld
from engine.player import Held
from engine.spec import StreamPolicy
from training.composer.soundfont import CODE_RATE, SAMPLE_RATE, digest, ready
from training.composer.stream import SIDE, ProceduralStream

NAME = "procedural"
LABEL = "procedural music (composed by rules, not by the model)"


@dataclass(frozen=True, slots=True)
class ProceduralPlayer:
    """Opens streams that all play with one sound font; each has a synthesiser of its own."""

    sound_font: Path
    defaults: StreamPolicy = field(default_factory=StreamPolicy)

    @classmethod
    def installed(cls) -> ProceduralPlayer:
        """Raises MissingRuntime, with what to install, when a stream could not sound."""
        return cls(ready())

    @property
    def name(self) -> str:
        return NAME

    @property
    def digest(self) -> str:
        return digest(self.sound_font)

    @property
    def label(self) -> str:
        return LABEL

    @property
    def side(self) -> int:
        return SIDE

    @property
    def code_rate(self) -> int:
        return CODE_RATE

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE

    @property
    def fewest_frames(self) -> int:
        return 1

    @property
    def follows(self) -> frozenset[str]:
        return frozenset({"seed", "on_cut", "energy"})

    def check(self, policy: StreamPolicy) -> None:
        check_unheld(NAME, policy)

    def prepare(self, policy: StreamPolicy) -> None:
        """Read the sound font, for which the first listener would wait, and everybody with him."""
        self.open(policy)

    def open(self, policy: StreamPolicy) -> ProceduralStream:
        return ProceduralStream(policy, self.sound_font)

    def restore(self, blob: bytes) -> ProceduralStream:
        return ProceduralStream.restore(blob, self.sound_font)

    def held(self, stream: ProceduralStream) -> Held:
        """The composer knows the newest frame alone, and nothing from before."""
        cuts, stream.cuts = stream.cuts, []
        counts = {**stream.counts, "phrases": stream.composer.phrases}
        return Held([stream.newest_step], [], cuts, counts, captured={stream.newest_step: stream.newest_step})
