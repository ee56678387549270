"""Distances of sets of embeddings: what Gaussians with known moments are apart, and what two draws of one kind are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("scipy", reason="the quality benchmark needs scipy: pip install 'cuestream[quality]'")

from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from benchmarks.quality.distances import frechet, kernel_distance

F64 = NDArray[np.float64]

RIDGE_ALLOWED = 1e-5
"""Observed: the ridge changes these distances by 3e-7 of themselves at most."""


def rows(mean: F64, covariance: F64, seed: int = 0, count: int = 500) -> F64:
    """[count, E] whose own mean and covariance are exactly these."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(drawn.T)))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_of_axis_aligned_gaussians_is_the_closed_form() -> None:
    """(μ₁ - μ₂)² + (σ₁ - σ₂)², summed over axes."""
    means, deviations = np.array([[0.0, 1, -2], [1.5, 1, 1]]), np.array([[1.0, 2, 0.5], [3, 2, 1]])
    a, b = (rows(m, np.diag(s**2), seed) for seed, (m, s) in enumerate(zip(means, deviations, strict=True)))
    wanted = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet(a, b) == pytest.approx(wanted, rel=RIDGE_ALLOWED)


def test_frechet_of_any_gaussians_is_the_formula_with_the_matrix_root() -> None:
    turn = ortho_group.rvs(5, random_state=3)
    first, second = np.diag([1.0, 4, 9, 0.25, 2]), turn @ np.diag([2.0, 1, 0.5, 3, 1]) @ turn.T
    shift = np.array([0.5, 0, -1, 0, 2])
    wanted = shift @ shift + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet(rows(shift, first), rows(0 * shift, second, 1)) == pytest.approx(wanted, rel=RIDGE_ALLOWED)


def test_frechet_is_symmetric_and_zero_to_itself() -> None:
    a, b = rows(np.zeros(4), np.eye(4)), rows(np.ones(4), 2 * np.eye(4), 1)
    assert frechet(a, b) == pytest.approx(frechet(b, a))
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_of_one_kind_is_about_zero_and_of_two_kinds_is_not() -> None:
    """Unbiased: over many pairs of draws the mean is nearer to 0 than one draw's spread."""
    random = np.random.default_rng(0)
    same = [kernel_distance(*random.normal(size=(2, 100, 8))) for _ in range(30)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(30)
    assert min(same) < 0 < max(same)
    moved = [kernel_distance(random.normal(0.5, 1, (100, 8)), random.normal(size=(100, 8))) for _ in range(5)]
    assert min(moved) > 10 * np.std(same)


def test_kernel_distance_sees_a_difference_of_shape_that_the_moments_do_not_show() -> None:
    """Coins and a bell curve of the same mean and variance: their Fréchet distance is 0."""
    random = np.random.default_rng(1)
    bell, other = rows(np.zeros(1), np.eye(1), 2), rows(np.zeros(1), np.eye(1), 3)
    coins = random.permutation(np.repeat([[-1.0], [1.0]], 250, 0))
    coins /= coins.std(ddof=1)
    assert frechet(coins, bell) == pytest.approx(0, abs=1e-6)
    assert kernel_distance(coins, bell) > 10 * abs(kernel_distance(other, bell))
