"""`verify` says yes to the reference, and no to whatever is not it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import PackageError
from export.fixture import det_codes, det_frames, read_fixture
from export.random_model import tiny_spec
from export.verify import INPUTS, TOLERANCE, Report, _difference, verify

FIXTURES = Path(__file__).parents[1] / "fixtures"
PACKAGE, CODEC = FIXTURES / "tiny_package", FIXTURES / "ref_codec_state_dict.safetensors"
REFERENCE = np.load(FIXTURES / "ref_tiny.npz")


def store(folder: Path, arrays: dict[str, Any], notes: bool = True) -> Path:
    path = folder / "held_out.npz"
    np.savez(path, **arrays)
    if notes:
        path.with_suffix(".json").write_text((FIXTURES / "ref_tiny.json").read_text())
    return path


def test_the_reference_run_is_reproduced_token_for_token_by_both_runtimes() -> None:
    """Every array of the fixture but its inputs; float32 within 2e-5, tokens equal, 40 s of long form among them."""
    report = verify(str(PACKAGE), FIXTURES / "ref_tiny.npz")
    assert report.ok
    compared = set(report.arrays) | set(report.tokens)
    assert compared | {k for k in report.skipped if k in REFERENCE} == set(REFERENCE) - set(INPUTS)
    assert "longform_40s_codes" in report.tokens
    assert {n for n in REFERENCE if n.endswith("_codes")} == {
        n for n in report.tokens if n.endswith("_codes")
    }
    assert all(sides == {"torch": True, "onnx": True} for sides in report.tokens.values())
    assert len(report.tokens) >= 9
    inner = {"decoder_layer_outputs", "det_weight_checksum"}
    for name, sides in report.arrays.items():
        assert set(sides) == {"torch", "onnx"}
        assert sides["torch"] is not None
        assert (sides["onnx"] is None) == (name in inner)
        if name != "det_weight_checksum":
            assert max(d for d in sides.values() if d is not None) <= TOLERANCE == 2e-5  # seen: 6e-6
    assert json.loads(json.dumps(report.as_json()))["ok"]


def test_a_tampered_codec_fixture_is_found_out(tmp_path: Path) -> None:
    """Twice the tolerance on one sample of the audio, and one number of the latent."""
    stored, path = dict(np.load(FIXTURES / "ref_codec.npz")), tmp_path / "tampered.npz"
    stored["audio"][..., 777] += 2e-5
    stored["latent"][0, 3, 5] += 1e-3
    np.savez(path, **stored)
    report = verify(str(CODEC), path)
    assert not report.ok
    assert all(1e-5 < (report.arrays["audio"][side] or 0) < 3e-5 for side in ("torch", "onnx"))
    assert report.arrays["latent"]["torch"] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    "other", [np.zeros((3, 4)), np.zeros(12), np.full((4, 3), np.nan)], ids=["turned", "flat", "NaN"]
)
def test_another_shape_and_a_nan_in_another_place_are_infinitely_far(other: Any) -> None:
    assert _difference(np.zeros((4, 3)), other) == float("inf")
    assert _difference(other, np.zeros((4, 3))) == float("inf")
    assert _difference(np.array([1, np.nan]), np.array([1.5, np.nan])) == 0.5


def test_the_codec_beside_a_fixture_is_what_the_pointer_of_a_package_means(tmp_path: Path) -> None:
    for name in ("ref_codec.npz", "ref_codec_state_dict.safetensors", "ref_codec.json"):
        (tmp_path / name).write_bytes((FIXTURES / name).read_bytes())
    assert verify(str(PACKAGE), tmp_path / "ref_codec.npz").ok


def test_the_reference_belongs_to_its_package(tmp_path: Path) -> None:
    """The rules of the notes give the stored inputs back: what is not stored is no different from what is."""
    spec, fixture = tiny_spec(), read_fixture(FIXTURES / "ref_tiny.npz")
    assert np.array_equal(det_frames(11, 6, 28), REFERENCE["local_frames_u8"])
    assert np.array_equal(det_frames(22, 4, 28), REFERENCE["global_frames_u8"])
    assert np.array_equal(det_codes(128, 4)[None], REFERENCE["codes"])
    assert np.array_equal(fixture.local_frames(spec), REFERENCE["local_frames_u8"][0].transpose(1, 2, 3, 0))


def test_a_fixture_with_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="expected arrays of a known name, found none"):
        verify(str(PACKAGE), store(tmp_path, {}))


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 but no more", b"\x93NUMPY\x01\x00"])
def test_what_is_no_fixture_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fixture.npz"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=r"expected a fixture, an \.npz file"):
        verify(str(PACKAGE), path)


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_a_truncated_fixture_is_an_error(share: float, tmp_path: Path) -> None:
    whole = (FIXTURES / "ref_codec.npz").read_bytes()
    path = tmp_path / "fixture.npz"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(PackageError, match=r"expected a fixture, an \.npz file"):
        verify(str(CODEC), path)


def test_a_single_array_is_no_fixture(tmp_path: Path) -> None:
    np.save(tmp_path / "audio.npy", np.zeros(3))
    with pytest.raises(PackageError, match=r"expected a fixture, an \.npz file"):
        verify(str(PACKAGE), tmp_path / "audio.npy")


def test_objects_in_a_fixture_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "fixture.npz"
    np.savez(path, codes=np.array([{"a": 1}], dtype=object))
    with pytest.raises(PackageError, match=r"expected a fixture, an \.npz file"):
        verify(str(PACKAGE), path)


def test_a_fixture_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"nowhere\.npz"):
        verify(str(PACKAGE), tmp_path / "nowhere.npz")


def test_notes_that_are_no_json_are_an_error(tmp_path: Path) -> None:
    path = store(tmp_path, {"codes": REFERENCE["codes"]})
    path.with_suffix(".json").write_text("{")
    with pytest.raises(PackageError, match=r"held_out\.json: expected JSON"):
        verify(str(PACKAGE), path)


def test_a_report_is_ok_only_when_something_was_compared_and_nothing_is_off() -> None:
    assert not Report().ok
    assert not Report(skipped={"a": "unknown"}).ok
    assert Report(tokens={"a": {"torch": True}}).ok
    assert not Report(tokens={"a": {"torch": True, "onnx": False}}).ok
    assert Report(arrays={"a": {"torch": 1e-5, "onnx": None}}, tolerances={"a": 1e-5}).ok
    for far in (2e-5, float("inf"), float("nan")):
        assert not Report(arrays={"a": {"torch": 0.0, "onnx": far}}, tolerances={"a": 1e-5}).ok
