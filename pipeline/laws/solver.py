"""Solver: many small robust curve fits at once, by damped Gauss-Newton steps inside a box, in plain numpy.

Levenberg-Marquardt on the sum of w_i Huber(v_i - f(u_i)), each residual re-weighted as Huber's loss asks (Huber 1964;
Madsen, Nielsen and Tingleff 2004, section 3.2). Gradients are analytic. Problems that have converged leave the batch.
"""

import numpy as np

from pipeline.laws.forms import Array, Form

STEPS = 300
TOLERANCE = 1e-11


def objective(residual: Array, w: Array, delta: float) -> Array:
    """Sum (not mean) of weighted Huber terms over the last axis."""
    size = np.abs(residual)
    terms = (
        np.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta))
        if np.isfinite(delta)
        else 0.5 * size * size
    )
    return (w * terms).sum(-1)


def solve(form: Form, u: Array, v: Array, w: Array, theta: Array, delta: float) -> tuple[Array, Array, np.ndarray]:
    """B problems: u [n], v and w [B, n], start theta [B, p] -> (theta [B, p], objective [B], converged [B])."""
    low, high = (np.array([b[i] for b in form.bounds]) for i in (0, 1))
    theta = np.clip(theta, low, high)
    value, gradient = form.log(theta, u)
    best = objective(v - value, w, delta)
    damping = np.full(len(theta), 1e-3)
    done = np.zeros(len(theta), dtype=bool)
    for _ in range(STEPS):
        at = np.flatnonzero(~done)
        if not len(at):
            break
        step = _step(v[at] - value[at], gradient[at], w[at], theta[at], damping[at], delta, low, high)
        moved = np.clip(theta[at] + step, low, high)
        length = np.abs(moved - theta[at]).max(-1) / (1.0 + np.abs(theta[at]).max(-1))
        new_value, new_gradient = form.log(moved, u)
        reached = objective(v[at] - new_value, w[at], delta)
        better = reached <= best[at]
        kept = at[better]
        theta[kept], value[kept], gradient[kept] = moved[better], new_value[better], new_gradient[better]
        best[kept] = reached[better]
        damping[at] = np.where(better, np.maximum(damping[at] / 5, 1e-12), damping[at] * 4)
        done[at] = (length < TOLERANCE) | (damping[at] > 1e14)
    return theta, best, done


def _step(
    residual: Array, gradient: Array, w: Array, theta: Array, damping: Array, delta: float, low: Array, high: Array
) -> Array:
    """The damped step of each problem; a parameter at a bound that pushes outward stays where it is."""
    q = w * np.minimum(1.0, delta / np.maximum(np.abs(residual), 1e-300))
    downhill = np.einsum("bnp,bn->bp", gradient, q * residual)
    normal = np.einsum("bnp,bn,bnq->bpq", gradient, q, gradient)
    pinned = ((theta <= low) & (downhill < 0)) | ((theta >= high) & (downhill > 0))
    free = (~pinned).astype(float)
    normal = normal * free[:, :, None] * free[:, None, :]
    diagonal = np.einsum("bpp->bp", normal)
    ridge = damping[:, None] * diagonal + 1e-14 * (1.0 + diagonal.max(-1, keepdims=True)) + (1.0 - free)
    index = np.arange(theta.shape[1])
    normal[:, index, index] += ridge
    return np.linalg.solve(normal, (downhill * free)[..., None])[..., 0]
