"""Profile: how far a prediction or a parameter can go before the fit gets too much worse (Bates and Watts 1988, 6.1).

A constrained fit is a fit with one point more, heavy, at the value wanted: wherever it ends is the best the form can
do with that value, so the rise of the loss there is a point of the profile and the weight need not be infinite. The
allowed rise is t^2 times the variance per curvature, which for configurations at one place each is the F interval, and
otherwise the vertical adjustment of Chandler and Bate (2007, section 3).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.laws.forms import Array, Form
from pipeline.laws.solver import objective, solve
from pipeline.laws.uncertainty.sample import Sample
from pipeline.laws.uncertainty.spread import Spread, spread
from pipeline.laws.uncertainty.student import quantile

HEAVY = 9.0
"""Weight of the point that pulls, in curvatures of the loss along the quantity."""
TURNS = 12
STEPS = 60
"""Of the solver in a turn: the next goes on where it stopped, and the loss settles long before theta does."""
NEAR = 1e-3
"""Relative to the root of the allowed rise, which a move is proportional to."""


def limits(sample: Sample, at: Array, level: float) -> tuple[Array, Array, Spread]:
    """Profile interval of ln y - offset at ``at`` [k, d] (coordinates of u): lo and hi [S, k], and the spread."""
    known = spread(sample, sample.form.log(sample.theta, at)[1])
    lo, hi = reached(sample, at, known, quantile(known.dof, level)[None])
    return lo[0], hi[0], known


def reached(sample: Sample, at: Array, known: Spread, deviations: Array) -> tuple[Array, Array]:
    """Lowest and highest ln y - offset [q, S, k] within so many standard deviations [q, S, k] of ``known``."""
    places, shape = len(at), (2, *deviations.shape)
    rise = np.broadcast_to(deviations**2 * known.variance / known.unit, shape)
    side = np.broadcast_to(np.array([-1.0, 1.0])[:, None, None, None], shape)
    study, column = (np.broadcast_to(i, shape).ravel() for i in np.indices(shape[2:]))
    u = np.concatenate([np.broadcast_to(sample.u, (places, *sample.u.shape)), at[:, None]], axis=1)
    start = _Start(
        sample.form, u[column], sample.v[study], sample.w, sample.theta[study], sample.delta[study], sample.over
    )
    unit = np.broadcast_to(known.unit, shape)
    ends = _end(start, rise.ravel(), unit.ravel(), side.ravel()).reshape(shape)
    return ends[0], ends[1]


def parameters(sample: Sample, level: float) -> dict[str, tuple[float, float]]:
    """Profile interval of each natural parameter of the first of the samples."""
    out = {}
    for index, name in enumerate(sample.form.parameters):
        form = _Parameter(sample.form, index, sample.centre, sample.offset, sample.theta[0])
        gradient = form.log(sample.theta[:1], sample.u)[1][..., -1:]
        one = replace(sample, v=sample.v[:1], theta=sample.theta[:1], delta=sample.delta[:1])
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

    def only(self, which: np.ndarray, theta: Array) -> "_Start":
        """Some of the fits, from other theta."""
        u = self.u[which] if self.u.ndim == 3 else self.u
        return replace(self, u=u, v=self.v[which], theta=theta[which], delta=self.delta[which])


def _end(start: _Start, rise: Array, unit: Array, side: float | Array) -> Array:
    """The quantity [B] where twice the loss has risen by ``rise`` [B], or as far as the bounds of theta let it."""
    now = start.form.log(start.theta, start.u)[0]
    value, least = now[:, -1], _loss(start, now)
    wanted, theta = np.sqrt(rise), start.theta.copy()
    expected = wanted * np.sqrt(unit)
    heavy = np.maximum(HEAVY, 4.0 * expected / start.delta) / unit
    pull = expected * (1.0 + 1.0 / (heavy * unit))
    short, far = np.zeros((3, len(rise))), np.full((3, len(rise)), np.inf)
    short[2] = value
    left = np.arange(len(rise))
    for _ in range(TURNS):
        some, end = start.only(left, theta), value[left] + (side * pull)[left]
        v = np.concatenate([some.v, end[:, None]], axis=1)
        w = np.concatenate([np.broadcast_to(start.w, some.v.shape), heavy[left, None]], axis=1)
        theta[left] = solve(start.form, some.u, v, w, some.theta, some.delta, start.over, STEPS)[0]
        now = start.form.log(theta[left], some.u)[0]
        root = np.sqrt(np.maximum(0.0, 2.0 * (_loss(some, now) - least[left])))
        here, under = np.stack([pull[left], root, now[:, -1]]), root < wanted[left]
        short[:, left], far[:, left] = np.where(under, here, short[:, left]), np.where(under, far[:, left], here)
        left = left[np.abs(root - wanted[left]) > NEAR * wanted[left]]
        if not len(left):
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
