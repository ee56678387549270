"""An EnCodec's LSTM as operators of ONNX and of ONNX Runtime, one for each layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from export.quantise import EIGHT, Quantised, by_column


def onnx_lstm(lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ONNX operator, layer by layer."""
    weights = [
        [_gates(lstm, f"weight_{n}_l{layer}") for n in ("ih", "hh")] for layer in range(lstm.num_layers)
    ]
    return _through(
        lstm, "LSTM", [(w.unsqueeze(0), r.unsqueeze(0)) for w, r in weights], (), x, (hidden, cell), 22
    )


class FewBitLstm(nn.Module):
    """`onnx_lstm` with its matrices in eight bits, as ONNX Runtime's operator. done: what rounding changed."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.done = Quantised()
        for layer in range(lstm.num_layers):
            for part in ("ih", "hh"):
                weight = _gates(lstm, f"weight_{part}_l{layer}").detach().T.numpy()
                levels, scales = by_column(weight)
                self.done.note(weight, levels * scales, EIGHT)
                for name, array in (("levels", levels), ("scales", scales)):
                    self.register_buffer(f"{part}{layer}_{name}", torch.from_numpy(array).unsqueeze(0))

    def forward(
        self, lstm: nn.LSTM, x: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        def kept(layer: int, name: str) -> list[Tensor]:
            return [self.get_buffer(f"{part}{layer}_{name}") for part in ("ih", "hh")]

        zero = torch.zeros(1, 4 * lstm.hidden_size, dtype=torch.int8)
        layers = range(lstm.num_layers)
        scales = [(None, w, zero, r, zero) for w, r in (kept(layer, "scales") for layer in layers)]
        levels = [(w, r) for w, r in (kept(layer, "levels") for layer in layers)]
        operator = "com.microsoft::DynamicQuantizeLSTM"
        return _through(lstm, operator, levels, scales, x, (hidden, cell), 1)


def _through(
    lstm: nn.LSTM,
    operator: str,
    weights: Sequence[tuple[Tensor, Tensor]],
    besides: Sequence[tuple[Tensor | None, ...]],
    x: Tensor,
    state: tuple[Tensor, Tensor],
    version: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """One operator a layer. weights: of each, for its input and for its state; besides: its inputs behind the state, if any."""
    width, states = lstm.hidden_size, []
    for layer, (w, r) in enumerate(weights):
        bias = torch.cat([_gates(lstm, f"bias_{n}_l{layer}") for n in ("ih", "hh")]).unsqueeze(0)
        before = (part[layer : layer + 1] for part in state)
        y, *after = torch.onnx.ops.symbolic_multi_out(
            operator,
            (x, w, r, bias, None, *before, *(besides[layer] if besides else ())),
            {"hidden_size": width},
            dtypes=(x.dtype, x.dtype, x.dtype),
            shapes=((x.shape[0], 1, 1, width), (1, 1, width), (1, 1, width)),
            version=version,
        )
        x = y.squeeze(1)
        states.append(after)
    hidden, cell = (torch.cat(part) for part in zip(*states, strict=True))
    return x, hidden, cell


def _gates(lstm: nn.LSTM, name: str) -> Tensor:
    """A weight or bias; torch orders the gates i, f, g, o and ONNX i, o, f, c."""
    i, f, g, o = getattr(lstm, name).chunk(4)
    return torch.cat((i, o, f, g))
