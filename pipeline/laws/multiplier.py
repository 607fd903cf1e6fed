"""Multiplier: how many times the compute of b family a needs to reach the same metric, with an interval.

By profile: a ratio is as likely as the least strain under which a reaches the metric at ratio x and b at x.
"""

from collections.abc import Callable

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.posterior import HORIZON
from pipeline.laws.reach import Reach, strain_to

PLACES, FINE, RATIOS = 97, 601, 401
NEARER = 10.0
"""How far below its first point a law is asked, as a factor."""
WIDEST = 60.0
"""In ln ratio; beyond it an end is not bounded."""
Reaches = Callable[[Array], Reach]
"""x [n] -> how far the law can bend there."""


def multiplier(
    sides: tuple[Reaches, Reaches], ranges: tuple[tuple[float, float], ...], level_at: float, level: float
) -> tuple[float, float | None, float | None] | None:
    """(ratio, lo, hi) of x_a / x_b where the laws reach ln y = ``level_at``; None where one never does.

    ``ranges``: first and last x of each law. An end is None where it lies past what was searched, from
    ``NEARER`` times below the first place to ``HORIZON`` times past the last.
    """
    grids = [np.linspace(np.log(lo / NEARER), np.log(hi * HORIZON), PLACES) for lo, hi in ranges]
    reaches = [side(np.exp(grid)) for side, grid in zip(sides, grids, strict=True)]
    fine = [np.linspace(grid[0], grid[-1], FINE) for grid in grids]
    strains = [np.interp(f, g, strain_to(r, level_at)[0]) for f, g, r in zip(fine, grids, reaches, strict=True)]
    place = [_falls(f, s) for f, s in zip(fine, strains, strict=True)]
    if place[0] is None or place[1] is None:
        return None
    best = place[0] - place[1]
    dof = _dof(place, grids, reaches)
    ratios = best + np.linspace(-1.0, 1.0, RATIOS) * max(fine[0][-1] - fine[0][0], fine[1][-1] - fine[1][0])
    least = np.array([_least(ratio, fine, strains) for ratio in ratios])
    ends = [_end(ratios, least, best, _quantile(dof, level), side) for side in (-1, 1)]
    lo, hi = (None if end is None or abs(end) > WIDEST else float(np.exp(end)) for end in ends)
    return float(np.exp(best)), lo, hi


def _falls(grid: Array, strain: Array) -> float | None:
    """ln x where the law reaches the level: its signed strain rises through 0."""
    up = np.flatnonzero((strain[:-1] < 0) & (strain[1:] >= 0))
    if not len(up):
        return None
    i = int(up[0])
    return float(grid[i] + (grid[i + 1] - grid[i]) * strain[i] / (strain[i] - strain[i + 1]))


def _least(ratio: float, fine: list[Array], strains: list[Array]) -> float:
    """Least strain in which a reaches the level at exp(ratio) times the place of b."""
    other = np.interp(fine[0] - ratio, fine[1], strains[1], left=np.nan, right=np.nan)
    total = np.hypot(strains[0], other)
    return float(np.nanmin(total)) if np.isfinite(total).any() else float("nan")


def _end(ratios: Array, least: Array, best: float, wanted: float, side: int) -> float | None:
    """Where the strain first exceeds ``wanted`` on one side of the best ratio; None where it never does."""
    index = np.flatnonzero((ratios - best) * side >= 0)[::side]
    over = np.flatnonzero(~(least[index] <= wanted))
    if not len(over) or not np.isfinite(least[index[over[0]]]):
        return None
    if over[0] == 0:
        return best
    i, j = index[over[0] - 1], index[over[0]]
    return float(ratios[i] + (ratios[j] - ratios[i]) * (wanted - least[i]) / (least[j] - least[i]))


def _dof(place: list[float | None], grids: list[Array], reaches: list[Reach]) -> float:
    """Welch's, of the two places: variances of ln y over the square of the slope there."""
    terms = []
    for at, grid, r in zip(place, grids, reaches, strict=True):
        assert at is not None
        slope = np.interp(at, grid, np.gradient(r.value[0], grid))
        terms.append((np.interp(at, grid, r.variance[0]) / max(slope**2, 1e-30), np.interp(at, grid, r.dof[0])))
    total = sum(v for v, _ in terms)
    return max(1.0, float(total**2 / max(sum(v**2 / d for v, d in terms), 1e-300)))


def _quantile(dof: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(dof, 0.5 + 0.5 * level))
