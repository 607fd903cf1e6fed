"""Fit: one form to one set of points or to many at once, robustly, with a status in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.forms import Array, Form, form_named
from pipeline.laws.points import distinct
from pipeline.laws.problem import Best, Problem, best_of
from pipeline.laws.solver import objective, solve

HUBER = 1.345
"""Huber's constant: 95 % efficiency under Gaussian noise, in units of the noise."""
LEAST_DELTA = 1e-3
"""Never treat less than 0.1 % as an outlier."""
MANY = 2e7
"""Numbers of one batch of starts: more are taken in turn."""


@dataclass(frozen=True)
class Fit:
    """A form with numbers. ``theta``, ``centre`` and ``offset`` are what evaluates; ``params`` is what is reported."""

    form: Form
    theta: Array
    centre: Array
    """Mean of ln x, [d]."""
    offset: float
    params: dict[str, float]
    status: str
    """converged | at a bound | not identified"""
    objective: float
    delta: float
    starts: int
    agree: int
    """Starts that were followed and ended within 0.1 % of the best objective."""
    condition: float
    """Of the Jacobian with unit columns; above 1e6 the parameters cannot be told apart."""
    residuals: Array
    """ln y - ln prediction at the points fitted, in their order."""

    def predict(self, x: ArrayLike) -> Array:
        """The curve at x [n] (one input) or [n, d]."""
        return np.exp(self.log(np.asarray(x, dtype=float)))

    def log(self, x: Array, theta: Array | None = None) -> Array:
        """ln of the curve at x: [n]; with draws theta [B, p] the curves [B, n]."""
        u = np.log(columns(x, len(self.centre))) - self.centre
        value, _ = self.form.log(self.theta if theta is None else theta, u)
        return value + self.offset

    def gradient(self, x: Array) -> Array:
        """d ln y / d theta at x, [p, n]."""
        return self.form.log(self.theta, np.log(columns(x, len(self.centre))) - self.centre)[1]


def columns(x: ArrayLike, inputs: int) -> Array:
    """x as [n, d]. Raises BadInput when the number of inputs is another."""
    xs = np.asarray(x, dtype=float)
    xs = xs.reshape(-1, 1) if xs.ndim < 2 and inputs == 1 else np.atleast_2d(xs)
    if xs.shape[1] != inputs:
        raise BadInput(f"This law has {inputs} inputs, and x has {xs.shape[1]} columns.")
    return xs


def shortage(form: Form, x: ArrayLike) -> str:
    """Why there are too few places to fit this form, or nothing. One more is asked than the form has parameters."""
    xs = np.asarray(x, dtype=float)
    places, needed = distinct(xs if xs.ndim else xs[None]), form.size + 1
    if places >= needed:
        return ""
    return f"a law with {form.size} parameters needs {needed} distinct places on the axis, and there {_are(places)}"


def fit(
    x: ArrayLike,
    y: ArrayLike,
    form: str | Form = "power_floor",
    weights: ArrayLike | None = None,
    delta: float | None = None,
    over: float = 1.0,
    seed: int = 0,
) -> Fit:
    """Fit ``form`` to positive x ([n], or [n, d] for a form of d inputs) and y [n] by the sum of Huber terms on ln y.

    ``delta`` is in units of ln y; without one it is 1.345 x the scatter about a least-squares fit (at least 1e-3).
    ``over`` above 1 counts points below the curve that many times: a lower envelope. ``seed`` moves the starts.
    Raises BadInput for values that are not finite and positive, and for fewer places than parameters + 1.
    """
    return fit_many([(x, y)], form, None if weights is None else [weights], delta, over, seed)[0]


def fit_many(
    sets: Sequence[tuple[ArrayLike, ArrayLike]],
    form: str | Form = "power_floor",
    weights: Sequence[ArrayLike] | None = None,
    delta: float | None = None,
    over: float = 1.0,
    seed: int = 0,
    outlier: float = HUBER,
) -> list[Fit]:
    """``fit`` of several data sets (x, y) side by side; ``outlier`` in place of 1.345."""
    chosen = form if isinstance(form, Form) else form_named(form)
    clean = [_clean(chosen, x, y, weights[i] if weights else None) for i, (x, y) in enumerate(sets)]
    longest = max((len(order) for *_, order in clean), default=1)
    size = max(1, int(MANY / (longest * chosen.size * max(1, len(chosen.grid)))))
    found: list[Fit] = []
    for first in range(0, len(clean), size):
        found += _batch(chosen, clean[first : first + size], delta, over, seed, outlier)
    return found


def refit(found: Fit, x: Array, v: Array, w: Array) -> Array:
    """The same form to B other sets of ln y ``v`` [B, n] at the same x, weights [B, n] (0 leaves a point out).

    Each from the fit's own optimum and from the best start of its own. Returns theta [B, p].
    """
    form, u, v = found.form, np.log(columns(x, len(found.centre))) - found.centre, v - found.offset
    low, high = (np.array([b[i] for b in form.bounds]) for i in (0, 1))
    count = len(v)
    starts = np.clip(form.starts(np.broadcast_to(u, (count, *u.shape)), v, w), low, high)
    rank = np.stack(
        [objective(v - form.log(starts[:, s], u)[0], w, found.delta) for s in range(starts.shape[1])], axis=1
    )
    own = starts[np.arange(count), np.where(np.isfinite(rank), rank, np.inf).argmin(1)]
    both = np.concatenate([np.broadcast_to(found.theta, own.shape), own])
    theta, value, _ = solve(form, u, np.tile(v, (2, 1)), np.tile(w, (2, 1)), both, found.delta)
    first, second = value[:count], value[count:]
    return np.where((first <= second)[:, None], theta[:count], theta[count:])


