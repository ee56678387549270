"""A codec on its own, run by PyTorch and by its two graphs, against a fixture's latent and audio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from engine.asking import alone
from engine.backends.base import F32, I64
from engine.backends.runtime import require_onnxruntime
from engine.codec import encodec
from engine.codec.encodec import EncodecGraphs
from engine.errors import PackageError
from engine.model.codec import CodecDecoder
from engine.spec import CodecSpec
from export.codec_weights import COMPRESSION_FILE, Codec, read_codec, read_package_codec
from export.fixture import Fixture
from export.graphs import codec_graphs
from export.onnx import trace
from export.sources import fetch

AUDIO_TOLERANCE = 1e-5
CHUNKS = (1, 5, 25)
"""Code frames given to the codec at once, beside the whole."""


def find_codec(source: str, fixture: Fixture, override: str | None) -> Codec:
    """The codec named by the caller, that of the package, or the weights that lie beside the fixture."""
    if override is not None:
        return read_codec(override)
    beside = fixture.path.with_name(f"{fixture.path.stem}_state_dict.safetensors")
    target = beside if beside.is_file() else None
    try:
        if Path(source).is_file() or fetch(source, COMPRESSION_FILE) is None:
            return read_codec(source)
        found = read_package_codec(source, None, target)
    except PackageError:
        if target is None:
            raise
        found = read_codec(str(target))
    assert found is not None
    return found


def latent_of(found: Codec, fixture: Fixture) -> dict[str, list[F32]]:
    """The quantised latent [1, dim, T]; the graphs do not show theirs."""
    latent: F32 = _decoder(found).quantised(torch.from_numpy(_codes(fixture))).numpy()
    return {"torch": [latent], "onnx": []}


def audio_of(found: Codec, fixture: Fixture) -> dict[str, list[F32]]:
    """Samples [T x hop] of each side, decoded whole and in chunks."""
    codes, decoder = _codes(fixture), _decoder(found)
    sides: dict[str, EncodecGraphs] = {
        "torch": _TorchCodec(decoder),
        "onnx": _OnnxCodec(decoder, codes.shape[0]),
    }
    sizes = (codes.shape[1], *CHUNKS)
    return {
        name: [np.concatenate(list(_chunks(side, found[0], codes, size))) for size in sizes]
        for name, side in sides.items()
    }


def _decoder(found: Codec) -> CodecDecoder:
    decoder = CodecDecoder(found[0]).eval().requires_grad_(False)
    decoder.load_state_dict(found[1])
    return decoder


def _codes(fixture: Fixture) -> I64:
    if "codes" not in fixture.arrays:
        raise PackageError(f"{fixture.path}: expected the codes that its latent or audio was decoded from")
    return fixture.arrays["codes"][0].astype(np.int64)


def _chunks(side: EncodecGraphs, spec: CodecSpec, codes: I64, size: int) -> Iterator[F32]:
    state, total = encodec.start(spec, codes.shape[0]), codes.shape[1]
    for first in range(0, total, size):
        last = first + size >= total
        piece = encodec.decoding(spec, state, codes[:, first : first + size], last=last)
        samples, state = alone(side, piece)
        yield samples


class _OnnxCodec:
    """The two graphs of a codec that is verified on its own."""

    def __init__(self, decoder: CodecDecoder, codebooks: int) -> None:
        runtime = require_onnxruntime()
        self._sessions = {}
        for graph in codec_graphs(decoder, codebooks):
            model = ir.to_proto(trace(graph)).SerializeToString()
            self._sessions[graph.name] = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        inputs = {"codes": codes, "hidden": hidden, "cell": cell}
        y, hidden, cell = self._sessions["codec_recurrent"].run(None, inputs)
        return y, hidden, cell

    def upsample(self, y: F32) -> F32:
        samples: F32 = self._sessions["codec_upsample"].run(None, {"y": y})[0]
        return samples


class _TorchCodec:
    def __init__(self, decoder: CodecDecoder) -> None:
        self.decoder = decoder

    @torch.inference_mode()
    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        y, h, c = self.decoder.recur(
            torch.from_numpy(codes), torch.from_numpy(hidden), torch.from_numpy(cell)
        )
        return y.numpy(), h.numpy(), c.numpy()

    @torch.inference_mode()
    def upsample(self, y: F32) -> F32:
        samples: F32 = self.decoder.upsample(torch.from_numpy(y)).numpy()
        return samples
