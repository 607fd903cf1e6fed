"""Spread: variance and degrees of freedom of what a fit says, from the scatter of configurations about the law.

A robust fit behaves as least squares on pseudo-residuals psi(r) / mean(psi') (Huber 1981, section 7.6), so everything
here is linear theory on those. Where each configuration is at one place, its mean residual is one observation: the
variance is that of G means about p parameters, whatever part of it the repeats share, with noise that may grow or fall
with scale (a log-linear variance function, Carroll and Ruppert 1988, section 3.2). Where configurations have
several places (checkpoints), it is the cluster-robust CR2 with the degrees of freedom of Bell and McCaffrey (2002;
Imbens and Kolesar 2016, section II).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.noise import Noise
from pipeline.laws.sample import Sample
from pipeline.laws.student import equivalent
from pipeline.laws.trend import Trend, scatter

SMALL = 1e-8
"""Share of a residual that the fit leaves free, below which the points say nothing of the noise."""
FARTHEST = 3.0
"""Deltas (four standard deviations) beyond which a residual counts as this far when the noise is measured."""
EFFICIENCY = 0.95
"""Of Huber's loss under Gaussian noise (Huber 1981, section 4.5)."""
MOST_SHARED = 0.99
"""Of the noise of a configuration's points."""


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
    trend: Trend


def spread(sample: Sample, gradient: Array) -> Spread:
    """``gradient`` [S, p, k] of each quantity by theta."""
    followed = leverage(sample)
    freed = free(sample, _plain(sample)[..., None], followed)[..., 0]
    noise_dof = _noise_dof(sample, freed, followed)
    trend = Trend.of(sample.u, freed, noise_dof, followed)
    noise = np.sqrt((freed**2 / trend.at(sample.u)).mean(-1))
    linear = _Linear.of(sample, gradient, noise[:, None] * np.sqrt(trend.at(sample.u)))
    if sample.clusters.single:
        variance, dof = _means(sample, linear, trend)
    else:
        variance, dof = _robust(sample, linear, trend, _shared(sample, freed / np.sqrt(trend.at(sample.u))))
    return Spread(variance, dof, (linear.direction**2).sum(1) / linear.flat[:, None], noise, noise_dof, trend)


def of_noise(sample: Sample, gradient: Array, noise: Noise, seeds: Array) -> Spread:
    """The same where the noise is known from more than these points, which are means over ``seeds`` [n] runs.

    The weights are those counts; ``sample.clusters.run`` names the arch of each point, whose places move together.
    """
    linear = _Linear.of(sample, gradient, noise.point / np.sqrt(seeds)[None])
    along = linear.basis @ linear.direction * np.sqrt(linear.bend)[..., None]
    own = noise.point**2 / seeds.mean() * (along**2).sum(1) / EFFICIENCY
    shifts = np.zeros_like(own)
    for arch in range(len(sample.clusters.runs)):
        mine = sample.clusters.run == arch
        together = (along[:, mine] * np.sqrt(sample.w[mine])[:, None]).sum(1)
        shifts += together**2 * noise.shift**2 / seeds[mine].max()
    variance = own + shifts
    apart = own**2 / noise.dof + shifts**2 / max(1, noise.shift_dof)
    dof = np.where(apart > 0, variance**2 / np.maximum(apart, 1e-300), noise.dof)
    unit = (linear.direction**2).sum(1) / linear.flat[:, None]
    size = np.array([float(np.hypot(noise.point, noise.shift))])
    return Spread(variance, dof, unit, size, dof[:, 0], Trend.even(sample.u))


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


@dataclass(frozen=True)
class _Linear:
    """The least squares that the fit behaves as."""

    residual: Array
    """Pseudo-residuals psi / psi' by the root of the weights, [S, n]."""
    flat: Array
    """Mean psi', [S]."""
    bend: Array
    """psi' expected of each point relative to its mean, [S, n]: the weights that Huber's loss gives the noise."""
    basis: Array
    """[S, n, p]"""
    direction: Array
    """Of each quantity in the basis, [S, p, k]."""

    @classmethod
    def of(cls, sample: Sample, gradient: Array, noise: Array) -> "_Linear":
        """``noise`` [S, n] is the standard deviation of each point.

        psi' is smoothed over half of the points where delta is smaller than that, as the density of a median's is.
        """
        from scipy.special import erf

        rows, value = _rows(sample)
        residual, limit = sample.v - value, sample.delta[:, None]
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
        return cls(pseudo * np.sqrt(sample.w / bend), flat, bend, basis, direction)


def _gather(sample: Sample) -> Array:
    """Orthonormal [n, G]: what a configuration's points say in common, each as heavy as its points."""
    config, w = sample.clusters.config, sample.w
    out = np.zeros((len(w), sample.clusters.count))
    out[np.arange(len(w)), config] = np.sqrt(w / np.bincount(config, w)[config])
    return out


