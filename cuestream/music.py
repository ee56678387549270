"""From the frames of a file to its music, piece by piece: causally as a live stream, or with the whole video in view."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine import codec, offline
from engine.asking import done
from engine.backends.base import F32, Backend, Kept
from engine.errors import MediaError
from engine.frames import U8, Frame, is_cut
from engine.media.video import LIVE_FRAMES_PER_S, EveryNth, VideoInfo, VideoReader, ticks, ticks_until
from engine.motion import MotionPicture
from engine.player import Held, ModelPlayer, Player
from engine.spec import StreamPolicy
from engine.stream import AudioChunk

OFFLINE_CHUNK_FRAMES = 50
"""Code frames decoded to audio at once when nobody waits for them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """samples: float32 [n], mono, at the codec's rate. record: what the timeline says of it, times in seconds."""

    samples: F32
    record: dict[str, Any] = field(default_factory=dict)


def live(player: Player[Any], video: Path, info: VideoInfo, policy: StreamPolicy) -> Iterator[Piece]:
    """The music that a live stream would have played: every step sees only frames that were shown by then."""
    stream, rate = player.open(policy), player.code_rate
    reader = VideoReader(video, player.side, EveryNth(LIVE_FRAMES_PER_S))
    frames = iter(reader)
    waiting, end = next(frames, None), 0
    while waiting is not None or stream.frames < end:
        while waiting is not None and (shown := ticks(waiting.time_s, rate)) <= stream.now:
            stream.push(waiting.pixels, shown)
            waiting = next(frames, None)
            seconds = max(reader.end_s, 0.0 if reader.damaged else info.duration_s)
            end = max(player.fewest_frames, ticks_until(seconds, rate))
        stream.advance()
        while chunk := stream.take():
            yield _piece(player, player.held(stream), chunk)
    if rest := stream.close(end):
        yield _piece(player, player.held(stream), rest)


def _piece(player: Player[Any], held: Held, chunk: AudioChunk) -> Piece:
    rate = player.code_rate
    record = {
        "start_s": chunk.first_sample / player.sample_rate,
        "duration_s": len(chunk.samples) / player.sample_rate,
        "newest_frame_s": chunk.newest_step / rate,
        "age_s": chunk.age_steps / rate,
        "segment": chunk.segment,
        "cuts_s": [step / rate for step in held.cuts],
        "window_s": [step / rate for step in held.window],
        "memory_s": [step / rate for step in held.memory],
        "counts": held.counts,
    }
    return Piece(chunk.samples, record)


def whole(
    player: ModelPlayer, video: Path, info: VideoInfo, policy: StreamPolicy, as_published: bool = False
) -> Iterator[Piece]:
    """The music by the published protocol: windows of 30 s, long-term frames from the whole video."""
    if info.duration_s > offline.MAX_OFFLINE_S:
        limit = f"{offline.MAX_OFFLINE_S / 60:.0f} minutes"
        raise MediaError(f"{video}: whole-file scoring takes at most {limit}; score it live (--live)")
    times, rate, backend = _times(video), player.code_rate, player.backend
    exact = max(player.fewest_frames, ticks_until(times.end_s, rate)) / rate
    duration = _published_duration(video, info) if as_published else exact
    short, memory, local_s, global_s = _encode(
        backend, video, info, times, duration, as_published, policy.energy
    )
    spans = offline.schedule(backend.spec, duration, as_published=as_published)
    windows = offline.compose(backend, short, memory, spans, policy, as_published, player.keys)
    spec = codec.codec_of(backend.spec)
    state = codec.start(spec, backend.spec.decoder.codebooks)
    for ordinal, (span, codes) in enumerate(zip(spans, windows, strict=True)):
        seen = local_s[span.first_frame : span.first_frame + span.frames]
        for first in range(0, codes.shape[1], OFFLINE_CHUNK_FRAMES):
            part = codes[:, first : first + OFFLINE_CHUNK_FRAMES]
            last = ordinal == len(spans) - 1 and first + OFFLINE_CHUNK_FRAMES >= codes.shape[1]
            record = {
                "start_s": state.emitted / rate,
                "segment": ordinal,
                "window_s": seen,
                "memory_s": global_s,
            }
            samples, state = done(backend, codec.decoding(spec, state, part, last=last))
            if len(samples):
                yield Piece(samples, record | {"duration_s": len(samples) / spec.sample_rate})


