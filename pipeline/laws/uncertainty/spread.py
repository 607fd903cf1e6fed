"""Spread: variance and degrees of freedom of what a fit says, from the scatter of configurations about the law.

Linear theory on the least squares that a robust fit behaves as (``Pseudo``), with noise that may grow or fall with
scale (``Trend``). Where each configuration is at one place, its mean residual is one observation: the variance is that
of G means about p parameters, whatever part of it the repeats share. Where configurations have several places
(checkpoints), it is the cluster-robust CR2 (Bell and McCaffrey 2002), with mean and distribution as under noise of
which a configuration's points share a part that is estimated (Imbens and Kolesar 2016, section II).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.leverage import SMALL, free, leverage, scatter
from pipeline.laws.uncertainty.pseudo import Pseudo
from pipeline.laws.uncertainty.sample import Sample
from pipeline.laws.uncertainty.student import equivalent
from pipeline.laws.uncertainty.trend import Trend

FARTHEST = 3.0
"""Deltas (four standard deviations) beyond which a residual counts as this far when the noise is measured."""
MOST_SHARED = 0.99
"""Of the noise of a configuration's points."""


@dataclass(frozen=True)
class Spread:
    """Of S samples and k quantities."""

    variance: Array
    """[S, k]"""
    dof: Array
    """[S, k], those of the Student's t that the quantity over its standard error follows, near its 95 % points."""
    unit: Array
    """[S, k], inverse curvature of the loss: its rise is half the square of a move over this."""
    noise: Array
    """[S], standard deviation of ln y of a run about the curve (one of mean weight), over the points together."""
    noise_dof: Array
    """[S]"""
    trend: Trend


def spread(sample: Sample, gradient: Array) -> Spread:
    """``gradient`` [S, p, k] of each quantity by theta."""
    sample, scale = sample.counted()
    followed = leverage(sample)
    freed = free(sample, _plain(sample)[..., None], followed)[..., 0]
    noise_dof = _noise_dof(sample, freed, followed)
    trend = Trend.of(sample.u, freed, noise_dof, followed)
    even = freed / np.sqrt(trend.at(sample.u))
    noise = np.sqrt((even**2).mean(-1))
    pseudo = Pseudo.of(sample, gradient, noise[:, None] * np.sqrt(trend.at(sample.u)))
    if sample.clusters.single:
        variance, dof = _means(sample, pseudo, trend)
    else:
        variance, dof = _robust(sample, pseudo, trend, _shared(sample, even))
    unit = (pseudo.direction**2).sum(1) / (scale * pseudo.flat[:, None])
    return Spread(variance, dof, unit, noise, noise_dof, trend)


def _plain(sample: Sample) -> Array:
    """Residuals [S, n] whatever the loss made of them, those that are no noise (diverged runs) clipped."""
    residual = sample.v - sample.value()
    limit = np.maximum(sample.delta, 2.0 * np.median(np.abs(residual), axis=-1))[:, None]
    return np.clip(residual, -FARTHEST * limit, FARTHEST * limit) * np.sqrt(sample.w)


def _means(sample: Sample, pseudo: Pseudo, trend: Trend) -> tuple[Array, Array]:
    """Of G means about the law, each configuration being at one place: as its noise goes, so its mean's."""
    first = [rows[0] for rows in sample.clusters.rows()]
    places, config = sample.u[first], sample.clusters.config
    relative = trend.at(places) * pseudo.bend[:, first]
    means, held = (_common(config, sample.w, values) for values in (pseudo.residual[..., None], pseudo.basis))
    size = np.maximum((scatter(held, relative) / relative).sum(-1), SMALL)
    variance = (means[..., 0] ** 2 / relative).sum(-1) / size
    dof = np.full((len(variance), 1), float(max(1, sample.clusters.count - sample.form.size)))
    moved = (held @ pseudo.direction) ** 2 * relative[..., None]
    total = moved.sum(1)
    place = (moved * trend.scale(places)[:, None]).sum(1) / np.maximum(total, 1e-300)
    return variance[:, None] * total, trend.dof(dof, place)


