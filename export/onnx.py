"""`cuestream export`: a package to a folder of ONNX graphs that the engine runs without PyTorch.

All graphs share one file of weights, `weights.bin`, and name places in it as ONNX external data: the variants of a step cost no
disk, no file passes ONNX's limit of 2 GB, and ONNX Runtime maps the file into memory. A compact export is a converted package as
well: its graphs name places in `model.safetensors`, and cast and turn what they find there when they are loaded.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, Literal

import onnx
import onnx_ir as ir
import torch

import cuestream
from engine.backends.manifest import FORMAT, MANIFEST_FILE, SPEC_FILE, WEIGHTS_FILE
from engine.backends.runtime import require_onnxruntime
from engine.errors import PackageError
from engine.model.vidmuse import VidMuse
from export.calibrate import QUICK_STEPS, STEPS, Calibration, calibrate, matrices_of_a_step
from export.checkpoint import WEIGHTS_FILE as PACKAGE_FILE
from export.checkpoint import Package, holds, load_model
from export.folder import whole
from export.gptq import SENSITIVE, output_error, solved
from export.graphs import CodecRecurrent, Graph, graphs, kept_in
from export.grouped import padded_head
from export.nearest import nearest
from export.quantise import Quantised, Rounded, by_blocks, by_columns, digest
from export.scaled import by_scales
from export.standard import OPSET as STANDARD_OPSET
from export.standard import Operators
from export.step_tensors import step_tensors
from export.weights_file import SharedWeights, packaged

Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4"]
FEW_BITS: tuple[Precision, ...] = ("fp8", "int8", "int4")
HALVES: tuple[Precision, ...] = ("fp16", "bf16")
FOR_GPUS: tuple[Precision, ...] = ("bf16", "fp8")
Rounding = Literal["gptq", "nearest"]
"""Of four bits: solved on the model's own music, or each weight alone."""

OPSET = 22
DECODER = tuple(f"{name}{suffix}" for name in ("step", "step_two", "prefill") for suffix in ("", "_unguided"))
"""Graphs whose rows must not depend on each other: several segments, or columns of a prompt."""
ALL_KEEP = ("codec_upsample", "codec_oscillator")
"""Graphs that keep their floats: what they do wrong is heard."""
WRITTEN = (*DECODER, "condition_in_place")
"""Graphs that write a cache or a condition."""


def export(
    package: Package,
    folder: Path,
    precision: Precision = "fp32",
    report: Callable[[str], None] = lambda _: None,
    compact: bool = False,
    operators: Operators = "onnxruntime",
    names: Container[str] | None = None,
    rounding: Rounding | None = None,
) -> None:
    """Write graphs, weights, `spec.json` and `manifest.json`. They take the place of an older export when all of them are there;
    graphs of it that this one has not, and weights beside it that are not the package's, are removed.

    compact: little disk for a small model: weights in fp16 where nothing is lost by it, and a copy in memory for every graph.
    operators: `standard` for other runtimes than ONNX Runtime on a CPU, see `export.standard`; of few bits and of bf16 only the
    decoder's matrices are made there, everything else is fp16. Raises PackageError for a precision that these operators cannot be
    made in, MissingRuntime without ONNX Runtime.
    names: of the graphs that are written; none is all. rounding: see `rounding_of`.
    """
    require_onnxruntime()
    rounding = rounding_of(precision, rounding)
    _check(package, precision, operators, rounding)
    with whole(folder, MANIFEST_FILE) as fresh:
        _write(package, fresh, precision, report, compact, operators, names, rounding)
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        for old in folder.glob("*.onnx"):
            if not (fresh / old.name).exists():
                old.unlink()
        if not holds(folder, package):
            (folder / PACKAGE_FILE).unlink(missing_ok=True)


def _write(
    package: Package,
    folder: Path,
    precision: Precision,
    report: Callable[[str], None],
    compact: bool,
    operators: Operators,
    names: Container[str] | None,
    rounding: Rounding | None,
) -> None:
    model, few = load_model(package), precision in FEW_BITS
    held = packaged(package, folder) if compact else {}
    described, quantised, step = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    known = Calibration()
    if few and _is_heard(rounding, operators):
        report("calibration: music is played")
        known = _heard(model, rounding)
    model = in_precision(model, precision, operators)
    matrices = _four_bits(model, rounding, known, report)
    if operators == "standard":
        known = Calibration()  # caches stay floats
    with (folder / WEIGHTS_FILE).open("wb") as file:
        shared = SharedWeights(file, folder, held)
        for graph in graphs(model, known, operators):
            if names is not None and graph.name not in names:
                continue
            report(graph.name)
            traced = trace(graph, opset_of(graph.name, operators))
            if few:
                done = _quantise(graph, traced, precision, operators, matrices, rounding)
                quantised |= {graph.name: done.as_json()} if done.weights else {}
            traced = shared.move_out(traced)
            if graph.name == "step" and precision not in HALVES:
                step = step_tensors(traced, model.spec.decoder.layers, shared.place)
            _annotate(traced, package, precision)
            path = folder / f"{graph.name}.onnx"
            ir.save(traced, path)
            described[graph.name] = _describe(traced, path)
    (folder / SPEC_FILE).write_text(package.spec.to_json(), encoding="utf-8")
    (folder / MANIFEST_FILE).write_text(
        json.dumps(
            _manifest(model, precision, operators, known, described, quantised)
            | {"step": step, "weights": shared.digest},
            indent=1,
        ),
        encoding="utf-8",
    )


