"""Valley: the profiles of all budgets fitted at once, each with its own lowest point and all with one shape.

At a fixed budget a loss E + A N^-al + B D^-be is, in d = ln N - ln N*, exactly

    L = L* + g [(exp(-al d) - 1) / al + (exp(be d) - 1) / be],

whatever the constants, because the two slopes balance at the optimum. Only al and be say how lopsided the valley is,
and they are the same at every budget; L* and g are linear. A parabola has no lopsidedness and a cubic learns it anew at
each budget, so a grid that drifts off centre bends the exponent of the first and blurs that of the second
(docs/frontier.md). Linear parameters are projected out (Golub and Pereyra 1973, with Kaufman's Jacobian); problems are
solved in batches by Levenberg-Marquardt steps on relative residuals.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array

RATES = (0.02, 3.0)
"""Bounds of al and be; at the lower one that side of the valley is a straight line."""
STARTS = (0.1, 0.3, 0.9)
STEPS = 100
STILL, STILL_DRAW = 1e-10, 1e-6
"""Largest step in theta at which a fit, and a draw about it, has settled; draws differ by far more."""
BATCH = 4_000_000
"""Numbers in the Jacobians that are held at once."""
REWEIGHTINGS = 30
OUTLIER = 4.0
"""Standard deviations past which a run loses weight, with the square of its distance."""
LEAST = 1e-3
"""Of ln loss: no run this close to its valley is an outlier."""
HALF = 0.5
"""A run that weighs less is an outlier, and no degree of freedom."""


@dataclass(frozen=True)
class Grid:
    """Runs by budget, padded to [K, M]; ``w`` is 0 where there is none. ``n`` is ln N, ``c`` ln C less its budget's."""

    n: Array
    c: Array
    y: Array
    """Loss."""
    w: Array


@dataclass(frozen=True)
class Valley:
    """B fits. ``theta`` [B, 2 + q]: ln al, ln be and the coefficients of ln N* on the design [K, q]."""

    theta: Array
    level: Array
    """L* at the budget [B, K]."""
    depth: Array
    """g [B, K]."""
    residual: Array
    """1 - fit / loss, unweighted [B, K, M]."""
    jacobian: Array
    """Of the weighted fit in theta with the linear parameters projected out [B, K, M, 2 + q]."""
    objective: Array
    """Weighted sum of squares [B]."""

    def take(self, rows: np.ndarray) -> "Valley":
        return Valley(*(getattr(self, f)[rows] for f in self.__dataclass_fields__))

    def covariance(self, dof: int) -> Array:
        """Of theta [B, p, p]; a rate at its bound counts as known."""
        j = self.jacobian.reshape(len(self.theta), -1, self.theta.shape[-1])
        normal = np.swapaxes(j, 1, 2) @ j
        low, high = np.log(RATES)
        pinned = (self.theta <= low + 1e-9) | (self.theta >= high - 1e-9)
        pinned[:, 2:] = False
        free = 1.0 - pinned
        normal = normal * free[:, :, None] * free[:, None, :]
        index = np.arange(normal.shape[-1])
        scale = np.sqrt(np.maximum(normal[:, index, index], 1e-300))
        scale[pinned] = 1.0
        unit = normal / scale[:, :, None] / scale[:, None, :]
        unit[:, index, index] += 1e-12 + pinned
        inverse = np.linalg.inv(unit) / scale[:, :, None] / scale[:, None, :]
        return inverse * free[:, :, None] * free[:, None, :] * (self.objective / dof)[:, None, None]


def settle(grid: Grid, design: Array, start: Array, losses: Array | None = None, still: float = STILL) -> Valley:
    """Least squares from ``start`` [B, 2 + q] for B sets of losses [B, K, M] (the grid's own where None)."""
    y = np.broadcast_to(grid.y, (len(start), *grid.y.shape)) if losses is None else losses
    theta = _bounded(start)
    now = _evaluate(grid, design, theta, y)
    damping, active = np.full(len(theta), 1e-3), np.ones(len(theta), dtype=bool)
    for _ in range(STEPS):
        at = np.flatnonzero(active)
        if not len(at):
            break
        here = now.take(at)
        moved = _bounded(here.theta + _step(grid, here, damping[at]))
        new = _evaluate(grid, design, moved, y[at])
        better = new.objective <= here.objective
        close = np.abs(moved - here.theta).max(-1) < still
        for name in Valley.__dataclass_fields__:
            getattr(now, name)[at[better]] = getattr(new, name)[better]
        damping[at] = np.where(better, np.maximum(damping[at] / 5, 1e-12), damping[at] * 4)
        active[at] = ~close & (damping[at] < 1e12)
    return now


