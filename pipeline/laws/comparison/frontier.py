"""Frontier: what the best architecture of a family reaches, place by place: the lower envelope over its archs.

Each arch has a curve through the means of its seeds, straight in (ln x, ln y). Left of its first point an arch cannot
compete; right of its last it still can, for what was reached with less is reached. A cell is on the frontier when no
other arch's curve is lower there. An arch competes with others only: its own scatter removes none of its points, so
the envelope of a family with one arch is all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.points import Cell


@dataclass(frozen=True)
class Frontier:
    """Which cells of a family count. ``rivals`` [a, c, c] turns cell values into the curve of arch a at each cell."""

    cells: tuple[Cell, ...]
    rivals: Array
    competes: np.ndarray
    """[a, c]: whether arch a has a curve at the place of cell c, and is not the cell's own."""

    def kept(self, values: Array) -> np.ndarray:
        """For cell values (ln y) [B, c]: which are on the envelope, [B, c]. Ties are kept."""
        curves = np.einsum("acd,bd->bac", self.rivals, values)
        least = np.where(self.competes, curves, np.inf).min(1)
        return values <= least + 1e-12


def frontier(cells: Sequence[Cell]) -> Frontier:
    archs = sorted({cell.arch for cell in cells})
    place = np.log([cell.x for cell in cells])
    rivals = np.zeros((len(archs), len(cells), len(cells)))
    competes = np.zeros((len(archs), len(cells)), dtype=bool)
    for a, arch in enumerate(archs):
        mine = [i for i, cell in enumerate(cells) if cell.arch == arch]
        knots = place[mine]
        for c, cell in enumerate(cells):
            if cell.arch == arch or place[c] < knots[0] - 1e-9:
                continue
            competes[a, c] = True
            right = int(np.searchsorted(knots, place[c] - 1e-9))
            if right == 0 or right == len(mine):
                rivals[a, c, mine[min(right, len(mine) - 1)]] = 1.0
                continue
            share = (place[c] - knots[right - 1]) / (knots[right] - knots[right - 1])
            rivals[a, c, mine[right - 1]] = 1.0 - share
            rivals[a, c, mine[right]] = share
    return Frontier(tuple(cells), rivals, competes)
