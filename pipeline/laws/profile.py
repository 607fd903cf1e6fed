"""Profile: how far a prediction or a parameter can go before the fit gets too much worse (Bates and Watts 1988, 6.1).

A constrained fit is a fit with one point more, heavy, at the value wanted: wherever it ends is the best the form can
do with that value, so the rise of the loss there is a point of the profile and the weight need not be infinite. The
allowed rise is t^2 times the variance per curvature, which for configurations at one place each is the F interval, and
otherwise the vertical adjustment of Chandler and Bate (2007, section 3).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.laws.forms import Array, Form
from pipeline.laws.sample import Sample
from pipeline.laws.solver import objective, solve
from pipeline.laws.spread import Spread, spread
from pipeline.laws.student import quantile

HEAVY = 9.0
"""Weight of the point that pulls, in curvatures of the loss along the quantity."""
TURNS = 12
NEAR = 1e-3
"""Relative to the root of the allowed rise, which a move is proportional to."""


def limits(sample: Sample, at: Array, level: float) -> tuple[Array, Array, Spread]:
    """Profile interval of ln y - offset at ``at`` [k, d] (coordinates of u): lo and hi [S, k], and the spread."""
    value, gradient = sample.form.log(sample.theta, at)
    known = spread(sample, gradient)
    rise = quantile(known.dof, level) ** 2 * known.variance / known.unit
    studies, places = value.shape
    u = np.concatenate([np.broadcast_to(sample.u, (places, *sample.u.shape)), at[:, None]], axis=1)
    index, column = np.divmod(np.arange(studies * places), places)
    start = _Start(
        sample.form, u[column], sample.v[index], sample.w, sample.theta[index], sample.delta[index], sample.over
    )
    ends = [_end(start, rise.ravel(), known.unit.ravel(), side).reshape(value.shape) for side in (-1.0, 1.0)]
    return ends[0], ends[1], known


def parameters(sample: Sample, centre: Array, offset: float, level: float) -> dict[str, tuple[float, float]]:
    """Profile interval of each natural parameter of the first of the samples."""
    out = {}
    for index, name in enumerate(sample.form.parameters):
        form = _Parameter(sample.form, index, centre, offset, sample.theta[0])
        gradient = form.log(sample.theta[:1], sample.u)[1][..., -1:]
        one = Sample(
            sample.form,
            sample.u,
            sample.v[:1],
            sample.w,
            sample.theta[:1],
            sample.delta[:1],
            sample.over,
            sample.clusters,
        )
        known = spread(one, gradient)
        rise = quantile(known.dof, level) ** 2 * known.variance / known.unit
        start = _Start(form, sample.u, one.v, one.w, one.theta, one.delta, one.over)
        lo, hi = (float(form.back(_end(start, rise[:, 0], known.unit[:, 0], side)[0])) for side in (-1.0, 1.0))
        out[name] = (lo, hi)
    return out


@dataclass(frozen=True)
class _Start:
    """B fits; the form's last value is the quantity, for which there is no point yet in v and w."""

    form: Any
    u: Array
    v: Array
    w: Array
    theta: Array
    delta: Array
    over: float


def _end(start: _Start, rise: Array, unit: Array, side: float) -> Array:
    """The quantity [B] where twice the loss has risen by ``rise`` [B], or as far as the bounds of theta let it."""
    now = start.form.log(start.theta, start.u)[0]
    value, least = now[:, -1], _loss(start, now)
    wanted, theta = np.sqrt(rise), start.theta
    expected = wanted * np.sqrt(unit)
    heavy = np.maximum(HEAVY, 4.0 * expected / start.delta) / unit
    w = np.concatenate([np.broadcast_to(start.w, start.v.shape), heavy[:, None]], axis=1)
    pull = expected * (1.0 + 1.0 / (heavy * unit))
    short, far = np.zeros((3, len(rise))), np.full((3, len(rise)), np.inf)
    short[2] = value
    for _ in range(TURNS):
        v = np.concatenate([start.v, (value + side * pull)[:, None]], axis=1)
        theta = solve(start.form, start.u, v, w, theta, start.delta, start.over)[0]
        now = start.form.log(theta, start.u)[0]
        root = np.sqrt(np.maximum(0.0, 2.0 * (_loss(start, now) - least)))
        here = np.stack([pull, root, now[:, -1]])
        short, far = np.where(root < wanted, here, short), np.where(root < wanted, far, here)
        if np.all(np.abs(root - wanted) <= NEAR * wanted):
            break
        pull = _next(short, far, wanted)
    share = _share(short, far, wanted)
    return np.where(
        np.isfinite(far[1]), short[2] + share * (np.where(np.isfinite(far[2]), far[2], 0.0) - short[2]), short[2]
    )


def _next(short: Array, far: Array, wanted: Array) -> Array:
    grown = short[0] * np.clip(1.05 * wanted / np.maximum(short[1], 1e-300), 1.1, 5.0)
    share = np.clip(_share(short, far, wanted), 0.02, 0.98)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(far[0]), short[0] + share * (far[0] - short[0]), grown)


def _share(short: Array, far: Array, wanted: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(far[1]), (wanted - short[1]) / np.maximum(far[1] - short[1], 1e-300), 0.0)


def _loss(start: _Start, now: Array) -> Array:
    return objective(start.v - now[:, :-1], start.w, start.delta, start.over)


class _Parameter:
    """A form whose last value is one natural parameter, on a scale that is even near its estimate and logarithmic far
    from it."""

    def __init__(self, form: Form, index: int, centre: Array, offset: float, theta: Array) -> None:
        self.form, self.index, self.centre, self.offset, self.bounds = form, index, centre, offset, form.bounds
        size = abs(float(form.natural(theta, centre, offset)[index]))
        self.scale = size if size > 0 else float(np.exp(offset))

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        value, gradient = self.form.log(theta, u)
        size = len(self.bounds)
        step = 1e-6 * (1.0 + np.abs(theta))[..., None, :] * np.eye(size)
        up, down = self._scaled(theta[..., None, :] + step), self._scaled(theta[..., None, :] - step)
        slope = (up - down) / (2.0 * step.sum(-1))
        own = self._scaled(theta)[..., None]
        return np.concatenate([value, own], axis=-1), np.concatenate([gradient, slope[..., None]], axis=-1)

    def _scaled(self, theta: Array) -> Array:
        return np.arcsinh(self.form.natural(theta, self.centre, self.offset)[..., self.index] / self.scale)

    def back(self, value: float) -> float:
        return float(self.scale * np.sinh(value))
