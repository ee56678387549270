"""Distances between two sets of embeddings. Letters: n, m rows of E numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

F64 = NDArray[np.float64]

RIDGE = 1e-6
"""Added to the covariances' diagonals, of their mean variance: few rows leave directions without any."""
BANDWIDTH_ROWS = 1000


def frechet(a: F64, b: F64) -> float:
    """Fréchet distance of the Gaussians that fit the rows of [n, E] and [m, E] (Heusel et al. 2017; FAD: Kilgour et al. 2019)."""
    shift = a.mean(0) - b.mean(0)
    root, other = _root(_covariance(a)), _covariance(b)
    both = np.linalg.eigvalsh(root @ other @ root)
    traces = np.trace(_covariance(a)) + np.trace(other)
    return float(shift @ shift + traces - 2 * np.sqrt(np.clip(both, 0, None)).sum())


def _covariance(rows: F64) -> F64:
    covariance = np.atleast_2d(np.cov(rows.T))
    size = len(covariance)
    return np.asarray(covariance + RIDGE * np.trace(covariance) / size * np.eye(size), np.float64)


def _root(matrix: F64) -> F64:
    """The root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T, np.float64)


def kernel_distance(a: F64, b: F64) -> float:
    """Unbiased squared maximum mean discrepancy, as wide as the median distance inside b (KAD: Chung et al. 2025)."""
    inside = cdist(b[:BANDWIDTH_ROWS], b[:BANDWIDTH_ROWS])
    width = np.median(inside[inside > 0])

    def kernel(x: F64, y: F64) -> F64:
        return np.exp(-cdist(x, y, "sqeuclidean") / (2 * width**2))

    own, others, n, m = kernel(a, a), kernel(b, b), len(a), len(b)
    same = (own.sum() - n) / (n * (n - 1)) + (others.sum() - m) / (m * (m - 1))
    return float(same - 2 * kernel(a, b).mean())
