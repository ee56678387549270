"""The codec in pieces: chunked decoding equals whole decoding, and not one frame of look-ahead is wasted or missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine import codec
from engine.backends.torch import TorchBackend
from engine.codec import Reach, reach
from engine.model.codec import CodecDecoder
from engine.spec import CodecSpec
from export.checkpoint import Package
from export.random_model import ENCODEC_32KHZ

FRAMES = 57
TOLERANCE = 2e-6
"""Seen: at most 4e-7, samples reaching 0.9. The order of sums differs with the length of a piece."""

RAGGED = (2, 9, 1, 1, 13, 4, 21, 3)


def codes(frames: int = FRAMES, seed: int = 0, card: int = 128) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, card, (4, frames))


def pieces(
    graphs: codec.CodecGraphs, spec: CodecSpec, read: NDArray[np.int64], sizes: Sequence[int]
) -> Iterator[Any]:
    """The samples of each piece; sizes are used again and again, the last piece closes."""
    state, first, i = codec.start(spec, len(read)), 0, 0
    while first < read.shape[1]:
        end = min(first + sizes[i % len(sizes)], read.shape[1])
        samples, state = codec.decode(graphs, spec, state, read[:, first:end], last=end == read.shape[1])
        yield samples
        first, i = end, i + 1


def whole(backend: TorchBackend, read: NDArray[np.int64]) -> NDArray[np.float32]:
    """The module's own decoding at once: it knows nothing of pieces."""
    assert backend.model.codec is not None
    with torch.inference_mode():
        return np.asarray(backend.model.codec(torch.from_numpy(read)).numpy())


@pytest.mark.parametrize("sizes", [(1,), (5,), (25,), RAGGED, (FRAMES,)], ids=str)
def test_chunked_decoding_equals_whole_decoding(
    backend: Any, torch_backend: TorchBackend, sizes: tuple[int, ...]
) -> None:
    expected = whole(torch_backend, codes())
    got = np.concatenate(list(pieces(backend, backend.spec.codec, codes(), sizes)))
    assert got.shape == (FRAMES * backend.spec.codec.hop,)
    assert np.abs(got - expected).max() <= TOLERANCE
    assert np.abs(expected).max() > 0.1  # silence would equal silence


def test_a_piece_leaves_as_soon_as_the_look_ahead_is_known(backend: Any) -> None:
    spec, read = backend.spec.codec, codes()
    state = codec.start(spec, 4)
    for known in range(1, FRAMES):
        _, state = codec.decode(backend, spec, state, read[:, known - 1 : known])
        assert state.emitted == max(0, known - reach(spec).look_ahead)


def test_encodec_32khz_needs_three_frames_before_its_lstm_and_one_after() -> None:
    assert reach(ENCODEC_32KHZ) == Reach(lead=3, context=1)


def test_the_audio_looks_ahead_three_and_three_quarter_frames(torch_backend: TorchBackend) -> None:
    """A prefix decodes to the samples of the whole up to 2402 samples (75 ms) before its end, and differs from there on."""
    spec, prefix = torch_backend.spec.codec, 40
    assert spec is not None
    apart = np.abs(
        whole(torch_backend, codes())[: prefix * spec.hop] - whole(torch_backend, codes()[:, :prefix])
    )
    assert apart[: prefix * spec.hop - 2402].max() <= TOLERANCE
    assert apart[prefix * spec.hop - 2402] > 0
    assert apart[prefix * spec.hop - 2402 :].max() > 1e-3


def test_one_frame_less_of_look_ahead_would_change_the_audio(torch_backend: TorchBackend) -> None:
    """The last frame that must be known counts, the one behind it does not."""
    spec, at = torch_backend.spec.codec, 30
    assert spec is not None
    played = slice(at * spec.hop, (at + 1) * spec.hop)
    expected = whole(torch_backend, codes())[played]
    for distance, changes in ((reach(spec).look_ahead, True), (reach(spec).look_ahead + 1, False)):
        other = codes()
        other[:, at + distance] = (other[:, at + distance] + 64) % 128
        apart = np.abs(whole(torch_backend, other)[played] - expected).max()
        assert (apart > 1e-3) == changes, f"{distance} frames ahead: {apart}"


@pytest.mark.parametrize(
    "changes",
    [
        {"ratios": (8, 5, 4, 2)},
        {"ratios": (2, 2)},
        {"ratios": (3, 2), "residual_kernel": 5, "residual_layers": 2},
        {"kernel": 5, "last_kernel": 9, "conv_shortcut": True},
        {"ratios": (2,), "residual_kernel": 7, "residual_layers": 3, "last_kernel": 15},
    ],
    ids=str,
)
def test_the_reach_of_any_geometry_is_enough_and_not_too_much(changes: dict[str, Any]) -> None:
    spec = replace(ENCODEC_32KHZ, codebook_size=128, codebook_dim=16, filters=4, **changes)
    torch.manual_seed(1)
    graphs = TorchCodec(CodecDecoder(spec).eval().requires_grad_(False))
    with torch.inference_mode():
        expected = graphs.decoder(torch.from_numpy(codes())).numpy()
    for sizes in ((1,), RAGGED):
        got = np.concatenate(list(pieces(graphs, spec, codes(), sizes)))
        assert np.abs(got - expected).max() <= TOLERANCE
    latent = torch.randn(spec.lstm_width, 40)
    with torch.inference_mode():
        heard = [graphs.upsample(_bent(latent, at)).reshape(40, -1)[20] for at in (None, *range(40))]
    touched = [at for at in range(40) if np.abs(heard[at + 1] - heard[0]).max() > 0]
    assert max(20 - touched[0], touched[-1] - 20) == reach(spec).context


def _bent(latent: torch.Tensor, at: int | None) -> NDArray[np.float32]:
    other = latent.clone()
    if at is not None:
        other[:, at] += 1
    return np.asarray(other.numpy())


class TorchCodec:
    """A codec's module alone as the two graphs that `engine.codec` asks for."""

    def __init__(self, decoder: CodecDecoder) -> None:
        self.decoder = decoder

    @torch.inference_mode()
    def recur(self, read: Any, hidden: Any, cell: Any) -> tuple[Any, Any, Any]:
        y, h, c = self.decoder.recur(
            *(torch.from_numpy(np.ascontiguousarray(x)) for x in (read, hidden, cell))
        )
        return y.numpy(), h.numpy(), c.numpy()

    @torch.inference_mode()
    def upsample(self, y: Any) -> Any:
        return self.decoder.upsample(torch.from_numpy(np.ascontiguousarray(y))).numpy()


def test_a_codec_with_another_padding_is_refused(tiny_package: Package) -> None:
    assert tiny_package.spec.codec is not None
    spec = replace(tiny_package.spec.codec, pad_mode="replicate")
    with pytest.raises(ValueError, match="replicate"):
        codec.padded_indices(0, 5, 5, 3, spec.pad_mode)


def test_music_shorter_than_the_lead_is_refused(torch_backend: TorchBackend) -> None:
    spec = torch_backend.spec.codec
    assert spec is not None
    with pytest.raises(ValueError, match="at least 4 frames, not 3"):
        codec.decode(torch_backend, spec, codec.start(spec, 4), codes(3), last=True)
