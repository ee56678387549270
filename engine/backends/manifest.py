"""What an exported model folder says of itself: which graphs it holds, of which spec, and how they were made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import PackageError
from engine.spec import ModelSpec

MANIFEST_FILE = "manifest.json"
SPEC_FILE = "spec.json"
WEIGHTS_FILE = "weights.bin"
FORMAT = 2
"""Raised when graphs of an older export can no longer be run."""
STANDARD, ONNXRUNTIME = "standard", "onnxruntime"
"""What graphs are made of; see `export.standard`."""
KINDS: dict[str, type] = {
    "precision": str,
    "cache_head_dim": int,
    "graphs": dict,
    "made_with": dict,
    "operators": str,
    "weights": str,
    "quantised": dict,
    "step": dict,
}
"""Of what `Manifest` takes from the file as it is."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`graphs` maps a graph's name to what is known of it; see `export.onnx` for the fields."""

    folder: Path
    spec: ModelSpec
    precision: str
    cache_dtype: type[np.generic]
    condition_dtype: type[np.generic]
    """Of cross-attention keys and values; `cache_dtype` is that of self-attention."""
    cache_head_dim: int
    graphs: dict[str, dict[str, Any]]
    made_with: dict[str, str]
    operators: str
    """`standard`, or `onnxruntime` where only that runtime's CPU knows them all."""
    weights: str
    """A digest of what the graphs hold beside themselves; empty where the export is older than it."""
    quantised: dict[str, dict[str, Any]]
    """Of graphs whose weights have fewer bits: how many, in which blocks, and what rounding changed."""
    step: dict[str, dict[str, Any]]
    """What a step reads, see `export.step_tensors`; nothing where it is made for other runtimes, of fp16, or older."""

    @property
    def label(self) -> str:
        """The precision and, of four bits, how they were made: `int4 nearest`. Older exports do not say."""
        return f"{self.precision} {self.quantised.get('step', {}).get('rounding', '')}".rstrip()

    def graph(self, name: str) -> str:
        """The path of a graph. Raises PackageError when the export has none of that name or its file is gone."""
        if name not in self.graphs:
            raise PackageError(
                f"{self.folder}: the export has no graph {name!r}; it was made without a codec"
            )
        path = self.folder / self.graphs[name]["file"]
        if not path.is_file():
            raise PackageError(f"{self.folder}: {MANIFEST_FILE} names {path.name}, which is missing")
        return str(path)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise PackageError(
                f"{folder}: expected an exported model with a {MANIFEST_FILE} (see cuestream export)"
            )
        try:
            raw = json.loads(path.read_text("utf-8"))
            found, digest = raw["format"], raw["spec_digest"]
            if found != FORMAT:
                raise PackageError(
                    f"{folder}: expected export format {FORMAT}, found {found!r}; export it again"
                )
            _check(raw)
            spec = ModelSpec.from_json((folder / SPEC_FILE).read_text("utf-8"))
            manifest = cls(
                folder,
                spec,
                raw["precision"],
                np.dtype(raw["cache_dtype"]).type,
                np.dtype(raw.get("condition_dtype", raw["cache_dtype"])).type,
                raw["cache_head_dim"],
                raw["graphs"],
                raw["made_with"],
                raw.get("operators", ONNXRUNTIME),
                raw.get("weights", ""),
                raw.get("quantised", {}),
                raw.get("step", {}),
            )
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise PackageError(f"{folder}: {MANIFEST_FILE} or {SPEC_FILE} is damaged: {error}") from error
        if digest != spec.digest:
            raise PackageError(
                f"{folder}: the graphs were made from the spec {digest}, but {SPEC_FILE} is {spec.digest}"
            )
        return manifest


def _check(raw: dict[str, Any]) -> None:
    """Raises ValueError for what is of another kind, and for operators that this version does not know."""
    for name, kind in KINDS.items():
        if name in raw and not isinstance(raw[name], kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    if (operators := raw.get("operators", ONNXRUNTIME)) not in (STANDARD, ONNXRUNTIME):
        raise ValueError(f"operators {operators!r} are not known")