def nearby(found: Fit, x: Array, v: Array, w: Array) -> Array:
    """As ``refit``, from the fit's own optimum only: for draws that lie close to it. v, w [n] or [B, n]."""
    u = np.log(columns(x, len(found.centre))) - found.centre
    count = max(len(a) if a.ndim == 2 else 1 for a in (v, w))
    start = np.broadcast_to(found.theta, (count, found.form.size))
    return solve(found.form, u, v - found.offset, w, start, found.delta)[0]


def _batch(
    form: Form,
    clean: list[tuple[Array, Array, Array, np.ndarray]],
    delta: float | None,
    over: float,
    seed: int,
    outlier: float,
) -> list[Fit]:
    problem = Problem.of([(x, y, w) for x, y, w, _ in clean], form)
    limit: float | Array
    if delta is None:
        rough = best_of(form, problem, np.inf, over, seed, tried=4)
        limit = _scatter(form, problem, rough, outlier)
    else:
        limit = float(delta)
    best = best_of(form, problem, limit, over, seed)
    limits = np.broadcast_to(limit, (len(clean),))
    return [_describe(form, problem, best, i, order, float(limits[i])) for i, (*_, order) in enumerate(clean)]


def _scatter(form: Form, problem: Problem, rough: Best, outlier: float) -> Array:
    """Huber's delta of each problem, from the median residual of a least-squares fit."""
    residual = np.abs(problem.v - form.log(rough.theta, problem.u)[0])
    used = problem.w > 0
    count = used.sum(1)
    spread = np.array([np.median(r[k]) for r, k in zip(residual, used, strict=True)]) * 1.4826
    return np.maximum(LEAST_DELTA, outlier * spread * np.sqrt(count / np.maximum(1, count - form.size)))


def _describe(form: Form, problem: Problem, best: Best, i: int, order: np.ndarray, delta: float) -> Fit:
    theta, count = best.theta[i], len(order)
    fitted, gradient = form.log(theta, problem.u[i, :count])
    condition = _condition(gradient, problem.w[i, :count])
    residuals = np.empty(count)
    residuals[order] = problem.v[i, :count] - fitted
    natural = form.natural(theta, problem.centre[i], problem.offset[i])
    return Fit(
        form,
        theta,
        problem.centre[i],
        float(problem.offset[i]),
        dict(zip(form.parameters, map(float, natural), strict=True)),
        _status(form, theta, condition, bool(best.done[i])),
        float(best.value[i]),
        delta,
        best.starts,
        int(best.agree[i]),
        condition,
        residuals,
    )


def _clean(form: Form, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array, np.ndarray]:
    """x [n, d], y, weights and the order they were put in, so that the order given does not matter."""
    ys = np.asarray(y, dtype=float).ravel()
    if not len(ys):
        raise BadInput(f"Cannot fit {form.name}: there is no point to fit.")
    xs = columns(x, len(form.inputs))
    w = np.ones_like(ys) if weights is None else np.asarray(weights, dtype=float).ravel()
    if not len(xs) == len(ys) == len(w):
        raise BadInput(f"A fit needs as many x as y and weights, not {len(xs)}, {len(ys)} and {len(w)}.")
    for name, values in (("x", xs), ("y", ys), ("weights", w)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)).reshape(len(ys), -1).all(1))
        if len(bad):
            raise BadInput(
                f"A law is fitted in logarithms, so every {name} must be finite and positive; value {bad[0]} is "
                f"{_shown(values[bad[0]])}: leave it out and list it as excluded."
            )
    if short := shortage(form, xs):
        raise BadInput(f"Cannot fit {form.name}: {short}.")
    order = np.lexsort((w, ys, *xs.T[::-1]))
    return xs[order], ys[order], w[order], order


def _shown(value: Array) -> str:
    return ", ".join(f"{v:g}" for v in np.atleast_1d(value))


def _condition(gradient: Array, w: Array) -> float:
    rows = gradient * np.sqrt(w)
    norms = np.linalg.norm(rows, axis=1)
    if not np.all(norms > 1e-12 * norms.max()):
        return float("inf")
    return float(np.linalg.cond(rows / norms[:, None]))


def _status(form: Form, theta: Array, condition: float, done: bool) -> str:
    if not done or condition > 1e6:
        return "not identified"
    near = [min(t - low, high - t) < 1e-9 * (1 + abs(t)) for t, (low, high) in zip(theta, form.bounds, strict=True)]
    return "at a bound" if any(near) else "converged"


def _are(count: int) -> str:
    return {0: "is none", 1: "is 1"}.get(count, f"are {count}")
