"""Reach: how far the laws of two families must bend at a place to meet there, in standard deviations.

A law's profile says how much worse its fit gets when the curve is forced through another value. Two laws meet with the
least strain where the sum of their squared signed roots is least: the profile of the gap (Bates and Watts 1988, section
6.1, for one law; Cox and Hinkley 1974, section 7.2, for inverting such a test). Compared with Student's distribution
whose degrees of freedom are those of both noises together (Welch 1947), it gives the probability of either sign.

Shapes: S pairs of studies, k places, q knots, m meeting points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.profile import reached
from pipeline.laws.uncertainty.sample import Sample
from pipeline.laws.uncertainty.spread import Spread, spread
from pipeline.laws.uncertainty.student import quantile

LEVELS = (0.5, 0.8, 0.95, 0.99, 0.999)
"""Two-sided, at which the profile is followed; straight between them and past the last."""
PROFILED = 65
"""Places at which a law's profile is followed; straight between them."""
MOST = 1e6
NEAR = 1e-9
"""Of a bound, relative to the parameter: at it."""
MEETINGS = 33
"""Places between the two curves at which they are let meet."""


class Curve(Protocol):
    """A law of one input, or several forms of it with weights that add up to 1."""

    def middle(self, x: Array) -> Array:
        """ln y at x [n]."""
        ...

    def mixture(self, x: Array) -> Sequence[tuple[float, "Reach"]]:
        """Weight and reach of each form at x [n]."""
        ...


@dataclass(frozen=True)
class Reach:
    """One law at k places."""

    value: Array
    """ln y [S, k]"""
    variance: Array
    """[S, k]"""
    dof: Array
    """[S, k]"""
    knots: Array
    """[S, k, q], standard deviations, from 0."""
    down: Array
    """[S, k, q], how far the curve sinks at each knot; never less than at the knot before."""
    up: Array

    def along(self, grid: Array, x: Array, value: Array) -> "Reach":
        """At other places ``x`` [n] of one input, between those of ``grid`` [k]; ``value`` [S, n] is the law there."""
        right = np.clip(np.searchsorted(grid, x), 1, len(grid) - 1)
        share = np.clip((x - grid[right - 1]) / (grid[right] - grid[right - 1]), 0.0, 1.0)

        def between(of: Array) -> Array:
            s = share.reshape(-1, *(1,) * (of.ndim - 2))
            return (1.0 - s) * of[:, right - 1] + s * of[:, right]

        return Reach(value, *map(between, (self.variance, self.dof, self.knots, self.down, self.up)))


def reach(sample: Sample, at: Array, known: Spread | None = None) -> Reach:
    """``at`` [k, d] in the coordinates of the sample; ``known`` in place of the spread of its own points."""
    value, gradient = sample.form.log(sample.theta, at)
    known = known or without_bound(sample, spread(sample, gradient))
    steps = np.stack([quantile(known.dof, level) for level in LEVELS])
    lo, hi = reached(sample, at, known, steps)
    return Reach(
        value + sample.offset, known.variance, known.dof, _knots(steps), _knots(value - lo), _knots(hi - value)
    )


def without_bound(sample: Sample, known: Spread) -> Spread:
    """The scatter about a law of which a parameter lies at its bound is that about a law without the parameter."""
    if not sample.clusters.single:
        return known  # whose variance is not that of residuals over degrees of freedom
    low, high = np.array(sample.form.bounds).T
    near = NEAR * (1.0 + np.abs(sample.theta))
    stuck = ((sample.theta - low < near) | (high - sample.theta < near)).sum(1, keepdims=True)
    left = max(1, sample.clusters.count - sample.form.size)
    return replace(known, variance=known.variance * left / (left + stuck), dof=known.dof + stuck)


def _knots(values: Array) -> Array:
    """[q, S, k] -> [S, k, 1 + q], from 0 and never falling."""
    return np.maximum.accumulate(np.concatenate([np.zeros_like(values[:1]), values]), axis=0).transpose(1, 2, 0)


def below(a: Reach, b: Reach) -> Array:
    """Probability that the curve of a lies below that of b, [S, k]."""
    from scipy.special import stdtr

    gap = a.value - b.value
    over = gap > 0
    bends = [np.where(over[..., None], *sides) for sides in ((a.down, a.up), (b.up, b.down))]
    total = a.variance + b.variance
    dof = total**2 / np.maximum(a.variance**2 / a.dof + b.variance**2 / b.dof, 1e-300)
    tail = stdtr(np.maximum(dof, 1.0), -_strain(np.abs(gap), (a.knots, b.knots), bends))
    return np.where(over, tail, 1.0 - tail)


def mixed_below(a: Curve, b: Curve, x: Array) -> Array:
    """The same at x [n], over the forms of each, chosen independently; [n]."""
    others = b.mixture(x)
    return sum((w * v * below(one, other)[0] for w, one in a.mixture(x) for v, other in others), np.zeros(len(x)))


def _strain(gap: Array, knots: tuple[Array, Array], bends: Sequence[Array]) -> Array:
    """Least root of the summed squares of standard deviations in which the two close the gap [S, k]."""
    share = np.linspace(0.0, 1.0, MEETINGS)
    mine = _deviations(knots[0], bends[0], gap[..., None] * share)
    others = _deviations(knots[1], bends[1], gap[..., None] * (1.0 - share))
    return np.hypot(mine, others).min(-1)


def _deviations(knots: Array, bend: Array, wanted: Array) -> Array:
    """Standard deviations that bend a curve by ``wanted`` [S, k, m]; infinity where the form's bounds forbid it."""
    out = np.full(wanted.shape, np.inf)
    for j in range(knots.shape[-1] - 2, -1, -1):
        q, r = knots[..., j, None], bend[..., j, None]
        rise, run = knots[..., j + 1, None] - q, bend[..., j + 1, None] - r
        with np.errstate(divide="ignore", invalid="ignore"):
            here = np.where(run > 0, q + (wanted - r) / run * rise, np.where(wanted > r, np.inf, q))
        last = j == knots.shape[-1] - 2
        out = here if last else np.where(wanted <= bend[..., j + 1, None], here, out)
    return out


def strain_to(one: Reach, v: float) -> Array:
    """Signed standard deviations [S, k] in which a law passes ln y = v at each place; above 0 where it lies below."""
    gap = v - one.value
    bend = np.where((gap > 0)[..., None], one.up, one.down)
    return np.sign(gap) * np.minimum(_deviations(one.knots, bend, np.abs(gap)[..., None])[..., 0], MOST)
