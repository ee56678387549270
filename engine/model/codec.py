"""EnCodec's decoder, split where time is split: a recurrent half that carries state, and a half that looks a frame around.

The convolutions are not causal. The first one needs `lead` latent frames on each side, everything after the LSTM needs
`context` frames on each side (`reach` computes both from the geometry); with the LSTM's state carried, decoding in pieces
is decoding the whole. The class keeps weight norm folded: w = g v / |v|.

Letters: S streams, T code frames, K codebooks, C LSTM width, L LSTM layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.codec.encodec import Reach, padded_indices, reach
from engine.spec import CodecSpec

Lstm = Callable[[nn.LSTM, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(weights, x [T, S, C], hidden [L, S, C], cell [L, S, C]) to (y [T, S, C], hidden, cell)."""


class CodecDecoder(nn.Module):
    """Codes to samples."""

    def __init__(self, spec: CodecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.codebooks = nn.ModuleList(
            nn.Embedding(spec.codebook_size, spec.codebook_dim) for _ in range(spec.codebooks)
        )
        self.first = nn.Conv1d(spec.codebook_dim, spec.lstm_width, spec.kernel)
        self.lstm = nn.LSTM(spec.lstm_width, spec.lstm_width, spec.lstm_layers)
        widths = [spec.lstm_width // 2**i for i in range(len(spec.ratios) + 1)]
        self.stages = nn.ModuleList(
            Stage(spec, ratio, widths[i], widths[i + 1]) for i, ratio in enumerate(spec.ratios)
        )
        self.last = nn.Conv1d(widths[-1], 1, spec.last_kernel)

    @property
    def reach(self) -> Reach:
        return reach(self.spec)

    def quantised(self, codes: Tensor) -> Tensor:
        """codes: int64 [K, T]; K may be fewer than the codec has. Returns the latent [1, dim, T]."""
        return self._latent(codes[k] for k in range(codes.shape[0])).unsqueeze(0)

    def recur(
        self, codes: Tensor, hidden: Tensor, cell: Tensor, lstm: Lstm | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """codes: int64 [K, T + 2 lead], with `lead` frames of context on each side. Returns y [C, T] and the state."""
        y, hidden, cell = self._recurred(self.quantised(codes), hidden, cell, lstm or run_lstm)
        return y.squeeze(1).transpose(0, 1), hidden, cell

    def recur_together(self, codes: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`recur` for S streams: codes [S, K, T + 2 lead], states [L, S, C]. Returns y [S, C, T] and the states."""
        y, hidden, cell = self._recurred(self._latent(codes.unbind(1)), hidden, cell, run_lstm)
        return y.permute(1, 2, 0), hidden, cell

    def upsample(self, y: Tensor) -> Tensor:
        """y: [C, T]. Returns samples [T x hop]; those within `context` frames of a cut that is no real edge are wrong."""
        return self._sound(y.unsqueeze(0)).flatten()

    def upsample_together(self, y: Tensor) -> Tensor:
        """`upsample` for S streams: y [S, C, T]. Returns samples [S, T x hop]."""
        return self._sound(y).flatten(1)

    def _latent(self, codes: Iterable[Tensor]) -> Tensor:
        """codes: int64 [..., T] of each codebook. Returns [..., dim, T]."""
        parts = [self.codebooks[k](each) for k, each in enumerate(codes)]
        return torch.stack(parts).sum(0).transpose(-2, -1)

    def _recurred(
        self, latent: Tensor, hidden: Tensor, cell: Tensor, lstm: Lstm
    ) -> tuple[Tensor, Tensor, Tensor]:
        """latent: [S, dim, T + 2 lead]. Returns y [T, S, C] and the state."""
        x = self.first(latent).permute(2, 0, 1)
        y, hidden, cell = lstm(self.lstm, x, hidden, cell)
        return y + x, hidden, cell

    def _sound(self, x: Tensor) -> Tensor:
        """[S, C, T] to [S, 1, T x hop]."""
        for stage in self.stages:
            x = stage(x)
        return self._same(self.last, F.elu(x))

    def forward(self, codes: Tensor) -> Tensor:
        """codes: int64 [K, T]. Returns all samples [T x hop] at once."""
        lead = self.reach.lead
        length = codes.shape[1]
        padded = codes[:, padded_indices(0, length, length, lead, self.spec.pad_mode)]
        state = torch.zeros(self.spec.lstm_layers, 1, self.spec.lstm_width)
        return self.upsample(self.recur(padded, state, state)[0])

    def _same(self, conv: nn.Conv1d, x: Tensor) -> Tensor:
        return same(conv, x, self.spec.pad_mode)


class Stage(nn.Module):
    """Upsample by `ratio`, then residual blocks."""

    def __init__(self, spec: CodecSpec, ratio: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.up = nn.ConvTranspose1d(inputs, outputs, 2 * ratio, stride=ratio)
        self.blocks = nn.ModuleList(
            Residual(spec, outputs, spec.dilation_growth**j) for j in range(spec.residual_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        right = self.ratio // 2
        x = self.up(F.elu(x))
        x = x[..., self.ratio - right : x.shape[-1] - right]
        for block in self.blocks:
            x = block(x)
        return x


class Residual(nn.Module):
    """Adds what a kernel of some width and one of a single frame make of it."""

    def __init__(self, spec: CodecSpec, width: int, dilation: int) -> None:
        super().__init__()
        inner = width // spec.compress
        self.pad_mode = spec.pad_mode
        self.wide = nn.Conv1d(width, inner, spec.residual_kernel, dilation=dilation)
        self.narrow = nn.Conv1d(inner, width, 1)
        self.shortcut = nn.Conv1d(width, width, 1) if spec.conv_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = same(self.wide, F.elu(x), self.pad_mode)
        answer: Tensor = self.shortcut(x) + self.narrow(F.elu(inner))
        return answer


def same(conv: nn.Conv1d, x: Tensor, pad_mode: str) -> Tensor:
    """A convolution that keeps the length: half of the padding on the right, the rest on the left."""
    total = (conv.kernel_size[0] - 1) * conv.dilation[0]
    padded = F.pad(x, (total - total // 2, total // 2), mode=pad_mode) if total else x
    answer: Tensor = conv(padded)
    return answer


def run_lstm(lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y, (hidden, cell) = lstm(x, (hidden, cell))
    return y, hidden, cell
