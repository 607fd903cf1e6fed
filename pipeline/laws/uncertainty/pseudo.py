"""Pseudo: the least squares that a robust fit behaves as, on psi(r) / psi' (Huber 1981, section 7.6)."""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.leverage import SMALL, slopes
from pipeline.laws.uncertainty.sample import Sample

FURTHEST = 1e100
"""Of a direction that the points do not tell, so that its square is a number."""


@dataclass(frozen=True)
class Pseudo:
    """Of S samples of n points, p parameters and k quantities."""

    residual: Array
    """psi / psi' by the root of the weights, [S, n]."""
    flat: Array
    """Mean psi', [S]."""
    bend: Array
    """psi' expected of each point relative to its mean, [S, n]: Huber's loss makes little of the noisier places."""
    basis: Array
    """[S, n, p], orthonormal: what the fit can follow."""
    direction: Array
    """Of each quantity in the basis, [S, p, k]."""

    @classmethod
    def of(cls, sample: Sample, gradient: Array, noise: Array) -> "Pseudo":
        """``gradient`` [S, p, k] of each quantity by theta; ``noise`` [S, n] is the standard deviation of each point.

        psi' is smoothed over half of the points where delta is smaller than that, as the density of a median's is.
        """
        from scipy.special import erf

        rows, residual, limit = slopes(sample), sample.v - sample.value(), sample.delta[:, None]
        size, side = np.abs(residual), np.where(residual < 0, sample.over, 1.0)
        band = np.maximum(1.0, np.median(size, axis=-1, keepdims=True) / limit)
        inside = side * (size <= band * limit) / band
        flat = np.maximum((sample.w * inside).mean(-1), SMALL)
        count, parameters = rows.shape[1:]
        small_sample = 1.0 + parameters / count * inside.var(-1) / flat**2
        expected = erf(band * limit / (np.sqrt(2.0) * np.maximum(noise, 1e-150)))
        bend = expected / (sample.w * expected).mean(-1, keepdims=True)
        pseudo = side * np.clip(residual, -limit, limit) * (small_sample / flat)[:, None]
        basis, triangle = np.linalg.qr(rows * np.sqrt(bend)[..., None])
        scale = np.maximum(np.linalg.norm(triangle, axis=1, keepdims=True), 1e-150)
        even = triangle / scale + 1e-10 * np.eye(parameters)
        direction = np.linalg.solve(np.swapaxes(even, 1, 2), gradient / np.swapaxes(scale, 1, 2))
        known = np.clip(direction, -FURTHEST, FURTHEST)
        return cls(pseudo * np.sqrt(sample.w / bend), flat, bend, basis, known)
