"""EnCodec's decoder behind the LSTM as products of matrices, for a device that is quick at those.

The same weights and the same samples as `engine.model.codec` to the rounding of sums. Time comes before channels, so that a
transposed convolution of two strides is one product and a sum of neighbours, and any other one a product for each tap.

Letters: S streams, T frames or samples, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model.codec import CodecDecoder, Residual, Stage

ALIGNED = 8
"""Numbers of 16 bits that a row of a matrix needs a multiple of, so that it is read at once."""


class Upsampling:
    """`CodecDecoder.upsample_together` with weights of its own, in this type."""

    def __init__(self, codec: CodecDecoder, dtype: torch.dtype) -> None:
        self._dtype = dtype
        stages = (stage for stage in codec.stages if isinstance(stage, Stage))
        self._stages = [(_Up(stage.up, dtype), _residuals(stage, dtype)) for stage in stages]
        self._last = _Conv(codec.last, torch.float32)
        mix = self._last.kernel[:, :, 0].t().to(dtype)  # [C, taps]
        self._mix = F.pad(mix, (0, -mix.shape[1] % ALIGNED))

    def __call__(self, y: Tensor) -> Tensor:
        """y: [S, C, T]. Returns samples [S, T x hop], float32."""
        x = y.transpose(1, 2).to(self._dtype)
        for up, blocks in self._stages:
            x = up(x)
            for block in blocks:
                x = block(x)
        each = self._last.padded(F.elu(x)) @ self._mix  # what a sample adds by each tap
        _, length, room = each.shape  # T + taps - 1, and taps with those that align them
        shape = len(x), x.shape[1], len(self._last.kernel)
        taps = each.as_strided(shape, (length * room, room, room + 1))  # tap k of the sample that is k later
        return taps.sum(2, dtype=torch.float32) + self._last.bias


class _Up:
    """A transposed convolution whose kernel is two strides, trimmed to its stride for each input."""

    def __init__(self, conv: nn.ConvTranspose1d, dtype: torch.dtype) -> None:
        self._ratio = conv.stride[0]
        self._matrix = conv.weight.detach().permute(2, 1, 0).flatten(0, 1).to(dtype)  # [2 strides C', C]
        assert conv.bias is not None
        self._bias = conv.bias.detach().repeat(self._ratio).to(dtype)
        self._of_first = torch.cat((self._bias, torch.zeros_like(self._bias)))

    def __call__(self, x: Tensor) -> Tensor:
        streams, length, _ = x.shape
        first, second = F.linear(F.elu(x), self._matrix, self._of_first).unflatten(2, (2, -1)).unbind(2)
        whole = torch.empty(streams, length + 1, first.shape[2], dtype=x.dtype, device=x.device)
        torch.add(first[:, 1:], second[:, :-1], out=whole[:, 1:-1])
        whole[:, 0], whole[:, -1] = first[:, 0], second[:, -1] + self._bias
        left = self._ratio - self._ratio // 2
        return whole.view(streams, (length + 1) * self._ratio, -1)[:, left : left + length * self._ratio]


class _Conv:
    """A convolution that keeps the length. kernel: [taps, C, C'], bias: [C']."""

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        self.kernel = conv.weight.detach().permute(2, 1, 0).contiguous().to(dtype)
        self.bias = conv.bias.detach().to(dtype)
        self._dilation = conv.dilation[0]
        total = (len(self.kernel) - 1) * self._dilation
        self._left, self._right = total - total // 2, total // 2

    def padded(self, x: Tensor) -> Tensor:
        """Reflected at both ends."""
        end = x.shape[1] - 1
        before, after = x[:, 1 : self._left + 1].flip(1), x[:, end - self._right : end].flip(1)
        return torch.cat((before, x, after), 1)

    def __call__(self, x: Tensor) -> Tensor:
        streams, length, _ = x.shape
        held = self.padded(x)
        answer = self.bias.repeat(streams, length, 1)
        for tap, matrix in enumerate(self.kernel):
            at = tap * self._dilation
            answer.baddbmm_(held[:, at : at + length], matrix.expand(streams, -1, -1))
        return answer


class _Residual:
    def __init__(self, block: Residual, dtype: torch.dtype) -> None:
        self._wide, self._narrow = _Conv(block.wide, dtype), _Conv(block.narrow, dtype)
        self._shortcut = _Conv(block.shortcut, dtype) if isinstance(block.shortcut, nn.Conv1d) else None

    def __call__(self, x: Tensor) -> Tensor:
        inner = F.elu(self._wide(F.elu(x)))
        fresh = F.linear(inner, self._narrow.kernel[0].t(), self._narrow.bias)
        return fresh + (x if self._shortcut is None else self._shortcut(x))


def _residuals(stage: Stage, dtype: torch.dtype) -> list[_Residual]:
    return [_Residual(block, dtype) for block in stage.blocks if isinstance(block, Residual)]