def _check(package: Package, precision: Precision, operators: Operators, rounding: Rounding | None) -> None:
    if precision in FOR_GPUS and operators == "onnxruntime":
        raise PackageError(
            f"{precision} is made for GPUs; expected --operators standard, or --precision fp16 or int8 for ONNX Runtime's CPU"
        )
    if precision in FEW_BITS and package.spec.codec is None and _is_heard(rounding, operators):
        raise PackageError(
            f"{precision} is measured on music that the model plays, which takes its codec; without one, expected "
            "--precision fp32 or fp16"
        )


def _is_heard(rounding: Rounding | None, operators: Operators) -> bool:
    """Whether few bits take music: for the scales of caches, or for GPTQ."""
    return operators == "onnxruntime" or rounding == "gptq"


def opset_of(name: str, operators: Operators) -> int:
    """The newer one where a cache is written; the older one has fewer operators that a runtime may not know."""
    return STANDARD_OPSET if operators == "standard" and name in WRITTEN else OPSET


def rounding_of(precision: Precision, asked: Rounding | None = None) -> Rounding | None:
    """How four bits are made, by GPTQ unless asked otherwise; none in other precisions, of which asking it is a PackageError."""
    if precision == "int4":
        return asked or "gptq"
    if asked:
        raise PackageError(
            f"--rounding {asked} says how four bits are made; expected --precision int4, found {precision}"
        )
    return None


def _heard(model: VidMuse, rounding: Rounding | None) -> Calibration:
    return calibrate(model, QUICK_STEPS if rounding == "nearest" else STEPS, moments=rounding == "gptq")


def _four_bits(
    model: VidMuse, rounding: Rounding | None, known: Calibration, report: Callable[[str], None]
) -> dict[str, Rounded]:
    """The decoder's matrices in four bits, by the digest of their floats: GPTQ's where they bear it, all when rounded alone."""
    found = {}
    for name, matrix in matrices_of_a_step(model.decoder) if rounding else ():
        report(f"four bits: {name}")
        weight = matrix.weight.detach().float()
        four = nearest(weight) if rounding == "nearest" else _borne(weight, known.moments[name])
        if four:
            found[digest(weight.numpy().tobytes())] = four
    return found


def _borne(weight: torch.Tensor, moments: torch.Tensor) -> Rounded | None:
    """weight [N, K]; moments [K, K]. GPTQ's four bits, none where they move the outputs too far."""
    four = solved(weight, moments)
    floats = torch.from_numpy(four.floats(weight.shape[1]).T)
    return four if output_error(weight, floats, moments) <= SENSITIVE else None


def _quantise(
    graph: Graph,
    traced: ir.Model,
    precision: Precision,
    operators: Operators,
    matrices: Mapping[str, Rounded],
    rounding: Rounding | None,
) -> Quantised:
    """An LSTM was rounded when it was traced."""
    if operators == "standard":
        return by_scales(traced, precision, matrices, rounding) if graph.name in DECODER else Quantised()
    if graph.name in ALL_KEEP:
        return Quantised()
    if isinstance(graph.module, CodecRecurrent) and graph.module.few:
        return graph.module.few.done
    return by_blocks(traced, matrices, rounding) if graph.name in DECODER else by_columns(traced)


def in_precision(model: VidMuse, precision: Precision, operators: Operators = "onnxruntime") -> VidMuse:
    """fp16 halves matrices and caches (`VidMuse.narrow`); in bf16 are only the products of a step, since what is kept has more
    digits in fp16. Fewer bits are made of fp32, graph by graph, and in standard operators, whose activations are floats, of fp16.
    """
    if precision in HALVES or (operators == "standard" and precision in FEW_BITS):
        model.narrow(torch.float16)
    if precision == "bf16":
        for _, matrix in matrices_of_a_step(model.decoder):
            matrix.to(torch.bfloat16)
    return model


def trace(graph: Graph, opset: int = OPSET) -> ir.Model:
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
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    traced: ir.Model = program.model
    for part in (traced.graph, *traced.graph):
        part.metadata_props.clear()
        part.doc_string = None
    return traced


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
        "sha256": digest(path.read_bytes()),
        "nodes": len(model.graph),
        "inputs": [_value(v) for v in model.graph.inputs],
        "outputs": [_value(v) for v in model.graph.outputs],
    }


def _value(value: ir.Value) -> str:
    """`name: type[shape]` in one line."""
    shape = ", ".join(str(d) for d in value.shape or ())
    return f"{value.name}: {str(value.dtype).lower()}[{shape}]"


def _manifest(
    model: VidMuse,
    precision: Precision,
    operators: Operators,
    known: Calibration,
    described: dict[str, Any],
    quantised: dict[str, Any],
) -> dict[str, Any]:
    kept = str(kept_in(model)).removeprefix("torch.")
    return {
        "format": FORMAT,
        "name": model.spec.name,
        "spec_digest": model.spec.digest,
        "precision": precision,
        "operators": operators,
        "quantised": quantised,
        "opset": opset_of("step", operators),
        "cache_dtype": "int8" if known.heard else kept,
        "condition_dtype": "int8" if known.seen else kept,
        "cache_head_dim": padded_head(model.spec.decoder),
        "made_with": {
            "cuestream": cuestream.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": require_onnxruntime().__version__,
        },
        "graphs": described,
    }
