"""Problem: several data sets of one form, side by side in one batch, each in centred logarithms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array, Form
from pipeline.laws.solver import objective, solve

TRIED = 12
"""Starts that are followed to their end, of those that look best."""


@dataclass(frozen=True)
class Problem:
    """u [B, n, d], v and w [B, n] (weight 0 pads), centre [B, d], offset [B]: u = ln x - centre, v = ln y - offset."""

    u: Array
    v: Array
    w: Array
    centre: Array
    offset: Array

    @classmethod
    def of(cls, sets: Sequence[tuple[Array, Array, Array]], form: Form) -> "Problem":
        """From (x [n, d], y [n], weights [n]) of each; weights are scaled to a mean of 1."""
        longest, inputs = max(len(y) for _, y, _ in sets), sets[0][0].shape[1]
        u, v = np.zeros((len(sets), longest, inputs)), np.zeros((len(sets), longest))
        w, centre, offset = np.zeros_like(v), np.zeros((len(sets), inputs)), np.zeros(len(sets))
        for i, (x, y, weights) in enumerate(sets):
            count = len(y)
            centre[i], offset[i] = form.centre(np.log(x)), np.log(y).mean()
            u[i, :count], v[i, :count] = np.log(x) - centre[i], np.log(y) - offset[i]
            w[i, :count] = weights / weights.mean()
        return cls(u, v, w, centre, offset)


@dataclass(frozen=True)
class Best:
    """Of each problem: theta [B, p], objective [B], starts in all, starts that agree [B], converged [B]."""

    theta: Array
    value: Array
    starts: int
    agree: np.ndarray
    done: np.ndarray


def best_of(
    form: Form, problem: Problem, delta: float | Array, over: float = 1.0, seed: int = 0, tried: int = TRIED
) -> Best:
    """Each problem from the ``tried`` best of its starts. ``seed`` other than 0 moves the starts a little."""
    starts = form.starts(problem.u, problem.v, problem.w, _moved(form, seed))
    low, high = (np.array([b[i] for b in form.bounds]) for i in (0, 1))
    starts = np.clip(starts, low, high)
    count, every, size = starts.shape
    delta = np.broadcast_to(np.asarray(delta, dtype=float), (count,))
    value, _ = form.log(starts, problem.u[:, None])
    rank = objective(problem.v[:, None] - value, problem.w[:, None], delta[:, None], over)
    rank = np.where(np.isfinite(rank), rank, np.inf)
    tried = min(tried, every)
    chosen = np.argsort(rank, axis=1, kind="stable")[:, :tried]
    theta = np.take_along_axis(starts, chosen[..., None], 1).reshape(-1, size)
    many = [np.repeat(a, tried, 0) for a in (problem.u, problem.v, problem.w, delta)]
    theta, reached, done = solve(form, many[0], many[1], many[2], theta, many[3], over)
    theta, reached, done = theta.reshape(count, tried, size), reached.reshape(count, tried), done.reshape(count, tried)
    best, rows = reached.argmin(1), np.arange(count)
    least = reached[rows, best]
    agree = (reached <= least[:, None] * 1.001 + 1e-15).sum(1)
    return Best(theta[rows, best], least, every, agree, done[rows, best])


def _moved(form: Form, seed: int) -> Array | None:
    grid = form.grid
    if seed == 0 or not grid.shape[1]:
        return None
    random = np.random.Generator(np.random.Philox(key=[seed, 7]))
    return grid * np.exp(0.1 * random.standard_normal(grid.shape))
