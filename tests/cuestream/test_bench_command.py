"""`cuestream bench`: its parts are the stream's time, its bytes the step's, its picture whole."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cuestream import __version__
from cuestream.bench import REST, Bench, bench, profile
from cuestream.cli import app
from cuestream.flame import Node, svg
from cuestream.provenance import commit
from engine.backends.manifest import Manifest
from engine.backends.native import GRAPHS, VARIABLE, obstacle
from engine.backends.timed import Timed
from engine.errors import CuestreamError
from engine.spec import StreamPolicy
from engine.synthetic import CODE_RATE

MUSIC_S = 5.0


@pytest.fixture(scope="module")
def measured(tiny_folder: Path) -> Bench:
    return bench(tiny_folder, MUSIC_S, threads=1)


def test_the_parts_are_the_whole(measured: Bench) -> None:
    assert sum(part.real_time_factor for part in measured.parts) == pytest.approx(
        measured.real_time_factor, abs=1e-3
    )
    named = {part.name: part for part in measured.parts}
    assert measured.parts[-1].name == REST
    assert named["step"].calls_a_second == CODE_RATE
    assert named["upsample"].calls_a_second == 10  # chunks of 100 ms
    assert 0 < named["step"].real_time_factor < measured.real_time_factor
    assert measured.music_s == MUSIC_S - 1  # the first second warms up


def test_the_bytes_of_a_step_are_those_of_its_weights_and_caches(measured: Bench, tiny_folder: Path) -> None:
    (roof,) = measured.roofs
    assert (roof.segments, roof.steps) == (1, len(measured.step_ms))
    columns = np.mean(np.arange(51, 251))  # what a segment held behind each measured step
    assert roof.self_mb == pytest.approx(2 * 2 * 2 * 64 * columns * 4 / 1e6, rel=0.01)
    assert roof.mb_a_step == pytest.approx(roof.weights_mb + roof.self_mb + roof.cross_mb, abs=2e-3)
    assert roof.of_roof == pytest.approx(1e3 / roof.p50_ms / roof.roof_steps_s, rel=0.01)
    assert roof.p99_over_p50 == pytest.approx(measured.p99_over_p50, abs=2e-3)


@pytest.mark.parametrize(
    ("way", "wanted"), [(GRAPHS, {"MatMul", "GroupQueryAttention"}), ("", {"products", "self-attention"})]
)
def test_a_profile_divides_what_was_measured(
    measured: Bench, tiny_folder: Path, way: str, wanted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, way)
    if way != GRAPHS and (why := obstacle(Manifest.read(tiny_folder))):
        pytest.skip(why)
    whole = profile(tiny_folder, measured, threads=1)
    assert whole.seconds == pytest.approx(measured.real_time_factor, abs=1e-3)
    step = next(part for part in whole.parts if part.name == "step")
    assert wanted <= {operator.name for operator in step.parts}
    assert sum(operator.seconds for operator in step.parts) == pytest.approx(step.seconds)


def test_a_flame_graph_has_a_box_for_everyone() -> None:
    root = Node(
        "all",
        2.0,
        [Node("small & <odd>", 0.5), Node("large", 1.0, [Node("inner", 0.25)]), Node("dust", 1e-6)],
    )
    drawn = ET.fromstring(svg(root, "title"))
    boxes = {
        group[0].text.partition(":")[0]: group[1].attrib  # type: ignore[union-attr]
        for group in drawn.iter("{http://www.w3.org/2000/svg}g")
    }
    assert set(boxes) == {"all", "small & <odd>", "large", "inner"}
    x, width, y = ({name: float(box[key]) for name, box in boxes.items()} for key in ("x", "width", "y"))
    assert x["large"] == x["inner"] == 0  # the widest first, a part below whose it is
    assert x["small & <odd>"] == pytest.approx(600)
    assert width["large"] == pytest.approx(600, abs=1)
    assert y["all"] < y["large"] < y["inner"]


def test_the_command_says_it_in_json_and_draws(tiny_folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "flame.svg"
    given = ["bench", "cpu", str(tiny_folder), "--seconds", "2.5", "--profile", str(picture), "--json"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["step_ms"]) == len(found["segments"]) == 75
    assert (found["cuestream"], found["commit"]) == (__version__, commit())
    assert "MatMul" in picture.read_text()
    shown = CliRunner().invoke(app, given[:-1])
    assert "real-time factor" in shown.stdout
    assert "of roof" in shown.stdout


def test_too_little_music_says_nothing(tiny_folder: Path) -> None:
    with pytest.raises(CuestreamError, match="at least 2 s of music, found"):
        bench(tiny_folder, 1.9)
    assert bench(tiny_folder, 2.0, threads=1).music_s == 1.0


def test_only_verbs_are_timed() -> None:
    class Still:
        spec = StreamPolicy()

        def look(self, features: int) -> int:
            return features + 1

    times = iter([1.0, 3.5])
    timed = Timed(Still(), lambda: next(times))  # type: ignore[arg-type]
    assert timed.look(1) == 2
    assert timed.spec == StreamPolicy()
    assert dict(timed.seconds) == {"look": [2.5]}
