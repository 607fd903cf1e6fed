"""Interval: where the curve lies at a place, and where a new run there would fall, at any level."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput, nearest
from pipeline.laws.fit import columns
from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.profile import limits, parameters
from pipeline.laws.uncertainty.resample import draw
from pipeline.laws.uncertainty.sample import Sample
from pipeline.laws.uncertainty.spread import Spread, spread
from pipeline.laws.uncertainty.student import quantile

METHODS = ("auto", "profile", "delta", "wild", "run")
LEVEL = 0.95
ALONE = (
    "All points belong to one configuration, so the interval takes each as independent and is too narrow where they "
    "share noise."
)
FURTHEST = 200.0
"""In ln y: ends that lie further from the points are shown as this."""


@dataclass(frozen=True)
class Intervals:
    """Of k places, in units of y: the mean curve, its interval, and that of a new run."""

    at: Array
    """[k, d]"""
    mean: Array
    lo: Array
    hi: Array
    new_lo: Array
    new_hi: Array
    distance: Array
    """[k, d], how many times beyond the largest x of each input (1 within the data)."""
    method: str
    level: float
    configs: int
    """Independent configurations that the interval counts."""
    noise: float
    """Standard deviation of ln y of a new run."""
    notes: tuple[str, ...]


def intervals(
    sample: Sample, at: ArrayLike, method: str = "auto", level: float = LEVEL, draws: int = 1000, seed: int = 0
) -> Intervals:
    """Intervals of the first of the samples at ``at`` [k] or [k, d].

    ``auto`` is ``profile``; ``delta`` is the symmetric t interval in ln y, ``wild`` and ``run`` are percentiles of
    ``draws`` bootstraps. Raises BadInput for an unknown method, a level outside (0, 1), and places that are not
    positive.
    """
    if method not in METHODS:
        raise BadInput(f"There is no interval {method!r}: {nearest(method, METHODS)}")
    if not 0.0 < level < 1.0:
        raise BadInput(f"The level of an interval lies between 0 and 1, not at {level:g}.")
    places = columns(at, len(sample.centre))
    if not np.all(np.isfinite(places) & (places > 0)):
        raise BadInput("A law is asked at finite, positive places only: mend the places asked for.")
    chosen = "profile" if method == "auto" else method
    alone, sample = sample.clusters.count == 1, sample.countable()
    u = np.log(places) - sample.centre
    value = sample.form.log(sample.theta, u)[0]
    lo, hi, known = bounds(sample, u, chosen, level, draws, seed)
    ends = (value, lo, hi, *new_run(u, value, lo, hi, known, level))
    return Intervals(
        places,
        *(_shown(v, sample.offset) for v in ends),
        distance=np.maximum(1.0, places / np.exp(sample.u.max(0) + sample.centre)),
        method=chosen,
        level=level,
        configs=sample.clusters.count,
        noise=float(known.noise[0]),
        notes=(ALONE,) if alone else (),
    )


def bounds(sample: Sample, at: Array, method: str, level: float, draws: int, seed: int) -> tuple[Array, Array, Spread]:
    """Interval of the mean curve [S, k] at ``at`` [k, d], in the coordinates of u and v, and the spread there."""
    if method == "profile":
        return limits(sample, at, level)
    value, gradient = sample.form.log(sample.theta, at)
    known = spread(sample, gradient)
    if method == "delta":
        half = quantile(known.dof, level) * np.sqrt(known.variance)
        return value - half, value + half, known
    theta, _ = draw(sample, method, draws, seed)
    lo, hi = np.quantile(sample.form.log(theta, at)[0], [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=1)
    return np.minimum(lo, value), np.maximum(hi, value), known


def new_run(at: Array, value: Array, lo: Array, hi: Array, known: Spread, level: float) -> tuple[Array, Array]:
    """The interval of the mean [S, k] at ``at`` [k, d] widened by the noise of one run, the two independent.

    Both variances come from the same residuals, so their errors add, and Student's factor is that of the sum.
    """
    noise = known.noise[:, None] ** 2 * known.trend.at(at)
    noise_dof = known.trend.dof(known.noise_dof[:, None], known.trend.scale(at))
    share = noise / np.maximum(noise + known.variance, 1e-300)
    dof = (share / np.sqrt(noise_dof) + (1.0 - share) / np.sqrt(known.dof)) ** -2
    factor = quantile(dof, level)
    half, narrower = factor * np.sqrt(noise), factor / quantile(known.dof, level)
    return value - np.hypot(narrower * (value - lo), half), value + np.hypot(narrower * (hi - value), half)


def parameter_intervals(sample: Sample, level: float = LEVEL) -> dict[str, tuple[float, float]]:
    """Profile interval of each parameter, in natural units, at most as far as the form's bounds."""
    return parameters(sample.countable(), level)


def _shown(v: Array, offset: float) -> Array:
    return np.exp(np.clip(v[0] + offset, -FURTHEST, FURTHEST))
