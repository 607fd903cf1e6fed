"""Trend: noise that grows or falls with scale, a log-linear variance function (Carroll and Ruppert 1988, 3.2)."""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array

SMALL = 1e-8
STEPS = 30
STEEPEST = 3.0
"""Of the logarithm of the noise's variance, over one standard deviation of scale."""
import os
MODE = os.environ.get("MODE", "js")
TAU2 = float(os.environ.get("TAU2", "0.5"))


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

        Then shrunk towards none by its own variance 2 / dof [S] (positive-part James-Stein).
        """
        t, slope = _scale(u, u), np.zeros((len(freed), 1))
        left = 1.0 - (basis**2).sum(-1)
        for _ in range(int(os.environ.get("ROUNDS", "3"))):
            relative = np.exp(slope * t)
            outer = np.swapaxes(basis * relative[..., None], 1, 2) @ basis
            spilt = ((basis @ outer) * basis).sum(-1)
            own = np.maximum(1.0 + (spilt / relative - 1.0 + left) / np.maximum(left, SMALL) - 1.0, 1.0) if 0 else ((2.0 * left - 1.0) + spilt / relative) / np.maximum(left, SMALL)
            square = freed**2 / np.maximum(own, 0.1) + 1e-300
            for _ in range(STEPS):
                share = square * np.exp(-slope * t)
                share /= share.sum(-1, keepdims=True)
                lean, bend = (share @ t)[:, None], (share @ t**2)[:, None]
                slope = np.clip(slope + lean / np.maximum(bend, 0.3), -STEEPEST, STEEPEST)
        raw = 2.0 / dof[:, None]
        if MODE == "js":
            kept = np.maximum(0.0, 1.0 - raw / np.maximum(slope**2, SMALL))
            unsure = 0 * raw
        elif MODE == "jsv":
            kept = np.maximum(0.0, 1.0 - raw / np.maximum(slope**2, SMALL))
            unsure = raw * kept
        elif MODE == "cd":
            c, d = map(float, os.environ["CD"].split(","))
            kept = np.maximum(0.0, 1.0 - c * raw / np.maximum(slope**2, SMALL))
            unsure = raw * d
        elif MODE == "ridge":
            kept = TAU2 / (TAU2 + raw)
            unsure = raw * kept
        elif MODE == "eb":
            tau2 = np.maximum(TAU2 * raw, slope**2 - raw)
            kept = tau2 / (tau2 + raw)
            unsure = raw * kept
        slope = slope * kept
        return cls(slope, unsure, np.exp(slope * t).mean(-1, keepdims=True), u)

    def scale(self, u: Array) -> Array:
        return _scale(u, self.u)

    def at(self, u: Array) -> Array:
        """Relative variance at u [k, d], [S, k]; beyond the points that at the nearest."""
        return np.exp(self.slope * self.scale(u)) / self.level

    def dof(self, dof: Array, scale: Array) -> Array:
        """Degrees of freedom ``dof`` [S, 1] of the level, fewer by what is unknown of the slope at ``scale`` [S, k]."""
        return np.maximum(1.0, 1.0 / (1.0 / dof + 0.5 * self.unsure * scale**2))


def _scale(u: Array, points: Array) -> Array:
    """How large u [k, d] is: the mean of its inputs, in standard deviations over ``points``; no more than theirs."""
    each = points.std(0)
    even = np.where(each > SMALL, 1.0 / np.maximum(each, SMALL), 0.0)
    own = points @ even
    return (np.clip(u @ even, own.min(), own.max()) - own.mean()) / max(float(own.std()), SMALL)