def redrawn(grid: Grid, design: Array, start: Array, losses: Array) -> tuple[Array, Array]:
    """theta [B, 2 + q] and level [B, K] of the fits to B sets of losses, all from one ``start`` [2 + q]."""
    at_once = max(1, BATCH // max(1, grid.y.size * len(start)))
    parts = [losses[i : i + at_once] for i in range(0, len(losses), at_once)]
    found = [settle(grid, design, np.tile(start, (len(part), 1)), part, STILL_DRAW) for part in parts]
    return np.concatenate([v.theta for v in found]), np.concatenate([v.level for v in found])


def robust(grid: Grid, design: Array, parameters: int) -> tuple[Valley, Grid]:
    """(fit [1], grid with its final weights) from the best of all starts.

    Past ``OUTLIER`` standard deviations (by the median absolute deviation) a run's weight falls with the square of its
    distance, until the weights stand still.
    """
    optimum = np.linalg.lstsq(design, _lowest(grid), rcond=None)[0]
    rates = np.log([(a, b) for a in STARTS for b in STARTS])
    start: Array = np.concatenate([rates, np.tile(optimum, (len(rates), 1))], axis=1).astype(float)
    found = settle(grid, design, start)
    found = found.take(np.array([int(np.argmin(found.objective))]))
    used, weighted = grid.w > HALF, grid
    freedom = np.sqrt(used.sum() / max(1, used.sum() - parameters))
    for _ in range(REWEIGHTINGS):
        size = np.abs(found.residual[0])
        furthest = max(LEAST, OUTLIER * 1.4826 * float(np.median(size[used])) * freedom)
        w = grid.w * np.minimum(1.0, furthest / np.maximum(size, 1e-300)) ** 2
        if np.abs(w - weighted.w).max() < 1e-3:
            break
        weighted = Grid(grid.n, grid.c, grid.y, w)
        found = settle(weighted, design, found.theta)
    return found, weighted


def _evaluate(grid: Grid, design: Array, theta: Array, y: Array) -> Valley:
    al, be = (np.exp(theta[:, i])[:, None, None] for i in (0, 1))
    d = grid.n - (theta[:, 2:] @ design.T)[:, :, None]
    left, right = np.exp(np.clip(-al * d, -300, 300)), np.exp(np.clip(be * (d - grid.c), -300, 300))
    shape = (left - 1) / al + (right - 1) / be
    slopes = [-d * left - (left - 1) / al, (d - grid.c) * right - (right - 1) / be]
    slopes += [(left - right) * design[:, q][:, None] for q in range(design.shape[1])]
    root = np.sqrt(grid.w)
    one, column = root / y, root * shape / y
    aa, ab, bb = (one * one).sum(-1), (one * column).sum(-1), (column * column).sum(-1)
    at, bt = (one * root).sum(-1), (column * root).sum(-1)
    gap = np.maximum(aa * bb - ab * ab, 1e-14 * aa * bb + 1e-300)
    depth = np.maximum((aa * bt - ab * at) / gap, 0.0)
    level = (at - ab * depth) / aa
    residual = 1 - (level[..., None] + depth[..., None] * shape) / y
    steps = np.stack([root * s * depth[..., None] / y for s in slopes], axis=-1)
    return Valley(theta, level, depth, residual, _projected(steps, one, column), (grid.w * residual**2).sum((1, 2)))


def _projected(steps: Array, one: Array, column: Array) -> Array:
    """The part of ``steps`` [B, K, M, p] that the two linear columns [B, K, M] cannot follow."""
    first = one / np.sqrt((one * one).sum(-1, keepdims=True))
    second = column - first * (first * column).sum(-1, keepdims=True)
    second = second / np.sqrt(np.maximum((second * second).sum(-1, keepdims=True), 1e-300))
    for unit in (first, second):
        steps = steps - unit[..., None] * np.einsum("bkm,bkmp->bkp", unit, steps)[:, :, None, :]
    return steps


def _step(grid: Grid, here: Valley, damping: Array) -> Array:
    """The damped step; a rate at a bound that pushes outward stays where it is."""
    p = here.theta.shape[-1]
    j = here.jacobian.reshape(len(here.theta), -1, p)
    turned = np.swapaxes(j, 1, 2)
    downhill = (turned @ (np.sqrt(grid.w) * here.residual).reshape(len(here.theta), -1, 1))[..., 0]
    normal = turned @ j
    low, high = np.log(RATES)
    pinned = ((here.theta <= low) & (downhill < 0)) | ((here.theta >= high) & (downhill > 0))
    pinned[:, 2:] = False
    free = 1.0 - pinned
    normal = normal * free[:, :, None] * free[:, None, :]
    index = np.arange(p)
    diagonal = normal[:, index, index]
    normal[:, index, index] += damping[:, None] * (diagonal + 1e-9 * diagonal.max(-1, keepdims=True)) + pinned + 1e-300
    return np.clip(np.linalg.solve(normal, (downhill * free)[..., None])[..., 0], -1.0, 1.0)


def _bounded(theta: Array) -> Array:
    return np.concatenate([np.clip(theta[:, :2], *np.log(RATES)), theta[:, 2:]], axis=1)


def _lowest(grid: Grid) -> Array:
    """A start for ln N* [K]: the middle of each budget's three lowest runs, which no diverged run is among."""
    order = np.argsort(np.where(grid.w > 0, grid.y, np.inf), axis=1)[:, :3]
    return np.take_along_axis(grid.n, order, axis=1).mean(1)
