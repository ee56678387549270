"""`cuestream verify`: a package run by PyTorch and by its exported graphs, compared with the arrays of a fixture.

Both runs go through the same functions: a side is a way to run a named graph, and a backend over it. Each array of the fixture
has one function that computes it; names that none knows are reported, not passed over.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from engine import codec
from engine.backends.base import F32, I64, Backend
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.runtime import require_onnxruntime
from engine.backends.torch import TorchBackend
from engine.errors import PackageError
from engine.generate import Window, generate, pattern_of
from engine.model.codec import CodecDecoder
from engine.model.decoder import empty_caches
from engine.model.vidmuse import VidMuse
from engine.offline import compose, encode, schedule
from engine.sampling import guide, sample, softmax
from engine.spec import CodecSpec, ModelSpec, StreamPolicy
from export.checkpoint import STATE_FILE, Package, load_model, load_package
from export.codec_weights import COMPRESSION_FILE, Codec, read_codec, read_package_codec
from export.files import fetch, read_pickle
from export.fixture import CODEC_ARRAYS, Fixture, Run, read_fixture
from export.graphs import Graph, codec_graphs, graphs
from export.onnx import export, trace

Array = NDArray[Any]

TOLERANCE = 2e-5
"""Of embeddings and logits in float32: what reordering sums of this size was seen to cost is under 1e-5."""
AUDIO_TOLERANCE = 1e-5
GREEDY = StreamPolicy(temperature=0.0)
PUBLISHED_SEED = 1234
"""The published code seeds PyTorch's generator with it whenever it generates."""

INPUTS = ("local_frames_u8", "global_frames_u8", "codes")


