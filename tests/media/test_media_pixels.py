"""Laws of the scaler: what comes out is an upright square of 8-bit RGB, as the model was trained with."""

import av
import numpy as np
import pytest
from clips import corners

from engine.media.pixels import Scaler, resize, upright


def torch_resize(pixels: np.ndarray, size: int) -> np.ndarray:
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    scaled = torch.nn.functional.interpolate(
        image, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return scaled[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("shape", [(480, 640), (1080, 1920), (47, 33), (100, 50), (224, 224)])
def test_resize_equals_torch_antialiased_bilinear(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    error = np.abs(resize(pixels, 224).astype(np.float32) - torch_resize(pixels, 224))
    # Observed on noise, the hardest case: mean 0.25 to 0.30 (rounding alone gives 0.25), at most 0.88 inside
    # and 13.3 at the borders, where libswscale folds the filter's overhang back and torch renormalises it.
    assert error.mean() < 0.35
    assert error[8:-8, 8:-8].max() < 1.0
    assert error.max() < 16.0


def test_resize_to_the_same_size_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(resize(pixels, 32), pixels)


def test_one_pixel_fills_the_square() -> None:
    pixel = np.array([[[10, 200, 77]]], np.uint8)
    assert np.array_equal(resize(pixel, 224), np.broadcast_to(pixel, (224, 224, 3)))


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_resize_refuses_what_is_no_image(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        resize(pixels, 8)


def test_the_size_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="found 0"):
        Scaler(0)


def test_resize_takes_views() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(resize(pixels[::2, ::-2], 16), resize(pixels[::2, ::-2].copy(), 16))


def test_transparent_pixels_are_black_and_do_not_bleed() -> None:
    image = np.zeros((64, 64, 4), np.uint8)
    image[:, :32], image[:, 32:] = (255, 255, 255, 0), (0, 0, 255, 255)
    pixels = Scaler(16).square(av.VideoFrame.from_ndarray(image, format="rgba"))
    assert pixels[:, :, 0].max() == 0  # the invisible white does not reach the blue half
    assert np.array_equal(pixels[8, 0], (0, 0, 0))
    assert np.array_equal(pixels[8, 15], (0, 0, 255))


def test_half_transparent_pixels_are_half_as_bright() -> None:
    image = np.full((8, 8, 4), (200, 100, 50, 128), np.uint8)
    pixels = Scaler(8).square(av.VideoFrame.from_ndarray(image, format="rgba"))
    assert np.array_equal(pixels[0, 0], (100, 50, 25))


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ((1, 0, 0, 1), lambda x: x),
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
        ((0, 1, -1, 0), lambda x: np.rot90(x, 3)),
        ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
        ((1, 0, 0, -1), lambda x: x[::-1]),
        ((0, 1, 1, 0), lambda x: x.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda x: np.rot90(x.transpose(1, 0, 2), 2)),
    ],
)
def test_all_eight_orientations(turn: tuple[int, int, int, int], expected: object) -> None:
    image = corners(6, 4)
    assert callable(expected)
    assert np.array_equal(upright(image, turn), expected(image))
