"""`cuestream export`: a package to a folder of ONNX graphs that the engine runs without PyTorch.

All graphs share one file of weights, `weights.bin`, and name places in it as ONNX external data: the variants of a step cost no
disk, no file passes ONNX's limit of 2 GB, and ONNX Runtime maps the file into memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import onnx
import onnx_ir as ir
import onnxruntime
import torch

import cuestream
from engine.backends.manifest import FORMAT, MANIFEST_FILE, SPEC_FILE
from engine.model.decoder import Linear
from engine.model.vidmuse import VidMuse
from export.checkpoint import Package, load_model
from export.graphs import Graph, graphs, padded_head

Precision = Literal["fp32", "fp16"]

OPSET = 22
WEIGHTS_FILE = "weights.bin"
INLINE_BYTES = 1024
"""Smaller tensors (shapes, scalars) stay inside the graphs, where the optimiser folds them."""
PAGE_BYTES, LINE_BYTES = 4096, 64
"""Large tensors start on a page, so that they can be mapped; small ones on a cache line."""


def export(
    package: Package,
    folder: Path,
    precision: Precision = "fp32",
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Write graphs, weights, `spec.json` and `manifest.json`; the manifest comes last, so a broken export has none."""
    model = in_precision(load_model(package), precision)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    described = {}
    with (folder / WEIGHTS_FILE).open("wb") as file:
        shared = _SharedWeights(file, folder)
        for graph in graphs(model):
            report(graph.name)
            traced = shared.move_out(trace(graph))
            _annotate(traced, package, precision)
            path = folder / f"{graph.name}.onnx"
            ir.save(traced, path)
            described[graph.name] = _describe(traced, path)
    (folder / SPEC_FILE).write_text(package.spec.to_json())
    (folder / MANIFEST_FILE).write_text(json.dumps(_manifest(model, precision, described), indent=1))


def in_precision(model: VidMuse, precision: Precision) -> VidMuse:
    """fp16 halves matrices and caches; the residual stream, norms, embeddings, softmax and the codec stay fp32."""
    if precision == "fp16":
        for half in (model.vision.clip, model.short_branch, model.long_branch, model.fusion):
            half.half()
        for module in model.decoder.modules():
            if isinstance(module, Linear):
                module.half()
        model.settle_null()
    return model


def trace(graph: Graph) -> ir.Model:
    """One graph, its weights inside. The exporter's warnings about its own workings are kept quiet."""
    for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.module,
            graph.inputs,
            dynamo=True,
            input_names=graph.input_names,
            output_names=graph.output_names,
            dynamic_shapes=graph.dynamic,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    traced: ir.Model = program.model
    for part in (traced.graph, *traced.graph):
        part.metadata_props.clear()
        part.doc_string = None
    return traced


class _SharedWeights:
    """Appends tensors to the weights file, each once, and leaves their place in the graph."""

    def __init__(self, file: BinaryIO, folder: Path) -> None:
        self._file, self._folder = file, folder
        self._places: dict[str, tuple[int, int]] = {}

    def move_out(self, model: ir.Model) -> ir.Model:
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= INLINE_BYTES:
                value.const_value = self._moved(tensor)
        self._file.flush()
        return model

    def _moved(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        offset, length = self._place(tensor.tobytes())
        name, shape = tensor.name or "", ir.Shape(tensor.shape.numpy())
        return ir.ExternalTensor(
            WEIGHTS_FILE, offset, length, tensor.dtype, shape=shape, name=name, base_dir=self._folder
        )

    def _place(self, data: bytes) -> tuple[int, int]:
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._places:
            alignment = PAGE_BYTES if len(data) >= 1 << 20 else LINE_BYTES
            self._file.write(bytes(-self._file.tell() % alignment))
            self._places[digest] = (self._file.tell(), len(data))
            self._file.write(data)
        return self._places[digest]


def _annotate(model: ir.Model, package: Package, precision: Precision) -> None:
    model.metadata_props.clear()
    model.metadata_props.update(
        {
            "cuestream.spec_digest": package.spec.digest,
            "cuestream.version": cuestream.__version__,
            "cuestream.precision": precision,
        }
    )
    model.producer_name, model.producer_version = "cuestream", cuestream.__version__


def _describe(model: ir.Model, path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "nodes": len(model.graph),
        "inputs": [_value(v) for v in model.graph.inputs],
        "outputs": [_value(v) for v in model.graph.outputs],
    }


def _value(value: ir.Value) -> str:
    """`name: type[shape]` in one line."""
    shape = ", ".join(str(d) for d in value.shape or ())
    return f"{value.name}: {str(value.dtype).lower()}[{shape}]"


def _manifest(model: VidMuse, precision: Precision, described: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": model.spec.name,
        "spec_digest": model.spec.digest,
        "precision": precision,
        "opset": OPSET,
        "cache_dtype": str(model.decoder.logits.weight.dtype).removeprefix("torch."),
        "cache_head_dim": padded_head(model.spec.decoder),
        "made_with": {
            "cuestream": cuestream.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "graphs": described,
    }