@dataclass(slots=True)
class Report:
    """What `--json` prints. An array maps to each side's largest absolute difference, None where a side has no such value."""

    arrays: dict[str, dict[str, float | None]] = field(default_factory=dict)
    tokens: dict[str, dict[str, bool]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    tolerances: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Something was compared, every token is equal, and no array is further off than its tolerance."""
        close = all(
            d is None or d <= self.tolerances[name]
            for name, sides in self.arrays.items()
            for d in sides.values()
        )
        equal = all(all(sides.values()) for sides in self.tokens.values())
        return close and equal and bool(self.arrays or self.tokens)

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "arrays": self.arrays, "tokens": self.tokens, "skipped": self.skipped}


class Side(Protocol):
    """One way to run the model."""

    @property
    def backend(self) -> Backend[Any, Any]: ...

    def run(self, graph: str, **inputs: Array) -> dict[str, Array]:
        """All outputs of a named graph."""
        ...

    def layers(self, columns: I64, condition: F32) -> F32 | None:
        """The decoder's layer outputs [L, 1, S, D] for columns [S, K], where this side can show them."""
        ...


class TorchSide:
    def __init__(self, model: VidMuse) -> None:
        self.model = model
        self.backend = TorchBackend(model)
        self._graphs: dict[str, Graph] = {g.name: g for g in graphs(model)}

    @torch.inference_mode()
    def run(self, graph: str, **inputs: Array) -> dict[str, Array]:
        traced = self._graphs[graph]
        answer = traced.module(*(torch.from_numpy(inputs[name]) for name in traced.input_names))
        outputs = answer if isinstance(answer, tuple) else (answer,)
        return {name: value.numpy() for name, value in zip(traced.output_names, outputs, strict=True)}

    @torch.inference_mode()
    def layers(self, columns: I64, condition: F32) -> F32:
        decoder, spec = self.model.decoder, self.model.spec.decoder
        keys, values = decoder.project(torch.from_numpy(condition))
        caches = empty_caches(spec, 1, len(columns))
        outputs: list[torch.Tensor] = []
        start = torch.zeros(1, dtype=torch.int64)
        decoder(torch.from_numpy(columns)[None], start, *caches, keys, values, guided=False, trace=outputs)
        return torch.stack([x[0] for x in outputs]).numpy()


class OnnxSide:
    def __init__(self, folder: Path) -> None:
        self.backend = OnnxBackend(folder)

    def run(self, graph: str, **inputs: Array) -> dict[str, Array]:
        names = [o.name for o in self.backend.session(graph).get_outputs()]
        return dict(zip(names, self.backend.run(graph, inputs, names), strict=True))

    def layers(self, columns: I64, condition: F32) -> None:
        return None


def verify(
    source: str, against: Path, codec_source: str | None = None, tolerance: float = TOLERANCE
) -> Report:
    """Compare a package with a fixture. Raises PackageError when either cannot be read or nothing can be compared."""
    fixture, report = read_fixture(against), Report()
    if fixture.is_codec:
        _compare_codec(_find_codec(source, fixture, codec_source), fixture, report)
    if fixture.needs_model:
        package = load_package(source, codec="none", vision=fixture.notes.get("clip"))
        with tempfile.TemporaryDirectory() as folder:
            export(without_codec(package), Path(folder))
            _compare_model(package, Path(folder), fixture, tolerance, report)
        _compare_checksum(source, fixture, report)
    if not report.arrays and not report.tokens:
        raise PackageError(
            f"{against}: expected arrays of a known name, found {', '.join(fixture.arrays) or 'none'}"
        )
    return report


def without_codec(package: Package) -> Package:
    weights = {k: v for k, v in package.weights.items() if not k.startswith("codec.")}
    return Package(replace(package.spec, codec=None), weights)


def _compare_model(
    package: Package, folder: Path, fixture: Fixture, tolerance: float, report: Report
) -> None:
    plain = without_codec(package)
    sides: dict[str, Side] = {"torch": TorchSide(load_model(plain)), "onnx": OnnxSide(folder)}
    runs = {name: _Reproduction(side, fixture) for name, side in sides.items()}
    for name, expected in fixture.arrays.items():
        if name in INPUTS or name in CODEC_ARRAYS or name == "det_weight_checksum":
            continue
        if reason := _unknown(name, fixture):
            report.skipped[name] = reason
            continue
        got = {side: run.array(name) for side, run in runs.items()}
        _note(report, name, expected, got, tolerance)


def _note(report: Report, name: str, expected: Array, got: dict[str, Array | None], tolerance: float) -> None:
    if not np.issubdtype(expected.dtype, np.floating):
        report.tokens[name] = {
            side: value is not None and np.array_equal(value, expected) for side, value in got.items()
        }
        return
    report.tolerances[name] = tolerance
    report.arrays[name] = {side: _difference(value, expected) for side, value in got.items()}
    if any(value is None for value in got.values()):
        report.skipped[f"{name} (onnx)"] = "inner values that the exported graphs do not show"


def _difference(value: Array | None, expected: Array) -> float | None:
    """The largest absolute difference; infinite where shapes or the places of NaN differ."""
    if value is None:
        return None
    if value.shape != expected.shape or not np.array_equal(np.isnan(value), np.isnan(expected)):
        return float("inf")
    return float(np.nanmax(np.abs(value.astype(np.float64) - expected))) if value.size else 0.0


def _unknown(name: str, fixture: Fixture) -> str | None:
    stem = name.removesuffix("_codes").removesuffix("_raw_cond_uncond_logits")
    if name in ARRAYS or stem.startswith("longform"):
        return None
    if stem == name:
        return "no array of this name is known"
    if fixture.run(stem).sampled and stem not in fixture.notes:
        return "a sampling run without notes of its temperature, top-k and top-p"
    return None


class _Reproduction:
    """What one side computes from a fixture's inputs, each intermediate once."""

    def __init__(self, side: Side, fixture: Fixture) -> None:
        self.side, self.fixture = side, fixture
        self.spec: ModelSpec = side.backend.spec
        self.pattern = pattern_of(side.backend)
        self.run = cache(self._run)

    def array(self, name: str) -> Array | None:
        if name in ARRAYS:
            return ARRAYS[name](self)
        if name.startswith("longform"):
            return self.long_form(name.removesuffix("_codes"))[None]
        codes, logits = self.run(name.removesuffix("_codes").removesuffix("_raw_cond_uncond_logits"))
        return logits if name.endswith("_logits") else codes[None]

    @cached_property
    def local(self) -> dict[str, Array]:
        return self.side.run("vision", frames=self.fixture.local_frames(self.spec))

    @cached_property
    def black(self) -> F32:
        """Features [1, P, E] of the null frame."""
        side = self.spec.vision.image_size
        return self.side.run("vision", frames=np.zeros((1, side, side, 3), np.uint8))["features"]

    @cached_property
    def short(self) -> F32:
        return self.side.run("short_term", features=self.local["features"])["short"]

    @cached_property
    def long(self) -> dict[str, Array]:
        frames = self.fixture.global_frames(self.spec)
        return self.side.run("long_term", features=self.side.backend.encode_frames(frames))

    @cached_property
    def fused(self) -> dict[str, Array]:
        return self.side.run("fuse", short=self.short, memory=self.long["memory"])

    def features_with_null(self) -> F32:
        return np.concatenate((self.local["features"], np.repeat(self.black, len(self.local["features"]), 0)))

    def embedding(self) -> F32:
        """[2, F P, D]; the null half is one frame's tokens again and again, as the engine holds it."""
        short = self.side.run("short_term", features=self.black)["short"]
        memory = self.side.run("long_term", features=self.black)["memory"]
        null = self.side.run("fuse", short=short, memory=memory)["tokens"]
        tokens = self.fused["tokens"]
        rows = (tokens, np.repeat(null, len(tokens), 0))
        return np.stack([x.reshape(-1, x.shape[-1]) for x in rows])

    @cached_property
    def condition(self) -> tuple[Any, int]:
        tokens = self.fused["tokens"]
        condition = self.side.backend.new_condition(len(tokens))
        self.side.backend.write_condition(condition, 0, tokens)
        return condition, len(tokens)

    def columns(self, flushed: bool) -> I64:
        """The teacher-forced columns [S, K], with the flush of the pattern or with valid steps only."""
        codes = self.fixture.codes(self.spec)
        steps = codes.shape[1] + (self.pattern.codebooks if flushed else 1)
        return self.pattern.sequence(codes, steps)

    def teacher_forced(self, flushed: bool) -> F32:
        """Conditional logits [S, K, card], one column at a time through the cache."""
        columns, (condition, frames) = self.columns(flushed), self.condition
        backend = self.side.backend
        caches = backend.new_caches(1, False, len(columns))
        steps = (
            backend.step(caches, 0, condition, frames, columns[None, i : i + 1], np.array([i]))
            for i in range(len(columns))
        )
        return np.stack([logits[0, 0] for logits in steps])

    def predictions(self) -> tuple[F32, Array]:
        """Training's view: logits [K, T, card] of the timestep they predict, NaN where the valid steps end, and the mask."""
        logits = self.teacher_forced(flushed=False)
        codebooks, frames = self.pattern.codebooks, len(logits) - 1
        aligned = np.full((codebooks, frames, logits.shape[-1]), np.nan, np.float32)
        for k in range(codebooks):
            aligned[k, : frames - k] = logits[k:frames, k]
        return aligned, ~np.isnan(aligned[..., 0])

    def _run(self, name: str) -> tuple[I64, F32]:
        """Codes [K, T] and the raw logits [steps, R, K, card] of a greedy run."""
        run, (condition, frames) = self.fixture.run(name), self.condition
        expected = self.fixture.arrays.get(f"{name}_codes")
        source = expected[0].astype(np.int64) if expected is not None else self.fixture.codes(self.spec)
        window = Window(condition, frames, source[:, : run.prompt], run.steps)
        policy = replace(GREEDY, guidance=run.guidance)
        draw = _published_draws(run, self.fixture.global_frames(self.spec).shape) if run.sampled else None
        seen: list[F32] = []

        def choose(logits: F32, step: int) -> I64:
            seen.append(logits)
            return draw(logits) if draw else sample(logits, policy, step)

        return generate(self.side.backend, window, policy, choose), np.stack(seen)

    def long_form(self, name: str) -> I64:
        frames, duration, stride = self.fixture.long_form(name, self.spec)
        short = encode(self.side.backend, frames)
        spans = schedule(self.spec, duration, stride, as_published=True)
        parts = compose(self.side.backend, short, self.long["memory"], spans, GREEDY, as_published=True)
        return np.concatenate(list(parts), axis=1)


def _published_draws(run: Run, global_frames: tuple[int, ...]) -> Callable[[F32], I64]:
    """Draws of the published code on a CPU: seeded at each run, moved on by its null mask over the global frames."""
    frames, height, width, channels = global_frames
    random = torch.Generator().manual_seed(PUBLISHED_SEED)
    torch.rand(1, channels, frames, height, width, generator=random)

    def draw(logits: F32) -> I64:
        chances = softmax(guide(logits, run.guidance) / run.temperature)
        kept, tokens = _ranked(torch.from_numpy(chances).float(), run)
        picked = torch.multinomial(kept, 1, generator=random)
        return tokens.gather(-1, picked)[:, 0].numpy()

    return draw


def _ranked(chances: torch.Tensor, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Chances [K, card] that are left, and the token at each place: the nucleus is drawn in its sorted order."""
    if run.top_p > 0:
        ranked, tokens = chances.sort(-1, descending=True)
        ranked = ranked * (ranked.cumsum(-1) - ranked <= run.top_p)
        return ranked / ranked.sum(-1, keepdim=True), tokens
    tokens = torch.arange(chances.shape[-1]).expand(chances.shape)
    if run.top_k > 0:
        chances = chances * (chances >= chances.topk(run.top_k, -1).values[:, -1:])
    return chances / chances.sum(-1, keepdim=True), tokens


ARRAYS: dict[str, Callable[[_Reproduction], Array | None]] = {
    "pixel_values_local": lambda r: r.local["pixel_values"],
    "clip_last_hidden_local_condnull_before_pos": _Reproduction.features_with_null,
    "local_temporal_out_cond_only": lambda r: r.short,
    "global_temporal_out_cond_only": lambda r: r.long["long"],
    "fusion_out_cond_only": lambda r: r.fused["fused"].reshape(1, -1, r.spec.vision.width),
    "video_emb_cond_null": _Reproduction.embedding,
    "pattern_sequence": lambda r: r.columns(True).T[None],
    "pattern_sequence_valid_only": lambda r: r.columns(False).T[None],
    "pattern_mask": lambda r: (
        r.pattern.filled(len(r.columns(True)), len(r.columns(True)) - r.pattern.codebooks).T
    ),
    "teacher_forced_logits": lambda r: r.teacher_forced(True).transpose(1, 0, 2)[None],
    "decoder_layer_outputs": lambda r: r.side.layers(r.columns(True), r.fused["tokens"]),
    "compute_predictions_logits": lambda r: r.predictions()[0][None],
    "compute_predictions_mask": lambda r: r.predictions()[1][None],
}


def _compare_checksum(source: str, fixture: Fixture, report: Report) -> None:
    """The fixture's sums over all tensors, to tell that it was made from this package."""
    expected, path = fixture.arrays.get("det_weight_checksum"), fetch(source, STATE_FILE)
    if expected is None:
        return
    if path is None:
        report.skipped["det_weight_checksum"] = "a converted package has not all of the published tensors"
        return
    state = [t.double() for t in read_pickle(path)["best_state"].values()]
    sums = np.array([sum(float(t.sum()) for t in state), sum(float(t.abs().sum()) for t in state)])
    report.arrays["det_weight_checksum"] = {"torch": _difference(sums, expected), "onnx": None}
    report.tolerances["det_weight_checksum"] = 1e-6 * float(abs(expected[1]))


def _find_codec(source: str, fixture: Fixture, override: str | None) -> Codec:
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


def _compare_codec(found: Codec, fixture: Fixture, report: Report) -> None:
    """Audio is compared whole and in chunks of 1, 5 and 25 frames; the worst of them counts."""
    spec, weights = found
    decoder = CodecDecoder(spec).eval().requires_grad_(False)
    decoder.load_state_dict(weights)
    if "codes" not in fixture.arrays:
        raise PackageError(
            f"{fixture.path}: expected the codes of its {'audio' if 'audio' in fixture.arrays else 'latent'}"
        )
    codes = fixture.arrays["codes"][0].astype(np.int64)
    if "latent" in fixture.arrays:
        latent = decoder.quantised(torch.from_numpy(codes)).numpy()
        report.arrays["latent"] = {"torch": _difference(latent, fixture.arrays["latent"]), "onnx": None}
        report.skipped["latent (onnx)"] = "inner values that the exported graphs do not show"
    if "audio" in fixture.arrays:
        expected = fixture.arrays["audio"].reshape(-1)
        sides: dict[str, codec.CodecGraphs] = {
            "torch": _TorchCodec(decoder),
            "onnx": _OnnxCodec(decoder, codes.shape[0]),
        }
        report.arrays["audio"] = {name: _worst(side, spec, codes, expected) for name, side in sides.items()}
    report.tolerances |= dict.fromkeys(CODEC_ARRAYS, AUDIO_TOLERANCE)


def _worst(side: codec.CodecGraphs, spec: CodecSpec, codes: I64, expected: F32) -> float:
    sizes = (codes.shape[1], 1, 5, 25)
    return max(
        _difference(np.concatenate(list(_chunks(side, spec, codes, n))), expected) or 0.0 for n in sizes
    )


def _chunks(side: codec.CodecGraphs, spec: CodecSpec, codes: I64, size: int) -> Iterator[F32]:
    state, total = codec.start(spec, codes.shape[0]), codes.shape[1]
    for first in range(0, total, size):
        last = first + size >= total
        samples, state = codec.decode(side, spec, state, codes[:, first : first + size], last=last)
        yield samples
