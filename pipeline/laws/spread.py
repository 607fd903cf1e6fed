"""Spread: variance and degrees of freedom of what a fit says, from the scatter of configurations about the law.

A robust fit behaves as least squares on pseudo-residuals psi(r) / mean(psi') (Huber 1981, section 7.6), so everything
here is linear theory on those. Where each configuration is at one place, its mean residual is one observation: the
variance is that of G means about p parameters, whatever part of it the repeats share, with noise that may grow or fall
with scale (a log-linear variance function, Carroll and Ruppert 1988, section 3.2). Where configurations have
several places (checkpoints), it is the cluster-robust CR2 with the degrees of freedom of Bell and McCaffrey (2002;
Imbens and Kolesar 2016, section II).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.noise import Noise
from pipeline.laws.sample import Sample

SMALL = 1e-8
"""Share of a residual that the fit leaves free, below which the points say nothing of the noise."""
FARTHEST = 3.0
"""Deltas (four standard deviations) beyond which a residual counts as this far when the noise is measured."""
EFFICIENCY = 0.95
"""Of Huber's loss under Gaussian noise (Huber 1981, section 4.5)."""
STEPS = 30
STEEPEST = 3.0
"""Of the logarithm of the noise's variance, over one standard deviation of scale."""


@dataclass(frozen=True)
class Spread:
    """Of S samples and k quantities."""

    variance: Array
    """[S, k]"""
    dof: Array
    """[S, k]"""
    unit: Array
    """[S, k], inverse curvature of the loss: its rise is half the square of a move over this."""
    noise: Array
    """[S], standard deviation of ln y of a run about the curve (one of mean weight), over the points together."""
    noise_dof: Array
    """[S]"""
    trend: "Trend"


def spread(sample: Sample, gradient: Array) -> Spread:
    """``gradient`` [S, p, k] of each quantity by theta."""
    residual, flat, basis, direction = _linear(sample, gradient)
    per_noise = (direction**2).sum(1)
    freed = free(sample, _plain(sample)[..., None], basis)[..., 0]
    noise, noise_dof = _noise(sample, freed)
    trend = Trend.of(sample, freed, noise_dof)
    if sample.clusters.single:
        variance, dof = _means(sample, residual, basis, basis @ direction, trend)
    else:
        variance, dof = _robust(sample, residual, basis, basis @ direction, per_noise)
    return Spread(variance, dof, per_noise / flat[:, None], noise, noise_dof, trend)


def of_noise(sample: Sample, gradient: Array, noise: Noise, seeds: Array) -> Spread:
    """The same where the noise is known from more than these points, which are means over ``seeds`` [n] runs.

    The weights are those counts; ``sample.clusters.run`` names the arch of each point, whose places move together.
    """
    _, flat, basis, direction = _linear(sample, gradient)
    along, per_noise = basis @ direction * np.sqrt(sample.w)[:, None], (direction**2).sum(1)
    own = noise.point**2 / seeds.mean() * per_noise / EFFICIENCY
    shifts = np.zeros_like(own)
    for arch in range(len(sample.clusters.runs)):
        mine = sample.clusters.run == arch
        shifts += along[:, mine].sum(1) ** 2 * noise.shift**2 / seeds[mine].max()
    variance = own + shifts
    apart = own**2 / noise.dof + shifts**2 / max(1, noise.shift_dof)
    dof = np.where(apart > 0, variance**2 / np.maximum(apart, 1e-300), noise.dof)
    size = np.array([float(np.hypot(noise.point, noise.shift))])
    even = Trend(np.zeros((1, 1)), np.ones((1, 1)), sample.u)
    return Spread(variance, dof, per_noise / flat[:, None], size, dof[:, 0], even)


@dataclass(frozen=True)
class Trend:
    """Variance of the noise relative to its mean over the points: exp(slope t) / level, t the scale of a place."""

    slope: Array
    """[S, 1], per standard deviation of t."""
    level: Array
    """[S, 1], mean of exp(slope t) over the points."""
    u: Array
    """Of the points, [n, d]."""

    @classmethod
    def of(cls, sample: Sample, freed: Array, dof: Array) -> "Trend":
        """By maximum likelihood from residuals freed of leverage [S, n], which is concave: damped Newton steps.

        Then shrunk towards none by its own variance 2 / dof [S] (positive-part James-Stein).
        """
        t, square = _scale(sample.u, sample.u), freed**2 + 1e-300
        slope = np.zeros((len(freed), 1))
        for _ in range(STEPS):
            share = square * np.exp(-slope * t)
            share /= share.sum(-1, keepdims=True)
            lean, bend = (share @ t)[:, None], (share @ t**2)[:, None]
            slope = np.clip(slope + lean / np.maximum(bend, 0.3), -STEEPEST, STEEPEST)
        slope *= np.maximum(0.0, 1.0 - 2.0 / (dof[:, None] * np.maximum(slope**2, SMALL)))
        return cls(slope, np.exp(slope * t).mean(-1, keepdims=True), sample.u)

    def at(self, u: Array) -> Array:
        """Relative variance at u [k, d], [S, k]; beyond the points that at the nearest."""
        return np.exp(self.slope * _scale(u, self.u)) / self.level