def _robust(sample: Sample, pseudo: Pseudo, trend: Trend, shared: Array) -> tuple[Array, Array]:
    """CR2. The mean and the distribution of its square are those under noise that follows the trend and of which a
    configuration's points share a part [S], by which it is made unbiased also where one configuration alone carries a
    parameter."""
    config, basis = sample.clusters.config, pseudo.basis
    along, relative = basis @ pseudo.direction, (trend.at(sample.u) * pseudo.bend)[..., None]
    weight, root = free(sample, along, basis), np.sqrt(relative)
    followed, carried = (_products(config, each, basis) for each in (weight, weight * relative))
    spilt = np.swapaxes(basis, 1, 2) @ (basis * relative)
    crossed = (carried - 0.5 * followed @ spilt[:, None]) @ np.swapaxes(followed, -1, -2)
    apart = _diagonal(sums(config, weight**2 * relative)) - crossed - np.swapaxes(crossed, -1, -2)
    common = np.swapaxes(sums(config, basis * root), 1, 2)
    common = _diagonal(sums(config, weight * root)) - followed @ common[:, None]
    part = shared[:, None, None, None]
    covariance = (1.0 - part) * apart + part * common @ np.swapaxes(common, -1, -2)
    part = shared[:, None]
    true = (1.0 - part) * (along**2 * relative).sum(1) + part * (sums(config, along * root) ** 2).sum(1)
    mean = np.maximum(np.trace(covariance, axis1=-2, axis2=-1), SMALL * true)
    total = (sums(config, weight * pseudo.residual[..., None]) ** 2).sum(1)
    return total * true / mean, equivalent(covariance / mean[..., None, None])


def _shared(sample: Sample, even: Array) -> Array:
    """Share of the noise's variance that the points of a configuration have in common, [S]."""
    square, count = (even**2).sum(-1), np.bincount(sample.clusters.config)
    pairs = (sums(sample.clusters.config, even[..., None]) ** 2).sum((1, 2)) - square
    mean = np.maximum(square / even.shape[1], 1e-300)
    return np.clip(pairs / max(1, int((count * (count - 1)).sum())) / mean, 0.0, MOST_SHARED)


def _noise_dof(sample: Sample, freed: Array, basis: Array) -> Array:
    """Satterthwaite's, of the noise between configurations, between their runs and within runs together, [S]."""
    clusters, points = sample.clusters, freed.shape[1]
    held = (_common(clusters.config, sample.w, basis) ** 2).sum((1, 2))
    total = np.maximum((freed**2).sum(-1), 1e-300)
    between = [
        (_common(i, sample.w, freed[..., None]) ** 2).sum((1, 2)) / total for i in (clusters.config, clusters.run)
    ]
    configs = np.minimum(between[0], 1.0)
    runs = np.clip(between[1], configs, 1.0)
    parts = configs**2 / np.maximum(1.0, clusters.count - held)
    parts += (runs - configs) ** 2 / max(1, len(clusters.runs) - clusters.count)
    return 1.0 / (parts + (1.0 - runs) ** 2 / max(1, points - len(clusters.runs)))


def sums(index: np.ndarray, values: Array) -> Array:
    """Of values [S, n, k] over the points of each group: [S, G, k]."""
    order = np.argsort(index, kind="stable")
    return np.add.reduceat(values[:, order], np.searchsorted(index[order], np.arange(index.max() + 1)), axis=1)


def _common(index: np.ndarray, w: Array, values: Array) -> Array:
    """What the points of each group say in common, each as heavy as its points: an orthonormal projection of values
    [S, n, k] that are scaled by the root of the weights, [S, G, k]."""
    return sums(index, values * np.sqrt(w)[:, None]) / np.sqrt(np.bincount(index, w))[:, None]


def _products(index: np.ndarray, weight: Array, basis: Array) -> Array:
    """Sums of weight x basis over each group, [S, k, G, p]."""
    return np.stack([sums(index, weight[..., i, None] * basis) for i in range(weight.shape[-1])], axis=1)


def _diagonal(values: Array) -> Array:
    """values [S, G, k] on the diagonals of [S, k, G, G]."""
    return np.swapaxes(values, 1, 2)[..., None] * np.eye(values.shape[1])
