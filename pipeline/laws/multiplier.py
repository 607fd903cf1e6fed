"""Multiplier: how many times the x of b (its compute) a needs to reach the same metric, with an interval.

By profile: a ratio is as likely as the least strain under which a reaches the metric at ratio x and b at x.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.posterior import HORIZON
from pipeline.laws.reach import Curve, Reach, strain_to

NEARER = 10.0
"""How far below its first point a law is asked, as a factor."""
PLACES, RATIOS = 601, 401
BOTH = 1e-6
"""Share of the evidence under which a pair of forms is left out."""


@dataclass(frozen=True)
class Multiplier:
    ratio: float
    """x of a over x of b."""
    lo: float | None
    hi: float | None
    """None where that end lies past what was searched."""
    at: float
    """ln y: the best that both laws reach in their own range."""


@dataclass(frozen=True)
class Level:
    """The best ln y that both laws reach in their own range, and ln x of a and of b where they do."""

    at: float
    places: tuple[float, float]
    width: float
    """In ln x, how far to either side of the ratio is searched."""


def multiplier(a: Curve, b: Curve, ranges: tuple[tuple[float, float], ...], level: float) -> Multiplier | None:
    """``ranges``: first and last x of each law, searched from ``NEARER`` times below to ``HORIZON`` times past.

    None where one starts out better than the other ever gets (any ratio would be extrapolation), or never gets there.
    """
    met = level_of((a.middle, b.middle), ranges)
    if not met:
        return None
    best = met.places[0] - met.places[1]
    ratios = best + np.linspace(-1.0, 1.0, RATIOS) * met.width
    smaller = _smaller((a, b), _grids(ranges), ratios, met.at)
    tails = (0.5 * (1 - level), 0.5 * (1 + level))
    ends = [_quantile(ratios, smaller, share) for share in tails]
    lo, hi = (
        None if end is None else float(np.exp(push(end, best))) for end, push in zip(ends, (min, max), strict=True)
    )
    return Multiplier(float(np.exp(best)), lo, hi, met.at)


def level_of(middles: Sequence[Callable[[Array], Array]], ranges: Sequence[tuple[float, float]]) -> Level | None:
    """None where there is none; ``middles`` are ln y of both laws at x."""
    spans = [middle(np.array(span)) for middle, span in zip(middles, ranges, strict=True)]
    at = float(max(span[1] for span in spans))
    if any(span[0] < at for span in spans):
        return None
    grids = _grids(ranges)
    a, b = (_reached(grid, middle(np.exp(grid)) - at) for grid, middle in zip(grids, middles, strict=True))
    return None if a is None or b is None else Level(at, (a, b), max(float(grid[-1] - grid[0]) for grid in grids))


def _grids(ranges: Sequence[tuple[float, float]]) -> list[Array]:
    return [np.linspace(np.log(lo / NEARER), np.log(hi * HORIZON), PLACES) for lo, hi in ranges]


def _reached(grid: Array, above: Array) -> float | None:
    """ln x where a curve first falls to the level."""
    down = np.flatnonzero((above[:-1] > 0) & (above[1:] <= 0))
    if not len(down):
        return None
    i = int(down[0])
    return float(grid[i] + (grid[i + 1] - grid[i]) * above[i] / (above[i] - above[i + 1]))


def _smaller(curves: tuple[Curve, Curve], grids: list[Array], ratios: Array, at: float) -> Array:
    """Probability that the true ln ratio is below each of ``ratios``; NaN where that was not searched."""
    from scipy.special import stdtr

    mixtures = [curve.mixture(np.exp(grid)) for curve, grid in zip(curves, grids, strict=True)]
    total, weight = np.zeros(len(ratios)), 0.0
    for (w, one), (v, other) in product(*mixtures):
        if w * v < BOTH:
            continue
        strains = [strain_to(r, at)[0] for r in (one, other)]
        places = [_reached(grid, -strain) for grid, strain in zip(grids, strains, strict=True)]
        if places[0] is None or places[1] is None:
            continue
        least = np.array([_least(ratio, grids, strains) for ratio in ratios])
        side = np.sign(ratios - (places[0] - places[1]))
        total += w * v * stdtr(_dof(places, grids, (one, other)), side * least)
        weight += w * v
    return total / weight if weight else np.full(len(ratios), np.nan)


def _least(ratio: float, grids: list[Array], strains: list[Array]) -> float:
    """Least strain in which a reaches the level at exp(ratio) times the place of b."""
    other = np.interp(grids[0] - ratio, grids[1], strains[1], left=np.nan, right=np.nan)
    total = np.hypot(strains[0], other)
    return float(np.nanmin(total)) if np.isfinite(total).any() else float("nan")


def _quantile(ratios: Array, smaller: Array, share: float) -> float | None:
    """ln ratio; None where the places searched do not bound it."""
    known = np.isfinite(smaller)
    p, r = np.maximum.accumulate(smaller[known]), ratios[known]
    if not len(p) or p[0] > share or p[-1] < share:
        return None
    i = max(1, int(np.searchsorted(p, share)))
    return float(r[i - 1] + (r[i] - r[i - 1]) * np.clip((share - p[i - 1]) / max(p[i] - p[i - 1], 1e-300), 0.0, 1.0))


def _dof(place: list[float | None], grids: list[Array], reaches: tuple[Reach, Reach]) -> float:
    """Welch's, of the two places: variances of ln y over the square of the slope there."""
    terms = []
    for at, grid, r in zip(place, grids, reaches, strict=True):
        assert at is not None
        slope = np.interp(at, grid, np.gradient(r.value[0], grid))
        terms.append((np.interp(at, grid, r.variance[0]) / max(slope**2, 1e-30), np.interp(at, grid, r.dof[0])))
    total = sum(v for v, _ in terms)
    return max(1.0, float(total**2 / max(sum(v**2 / d for v, d in terms), 1e-300)))
