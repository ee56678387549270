"""Clips from one's own videos with music: `python -m training.decoder --pairs FOLDER --package MODEL --codec CODEC`.

Each video is seen as the live engine would show it, at about ten frames a second; its sound becomes tokens by an EnCodec of the
transformers layout. A codec of parts, as the starter's, cannot take a mixture apart, so it is not offered here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import MediaError, PackageError
from engine.frames import Frame, is_cut
from engine.media.audio import SAMPLE_RATE_OUT, read_stereo
from engine.media.video import LIVE_FRAMES_PER_S, VIDEO_ENDINGS, EveryNth, VideoReader, ticks
from engine.model.vidmuse import VidMuse
from engine.motion import MotionPicture
from engine.spec import ModelSpec, StreamPolicy
from training.decoder.dataset import Clip
from training.decoder.views import watch

WINDOWS_S = (4.0, 10.0, 20.0)
"""Lengths of the short-term window that each video is watched with."""
ENCODE_AT_ONCE = 16
LONGEST_S = 600.0
"""Of longer videos the beginning is used: a clip is held in memory."""


class MusicEncoder:
    """The encoding half of an EnCodec, `facebook/encodec_32khz` or a folder like it."""

    def __init__(self, source: str, codebooks: int) -> None:
        """Raises PackageError when there is no such codec, or it has too few codebooks."""
        from transformers import EncodecModel

        try:
            model: Any = EncodecModel.from_pretrained(source)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise PackageError(
                f"{source}: expected an EnCodec of the transformers layout: {reason}"
            ) from error
        self.model = model.eval()
        self.codebooks, self.sample_rate = codebooks, int(model.config.sampling_rate)
        if self.model.config.num_quantizers < codebooks:
            raise PackageError(
                f"{source}: expected {codebooks} codebooks, found {self.model.config.num_quantizers}"
            )

    @torch.inference_mode()
    def codes(self, samples: NDArray[np.float32]) -> NDArray[np.int16]:
        """Mono samples [n] at the codec's rate to codes [K, T]."""
        bandwidth = max(self.model.config.target_bandwidths)
        encoded = self.model.encode(torch.from_numpy(samples)[None, None], bandwidth=bandwidth)
        codes: NDArray[np.int16] = encoded.audio_codes[0, 0, : self.codebooks].numpy().astype(np.int16)
        return codes


def own_videos(folder: Path) -> list[Path]:
    """Raises MediaError when there are none."""
    videos = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_ENDINGS)
    if not videos:
        raise MediaError(f"{folder}: no videos in this folder; known endings are {' '.join(VIDEO_ENDINGS)}")
    return videos


def own_clips(folder: Path, model: VidMuse, music: MusicEncoder, least_steps: int = 1) -> list[Clip]:
    """A clip for each video of a folder; one that cannot be learned from is told and left out.

    least_steps: how long music has to be. Raises MediaError when nothing is left.
    """
    clips = list[Clip]()
    for video in own_videos(folder):
        try:
            clips.append(own_clip(video, model, music, least_steps))
        except MediaError as error:
            print(f"left out: {error}", file=sys.stderr, flush=True)
    if not clips:
        raise MediaError(f"{folder}: none of its videos can be learned from")
    return clips


def own_clip(video: Path, model: VidMuse, music: MusicEncoder, least_steps: int) -> Clip:
    """One video with its own sound as the music to learn. Raises MediaError when it has none, or too little."""
    spec = model.spec
    samples = mono(video, music.sample_rate)
    seconds, least_s = len(samples) / music.sample_rate, least_steps / spec.code_rate
    if seconds < least_s:
        raise MediaError(f"{video}: expected at least {least_s:.2f} s of music, found {seconds:.2f} s")
    codes = music.codes(samples)
    frames = [frame for frame in shown(video, spec) if frame.step < codes.shape[1]]
    with torch.no_grad():
        batches = torch.from_numpy(pictures(frames, spec)).split(ENCODE_AT_ONCE)
        features = torch.cat([model.vision(batch)[1] for batch in batches]).half()
    policies = (StreamPolicy(short_term_s=s, recalled=spec.long_short.recalled) for s in WINDOWS_S)
    views = [watch(spec, policy, frames, codes.shape[1]) for policy in policies]
    return Clip(features, views, codes[None])


def shown(video: Path, spec: ModelSpec) -> list[Frame]:
    """About ten frames a second, the first at step 0."""
    reader = VideoReader(video, spec.vision.image_size, EveryNth(LIVE_FRAMES_PER_S))
    frames = list[Frame]()
    for frame in reader:
        if frame.time_s > LONGEST_S:
            break
        frames.append(Frame(frame.pixels, ticks(frame.time_s, spec.code_rate)))
    return frames


def pictures(frames: list[Frame], spec: ModelSpec) -> NDArray[np.uint8]:
    """[F, S, S, C], with the motion plane where the model sees it."""
    if not spec.vision.motion:
        return np.stack([frame.pixels for frame in frames])
    motion, policy, answer = MotionPicture(), StreamPolicy(), list[NDArray[np.uint8]]()
    before: Frame | None = None
    for frame in frames:
        motion.show(frame, before is not None and is_cut(before, frame, policy))
        answer.append(motion.beside(frame))
        before = frame
    return np.stack(answer)


def mono(video: Path, sample_rate: int) -> NDArray[np.float32]:
    """The sound of a video, [n], at most `LONGEST_S` long. Raises MediaError when it has none."""
    resampler = av.AudioResampler("flt", "mono", sample_rate)
    blocks, heard = list[NDArray[np.float32]](), 0
    for block in read_stereo(video):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", "stereo")
        frame.sample_rate = SAMPLE_RATE_OUT
        blocks += [out.to_ndarray()[0] for out in resampler.resample(frame)]
        heard += block.shape[1]
        if heard > LONGEST_S * SAMPLE_RATE_OUT:
            break
    blocks += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate([np.zeros(0, np.float32), *blocks])
