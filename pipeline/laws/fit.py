"""Fit: one form to one set of points, robustly, with a status in words."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.forms import Array, Form, form_named
from pipeline.laws.points import distinct
from pipeline.laws.solver import objective, solve

HUBER = 1.345
"""Huber's constant: 95 % efficiency under Gaussian noise, in units of the noise."""
LEAST_DELTA = 1e-3
"""Never treat less than 0.1 % as an outlier."""


@dataclass(frozen=True)
class Fit:
    """A form with numbers. ``theta``, ``centre`` and ``offset`` are what evaluates; ``params`` is what is reported."""

    form: Form
    theta: Array
    centre: float
    offset: float
    params: dict[str, float]
    status: str
    """converged | at a bound | not identified"""
    objective: float
    delta: float
    starts: int
    agree: int
    """Starts that ended within 0.1 % of the best objective."""
    condition: float
    """Of the Jacobian with unit columns; above 1e6 the parameters cannot be told apart."""
    residuals: Array
    """ln y - ln prediction at the points fitted, in their order."""

    def predict(self, x: ArrayLike) -> Array:
        return np.exp(self.log(np.asarray(x, dtype=float)))

    def log(self, x: Array, theta: Array | None = None) -> Array:
        """ln of the curve at x [n]; with draws theta [B, p] the curves [B, n]."""
        value, _ = self.form.log(self.theta if theta is None else theta, np.log(x) - self.centre)
        return value + self.offset


def shortage(form: Form, x: ArrayLike) -> str:
    """Why there are too few places to fit this form, or nothing. One more is asked than the form has parameters."""
    places, needed = distinct(np.atleast_1d(np.asarray(x, dtype=float))), form.size + 1
    if places >= needed:
        return ""
    return f"a law with {form.size} parameters needs {needed} distinct places on the axis, and there {_are(places)}"


def fit(
    x: ArrayLike, y: ArrayLike, form: str = "power_floor", weights: ArrayLike | None = None, delta: float | None = None
) -> Fit:
    """Fit ``form`` to positive x and y (1-D, same length) by the sum of Huber terms on ln y.

    ``delta`` is in units of ln y; without one it is 1.345 x the scatter about a least-squares fit (at least 1e-3).
    Raises BadInput for values that are not finite and positive, and for fewer places than parameters + 1.
    """
    xs, ys = (np.asarray(a, dtype=float).ravel() for a in (x, y))
    chosen = form_named(form)
    w = np.ones_like(xs) if weights is None else np.asarray(weights, dtype=float).ravel()
    _check(xs, ys, w, chosen)
    order = np.lexsort((w, ys, xs))
    centre, offset = float(np.log(xs[order]).mean()), float(np.log(ys[order]).mean())
    u, v = (np.log(xs) - centre)[order], (np.log(ys) - offset)[order]
    scaled = (w / w.mean())[order]
    if delta is None:
        rough, *_ = best_of(chosen, u, v, scaled, np.inf)
        spread = np.median(np.abs(v - chosen.log(rough, u)[0])) * 1.4826
        delta = max(LEAST_DELTA, HUBER * float(spread) * np.sqrt(len(u) / (len(u) - chosen.size)))
    theta, value, starts, agree, done = best_of(chosen, u, v, scaled, delta)
    fitted, gradient = chosen.log(theta, u)
    condition = _condition(gradient, scaled)
    residuals = np.empty_like(v)
    residuals[order] = v - fitted
    natural = chosen.natural(theta, centre, offset)
    return Fit(
        chosen,
        theta,
        centre,
        offset,
        dict(zip(chosen.parameters, map(float, natural), strict=True)),
        _status(chosen, theta, condition, done),
        value,
        delta,
        starts,
        agree,
        condition,
        residuals,
    )


def best_of(form: Form, u: Array, v: Array, w: Array, delta: float) -> tuple[Array, float, int, int, bool]:
    """One problem from all its starts: (theta, objective, starts, starts that agree, converged)."""
    starts = form.starts(u, v[None], w[None])[0]
    count = len(starts)
    theta, value, done = solve(form, u, np.tile(v, (count, 1)), np.tile(w, (count, 1)), starts, delta)
    best = int(np.argmin(value))
    agree = int(np.count_nonzero(value <= value[best] * 1.001 + 1e-15))
    return theta[best], float(value[best]), count, agree, bool(done[best])


def refit(found: Fit, x: Array, v: Array, w: Array) -> Array:
    """The same form to B other sets of ln y ``v`` [B, n] at the same x, weights [B, n] (0 leaves a point out).

    Each from the fit's own optimum and from the best start of its own. Returns theta [B, p].
    """
    form, u, v = found.form, np.log(x) - found.centre, v - found.offset
    starts = form.starts(u, v, w)
    rank = np.stack(
        [objective(v - form.log(starts[:, s], u)[0], w, found.delta) for s in range(starts.shape[1])], axis=1
    )
    own = starts[np.arange(len(v)), rank.argmin(1)]
    both = np.concatenate([np.broadcast_to(found.theta, own.shape), own])
    theta, value, _ = solve(form, u, np.tile(v, (2, 1)), np.tile(w, (2, 1)), both, found.delta)
    first, second = value[: len(v)], value[len(v) :]
    return np.where((first <= second)[:, None], theta[: len(v)], theta[len(v) :])


def _check(x: Array, y: Array, w: Array, form: Form) -> None:
    if not len(x) == len(y) == len(w):
        raise BadInput(f"A fit needs as many x as y and weights, not {len(x)}, {len(y)} and {len(w)}.")
    for name, values in (("x", x), ("y", y), ("weights", w)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            raise BadInput(
                f"A law is fitted in logarithms, so every {name} must be finite and positive; value {bad[0]} is "
                f"{values[bad[0]]:g}: leave it out and list it as excluded."
            )
    if short := shortage(form, x) if len(x) else "there is no point to fit":
        raise BadInput(f"Cannot fit {form.name}: {short}.")


def _condition(gradient: Array, w: Array) -> float:
    columns = gradient * np.sqrt(w)[:, None]
    norms = np.linalg.norm(columns, axis=0)
    if not np.all(norms > 1e-12 * norms.max()):
        return float("inf")
    return float(np.linalg.cond(columns / norms))


def _status(form: Form, theta: Array, condition: float, done: bool) -> str:
    if not done or condition > 1e6:
        return "not identified"
    near = [min(t - low, high - t) < 1e-9 * (1 + abs(t)) for t, (low, high) in zip(theta, form.bounds, strict=True)]
    return "at a bound" if any(near) else "converged"


def _are(count: int) -> str:
    return {0: "is none", 1: "is 1"}.get(count, f"are {count}")
