"""Fit: a form to points, robustly, on ln y. Many weightings, targets and starts in one damped Gauss-Newton.

The objective is the sum (not the mean) of Huber terms of residuals in ln y, weighted per point. Every start is kept
to the end and the best wins, so the answer does not depend on which start was lucky; there is no randomness here.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws.forms import ALPHA, FLOOR_DEPTH, POWER, POWER_FLOOR, Form

START_ALPHAS = (0.1, 0.3, 0.6, 1.2)
START_FLOORS = (0.02, 0.5, 0.9)
"""Shares of the smallest y."""
ITERATIONS = 150


@dataclass
class Fit:
    form: Form
    theta: np.ndarray
    """(draws, p)"""
    loss: np.ndarray
    """(draws,)"""
    status: list[str]
    """converged, at a bound (the floor or exponent is not identified), or not converged."""
    delta: float


def check(x: np.ndarray, y: np.ndarray) -> None:
    """Raises BadInput, in one sentence, for what no law can be fitted to."""
    if x.shape != y.shape or x.ndim != 1:
        raise BadInput(f"x and y must be lists of one length, not of shapes {x.shape} and {y.shape}.")
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise BadInput(f"{name} holds {int((~np.isfinite(values)).sum())} values that are not finite: leave them out.")
        if (values <= 0).any():
            raise BadInput(f"{name} holds zero or negative values, which have no logarithm: leave them out.")


def choose_form(x: np.ndarray) -> Form | None:
    """A floor needs one distinct x more than its three parameters; a bare power law three; else there is no law."""
    distinct = len(np.unique(x))
    if distinct >= len(POWER_FLOOR.parameters) + 1:
        return POWER_FLOOR
    return POWER if distinct >= len(POWER.parameters) + 1 else None


def fit(
    form: Form,
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None = None,
    targets: np.ndarray | None = None,
    delta: float = 1e-3,
    near: np.ndarray | None = None,
) -> Fit:
    """Fit every row of ``weights`` (draws, n) and ``targets`` (draws, n; ln y) at once.

    ``near`` (p,) adds a start, and with it fewer grid starts are tried: for bootstrap draws around a known optimum.
    Raises BadInput for non-finite, zero or negative values.
    """
    check(x, y)
    u = np.log(x)
    goal = np.log(y)[None] if targets is None else targets
    weight = np.ones_like(goal) if weights is None else weights
    draws = max(len(goal), len(weight))
    goal, weight = np.broadcast_to(goal, (draws, len(x))), np.broadcast_to(weight, (draws, len(x)))
    centre = u.mean()  # ln A at the middle of the data is far better conditioned than at x = 1
    starts = _starts(form, u - centre, np.log(y), near, centre)
    theta = np.repeat(starts[None], draws, axis=0).reshape(-1, len(form.parameters))
    repeat = len(starts)
    low, high = _bounds(form, np.log(y))
    theta, loss, settled = _descend(
        form, u - centre, np.repeat(goal, repeat, 0), np.repeat(weight, repeat, 0), theta, delta, low, high
    )
    loss = loss.reshape(draws, repeat)
    best = loss.argmin(1)
    rows = np.arange(draws) * repeat + best
    chosen = theta[rows]
    status = [_status(form, t, bool(settled[r]), low, high) for t, r in zip(chosen, rows, strict=True)]
    chosen[:, 0] += chosen[:, 1] * centre
    return Fit(form, chosen, loss[np.arange(draws), best], status, delta)


def _starts(form: Form, u: np.ndarray, goal: np.ndarray, near: np.ndarray | None, centre: float) -> np.ndarray:
    floors = START_FLOORS if form is POWER_FLOOR else (0.0,)
    alphas = START_ALPHAS if near is None else START_ALPHAS[1:3]
    rows = []
    for alpha in alphas:
        for share in floors if near is None else floors[:2]:
            rest = np.log(np.maximum(np.exp(goal) - share * np.exp(goal.min()), 1e-12))
            row = [float(np.median(rest + alpha * u)), alpha]
            rows.append([*row, float(goal.min() + np.log(share))] if form is POWER_FLOOR else row)
    if near is not None:
        rows.append([near[0] - near[1] * centre, *near[1:]])
    return np.array(rows)


def _bounds(form: Form, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = [-np.inf, ALPHA[0]], [np.inf, ALPHA[1]]
    if form is POWER_FLOOR:
        low.append(float(goal.min() - FLOOR_DEPTH))
        high.append(float(goal.max()))
    return np.array(low), np.array(high)


def _huber(r: np.ndarray, delta: float) -> np.ndarray:
    size = np.abs(r)
    return np.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))


def _descend(form, u, goal, weight, theta, delta, low, high):
    """Levenberg-Marquardt with Huber reweighting, on (m, p) problems at once; parameters stay in their box."""
    m, p = theta.shape
    theta = np.clip(theta, low, high)
    scale = 1.0 / delta  # of the objective: a small delta must not look like a flat one

    def objective(t: np.ndarray) -> np.ndarray:
        return (weight * _huber(form.log_value(t, u) - goal, delta)).sum(-1) * scale

    damping = np.full(m, 1e-2)
    loss = objective(theta)
    settled = np.zeros(m, dtype=bool)
    for _ in range(ITERATIONS):
        r = form.log_value(theta, u) - goal
        robust = weight / np.maximum(1.0, np.abs(r) / delta)
        gradient_p = form.gradient(theta, u)
        g = np.einsum("mnp,mn->mp", gradient_p, robust * r)
        h = np.einsum("mnp,mn,mnq->mpq", gradient_p, robust, gradient_p)
        diagonal = np.einsum("mpp->mp", h) + 1e-12
        stepped = h + damping[:, None, None] * np.eye(p) * diagonal[:, None, :]
        step = np.linalg.solve(stepped + 1e-14 * np.eye(p), g[..., None])[..., 0]
        candidate = np.clip(theta - step, low, high)
        new = objective(candidate)
        better = new <= loss
        moved = np.abs(candidate - theta).max(-1)
        settled = (better & (moved < 1e-10)) | ((damping > 1e12) & ~better) | settled
        theta = np.where(better[:, None], candidate, theta)
        loss = np.where(better, new, loss)
        damping = np.clip(np.where(better, damping * 0.2, damping * 8.0), 1e-14, 1e14)
        if settled.all():
            break
    return theta, loss, settled | (damping > 1e10)


def _status(form: Form, theta: np.ndarray, settled: bool, low: np.ndarray, high: np.ndarray) -> str:
    near = 1e-3
    if form is POWER_FLOOR and theta[2] < low[2] + 0.7:
        return "at a bound: no floor is seen"
    if theta[1] < low[1] + near or theta[1] > high[1] - near:
        return "at a bound: the exponent is not identified"
    return "converged" if settled else "not converged"
