"""Measured: the envelope of a family as it was measured, straight between its means, without any form.

Two families can be compared on it where a law cannot be trusted: when its points scatter about it more than the seeds
explain (errors near chance level do that), or when there are too few places for a law. It needs repeated seeds, for
without a law they are the only measure of noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.laws.comparison.bootstrap import perturbations
from pipeline.laws.comparison.frontier import Frontier
from pipeline.laws.comparison.noise import Noise
from pipeline.laws.forms import Array
from pipeline.laws.points import Cell


@dataclass(frozen=True)
class Measured:
    cells: tuple[Cell, ...]
    values: Array
    """Cell means (ln y) of the draws [B, c]."""

    @property
    def x_min(self) -> float:
        return self.cells[0].x

    @property
    def x_max(self) -> float:
        return self.cells[-1].x

    def curves(self, x: Array) -> Array:
        """ln y of the envelope of every draw at x [n] inside the range measured: [B, n]."""
        return envelope(self.cells, self.values, x)

    def middle(self, x: Array) -> Array:
        return envelope(self.cells, np.array([[c.value for c in self.cells]]), x)[0]


def measured(edge: Frontier, noise: Noise, draws: int, seed: int, key: str) -> Measured | None:
    """None without repeated seeds or with one place only."""
    cells = edge.cells
    if not noise.within_dof or cells[0].x == cells[-1].x:
        return None
    moved = perturbations(edge, noise.within_only(), draws, seed, key)
    return Measured(cells, np.array([c.value for c in cells]) + moved)


def envelope(cells: Sequence[Cell], values: Array, x: Array) -> Array:
    """Least of the archs' curves at x [n] for cell values [B, c]; each curve straight in (ln x, ln y), flat on its
    right, absent on its left."""
    least = np.full((len(values), len(x)), np.inf)
    place = np.log([c.x for c in cells])
    at = np.log(x)
    for arch in sorted({c.arch for c in cells}):
        mine = np.array([i for i, c in enumerate(cells) if c.arch == arch])
        knots = place[mine]
        weights = np.stack([np.interp(at, knots, row) for row in np.eye(len(mine))])
        curve = values[:, mine] @ weights
        least = np.minimum(least, np.where(at >= knots[0] - 1e-9, curve, np.inf))
    return least
