"""The procedural stream's laws: chunks are one piece, restored is continued, the seed decides, nothing looks ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cuestream.players import prepare
from engine.errors import PackageError
from engine.spec import StreamPolicy
from engine.stream import MAX_UNTAKEN_STEPS, AudioChunk, ScoreStream
from training.composer.composer import Note
from training.composer.player import ProceduralPlayer
from training.composer.soundfont import HOP, SoundFont
from training.composer.stream import REPLAY_STEPS, SIDE, ProceduralStream
from training.pieces import Video, by_step, compose, draw

STEPS = 1500
EVERY_SIGNATURE = tuple(range(12))
RESTORED_EQUALS_CONTINUED = 1e-6
"""Voices may be mixed in another order. Seen: 3e-8, at a peak of 0.5."""


@dataclass(slots=True)
class Played:
    chunks: list[AudioChunk] = field(default_factory=list)

    @property
    def samples(self) -> NDArray[np.float32]:
        return np.concatenate([chunk.samples for chunk in self.chunks])


@pytest.fixture(scope="module")
def video() -> Video:
    """Half a minute with ten cuts."""
    drawn = draw(3, STEPS, SIDE)
    assert sum(a.cut for a in drawn.attributes) == 10
    return drawn


@pytest.fixture(scope="module")
def player(sound_font: Path) -> ProceduralPlayer:
    return ProceduralPlayer(sound_font)


def play(
    stream: ProceduralStream,
    until: int,
    video: Video,
    take: bool = True,
    before: Callable[[], None] = lambda: None,
) -> Played:
    """Show, advance, take, from where the stream stands up to step `until`."""
    frames, played = {frame.step: frame for frame in video.frames}, Played()
    while stream.now < until:
        before()
        if stream.now in frames:
            stream.push(frames[stream.now].pixels)
        stream.advance()
        while take and (chunk := stream.take()):
            played.chunks.append(chunk)
    return played


@pytest.fixture(scope="module")
def whole(player: ProceduralPlayer, video: Video) -> NDArray[np.float32]:
    """The samples of the whole video at seed 4."""
    return play(player.open(StreamPolicy(seed=4)), STEPS, video).samples


@pytest.mark.parametrize("chunk_steps", [1, 13])
def test_the_size_of_a_chunk_changes_no_sample(
    player: ProceduralPlayer, video: Video, whole: NDArray[np.float32], chunk_steps: int
) -> None:
    stream = player.open(StreamPolicy(seed=4, chunk_steps=chunk_steps))
    chunks = play(stream, 600, video).chunks
    if rest := stream.close():
        chunks.append(rest)
    assert [chunk.first_sample for chunk in chunks] == [i * chunk_steps * HOP for i in range(len(chunks))]
    assert np.array_equal(Played(chunks).samples, whole[: 600 * HOP])


def test_a_stream_plays_what_the_composer_writes_for_the_same_frames(
    player: ProceduralPlayer, video: Video, whole: NDArray[np.float32]
) -> None:
    """The path of the training data and the live path are one."""
    score: list[list[Note]] = compose(by_step(video.frames, video.attributes, STEPS), 4, EVERY_SIGNATURE)
    font = SoundFont(player.sound_font)
    assert np.array_equal(np.concatenate([font.play(notes) for notes in score]), whole)
    assert 0.1 < np.abs(whole).max() < 1


def test_the_seed_decides(player: ProceduralPlayer, video: Video, whole: NDArray[np.float32]) -> None:
    same, other = (play(player.open(StreamPolicy(seed=seed)), 200, video).samples for seed in (4, 5))
    assert np.array_equal(same, whole[: 200 * HOP])
    assert not np.array_equal(other, whole[: 200 * HOP])


def test_energy_decides_how_much_is_played(player: ProceduralPlayer, video: Video) -> None:
    def notes(energy: float) -> int:
        stream = player.open(StreamPolicy(seed=4, energy=energy))
        play(stream, 500, video)
        return sum(len(step.notes) for step in stream._score)

    played = [notes(energy) for energy in (-1, -0.5, 0, 0.5, 1)]
    assert played == sorted(set(played))
    assert played[4] > 2 * played[2] > 4 * played[0] > 0


def test_energy_is_heard_though_no_frame_comes(player: ProceduralPlayer, video: Video) -> None:
    def notes(energy: float) -> int:
        stream = player.open(StreamPolicy(seed=4))
        play(stream, 100, video)
        stream.set_policy(StreamPolicy(seed=4, energy=energy))
        play(stream, 300, replace(video, frames=[]))
        return sum(len(step.notes) for step in stream._score)

    assert notes(1.0) > 1.5 * notes(0.0) > 2 * notes(-1.0)


def test_nothing_is_heard_before_it_is_seen(
    player: ProceduralPlayer, video: Video, whole: NDArray[np.float32]
) -> None:
    """Until step 592, a cut, the videos agree; the music differs from that very step on."""
    other = replace(video, frames=[frame for frame in video.frames if frame.step < 592])
    samples = play(player.open(StreamPolicy(seed=4)), 700, other).samples
    assert np.array_equal(samples[: 592 * HOP], whole[: 592 * HOP])
    assert not np.array_equal(samples[592 * HOP : 593 * HOP], whole[592 * HOP : 593 * HOP])


def test_a_chunk_says_how_old_its_picture_is(player: ProceduralPlayer, video: Video) -> None:
    stream = player.open(StreamPolicy(seed=4))
    captured = [frame.step for frame in video.frames]
    for chunk in play(stream, 300, video).chunks:
        end = chunk.first_sample // HOP + 5
        assert chunk.newest_step == max(step for step in captured if step < end)
        assert chunk.age_steps == end - chunk.newest_step
    held = player.held(stream)
    assert held.cuts == [83, 158]
    assert held.window == [max(step for step in captured if step < 300)]
    assert held.counts["cuts"] == 2
    assert held.counts["pushed"] == sum(step < 300 for step in captured)
    assert player.held(stream).cuts == []


def test_a_cut_is_not_lost_when_a_newer_frame_comes(player: ProceduralPlayer, video: Video) -> None:
    stream = player.open(StreamPolicy(seed=4))
    play(stream, 83, video)
    for frame in [frame for frame in video.frames if 83 <= frame.step < 100]:
        stream.push(frame.pixels, frame.step)
    stream.advance()
    held = player.held(stream)
    assert (held.cuts, held.counts["phrases"]) == ([83], 2)
    assert held.counts["replaced"] > 0


def test_closing_gives_the_rest_and_ends_where_it_is_told(
    player: ProceduralPlayer, video: Video, whole: NDArray[np.float32]
) -> None:
    stream = player.open(StreamPolicy(seed=4))
    play(stream, 48, video)
    rest = stream.close(47)
    assert rest is not None
    assert np.array_equal(rest.samples, whole[45 * HOP : 47 * HOP])
    assert stream.close() is None
    assert stream.take() is None
    with pytest.raises(ValueError, match="the stream is closed"):
        stream.advance()


def test_what_a_caller_gets_wrong_is_said(player: ProceduralPlayer, video: Video) -> None:
    stream = player.open(StreamPolicy())
    with pytest.raises(ValueError, match="push one first"):
        stream.advance()
    with pytest.raises(ValueError, match=r"uint8 \[64, 64, 3\], not uint8 \[56, 56, 3\]"):
        stream.push(np.zeros((56, 56, 3), np.uint8))
    with pytest.raises(ValueError, match=r"not float32 \[64, 64, 3\]"):
        stream.push(np.zeros((64, 64, 3), np.float32))  # type: ignore[arg-type]
    play(stream, MAX_UNTAKEN_STEPS, video, take=False)
    with pytest.raises(ValueError, match=f"{MAX_UNTAKEN_STEPS} steps of music wait to be taken"):
        stream.advance()
    while stream.take():
        pass
    stream.advance()
    assert len(stream._score) <= REPLAY_STEPS + 1


# --- snapshots


@pytest.fixture(scope="module")
def blobs(player: ProceduralPlayer, video: Video) -> dict[str, bytes]:
    """Snapshots of one stream at moments that matter; steps stand in the names."""
    stream, made = player.open(StreamPolicy(seed=4)), dict[str, bytes]()
    made["0 before a frame"] = stream.snapshot()
    frames = {frame.step: frame for frame in video.frames}
    while stream.now < STEPS:
        if stream.now in frames:
            stream.push(frames[stream.now].pixels)
        if stream.now in (83, 1299):
            made[f"{stream.now} a cut waits"] = stream.snapshot()
        stream.advance()
        while stream.now not in range(400, 470) and stream.take():
            pass
        if stream.now in (3, 469, 1100, 1423):
            made[f"{stream.now}"] = stream.snapshot()
    return made


MOMENTS = ("0 before a frame", "3", "83 a cut waits", "469", "1100", "1299 a cut waits", "1423")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_restored_stream_is_the_continued_stream(
    player: ProceduralPlayer, video: Video, whole: NDArray[np.float32], blobs: dict[str, bytes], moment: str
) -> None:
    """In a chunk, with a cut in the mailbox, with audio that nobody took, after more notes than are kept."""
    again, step = player.restore(blobs[moment]), int(moment.split()[0])
    assert again.snapshot() == blobs[moment]
    assert again.now == step
    if "waits" in moment:
        again.advance()
    played = play(again, min(STEPS, step + 150), video)
    first = played.chunks[0].first_sample
    error = np.abs(played.samples - whole[first : first + len(played.samples)]).max()
    print(f"{moment}: restored differs from continued by {error:.1e}")
    assert error <= RESTORED_EQUALS_CONTINUED


def test_a_snapshot_is_small(blobs: dict[str, bytes]) -> None:
    """Seen: up to 61 kB, half of it pictures."""
    assert max(len(blob) for blob in blobs.values()) < 200_000


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.5, 0.999])
def test_a_truncated_snapshot_is_refused(
    player: ProceduralPlayer, blobs: dict[str, bytes], share: float
) -> None:
    blob = blobs["1100"]
    with pytest.raises(PackageError, match="expected a stream snapshot"):
        player.restore(blob[: int(share * len(blob))])


def test_any_changed_bit_is_refused(player: ProceduralPlayer, blobs: dict[str, bytes]) -> None:
    blob, random = blobs["1100"], np.random.default_rng(0)
    for at in random.integers(0, len(blob), 300):
        damaged = bytearray(blob)
        damaged[at] ^= 1 << int(random.integers(0, 8))
        with pytest.raises(PackageError) as caught:
            player.restore(bytes(damaged))
        assert "\n" not in str(caught.value)


def test_foreign_snapshots_are_refused(
    player: ProceduralPlayer, blobs: dict[str, bytes], torch_backend: Any
) -> None:
    """A model's by the composer, the composer's by a model, another sound font's, and what is none."""
    with pytest.raises(PackageError, match=f"belongs to the model {torch_backend.spec.digest}"):
        player.restore(ScoreStream(torch_backend).snapshot())
    with pytest.raises(PackageError, match=f"belongs to the model {player.digest}"):
        ScoreStream.restore(torch_backend, blobs["3"])
    with pytest.raises(PackageError, match=f"belongs to the model {player.digest}"):
        ProceduralStream.restore(blobs["3"], Path(__file__))
    with pytest.raises(PackageError, match="expected a stream snapshot"):
        player.restore(b"PK\x03\x04" * 20)


def test_streams_share_what_was_read_of_the_sound_font(
    player: ProceduralPlayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it holds up every thread of the process for a second, and each reading takes 290 MB."""
    import tinysoundfont

    prepare(player, 30.0)
    read = []
    sfload = tinysoundfont.Synth.sfload

    def load(synth: Any, source: Any, *choices: Any) -> Any:
        read.append(source)
        return sfload(synth, source, *choices)

    monkeypatch.setattr(tinysoundfont.Synth, "sfload", load)
    for _ in range(2):
        player.open(StreamPolicy())
    assert len(read) == 2
    assert read[0] is read[1]
    assert not isinstance(read[0], str)


@pytest.mark.usefixtures("sound_font")
def test_a_file_that_is_no_sound_font_is_refused() -> None:
    with pytest.raises(PackageError, match="expected a General MIDI sound font"):
        SoundFont(Path(__file__))
