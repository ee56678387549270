"""What is trained of the codec: an encoder of single frames, a quantiser, and the parts of `OscillatorCodec`.

The encoder is causal and short: a code says what sounds in its frame, never what will, so that the decoder of the music is not
asked to know onsets before they happen.

Letters: B clips, T frames, N amplitudes, K parts.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.oscillator import CausalBlock, OscillatorCodec, Part
from engine.spec import OscillatorSpec

ENCODER_WIDTH, ENCODER_LAYERS, ENCODER_KERNEL = 160, 2, 2
DECAY = 0.98
"""Of the codebooks' running means."""
DEAD_BELOW = 0.03
"""A code used less than this share of its fair part is put where something is."""
SETTLE_STEPS = 200
"""The first steps go without quantising; then the codebooks begin at the centres of what there is."""
WIDE, WIDER = 3, 13
"""Partials that are summed so that a near miss costs less than a far one: a semitone, and a third."""
GATE_WEIGHT, COMMITMENT_WEIGHT = 0.3, 0.1


class Encoder(nn.Module):
    """Compressed amplitudes of a part to its latent."""

    def __init__(self, spec: OscillatorSpec) -> None:
        super().__init__()
        self.inner = nn.Linear(spec.amplitudes, ENCODER_WIDTH)
        self.blocks = nn.ModuleList(CausalBlock(ENCODER_WIDTH, ENCODER_KERNEL) for _ in range(ENCODER_LAYERS))
        self.norm = nn.LayerNorm(ENCODER_WIDTH)
        self.outer = nn.Linear(ENCODER_WIDTH, spec.codebook_dim)
        self.scale = nn.BatchNorm1d(spec.codebook_dim, affine=False, eps=1e-12, momentum=0.02)

    @property
    def context(self) -> int:
        return ENCODER_LAYERS * (ENCODER_KERNEL - 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T + context, N] to [B, T, dim]. The scale is fixed by statistics, or the codebook would shrink it away."""
        x = self.inner(x)
        for block in self.blocks:
            x = block(x)
        latent: Tensor = self.scale(self.outer(self.norm(x)).transpose(1, 2)).transpose(1, 2)
        return latent


class Quantiser(nn.Module):
    """One codebook, moved to the means of what chooses its codes (van den Oord et al. 2017, appendix A.1)."""

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(size, dim))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.randn(size, dim))

    def distances(self, z: Tensor) -> Tensor:
        """[n, dim] to squared distances [n, size], without the part that no code changes."""
        return self.codes.pow(2).sum(-1) - 2 * z @ self.codes.T

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, dim] to the chosen codes' vectors (gradients pass straight through), indices, and commitment loss."""
        flat = z.detach().reshape(-1, z.shape[-1]).float()
        index = self.distances(flat).argmin(-1)
        if self.training:
            self._move(flat, index)
        chosen = self.codes[index].view_as(z)
        return z + (chosen - z).detach(), index.view(z.shape[:-1]), F.mse_loss(z, chosen.detach())

    @torch.no_grad()
    def _move(self, flat: Tensor, index: Tensor) -> None:
        size = len(self.codes)
        counts = torch.zeros_like(self.counts).index_add_(0, index, torch.ones_like(flat[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
        self.counts.mul_(DECAY).add_(counts, alpha=1 - DECAY)
        self.sums.mul_(DECAY).add_(sums, alpha=1 - DECAY)
        dead = self.counts < DEAD_BELOW * len(flat) / size
        if dead.any():
            self.sums[dead] = flat[torch.randint(len(flat), (int(dead.sum()),), device=flat.device)]
            self.counts[dead] = 1.0
        self.codes.copy_(self.sums / self.counts.clamp(min=1e-5).unsqueeze(1))

    @torch.no_grad()
    def begin(self, z: Tensor, rounds: int = 10) -> None:
        """k-means on latents [n, dim]. A code that nobody chooses goes where the error is large."""
        size = len(self.codes)
        self.codes.copy_(z[torch.randperm(len(z))[:size]])
        for _ in range(rounds):
            distance, index = self.distances(z).min(-1)
            counts = z.new_zeros(size).index_add_(0, index, z.new_ones(len(z)))
            sums = torch.zeros_like(self.codes).index_add_(0, index, z)
            used = counts > 0
            self.codes[used] = sums[used] / counts[used].unsqueeze(1)
            far = (distance + z.pow(2).sum(-1)).clamp(min=1e-9)
            self.codes[~used] = z[torch.multinomial(far, int((~used).sum()) or 1)[: int((~used).sum())]]
        self.counts.fill_(float(len(z)) / size * 0.1)
        self.sums.copy_(self.codes * self.counts.unsqueeze(1))


class PartCodec(nn.Module):
    """Encoder, quantiser and decoder of one part."""

    def __init__(self, spec: OscillatorSpec, decoder: Part) -> None:
        super().__init__()
        self.encoder = Encoder(spec)
        self.quantiser = Quantiser(spec.codebook_size, spec.codebook_dim)
        self.decoder = decoder


class CodecModel(nn.Module):
    """The four parts' codecs around the `OscillatorCodec` that is shipped."""

    def __init__(self, spec: OscillatorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.oscillators = OscillatorCodec(spec)
        decoders = cast(list[Part], [*self.oscillators.parts])
        self.parts = nn.ModuleList(PartCodec(spec, part) for part in decoders)

    def each(self) -> list[PartCodec]:
        return cast(list[PartCodec], [*self.parts])

    @property
    def context(self) -> int:
        """Frames before a stretch that its encoding and decoding look at."""
        return self.each()[0].encoder.context + self.spec.layers * (self.spec.kernel - 1)

    def write_codebooks(self) -> None:
        """Put the quantisers' codes into the shipped decoder; the code of nothing is what silence is quantised to."""
        books = cast(list[nn.Embedding], [*self.oscillators.codebooks])
        for part, book in zip(self.each(), books, strict=True):
            with torch.no_grad():
                book.weight[:-1] = part.quantiser.codes
                book.weight[-1] = part.quantiser.codes[self.silence(part)]

    def silence(self, part: PartCodec) -> int:
        """The code of a frame in which nothing sounds, after others like it."""
        codes = part.quantiser.codes
        nothing = codes.new_zeros(1, part.encoder.context + 1, self.spec.amplitudes)
        was_training = part.training
        part.eval()
        index = int(part.quantiser(part.encoder(nothing))[1].flatten()[0])
        part.train(was_training)
        return index


class CodecLearner:
    """amplitudes: fp16 [clips, K, T, N], compressed; the last `held_out` clips are for evaluation."""

    def __init__(
        self,
        model: CodecModel,
        amplitudes: Tensor,
        held_out: int,
        batch: int = 24,
        frames: int = 60,
    ) -> None:
        self.model, self.batch, self.frames = model, batch, frames
        self.device = next(model.parameters()).device
        self.learned, self.held = amplitudes[:-held_out], amplitudes[-held_out:]

    def loss(self, step: int) -> dict[str, Tensor]:
        total, terms = torch.zeros((), device=self.device), dict[str, Tensor]()
        for k, part in enumerate(self.model.each()):
            x = self._draw(self.learned, k, self.batch, self.frames)
            if step == SETTLE_STEPS:
                self._begin(k, part)
            z = part.encoder(x)
            commitment = torch.zeros((), device=self.device)
            if step >= SETTLE_STEPS:
                z, _, commitment = part.quantiser(z)
            loss = part_loss(part.decoder, z, x[:, self.model.context :])
            terms[f"part{k}"] = loss.detach()
            total = total + loss + COMMITMENT_WEIGHT * commitment
        return {"loss": total, **terms}

    @torch.no_grad()
    def _begin(self, k: int, part: PartCodec) -> None:
        x = self._draw(self.learned, k, 400, self.frames)
        part.quantiser.begin(part.encoder(x).flatten(0, 1))

    def _draw(self, clips: Tensor, k: int, batch: int, frames: int) -> Tensor:
        length = frames + self.model.context
        clip = torch.randint(len(clips), (batch,))
        start = torch.randint(clips.shape[2] - length, (batch,))
        drawn = [clips[c, k, s : s + length] for c, s in zip(clip, start, strict=True)]
        return torch.stack(drawn).to(self.device).float()

    def after(self, step: int) -> None:
        pass

    @torch.no_grad()
    def settle(self, batches: int = 50) -> None:
        """Take the latents' scale from many stretches at once: the running one lags behind the last steps."""
        for k, part in enumerate(self.model.each()):
            scale = part.encoder.scale
            scale.reset_running_stats()
            scale.momentum = None  # the plain mean over what follows
            scale.train()
            for _ in range(batches):
                part.encoder(self._draw(self.learned, k, self.batch, self.frames))
            scale.eval()

    def evaluate(self) -> dict[str, float]:
        """L1 of compressed amplitudes, and perplexity, for each part."""
        figures = dict[str, float]()
        for k, part in enumerate(self.model.each()):
            x = self.held[:, k, :1000].to(self.device).float()
            chosen, index, _ = part.quantiser(part.encoder(x))
            wanted = x[:, self.model.context :]
            figures[f"l1_{k}"] = float((part.decoder(chosen) - wanted).abs().mean() / wanted.abs().mean())
            share = torch.bincount(index.flatten(), minlength=self.model.spec.codebook_size).float()
            share = share / share.sum()
            figures[f"perplexity_{k}"] = float(torch.exp(-(share * (share + 1e-9).log()).sum()))
        return figures


def part_loss(decoder: Part, z: Tensor, wanted: Tensor) -> Tensor:
    """Compressed amplitudes should be near, also when neighbouring partials are summed, and gates open where partials sound."""
    logits = decoder.logits(z)
    made, partials = decoder.gated(logits), decoder.partials
    tones, wanted_tones = made[..., :partials], wanted[..., :partials]
    sounds = (wanted_tones > 0).float()
    weight = torch.cat((1 + 2 * sounds, torch.ones_like(wanted[..., partials:])), -1)
    near = ((made - wanted).abs() * weight).mean()
    blurred = sum((_blur(tones, w) - _blur(wanted_tones, w)).abs().mean() for w in (WIDE, WIDER))
    gate = F.binary_cross_entropy_with_logits(logits[..., -partials:], sounds, weight=0.15 + 2 * wanted_tones)
    return near + blurred + GATE_WEIGHT * gate


def _blur(x: Tensor, width: int) -> Tensor:
    return F.avg_pool1d(x.reshape(-1, 1, x.shape[-1]), width, 1, width // 2).view(x.shape)