def _published_duration(video: Path, info: VideoInfo) -> float:
    """Of the file, its sound included: the published reader drops the fraction of the last second, and repeats the last frame
    where there is more sound than video."""
    whole_s = info.file_s or info.duration_s
    if whole_s < 1:
        raise MediaError(
            f"{video}: the published protocol needs at least 1 s of video, found {whole_s:.2f} s"
        )
    return float(math.floor(whole_s))


@dataclass(frozen=True, slots=True)
class _Times:
    """When each frame of a video is shown, and when the last one ends."""

    shown_s: list[float]
    end_s: float


def _times(video: Path) -> _Times:
    shown: list[float] = []

    def note(_index: int, time_s: float) -> bool:
        shown.append(time_s)
        return False

    reader = VideoReader(video, 1, note)
    for _ in reader:
        pass
    return _Times(shown, reader.end_s)


def _encode(
    backend: Backend[Any, Any],
    video: Path,
    info: VideoInfo,
    times: _Times,
    duration: float,
    as_published: bool,
    energy: float,
) -> tuple[Kept, Kept, list[float], list[float]]:
    """Short-term features of the local frames, long-term memory of the global ones, and when each of them is shown."""
    spec, count = backend.spec, len(times.shown_s)
    if as_published:
        local = offline.published_local_indices(spec, info.frame_rate, count, int(duration))
    else:
        due = offline.local_times(spec, duration)
        local = [max(0, int(np.searchsorted(times.shown_s, t, "right")) - 1) for t in due]
    spread = offline.global_indices(spec, count)
    short, memory = _features(backend, video, set(local), set(spread), energy)
    return (
        backend.gather([short[i] for i in local]),
        backend.gather([memory[i] for i in spread]),
        [times.shown_s[i] for i in local],
        [times.shown_s[i] for i in spread],
    )


@dataclass(slots=True)
class _Motion:
    """The motion picture of a file, as a live stream would have it."""

    code_rate: int
    energy: float
    picture: MotionPicture = field(default_factory=MotionPicture)
    before: Frame | None = None

    def beside(self, pixels: U8, time_s: float) -> U8:
        frame = Frame(pixels, ticks(time_s, self.code_rate))
        cut = self.before is not None and is_cut(self.before, frame, StreamPolicy())
        self.picture.show(frame, cut)
        self.before = frame
        return self.picture.beside(frame, self.energy)


def _features(
    backend: Backend[Any, Any], video: Path, local: set[int], spread: set[int], energy: float
) -> tuple[dict[int, Kept], dict[int, Kept]]:
    """By frame index; each picture is encoded once, a few at a time, with its motion where the model sees that."""
    wanted, moves = local | spread, backend.spec.vision.motion
    often, motion = EveryNth(LIVE_FRAMES_PER_S), _Motion(backend.spec.code_rate, energy)
    reader = VideoReader(
        video,
        backend.spec.vision.image_size,
        lambda index, time_s: (moves and often(index, time_s)) or index in wanted,
    )
    short: dict[int, Kept] = {}
    memory: dict[int, Kept] = {}
    batch: list[tuple[int, Any]] = []

    def flush() -> None:
        features = backend.encode_frames(np.stack([pixels for _, pixels in batch]))
        by_index = dict(zip((index for index, _ in batch), features, strict=True))
        for branch, of, into in ((backend.look, local, short), (backend.remember, spread, memory)):
            if these := [index for index in by_index if index in of]:
                answers = branch(backend.gather([by_index[index] for index in these]))
                into.update(zip(these, answers, strict=True))
        batch.clear()

    for frame in reader:
        pixels = motion.beside(frame.pixels, frame.time_s) if moves else frame.pixels
        if frame.index in wanted:
            batch.append((frame.index, pixels))
        if len(batch) == offline.ENCODE_AT_ONCE:
            flush()
    if batch:
        flush()
    return short, memory
