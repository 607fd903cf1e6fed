"""Leverage: what a fit can follow of its own points, and residuals freed of it."""

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.sample import Sample

SMALL = 1e-8
"""Share of a residual that the fit leaves free, below which the points say nothing of the noise."""


def slopes(sample: Sample) -> Array:
    """Derivatives of the curve at the points by theta, rows scaled by the root of the weights, [S, n, p]."""
    gradient = sample.form.log(sample.theta, sample.u)[1]
    return np.swapaxes(gradient, 1, 2) * np.sqrt(sample.w)[:, None]


def leverage(sample: Sample) -> Array:
    """Orthonormal basis [S, n, p] of what the fit can follow, rows scaled by the root of the weights."""
    return np.linalg.qr(slopes(sample))[0]


def free(sample: Sample, values: Array, basis: Array, power: float = 0.5) -> Array:
    """(I - H)^-power of each configuration times ``values`` [S, n, k]: undoes how far the fit follows its own points.

    1/2 makes the squares of residuals unbiased (CR2, HC2), 1 is the jackknife (CR3, HC3).
    """
    out = values.copy()
    for rows in sample.clusters.rows():
        left, size, _ = np.linalg.svd(basis[:, rows], full_matrices=False)
        rest = 1.0 - size**2
        gain = np.where(rest > SMALL, np.maximum(rest, SMALL) ** -power, 0.0) - 1.0
        out[:, rows] += (left * gain[:, None]) @ (np.swapaxes(left, 1, 2) @ values[:, rows])
    return out


def scatter(basis: Array, relative: Array) -> Array:
    """Mean squares of the residuals [S, n] of a fit that follows ``basis`` [S, n, p], for noise of variance
    ``relative`` [S, n]."""
    carried = np.swapaxes(basis, 1, 2) @ (basis * relative[..., None])
    return relative * (1.0 - 2.0 * (basis**2).sum(-1)) + ((basis @ carried) * basis).sum(-1)
