"""A codec whose decoder is an instrument: codes choose amplitudes, a bank of oscillators and noise bands sounds them.

Each codebook carries one part of the music (percussion, bass, harmony, melody), so that a code means the same whatever the
other parts play (sources apart in codebooks of their own: SD-Codec, Bie et al. 2024; sinusoids and noise as a decoder: DDSP,
Engel et al. 2020). A part's codes go through causal convolutions to amplitudes of partials on a fixed grid of pitches and of
noise bands; the parts' amplitudes add up. Phases follow from the number of the code frame alone, so pieces join without a
seam and nothing is carried but codes.

Letters: S streams, K codebooks (parts), T code frames, C frames of left context, W width, N amplitudes (partials, then noise
bands).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.spec import NOISE_FRAMES, OscillatorSpec

F32 = NDArray[np.float32]

LOUDNESS_SLOPE, LOUDNESS_SPAN = 3000.0, 5.0
"""Amplitudes are learned as log1p(slope x) / span: about 0 to 1.6."""
HIGHEST_BAND_HZ, LOWEST_BAND_HZ = 16000.0, 40.0


class OscillatorCodec(nn.Module):
    """Codes to samples."""

    table: Tensor
    cycles: Tensor
    phases: Tensor
    noise: Tensor
    ramp: Tensor

    def __init__(self, spec: OscillatorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.codebooks = nn.ModuleList(
            nn.Embedding(spec.codebook_size + 1, spec.codebook_dim) for _ in range(spec.codebooks)
        )
        self.parts = nn.ModuleList(Part(spec) for _ in range(spec.codebooks))
        cycles = partial_cycles(spec)
        self.register_buffer("cycles", torch.from_numpy(cycles), persistent=False)
        self.register_buffer("table", torch.from_numpy(oscillator_table(spec, cycles)), persistent=False)
        random = np.random.default_rng(0).random(spec.partials, np.float32)
        self.register_buffer("phases", torch.from_numpy(random), persistent=False)
        self.register_buffer("noise", torch.from_numpy(noise_table(spec)), persistent=False)
        self.register_buffer("ramp", torch.arange(1, spec.hop + 1, device="cpu") / spec.hop, persistent=False)

    @property
    def context(self) -> int:
        return self.spec.context

    def synthesise(self, codes: Tensor, first: Tensor) -> Tensor:
        """codes: int64 [K, C + T]. first: int64 scalar, the number of the first frame that sounds. Returns samples [T x hop]."""
        return self.sound(self.amplitudes(codes), first)

    def together(self, codes: Tensor, first: Tensor) -> Tensor:
        """`synthesise` for S streams: codes [S, K, C + T], first [S]. Returns samples [S, T x hop]."""
        amplitudes = self._parts(codes.unbind(1)).sum(0)  # [S, T + 1, N]
        frame = first.unsqueeze(1) + torch.arange(amplitudes.shape[1] - 1, device=amplitudes.device)
        before, after = (ends.flatten(0, 1) for ends in (amplitudes[:, :-1], amplitudes[:, 1:]))
        return self._frames(self._bank(frame.flatten()), before, after).view(len(codes), -1)

    def amplitudes(self, codes: Tensor) -> Tensor:
        """codes: int64 [K, C + T]. Returns the amplitudes of the parts together, [T + 1, N], of full scale."""
        return self._parts(codes[k : k + 1] for k in range(len(self.codebooks))).sum((0, 1))

    def _parts(self, codes: Iterable[Tensor]) -> Tensor:
        """codes: int64 [S, C + T] of each codebook. Returns the parts' amplitudes, [K, S, T + 1, N], of full scale."""
        embedded = [book(each) for book, each in zip(self.codebooks, codes, strict=True)]
        return torch.stack([linear(part(x)) for part, x in zip(self.parts, embedded, strict=True)])

    def sound(self, amplitudes: Tensor, first: Tensor) -> Tensor:
        """amplitudes: [T + 1, N], the first one of the frame before. Returns samples [T x hop]."""
        frame = first + torch.arange(amplitudes.shape[0] - 1, device=amplitudes.device)
        return self._frames(self._bank(frame), amplitudes[:-1], amplitudes[1:]).flatten()

    def _bank(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """frame: [T], numbers of frames. Returns partials as they stand when each begins, [T, 2 partials], and noise."""
        spec = self.spec
        turns = torch.remainder(frame.unsqueeze(1) * self.cycles, spec.period) / spec.period + self.phases
        angle = 2 * torch.pi * turns  # [T, partials]
        turned = torch.cat((angle.cos(), -angle.sin()), -1)
        return turned, self.noise[torch.remainder(frame, NOISE_FRAMES)].float()  # [T, bands, hop]

    def _frames(self, bank: tuple[Tensor, Tensor], before: Tensor, after: Tensor) -> Tensor:
        """before, after: [T, N], amplitudes of the frame before each and of its own. Returns samples [T, hop].

        Over a frame the amplitudes go in a straight line from the one to the other.
        """
        (turned, noise), spec, ends = bank, self.spec, []
        for a in (before, after):
            tones, bands = a[:, : spec.partials], a[:, spec.partials :]
            tonal = (tones.repeat(1, 2) * turned) @ self.table
            ends.append(tonal + torch.matmul(bands.unsqueeze(1), noise).squeeze(1))
        return torch.lerp(ends[0], ends[1], self.ramp)


class Part(nn.Module):
    """One part's codes, embedded, to its compressed amplitudes."""

    def __init__(self, spec: OscillatorSpec) -> None:
        super().__init__()
        self.partials = spec.partials
        self.inner = nn.Linear(spec.codebook_dim, spec.width)
        self.blocks = nn.ModuleList(CausalBlock(spec.width, spec.kernel) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.width)
        self.head = nn.Linear(spec.width, spec.amplitudes + spec.partials)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T + layers x (kernel - 1), dim]. Returns compressed amplitudes [B, T, N]."""
        return self.gated(self.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """[B, T, N + partials]: amplitudes, then the gates that say which partials sound."""
        x = self.inner(x)
        for block in self.blocks:
            x = block(x)
        answer: Tensor = self.head(self.norm(x))
        return answer

    def gated(self, logits: Tensor) -> Tensor:
        amplitudes = F.softplus(logits[..., : -self.partials])
        gates = torch.sigmoid(logits[..., -self.partials :])
        tones = amplitudes[..., : self.partials] * gates
        return torch.cat((tones, amplitudes[..., self.partials :]), -1)


class CausalBlock(nn.Module):
    """A residual block (ConvNeXt: Liu et al. 2022) that sees `kernel - 1` frames before and none after."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T + kernel - 1, W]. Returns [B, T, W]."""
        near = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x[:, self.kernel - 1 :] + self.narrow(F.gelu(self.wide(self.norm(near))))


