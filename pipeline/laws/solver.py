"""Solver: many small robust fits at once, by damped semi-smooth Newton steps inside a box, in plain numpy.

Minimises sum_i w_i huber(v_i - f(u_i)) for each of B problems. Huber's loss is quadratic only where a residual is
within delta, so the Hessian used is that of those points, plus ``damping`` times the re-weighted normal matrix of all
(iteratively re-weighted least squares, which always descends) and its diagonal (Levenberg-Marquardt). Little damping
gives Newton's speed once the set of points within delta has settled; much gives a short, safe step. Gradients are
analytic (Madsen, Nielsen and Tingleff 2004, section 3.2; Qi and Sun 1993 for semi-smooth functions). Problems that
have converged leave the batch.
"""

import numpy as np

from pipeline.laws.forms import Array, Form

STEPS = 400
STILL = 1e-11
"""Length of a step, relative to theta, at which a problem has converged."""
FLAT = 1e-13
"""Relative gain of a lightly damped step at which it has."""
START = 1e-2
MOST = 1e14


def objective(residual: Array, w: Array, delta: float | Array, over: float = 1.0) -> Array:
    """Sum (not mean) of weighted Huber terms over the last axis; ``delta`` a number or [B].

    Points below the curve count ``over`` times, which makes the fit a lower envelope.
    """
    size = np.abs(residual)
    limit = _column(delta)
    inside = np.minimum(size, limit)
    with np.errstate(invalid="ignore"):
        terms = inside * (size - 0.5 * inside)
    if over != 1.0:
        terms = np.where(residual < 0, over * terms, terms)
    return (w * terms).sum(-1)


def solve(
    form: Form,
    u: Array,
    v: Array,
    w: Array,
    theta: Array,
    delta: float | Array,
    over: float = 1.0,
    steps: int = STEPS,
) -> tuple[Array, Array, np.ndarray]:
    """B problems: u [n, d] or [B, n, d], v and w [n] or [B, n], start theta [B, p], delta a number or [B].

    Returns theta [B, p], objective [B] and whether each converged [B].
    """
    low, high = (np.array([b[i] for b in form.bounds]) for i in (0, 1))
    out = np.clip(theta, low, high)
    count, points = len(out), v.shape[-1]
    v, w = (np.broadcast_to(a, (count, points)) for a in (v, w))
    delta = np.broadcast_to(np.asarray(delta, dtype=float), (count,))
    state = _State(form, u, v, w, out, delta, over)
    best = state.best.copy()
    done = np.zeros(count, dtype=bool)
    at = np.arange(count)
    for _ in range(steps):
        finished = state.step(low, high)
        if finished.any():
            here = at[finished]
            out[here], best[here], done[here] = state.theta[finished], state.best[finished], True
            at = at[~finished]
            if not len(at):
                break
            state.keep(~finished)
    if len(at):
        out[at], best[at] = state.theta, state.best
    return out, best, done


class _State:
    """The problems still at work."""

    def __init__(self, form: Form, u: Array, v: Array, w: Array, theta: Array, delta: Array, over: float) -> None:
        self.form, self.u, self.v, self.w, self.theta, self.delta, self.over = form, u, v, w, theta.copy(), delta, over
        self.value, self.gradient = form.log(self.theta, u)
        self.best = objective(v - self.value, w, delta, over)
        self.damping = np.full(len(theta), START)

    def keep(self, which: np.ndarray) -> None:
        for name in ("v", "w", "theta", "delta", "value", "gradient", "best", "damping"):
            setattr(self, name, getattr(self, name)[which])
        if self.u.ndim == 3 and len(self.u) == len(which):
            self.u = self.u[which]

    def step(self, low: Array, high: Array) -> np.ndarray:
        """Try one step of each; returns which have converged."""
        moved = np.clip(self.theta + self._direction(low, high), low, high)
        length = (np.abs(moved - self.theta) / (1.0 + np.abs(self.theta))).max(-1)
        value, gradient = self.form.log(moved, self.u)
        reached = objective(self.v - value, self.w, self.delta, self.over)
        better = reached <= self.best
        gain = self.best - reached
        flat = better & (gain <= FLAT * self.best) & (self.damping <= START)
        self.theta = np.where(better[:, None], moved, self.theta)
        self.value = np.where(better[:, None], value, self.value)
        self.gradient = np.where(better[:, None, None], gradient, self.gradient)
        self.best = np.where(better, reached, self.best)
        self.damping = np.where(better, np.maximum(self.damping / 6, 1e-13), self.damping * 5)
        return (length < STILL) | flat | (self.damping > MOST)

    def _direction(self, low: Array, high: Array) -> Array:
        """The damped step; a parameter at a bound that pushes outward stays where it is."""
        residual, w, rows = self.v - self.value, self.w, self.gradient
        if self.over != 1.0:
            w = np.where(residual < 0, self.over * w, w)
        size, limit = np.abs(residual), self.delta[:, None]
        q = w * (limit / np.maximum(size, limit)) if np.isfinite(self.delta).all() else w
        weighted = rows * q[:, None, :]
        downhill = (weighted @ residual[..., None])[..., 0]
        normal = weighted @ np.swapaxes(rows, -1, -2)
        newton = normal
        if np.isfinite(self.delta).all():
            newton = (rows * (w * (size <= limit))[:, None, :]) @ np.swapaxes(rows, -1, -2)
        pinned = ((self.theta <= low) & (downhill < 0)) | ((self.theta >= high) & (downhill > 0))
        free = (~pinned).astype(float)
        both = free[:, :, None] * free[:, None, :]
        damping = self.damping[:, None]
        diagonal = np.einsum("bpp->bp", normal)
        matrix = (newton + damping[..., None] * normal) * both
        index = np.arange(self.theta.shape[1])
        scale = diagonal + 1e-14 * (diagonal.max(-1, keepdims=True) + 1e-280)
        matrix[:, index, index] += damping * scale * free + 1e-15 * scale + (1.0 - free)
        return np.asarray(np.linalg.solve(matrix, (downhill * free)[..., None])[..., 0], dtype=np.float64)


def _column(delta: float | Array) -> Array:
    return np.asarray(delta, dtype=float)[..., None]
