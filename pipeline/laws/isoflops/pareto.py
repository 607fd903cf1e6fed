"""Pareto: the runs that no other run beats with less compute, and the lower hull through them in logarithms.

The hull is the best mixture of runs: no run lies below it, and between two of its runs it is a power law.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.forms import Array
from pipeline.laws.isoflops.budget import columns

STRAIGHT = 1e-9
"""In ln metric: a run this close to the chord between two others lies on the hull."""


@dataclass(frozen=True)
class Pareto:
    """Rows of the table given, by rising compute; equal runs are all listed."""

    rows: list[int]
    """Runs that no other beats: none has a lower metric for as much compute or less, or an equal one for less."""
    hull: list[int]
    """Those on the lower convex hull in (ln compute, ln metric)."""
    knots: Array = field(repr=False)
    """ln compute and ln metric of the hull's corners, [k, 2]."""

    def __call__(self, flops: ArrayLike) -> Array:
        """The hull's metric at these FLOPs: past its last run what that reached, before its first infinity."""
        c = np.log(np.asarray(flops, dtype=float))
        x, y = self.knots.T
        return np.where(c < x[0] - 1e-12, np.inf, np.exp(np.interp(c, x, y)))


def pareto(flops: ArrayLike, metric: ArrayLike) -> Pareto:
    """One value a run; a lower metric is better. Raises BadInput for values that are not finite and positive."""
    x, y = _logs(flops, metric)
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order])
    before = np.concatenate([[np.inf], best[:-1]])
    first = y[order] < before
    corner = x[order][np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    on = first | ((y[order] == before) & (x[order] == corner))
    rows = order[on]
    points = np.stack([x[order[first]], y[order[first]]], axis=1)
    knots = _lower_hull(points)
    height = np.interp(x[rows], knots[:, 0], knots[:, 1])
    return Pareto(rows.tolist(), rows[y[rows] <= height + STRAIGHT].tolist(), knots)


def binned(flops: ArrayLike, metric: ArrayLike, bins: int = 5) -> list[int]:
    """The best run of each of ``bins`` equal stretches of ln compute, by rising compute; empty ones have none.

    A lower envelope that one lucky run cannot hollow out, with a run from every stretch.
    """
    if bins < 1:
        raise BadInput(f"There must be at least 1 bin, not {bins}.")
    x, y = _logs(flops, metric)
    width = max(float(np.ptp(x)), 1e-300) / bins
    place = np.minimum(((x - x.min()) / width).astype(int), bins - 1)
    order = np.lexsort((x, y, place))
    return order[np.concatenate([[True], np.diff(place[order]) > 0])].tolist()


def _logs(flops: ArrayLike, metric: ArrayLike) -> tuple[Array, Array]:
    given = columns(flops=flops, metric=metric)
    if not len(given["flops"]):
        raise BadInput("A frontier needs at least one run, and the table has none.")
    return np.log(given["flops"]), np.log(given["metric"])


def _lower_hull(points: Array) -> Array:
    """Corners of the lower hull of points with rising x (Andrew 1979)."""
    kept: list[Array] = []
    for p in points:
        while len(kept) > 1 and _turns_down(kept[-2], kept[-1], p):
            kept.pop()
        kept.append(p)
    return np.array(kept)


def _turns_down(a: Array, b: Array, c: Array) -> bool:
    return bool((b[0] - a[0]) * (c[1] - a[1]) <= (b[1] - a[1]) * (c[0] - a[0]))
