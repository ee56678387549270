"""`cuestream verify`: a package run by PyTorch and by its exported graphs, compared with the arrays of a fixture.

Names of arrays that nobody knows are reported, not passed over.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import PackageError
from export.checkpoint import Package, load_model, load_package
from export.files import read_pickle
from export.fixture import CODEC_ARRAYS, Fixture, read_fixture
from export.onnx import export
from export.reproduction import ARRAYS, Reproduction
from export.sides import Array, OnnxSide, Side, TorchSide
from export.sources import STATE_FILE, fetch
from export.verify_codec import AUDIO_TOLERANCE, audio_of, find_codec, latent_of

TOLERANCE = 2e-5
"""Of embeddings and logits in float32: what reordering sums of this size was seen to cost is under 1e-5."""

REPRODUCED = (
    "vision", "short_term", "long_term", "fuse", "condition",
    "step", "prefill", "step_unguided", "prefill_unguided",
)  # fmt: skip
"""Graphs that a fixture may need: nothing published plays two segments at once."""

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


def verify(
    source: str, against: Path, codec_source: str | None = None, tolerance: float = TOLERANCE
) -> Report:
    """Compare a package with a fixture. Raises PackageError when either cannot be read or nothing can be compared."""
    fixture, report = read_fixture(against), Report()
    if fixture.is_codec:
        _compare_codec(source, codec_source, fixture, report)
    if fixture.needs_model:
        package = load_package(source, codec="none", vision=fixture.notes.get("clip"))
        with tempfile.TemporaryDirectory() as folder:
            export(without_codec(package), Path(folder), names=REPRODUCED)
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
    runs = {name: Reproduction(side, fixture) for name, side in sides.items()}
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


def _compare_codec(source: str, override: str | None, fixture: Fixture, report: Report) -> None:
    """Audio is decoded whole and in chunks, and the chunks that differ most count."""
    found = find_codec(source, fixture, override)
    computed = {"latent": latent_of, "audio": audio_of}
    for name in CODEC_ARRAYS:
        if name not in fixture.arrays:
            continue
        expected = fixture.arrays[name]
        got = {
            side: [
                value.reshape(expected.shape) if value.size == expected.size else value for value in values
            ]
            for side, values in computed[name](found, fixture).items()
        }
        if not got["onnx"]:
            report.skipped[f"{name} (onnx)"] = "inner values that the exported graphs do not show"
        report.tolerances[name] = AUDIO_TOLERANCE
        report.arrays[name] = {
            side: max((_difference(value, expected) or 0.0 for value in values), default=None)
            for side, values in got.items()
        }
