"""What lies in the folder that an export is written to: it is taken over whole or stays, and nothing of another model is left."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.backends.beside import Beside
from engine.backends.manifest import MANIFEST_FILE, WEIGHTS_FILE
from engine.errors import PackageError
from engine.keys import KEYS_FILE
from engine.library import POLICY_FILE, carry
from export.checkpoint import Package, save_package
from export.onnx import export

FEW = {"fuse"}
"""A graph that is traced in a second."""
OLD = b"what is played"


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of another model."""
    for name in ("step.onnx", WEIGHTS_FILE, MANIFEST_FILE, "model.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(OLD)
    return tmp_path


def test_who_plays_the_old_export_keeps_it_and_nothing_of_it_is_left_for_others(
    folder: Path, tiny_package: Package
) -> None:
    played = np.memmap(folder / WEIGHTS_FILE, np.uint8, "r")
    export(tiny_package, folder, names=FEW)
    assert bytes(played) == OLD
    assert files_in(folder) == {"fuse.onnx", WEIGHTS_FILE, MANIFEST_FILE, "spec.json", "notes.txt"}


@pytest.mark.parametrize("write", [partial(export, names=FEW), save_package], ids=["export", "convert"])
def test_a_full_disk_is_one_line_and_leaves_the_one_before(
    folder: Path, tiny_package: Package, write: Callable[[Package, Path], None]
) -> None:
    before, limits = files_in(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(PackageError, match=r"cannot be written: .*File too large") as error:
            write(tiny_package, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert files_in(folder) == before


def test_an_export_that_breaks_off_leaves_the_one_before(folder: Path, tiny_package: Package) -> None:
    before = files_in(folder)

    def broken(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(tiny_package, folder, report=broken, names=FEW)
    assert files_in(folder) == before
    assert (folder / WEIGHTS_FILE).read_bytes() == OLD


def test_the_packages_own_weights_stay_beside_its_graphs(tmp_path: Path, tiny_package: Package) -> None:
    save_package(tiny_package, tmp_path)
    weights, spec = tmp_path / "model.safetensors", tmp_path / "spec.json"
    assert weights.stat().st_mode == spec.stat().st_mode
    export(tiny_package, tmp_path, names=FEW)
    assert weights.is_file()


def test_keys_and_policy_of_another_model_go(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, name in ((one, POLICY_FILE), (other, KEYS_FILE)):
        folder.mkdir()
        (folder / name).write_bytes(OLD)
    carry(one, other)
    carry(one, one)
    assert files_in(one) == files_in(other) == {POLICY_FILE}


def test_a_model_by_another_name_is_the_same_model(tiny_package: Package) -> None:
    spec = tiny_package.spec
    Beside(SimpleNamespace(spec=spec), SimpleNamespace(spec=replace(spec, name="another")))  # type: ignore[arg-type]
