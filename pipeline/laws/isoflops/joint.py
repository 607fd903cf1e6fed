"""Joint: the valleys of several budgets under one law of their optima, and what else the runs could have said."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws.forms import Array
from pipeline.laws.isoflops.budget import Profile
from pipeline.laws.isoflops.valley import HALF, Grid, redrawn, robust, settle

MISFIT = 0.01
"""Level of the test that the optima lie on one power law."""


class Joint:
    """The valleys of the budgets kept: each with an optimum of its own, and all with theirs on a line in ln C."""

    def __init__(self, kept: Sequence[Profile], draws: int, seed: int) -> None:
        count = len(kept)
        self.profiles = kept
        self.c = np.log([p.flops for p in kept])
        self.rows = np.concatenate([p.runs for p in kept])
        plain, self.centre = grid_of(kept)
        self.line = np.stack([np.ones(count), self.c - self.c.mean()], axis=1)
        runs = int(np.count_nonzero(plain.w > HALF))
        self.law, self.grid = robust(plain, self.line, 2 * count + 4)
        self.dof, free = runs - 2 * count - 4, runs - 3 * count - 2
        if free < 1:
            raise BadInput(
                f"{runs} runs at {count} budgets are too few: {3 * count + 3} are needed; add sizes or seeds."
            )
        start = np.concatenate([self.law.theta[:, :2], self.law.theta[:, 2:] @ self.line.T], axis=1)
        self.own = settle(self.grid, np.eye(count), start)
        self.noise = float(np.sqrt(self.law.objective[0] / self.dof))
        self.line_p, wider = _line_test(float(self.law.objective[0]), float(self.own.objective[0]), count - 2, free)
        self.noise_draws = self._drawn(draws, seed, wider)
        self.losses = self.grid.y * (1 - self.law.residual[0]) * np.exp(self.noise_draws)

    def _drawn(self, draws: int, seed: int, wider: float) -> Array:
        """Noise of ln loss [B, K, M]; how much there is, is itself only known to Student's degree."""
        random = np.random.Generator(np.random.Philox(key=[seed, 0]))
        scale = self.noise * wider * np.sqrt(self.dof / random.chisquare(self.dof, (draws, 1, 1)))
        return np.clip(scale * random.standard_normal((draws, *self.grid.y.shape)), -12.0, 12.0)

    def law_optima(self) -> tuple[Array, Array, Array, Array]:
        """ln N*, its draws, ln L* and its draws, of the law."""
        theta, level = redrawn(self.grid, self.line, self.law.theta[0], self.losses)
        n, n_draws = (t[:, 2:] @ self.line.T + self.centre for t in (self.law.theta, theta))
        return n[0], n_draws, _ln(self.law.level[0]), _ln(level)

    def own_optima(self) -> dict[float, tuple[Array, Array]]:
        """By budget: (ln N*, ln L*) and their draws [B, 2] of its own valley."""
        start = np.concatenate([self.law.theta[0, :2], self.line @ self.law.theta[0, 2:]])
        theta, level = redrawn(self.grid, np.eye(len(self.c)), start, self.losses)
        shift = self.own.theta[0, 2:] - start[2:]  # draws are about the law, the optimum reported is the budget's own
        found = {}
        for k, profile in enumerate(self.profiles):
            value = np.array([self.own.theta[0, 2 + k] + self.centre, _ln(self.own.level[0, k])])
            rise = value[1] - _ln(self.law.level[0, k])
            logs = _ln(level[:, k])
            moved = np.stack([theta[:, 2 + k] + self.centre + shift[k], logs + rise], axis=1)
            found[profile.flops] = (value, moved)
        return found


def grid_of(kept: Sequence[Profile]) -> tuple[Grid, float]:
    """Padded arrays, and the ln N that their sizes are counted from."""
    centre = float(np.mean([p.n.mean() for p in kept]))
    shape = (len(kept), max(len(p.n) for p in kept))
    n, c, w, y = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(shape)
    for k, p in enumerate(kept):
        m = len(p.n)
        n[k, :m], c[k, :m], y[k, :m], w[k, :m] = p.n - centre, p.c - np.log(p.flops), np.exp(p.v), p.w
    return Grid(n, c, y, w), centre


def _ln(level: Array) -> Array:
    """Of L*, which a fit to absurd losses can put below 0."""
    return np.log(np.maximum(level, 1e-300))


def _line_test(line: float, own: float, gained: int, free: int) -> tuple[float, float]:
    """(p that the optima lie on the line, factor by which to widen the noise where they do not)."""
    from scipy.special import fdtrc

    ratio = max(0.0, line - own) / gained / max(own / free, 1e-24)
    p = float(fdtrc(gained, free, ratio))
    return p, float(np.sqrt(max(1.0, ratio))) if p < MISFIT else 1.0