def _scale(u: Array, points: Array) -> Array:
    """How large u [k, d] is: the mean of its inputs, in standard deviations over ``points``; no more than theirs."""
    each = points.std(0)
    even = np.where(each > SMALL, 1.0 / np.maximum(each, SMALL), 0.0)
    own = points @ even
    return (np.clip(u @ even, own.min(), own.max()) - own.mean()) / max(float(own.std()), SMALL)


def leverage(sample: Sample) -> Array:
    """Orthonormal basis [S, n, p] of what the fit can follow, rows scaled by the root of the weights."""
    return np.linalg.qr(_rows(sample)[0])[0]


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


def _rows(sample: Sample) -> tuple[Array, Array]:
    value, gradient = sample.form.log(sample.theta, sample.u)
    return np.swapaxes(gradient, 1, 2) * np.sqrt(sample.w)[:, None], value


def _plain(sample: Sample) -> Array:
    """Residuals [S, n] whatever the loss made of them, those that are no noise (diverged runs) clipped."""
    residual = sample.v - sample.value()
    limit = np.maximum(sample.delta, 2.0 * np.median(np.abs(residual), axis=-1))[:, None]
    return np.clip(residual, -FARTHEST * limit, FARTHEST * limit) * np.sqrt(sample.w)


def _linear(sample: Sample, gradient: Array) -> tuple[Array, Array, Array, Array]:
    """Pseudo-residuals [S, n], mean psi' [S], basis [S, n, p], and each quantity's direction in it [S, p, k].

    psi' is smoothed over half of the points where delta is smaller than that, as the density of a median's is.
    """
    rows, value = _rows(sample)
    residual, limit = sample.v - value, sample.delta[:, None]
    size, side = np.abs(residual), np.where(residual < 0, sample.over, 1.0)
    band = np.maximum(1.0, np.median(size, axis=-1, keepdims=True) / limit)
    bend = side * (size <= band * limit) / band
    flat = np.maximum((sample.w * bend).mean(-1), SMALL)
    count, parameters = rows.shape[1:]
    small_sample = 1.0 + parameters / count * bend.var(-1) / flat**2
    pseudo = side * np.clip(residual, -limit, limit) * (small_sample / flat)[:, None]
    basis, triangle = np.linalg.qr(rows)
    scale = np.maximum(np.linalg.norm(triangle, axis=1, keepdims=True), 1e-150)
    even = triangle / scale + 1e-10 * np.eye(parameters)
    direction = np.linalg.solve(np.swapaxes(even, 1, 2), gradient / np.swapaxes(scale, 1, 2))
    return pseudo * np.sqrt(sample.w), flat, basis, direction


def _between(sample: Sample, residual: Array) -> Array:
    """Sum over configurations of the square of their mean residual, each as heavy as its points, [S]."""
    root = np.sqrt(sample.w)
    sums = [(residual[:, r] @ root[r]) ** 2 / sample.w[r].sum() for r in sample.clusters.rows()]
    return np.sum(sums, axis=0)


def _means(sample: Sample, residual: Array, basis: Array, along: Array, trend: Trend) -> tuple[Array, Array]:
    relative, weight = trend.at(sample.u), sample.w
    heavy = np.bincount(sample.clusters.config, weight)[sample.clusters.config]
    left = (relative * (weight / heavy - (basis**2).sum(-1))).sum(-1)
    variance = _between(sample, residual) / np.maximum(left, SMALL)
    dof = max(1, sample.clusters.count - sample.form.size)
    moved = (along**2 * relative[..., None]).sum(1)
    return variance[:, None] * moved, np.full_like(moved, dof)


def _robust(sample: Sample, residual: Array, basis: Array, along: Array, per_noise: Array) -> tuple[Array, Array]:
    """CR2, scaled to be unbiased for independent noise also where one configuration alone carries a parameter."""
    weight = free(sample, along, basis)
    rows = sample.clusters.rows()
    total = np.stack([(weight[:, r] * residual[:, r, None]).sum(1) for r in rows], axis=-1)
    own = np.stack([(weight[:, r] ** 2).sum(1) for r in rows], axis=-1)
    followed = np.stack([np.swapaxes(weight[:, r], 1, 2) @ basis[:, r] for r in rows], axis=2)
    spread_of = -followed @ np.swapaxes(followed, -1, -2)
    index = np.arange(len(rows))
    spread_of[..., index, index] += own
    mean = np.maximum(np.trace(spread_of, axis1=-2, axis2=-1), SMALL * per_noise)
    dof = np.maximum(1.0, mean**2 / (spread_of**2).sum((-2, -1)))
    return (total**2).sum(-1) * per_noise / mean, dof


def _noise(sample: Sample, freed: Array) -> tuple[Array, Array]:
    """Of one run: between and within configurations together, with Satterthwaite's degrees of freedom."""
    count, groups = freed.shape[1], sample.clusters.count
    total = np.maximum((freed**2).sum(-1), 1e-300)
    if not sample.clusters.single:
        return np.sqrt(total / count), np.full(len(total), float(max(1, groups - 1)))
    share = np.minimum(_between(sample, freed) / total, 1.0)
    dof = 1.0 / (share**2 / max(1, groups - sample.form.size) + (1.0 - share) ** 2 / max(1, count - groups))
    return np.sqrt(total / count), dof
