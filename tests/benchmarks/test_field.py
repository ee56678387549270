"""The field's metrics: arithmetic by known values, a tagger of the test's own the whole way, and what is said without any."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from numpy.typing import NDArray

REASON = "the quality benchmark needs {}: pip install 'cuestream[quality]'"
pytest.importorskip("scipy", reason=REASON.format("scipy"))
pytest.importorskip("librosa", reason=REASON.format("librosa"))
soundfile = pytest.importorskip("soundfile", reason=REASON.format("soundfile"))

from benchmarks.quality import embedders, field
from engine.errors import MediaError, MissingRuntime, PackageError

pytestmark = pytest.mark.usefixtures("librosa_compiled")

RATE = 32_000
LIBRARIES = {
    "fad": ("frechet_audio_distance", "frechet-audio-distance"),
    "kl": ("hear21passt", "hear21passt"),
    "clap": ("laion_clap", "laion-clap"),
    "imagebind": ("imagebind", "requirements.txt"),
}
TAGGER = '''
import torch

class Tagger(torch.nn.Module):
    """Two labels, whose logits are the loudness of the window and its opposite."""
    def device(self):
        return torch.device("cpu")
    def forward(self, windows):
        loud = windows.square().mean(1).sqrt()
        return torch.stack((loud, -loud), 1)

def load_model(mode):
    assert mode == "logits"
    return Tagger()
'''


def write(path: Path, amplitudes: list[float]) -> Path:
    """Constant sound, 10 s of each amplitude."""
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.repeat(np.float32(amplitudes), 10 * RATE), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def compared(tmp_path: Path) -> field.Compared:
    """Two pieces with all that any metric asks for."""
    made, references, videos = (tmp_path / name for name in ("made", "references", "videos"))
    for name, loud in (("a", 0.2), ("b", 0.5)):
        write(made / f"{name}.wav", [loud])
        write(references / f"{name}.wav", [loud / 2, loud])
        (references / f"{name}.txt").write_text("a slow piano")
        videos.mkdir(exist_ok=True)
        (videos / f"{name}.mp4").touch()
    weights = tmp_path / "checkout" / embedders.CHECKPOINT
    weights.parent.mkdir(parents=True)
    weights.touch()
    return field.Compared(made, references, videos, tmp_path / "checkout")


@pytest.fixture
def tagger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of the published one's name and interface, whose answers can be worked out on paper."""
    package = tmp_path / "site" / "hear21passt"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "base.py").write_text(TAGGER)
    monkeypatch.syspath_prepend(str(package.parent))
    with monkeypatch.context() as modules:
        for name in ("hear21passt", "hear21passt.base"):
            modules.setitem(sys.modules, name, None)  # so that what is there now comes back
            del sys.modules[name]
        yield


def test_divergence_is_the_sum_on_paper() -> None:
    even, odd = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert field.divergence(even, odd) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), rel=1e-4)
    assert field.divergence(odd, even) == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5), rel=1e-4)


def test_divergence_is_zero_to_itself_and_finite_where_a_label_is_impossible() -> None:
    certain, other = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
    assert field.divergence(certain, certain) == 0
    assert 10 < field.divergence(certain, other) < 20


def test_labels_are_a_distribution_and_each_window_counts_the_same() -> None:
    logits = np.array([[1000.0, 0, 0], [0, 1000, 0]])
    np.testing.assert_allclose(field.labels(logits), [0.5, 0.5, 0])
    many = field.labels(np.random.default_rng(0).normal(0, 10, (7, 527)))
    assert many.sum() == pytest.approx(1)


def test_cosines_know_direction_and_not_length() -> None:
    a = np.random.default_rng(0).normal(size=(5, 8))
    assert field.mean_cosine(a, 3 * a) == pytest.approx(1)
    assert field.mean_cosine(a, -a) == pytest.approx(-1)
    assert field.mean_cosine(np.eye(2), np.eye(2)[::-1]) == pytest.approx(0)
    assert field.mean_cosine(np.zeros((1, 2)), np.ones((1, 2))) == 0


def test_windows_are_whole_and_a_short_piece_is_one() -> None:
    samples = np.arange(25, dtype=np.float32)
    assert embedders.windowed(samples, 10).tolist() == [list(range(10)), list(range(10, 20))]
    assert embedders.windowed(samples, 100).tolist() == [samples.tolist()]


def test_sound_is_mixed_to_one_channel_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    stereo = np.stack((np.full(RATE, 0.6), np.full(RATE, 0.2)), 1)
    soundfile.write(tmp_path / "x.wav", stereo, RATE, subtype="FLOAT")
    heard = embedders.sound(tmp_path / "x.wav", 16_000)
    assert len(heard) == 16_000
    assert heard[1000:-1000].mean() == pytest.approx(0.4, abs=1e-3)


@pytest.mark.usefixtures("tagger")
def test_kl_of_a_folder_is_worked_out_from_the_taggers_answers(compared: field.Compared) -> None:
    def shares(*amplitudes: float) -> NDArray[np.float64]:
        first = np.mean([1 / (1 + np.exp(-2 * a)) for a in amplitudes])
        return np.array([first, 1 - first])

    wanted = np.mean([field.divergence(shares(loud / 2, loud), shares(loud)) for loud in (0.2, 0.5)])
    assert field.kl(compared) == pytest.approx(wanted, rel=1e-4)
    assert field.kl(field.Compared(compared.made, compared.made)) == 0


@pytest.mark.parametrize("metric", field.METRICS)
def test_a_missing_library_is_named(
    metric: str, compared: field.Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, package = LIBRARIES[metric]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(MissingRuntime, match=package) as missing:
        field.METRICS[metric](compared)
    assert "hub" in str(missing.value)
    assert "\n" not in str(missing.value)


def test_a_hub_out_of_reach_is_said() -> None:
    with pytest.raises(MissingRuntime, match=r"hub must be in reach.*no route"), embedders.needed("X", "y"):
        raise URLError("no route")


def test_imagebind_needs_a_checkout(compared: field.Compared, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="checkout of ImageBind"):
        field.imagebind(field.Compared(compared.made, compared.references, compared.videos, tmp_path))
    with pytest.raises(MediaError, match="--imagebind"):
        field.imagebind(field.Compared(compared.made, compared.references))


def test_a_piece_without_its_reference_is_named(compared: field.Compared) -> None:
    write(compared.made / "lonely.wav", [0.1])
    with pytest.raises(MediaError, match=r"lonely\.wav"):
        field.kl(compared)


def test_the_command_prints_one_line_and_exits_with_2(
    compared: field.Compared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "hear21passt", None)
    monkeypatch.setattr(
        sys, "argv", ["field", str(compared.made), str(compared.references), "--metric", "kl"]
    )
    with pytest.raises(SystemExit) as stop:
        field.main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert said.err.startswith("field: the KL divergence needs hear21passt")
    assert said.err.count("\n") == 1


@pytest.mark.usefixtures("tagger")
def test_the_command_prints_the_figure(
    compared: field.Compared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["field", str(compared.made), str(compared.made), "--metric", "kl"])
    field.main()
    assert capsys.readouterr().out == "kl: 0.0000\n"
