"""Trend: noise that grows or falls with scale, a log-linear variance function (Carroll and Ruppert 1988, 3.2)."""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.leverage import SMALL, scatter

ROUNDS, STEPS = 3, 30
STEEPEST = 3.0
"""Of the logarithm of the noise's variance, over one standard deviation of scale."""
LEFT = 1.0 / 3.0
"""Variance that the shrunk slope keeps where there is none, by that of the slope: E (z - 1/z)^2 over |z| > 1."""


@dataclass(frozen=True)
class Trend:
    """Variance of the noise relative to its mean over the points: exp(slope t) / level, t the scale of a place."""

    slope: Array
    """[S, 1], per standard deviation of t."""
    unsure: Array
    """[S, 1], variance of the slope."""
    level: Array
    """[S, 1], mean of exp(slope t) over the points."""
    u: Array
    """Of the points, [n, d]."""

    @classmethod
    def of(cls, u: Array, freed: Array, dof: Array, basis: Array) -> "Trend":
        """By maximum likelihood from residuals freed of leverage [S, n], which is concave: damped Newton steps.

        A fit that follows noisy points carries their noise to quiet ones, which is taken out by the trend found so far
        and ``basis`` [S, n, p]. The slope is then shrunk towards none by its own variance 2 / dof [S] (positive-part
        James-Stein).
        """
        t, slope = _scale(u, u), np.zeros((len(freed), 1))
        left = np.maximum(1.0 - (basis**2).sum(-1), SMALL)
        for _ in range(ROUNDS):
            relative = np.exp(slope * t)
            square = freed**2 * relative * left / np.maximum(scatter(basis, relative), SMALL * relative) + 1e-300
            for _ in range(STEPS):
                share = square * np.exp(-slope * t)
                share /= share.sum(-1, keepdims=True)
                lean, bend = (share @ t)[:, None], (share @ t**2)[:, None]
                slope = np.clip(slope + lean / np.maximum(bend, 0.3), -STEEPEST, STEEPEST)
        own = 2.0 / dof[:, None]
        slope = slope * np.maximum(0.0, 1.0 - own / np.maximum(slope**2, SMALL))
        return cls(slope, LEFT * own, np.exp(slope * t).mean(-1, keepdims=True), u)

    @classmethod
    def even(cls, u: Array) -> "Trend":
        """None, for sure."""
        return cls(np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 1)), u)

    def scale(self, u: Array) -> Array:
        """t at u [k, d]: no less and no more than that of the points."""
        return _scale(u, self.u)

    def at(self, u: Array) -> Array:
        """Relative variance at u [k, d], [S, k]; beyond the points that at the nearest."""
        return np.exp(self.slope * self.scale(u)) / self.level

    def dof(self, dof: Array, scale: Array) -> Array:
        """Degrees of freedom ``dof`` [S, 1] of the noise, fewer by what is unknown of the slope at ``scale`` [k] or
        [S, k]."""
        return np.maximum(1.0, 1.0 / (1.0 / dof + 0.5 * self.unsure * scale**2))


def _scale(u: Array, points: Array) -> Array:
    """How large u [k, d] is: the mean of its inputs, in standard deviations over ``points``; no more than theirs."""
    each = points.std(0)
    even = np.where(each > SMALL, 1.0 / np.maximum(each, SMALL), 0.0)
    own = points @ even
    return (np.clip(u @ even, own.min(), own.max()) - own.mean()) / max(float(own.std()), SMALL)