def compressed(amplitudes: Tensor) -> Tensor:
    """Amplitudes of full scale, as they are learned."""
    return torch.log1p(amplitudes * LOUDNESS_SLOPE) / LOUDNESS_SPAN


def linear(compressed: Tensor) -> Tensor:
    """The inverse of `compressed`."""
    return torch.expm1(compressed.clamp(0, 2) * LOUDNESS_SPAN) / LOUDNESS_SLOPE


def partial_cycles(spec: OscillatorSpec) -> NDArray[np.int64]:
    """Whole cycles of each partial in one period, [partials]: the frequency nearest to the pitch that closes."""
    hz = spec.lowest_hz * 2 ** (np.arange(spec.partials) / spec.partials_per_octave)
    return np.round(hz * spec.period * spec.hop / spec.sample_rate).astype(np.int64)


def oscillator_table(spec: OscillatorSpec, cycles: NDArray[np.int64]) -> F32:
    """Cosines and sines of every partial over one frame, [2 partials, hop]."""
    turns = cycles[:, None] * np.arange(spec.hop) / (spec.period * spec.hop)
    return np.concatenate((np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns))).astype(np.float32)


def band_weights(spec: OscillatorSpec, hz: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Triangles that are even on the mel scale and overlap by half, [bands, len(hz)]."""
    mel = np.linspace(_mel(LOWEST_BAND_HZ), _mel(HIGHEST_BAND_HZ), spec.noise_bands + 2)
    at = _mel(np.asarray(hz, np.float64))
    rise = (at - mel[:-2, None]) / (mel[1:-1] - mel[:-2])[:, None]
    fall = (mel[2:, None] - at) / (mel[2:] - mel[1:-1])[:, None]
    return np.clip(np.minimum(rise, fall), 0, None)


def noise_table(spec: OscillatorSpec) -> NDArray[np.float16]:
    """Noise of each band with an effective value of 1, [frames, bands, hop]; it repeats without a seam."""
    count = NOISE_FRAMES * spec.hop
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(count))
    weights = np.sqrt(band_weights(spec, np.fft.rfftfreq(count, 1 / spec.sample_rate).astype(np.float64)))
    bands = np.fft.irfft(spectrum * weights, count)
    bands /= np.sqrt((bands**2).mean(1, keepdims=True))
    return bands.reshape(-1, NOISE_FRAMES, spec.hop).swapaxes(0, 1).astype(np.float16)


def _mel(hz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)
