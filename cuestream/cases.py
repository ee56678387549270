"""What a decoder step has to deal with in a benchmark, and how many numbers of caches it reads then."""

from __future__ import annotations

from dataclasses import dataclass

from engine.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Case:
    """What a decoder step has to deal with."""

    guided: bool
    length: int
    """Columns in the self-attention caches."""
    frames: int
    """Frames in the condition."""
    segments: int

    @property
    def rows(self) -> int:
        return self.segments * (2 if self.guided else 1)

    def __str__(self) -> str:
        """Guidance, then columns / frames / segments."""
        return f"{'guided' if self.guided else 'plain'} {self.length}/{self.frames}/{self.segments}"

    def facts(self) -> dict[str, int | bool]:
        return {
            "guidance": self.guided,
            "length": self.length,
            "frames": self.frames,
            "segments": self.segments,
        }


def cache_numbers(spec: ModelSpec, case: Case, condition_rows: int = 1) -> int:
    """Numbers in the caches that a step reads; the condition is held once, or `condition_rows` times."""
    return self_numbers(spec, case) + condition_rows * condition_numbers(spec, case)


def self_numbers(spec: ModelSpec, case: Case) -> int:
    return 2 * spec.decoder.layers * spec.decoder.width * case.rows * case.length


def condition_numbers(spec: ModelSpec, case: Case) -> int:
    return 2 * spec.decoder.layers * spec.decoder.width * case.frames * spec.vision.tokens
