"""What cannot become an export is one line before any work, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cuestream.cli import app
from engine.errors import PackageError
from export.checkpoint import Package
from export.onnx import Precision, export


@pytest.mark.parametrize("command", [["random", "tiny"], ["export", "nonesuch"], ["convert", "nonesuch"]])
def test_a_folder_that_cannot_be_written_is_said_before_the_package_is_read(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below/it"):
        done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / place)])
        assert isinstance(done.exception, PackageError)
        assert str(done.exception) == f"{tmp_path / place}: cannot be written: Not a directory"


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_few_bits_need_a_codec(tiny_package: Package, tmp_path: Path, precision: Precision) -> None:
    mute = replace(tiny_package, spec=replace(tiny_package.spec, codec=None))
    with pytest.raises(PackageError, match=f"{precision} is measured on music"):
        export(mute, tmp_path / "out", precision)
    assert not (tmp_path / "out").exists()