def _means(sample: Sample, linear: _Linear, trend: Trend) -> tuple[Array, Array]:
    """Of G means about the law, each configuration being at one place: as its noise goes, so its mean's."""
    gather, first = _gather(sample), [rows[0] for rows in sample.clusters.rows()]
    places = sample.u[first]
    relative, means = trend.at(places) * linear.bend[:, first], linear.residual @ gather
    held = gather.T @ linear.basis
    size = np.maximum((scatter(held, relative) / relative).sum(-1), SMALL)
    variance = (means**2 / relative).sum(-1) / size
    dof = np.full((len(variance), 1), float(max(1, sample.clusters.count - sample.form.size)))
    moved = (held @ linear.direction) ** 2 * relative[..., None]
    total = moved.sum(1)
    return variance[:, None] * total, trend.dof(dof, (moved * trend.scale(places)[:, None]).sum(1) / total)


def _robust(sample: Sample, linear: _Linear, trend: Trend, shared: Array) -> tuple[Array, Array]:
    """CR2. The mean and the distribution of its square are those under noise that follows the trend and of which a
    configuration's points share a part [S], by which it is made unbiased also where one configuration alone carries a
    parameter."""
    basis, along, rows = linear.basis, linear.basis @ linear.direction, sample.clusters.rows()
    weight, relative = free(sample, along, basis), trend.at(sample.u) * linear.bend
    member = _member(sample.clusters.config)
    total = np.swapaxes(weight * linear.residual[..., None], 1, 2) @ member
    followed, carried = (_by_rows(rows, w, basis) for w in (weight, weight * relative[..., None]))
    spilt = np.swapaxes(basis, 1, 2) @ (basis * relative[..., None])
    crossed = (carried - 0.5 * followed @ spilt[:, None]) @ np.swapaxes(followed, -1, -2)
    apart = _diagonal(weight**2 * relative[..., None], member) - crossed - np.swapaxes(crossed, -1, -2)
    root = np.sqrt(relative)[..., None]
    common = _diagonal(weight * root, member) - followed @ (np.swapaxes(basis * root, 1, 2) @ member)[:, None]
    part = shared[:, None, None, None]
    covariance = (1.0 - part) * apart + part * common @ np.swapaxes(common, -1, -2)
    part, own = shared[:, None], (along * root) ** 2
    true = (1.0 - part) * own.sum(1) + part * ((np.swapaxes(along * root, 1, 2) @ member) ** 2).sum(-1)
    size = np.maximum(np.linalg.eigvalsh(covariance), 0.0)
    mean = np.maximum(size.sum(-1), SMALL * true)
    return (total**2).sum(-1) * true / mean, equivalent(size / mean[..., None])


def _member(index: np.ndarray) -> Array:
    """[n, G]: 1 where a point is of a group."""
    return (index[:, None] == np.arange(index.max() + 1)).astype(float)


def _by_rows(rows: Sequence[np.ndarray], weight: Array, basis: Array) -> Array:
    """Sums of weight x basis over each configuration, [S, k, G, p]."""
    return np.stack([np.swapaxes(weight[:, r], 1, 2) @ basis[:, r] for r in rows], axis=2)


def _diagonal(values: Array, member: Array) -> Array:
    """Sums of values [S, n, k] over each configuration, on the diagonal of [S, k, G, G]."""
    return (np.swapaxes(values, 1, 2) @ member)[..., None] * np.eye(member.shape[1])


def _shared(sample: Sample, freed: Array) -> Array:
    """Share of the noise's variance that the points of a configuration have in common, [S]."""
    sums = np.stack([freed[:, rows].sum(1) for rows in sample.clusters.rows()], axis=-1)
    square = (freed**2).sum(-1)
    pairs = sum(len(rows) * (len(rows) - 1) for rows in sample.clusters.rows())
    mean = np.maximum(square / freed.shape[1], 1e-300)
    return np.clip(((sums**2).sum(-1) - square) / max(1, pairs) / mean, 0.0, MOST_SHARED)


def _noise_dof(sample: Sample, freed: Array, basis: Array) -> Array:
    """Satterthwaite's, of the noise between configurations, between their runs and within runs together, [S]."""
    clusters, count = sample.clusters, freed.shape[1]
    gather = _gather(sample)
    held = ((gather.T @ basis) ** 2).sum((-2, -1))
    runs = np.zeros((count, len(clusters.runs)))
    runs[np.arange(count), clusters.run] = np.sqrt(sample.w / np.bincount(clusters.run, sample.w)[clusters.run])
    total = np.maximum((freed**2).sum(-1), 1e-300)
    configs = np.minimum(((freed @ gather) ** 2).sum(-1) / total, 1.0)
    both = np.clip(((freed @ runs) ** 2).sum(-1) / total, configs, 1.0)
    parts = configs**2 / np.maximum(1.0, clusters.count - held)
    parts += (both - configs) ** 2 / max(1, len(clusters.runs) - clusters.count)
    return 1.0 / (parts + (1.0 - both) ** 2 / max(1, count - len(clusters.runs)))
