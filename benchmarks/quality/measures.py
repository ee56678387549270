"""The gate's measures, each with chance or ceiling beside it, and intervals from resampling clips.

Letters: N clips, W windows, F features of the music, A attributes of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.hearing import FEATURES, Heard

F64 = NDArray[np.float64]

NEAR_S = 0.1
"""An onset this near to a cut answers it."""
SHIFTS = 200
"""Random moments that chance is measured at, for each clip."""
GROUP = 12
TOP = 3
RESAMPLES = 1000
ROUNDS = 20
"""Random groups of videos that each piece is ranked in."""
RIDGE = 1.0
MOTION = 3
"""The column of the attributes."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One piece and its video. cuts_s: when scenes begin, but the first. attributes: [W, A]. embedding: [patches, E]."""

    video: int
    seed: int
    heard: Heard
    cuts_s: F64
    attributes: F64
    embedding: F64


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap(clips: Sequence[Clip], measure: Callable[[Sequence[Clip]], float]) -> Figure:
    """Videos are drawn with replacement, each with all its seeds."""
    random, by_video = np.random.default_rng(0), dict[int, list[Clip]]()
    for clip in clips:
        by_video.setdefault(clip.video, []).append(clip)
    videos = list(by_video)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = random.choice(videos, len(videos))
        drawn.append(measure([clip for video in chosen for clip in by_video[video]]))
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Figure(measure(clips), float(low), float(high))


def follows_motion(clips: Sequence[Clip]) -> float:
    """Correlation of onsets a second with motion, over all windows of two seconds of all clips."""
    onsets = np.concatenate([clip.heard.windows[:, FEATURES.index("onsets")] for clip in clips])
    motion = np.concatenate([clip.attributes[:, MOTION] for clip in clips])
    return float(np.corrcoef(onsets, motion)[0, 1])


def cut_hits(clips: Sequence[Clip]) -> tuple[float, float]:
    """The share of cuts with an onset near, and the share of random moments of the same music with one: chance."""
    hits, chances = list[bool](), list[float]()
    for clip in clips:
        onsets, end = clip.heard.onsets_s, len(clip.heard.windows) * 2.0
        random = np.random.default_rng((clip.video, clip.seed)).uniform(1, end - 1, SHIFTS)
        chance = float(_near(onsets, random).mean())
        cuts = clip.cuts_s[(clip.cuts_s > 1) & (clip.cuts_s < end - 1)]
        hits += _near(onsets, cuts).tolist()
        chances += [chance] * len(cuts)
    return float(np.mean(hits)), float(np.mean(chances))


def cuts_answered(clips: Sequence[Clip]) -> float:
    """Hits above chance."""
    hits, chance = cut_hits(clips)
    return hits - chance


def _near(onsets: F64, moments: F64) -> NDArray[np.bool_]:
    if not len(onsets):
        return np.zeros(len(moments), bool)
    after = np.searchsorted(onsets, moments)
    left = np.abs(moments - onsets[np.clip(after - 1, 0, len(onsets) - 1)])
    right = np.abs(moments - onsets[np.clip(after, 0, len(onsets) - 1)])
    return np.asarray(np.minimum(left, right) < NEAR_S)


@dataclass(frozen=True, slots=True)
class Readout:
    """A linear guess of the picture's attributes from what is heard, fitted on other music; trust: r² of each attribute there."""

    mean: F64
    scale: F64
    weights: F64
    attributes_scale: F64
    trust: F64

    @classmethod
    def fit(cls, clips: Sequence[Clip]) -> Readout:
        heard = np.concatenate([clip.heard.windows for clip in clips])
        wanted = np.concatenate([clip.attributes for clip in clips])
        mean, scale = heard.mean(0), heard.std(0) + 1e-9
        x = np.column_stack(((heard - mean) / scale, np.ones(len(heard))))
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ wanted)
        trust = 1 - ((wanted - x @ weights) ** 2).mean(0) / wanted.var(0)
        return cls(mean, scale, weights, wanted.std(0), np.clip(trust, 0, 1))

    def guess(self, clip: Clip) -> F64:
        """[W, A]."""
        heard = (clip.heard.windows - self.mean) / self.scale
        return np.column_stack((heard, np.ones(len(heard)))) @ self.weights

    def distance(self, guess: F64, attributes: F64) -> float:
        error = ((guess - attributes) / self.attributes_scale) ** 2
        return float((error.mean(0) * self.trust).sum())


def ranks(clips: Sequence[Clip], readout: Readout) -> dict[tuple[int, int], float]:
    """For each piece how often, over random groups of 12 videos, its own is among the three that it fits best."""
    own = {clip.video: clip.attributes for clip in clips}
    random, videos = np.random.default_rng(0), np.array(sorted(own))
    found: dict[tuple[int, int], float] = {}
    for clip in clips:
        guess = readout.guess(clip)
        distances = {video: readout.distance(guess, attributes) for video, attributes in own.items()}
        others = videos[videos != clip.video]
        hits = 0
        for _ in range(ROUNDS):
            group = random.choice(others, GROUP - 1, replace=False)
            hits += sum(distances[v] < distances[clip.video] for v in group) < TOP
        found[clip.video, clip.seed] = hits / ROUNDS
    return found


def mean_of(found: dict[tuple[int, int], float]) -> Callable[[Sequence[Clip]], float]:
    return lambda clips: float(np.mean([found[clip.video, clip.seed] for clip in clips]))


def exchanged(clips: Sequence[Clip]) -> list[Clip]:
    """Chance: each video with the music that was made for the next one."""
    by_seed: dict[int, list[Clip]] = {}
    for clip in clips:
        by_seed.setdefault(clip.seed, []).append(clip)
    answer = []
    for same in by_seed.values():
        ordered = sorted(same, key=lambda clip: clip.video)
        for clip, other in zip(ordered, ordered[1:] + ordered[:1], strict=True):
            answer.append(
                Clip(clip.video, clip.seed, other.heard, clip.cuts_s, clip.attributes, other.embedding)
            )
    return answer


def embeddings(clips: Sequence[Clip]) -> F64:
    return np.concatenate([clip.embedding for clip in clips])


def inside(values: Sequence[float], truth: Sequence[float]) -> tuple[float, float, float]:
    """The mean of the values, and the range that holds 95 % of the truth's."""
    low, high = np.percentile(truth, (2.5, 97.5))
    return float(np.mean(values)), float(low), float(high)
