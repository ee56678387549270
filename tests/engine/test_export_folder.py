"""What stands between a user and a session: one ONNX Runtime, and a folder whose files belong together."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends.manifest import FORMAT, MANIFEST_FILE, SPEC_FILE, Manifest
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.runtime import NO_TELEMETRY, require_onnxruntime
from engine.errors import MissingRuntime, PackageError
from engine.library import find_model, shipped
from export.random_model import tiny_spec


def installed(monkeypatch: pytest.MonkeyPatch, *distributions: str) -> None:
    def version(name: str) -> str:
        if name in distributions:
            return "1.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_without_a_runtime_the_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(
        MissingRuntime, match=r"no ONNX Runtime is installed.*cuestream\[cpu\].*cuestream\[gpu\]"
    ) as caught:
        require_onnxruntime()
    assert "\n" not in str(caught.value)


def test_two_runtimes_are_refused_and_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    with pytest.raises(
        MissingRuntime, match=r"both installed.*pip uninstall onnxruntime onnxruntime-gpu.*cpu or gpu"
    ):
        require_onnxruntime()


@pytest.mark.parametrize("one", ["onnxruntime", "onnxruntime-gpu"])
def test_either_runtime_alone_will_do(monkeypatch: pytest.MonkeyPatch, one: str) -> None:
    installed(monkeypatch, one)
    assert hasattr(require_onnxruntime(), "InferenceSession")


def test_the_runtime_keeps_nothing_for_its_makers(tmp_path: Path) -> None:
    """It had a database of events and a device's id in the user's cache."""
    model = find_model("random-tiny")
    code = f"from engine.backends.onnxruntime import OnnxBackend as B; from pathlib import Path; B(Path({str(model)!r}), 1)"
    own = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "CUESTREAM_CACHE")}
    env = {name: value for name, value in os.environ.items() if name != NO_TELEMETRY} | own
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]


# --- the folder


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "model"
    shutil.copytree(tiny_folder, copied)
    return copied


def refused(folder: Path) -> str:
    with pytest.raises(PackageError) as caught:
        Manifest.read(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_the_manifest_says_what_was_exported(folder: Path, tiny_package: Any) -> None:
    manifest = Manifest.read(folder)
    assert manifest.spec == tiny_package.spec
    assert (manifest.precision, manifest.cache_dtype, manifest.cache_head_dim) == ("fp32", np.float32, 16)
    assert set(manifest.graphs) == {
        "vision", "short_term", "long_term", "fuse", "condition", "step", "step_two", "step_unguided",
        "step_two_unguided", "prefill", "prefill_unguided", "codec_recurrent", "codec_upsample",
    }  # fmt: skip
    assert all(Path(manifest.graph(name)).is_file() for name in manifest.graphs)
    assert set(manifest.made_with) == {"cuestream", "torch", "onnx", "onnxruntime"}


def test_a_folder_without_a_manifest_is_no_export(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    assert "expected an exported model with a manifest.json" in refused(folder)


def test_a_folder_without_a_spec_is_refused(folder: Path) -> None:
    (folder / SPEC_FILE).unlink()
    assert SPEC_FILE in refused(folder)


@pytest.mark.parametrize("name", [MANIFEST_FILE, SPEC_FILE])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"text"', "\u00e9\u0000"])
def test_a_damaged_description_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert "is damaged" in refused(folder)


@pytest.mark.parametrize(
    "field", ["precision", "cache_dtype", "cache_head_dim", "graphs", "made_with", "spec_digest", "format"]
)
def test_a_manifest_that_lacks_a_field_is_refused(folder: Path, field: str) -> None:
    raw = json.loads((folder / MANIFEST_FILE).read_text())
    del raw[field]
    (folder / MANIFEST_FILE).write_text(json.dumps(raw))
    assert field in refused(folder) or field in ("spec_digest", "format")


@pytest.mark.parametrize(
    ("field", "value"),
    [("graphs", []), ("step", 3), ("made_with", None), ("cache_head_dim", "16"), ("operators", "later")],
)
def test_a_field_of_another_kind_is_refused(folder: Path, field: str, value: object) -> None:
    raw = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps(raw | {field: value}))
    assert f"is damaged: {field}" in refused(folder)


def test_an_export_of_another_format_is_to_be_made_again(folder: Path) -> None:
    raw = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps(raw | {"format": FORMAT + 1}))
    assert f"expected export format {FORMAT}, found {FORMAT + 1}; export it again" in refused(folder)


def test_graphs_are_not_run_with_another_spec(folder: Path) -> None:
    spec = json.loads((folder / SPEC_FILE).read_text())
    (folder / SPEC_FILE).write_text(json.dumps(spec | {"name": "other"}))
    message = refused(folder)
    assert tiny_spec().digest in message
    assert "made from the spec" in message


def test_a_missing_graph_is_named_when_it_is_needed(folder: Path) -> None:
    (folder / "vision.onnx").unlink()
    with pytest.raises(PackageError, match=r"names vision\.onnx, which is missing"):
        OnnxBackend(folder, threads=1).encode_frames(np.zeros((1, 56, 56, 3), np.uint8))


def test_an_export_without_a_codec_has_no_codec_graph(folder: Path) -> None:
    raw = json.loads((folder / MANIFEST_FILE).read_text())
    del raw["graphs"]["codec_upsample"]
    (folder / MANIFEST_FILE).write_text(json.dumps(raw))
    with pytest.raises(PackageError, match=r"no graph 'codec_upsample'; it was made without a codec"):
        OnnxBackend(folder, threads=1).upsample(np.zeros((64, 4), np.float32))


@pytest.mark.parametrize("damage", ["empty graph", "truncated graph", "no weights", "truncated weights"])
def test_damaged_graphs_and_weights_are_package_errors(folder: Path, damage: str) -> None:
    graph, weights = folder / "vision.onnx", folder / "weights.bin"
    {
        "empty graph": lambda: graph.write_bytes(b""),
        "truncated graph": lambda: graph.write_bytes(graph.read_bytes()[:-500]),
        "no weights": weights.unlink,
        "truncated weights": lambda: weights.write_bytes(weights.read_bytes()[:1000]),
    }[damage]()
    with pytest.raises(PackageError):
        OnnxBackend(folder, threads=1).encode_frames(np.zeros((1, 56, 56, 3), np.uint8))


def test_models_are_found_by_path_or_by_the_name_that_they_ship_under(folder: Path, tmp_path: Path) -> None:
    assert find_model(str(folder)) == folder
    assert "random-tiny" in shipped()
    assert Manifest.read(find_model("random-tiny")).spec == tiny_spec()
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), "nowhere", "../models", ""):
        with pytest.raises(PackageError):
            find_model(name)
