"""Matched: what two families are compared at besides their frontiers: archs of equal size, runs of equal compute.

At matched size, on both axes: archs of the two families that are each other's nearest in parameters, within a factor
``ALIKE``. At matched compute, along data: the runs that cost C to within that factor, of each arch the longest, where
C is what both families were given on the most data sizes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from pipeline.laws.points import Point

Row = Mapping[str, Any]
ALIKE = 1.5
SLACK = 1.001
"""Of a limit in FLOPs."""
COLUMNS = {"compute": "train_flops", "data": "samples"}
"""What x is on each axis."""


@dataclass(frozen=True)
class Comparison:
    """Two families with the points that are compared."""

    axis: str
    matched: str
    """size | compute"""
    points: dict[str, list[Point]]
    archs: dict[str, str] = field(default_factory=dict)
    """Of each family, at matched size."""
    limit: float | None = None
    """FLOPs that no run exceeds, nor stays more than a factor ``ALIKE`` below, at matched compute."""


def comparisons(
    runs: Sequence[Row], chosen: Mapping[str, Sequence[Row]], make: Callable[[Row, str], Point]
) -> list[Comparison]:
    """``runs``: every pre-training row; ``chosen``: those of each axis; ``make`` turns a row into a point."""
    found: list[Comparison] = []
    for axis, rows in chosen.items():
        if len({_value(row, COLUMNS[axis]) for row in rows}) > 1:
            found += _of_size(axis, rows, make)
    if len({_value(row, "samples") for row in chosen.get("data", ())}) > 1:
        found += _of_compute(runs, make)
    return found


def _of_size(axis: str, rows: Sequence[Row], make: Callable[[Row, str], Point]) -> list[Comparison]:
    sizes: dict[str, dict[str, float]] = {}
    for row in rows:
        if _value(row, "params") > 0 and row.get("arch") and row.get("family"):
            sizes.setdefault(str(row["family"]), {})[str(row["arch"])] = _value(row, "params")
    found = []
    for a, b in combinations(sizes, 2):
        if max(len(sizes[a]), len(sizes[b])) == 1:
            continue  # the frontiers are these archs
        for one, other in _nearest(sizes[a], sizes[b]):
            archs = {a: one, b: other}
            points = {
                f: [make(r, axis) for r in rows if (r.get("family"), r.get("arch")) == (f, archs[f])] for f in archs
            }
            found.append(Comparison(axis, "size", points, archs))
    return found


def _nearest(a: dict[str, float], b: dict[str, float]) -> list[tuple[str, str]]:
    """Archs that are each other's nearest in size, the smallest first."""

    def nearest(size: float, among: dict[str, float]) -> str:
        return min(among, key=lambda name: (max(among[name] / size, size / among[name]), name))

    pairs = [(one, nearest(size, b)) for one, size in sorted(a.items(), key=lambda item: item[1])]
    return [
        (one, other) for one, other in pairs if nearest(b[other], a) == one and 1 / ALIKE <= a[one] / b[other] <= ALIKE
    ]


def _of_compute(runs: Sequence[Row], make: Callable[[Row, str], Point]) -> list[Comparison]:
    found = []
    by_family = {family: [r for r in runs if r.get("family") == family] for family in _families(runs)}
    for a, b in combinations(by_family, 2):
        limit = _limit(by_family[a], by_family[b])
        if limit:
            points = {family: _longest(_within(by_family[family], limit), make) for family in (a, b)}
            found.append(Comparison("data", "compute", points, limit=limit))
    return found


def _limit(a: Sequence[Row], b: Sequence[Row]) -> float:
    """The FLOPs near which both were run on the most data sizes, the largest of several; 0 where on one only."""
    best = (1, 0.0)
    for limit in {_value(row, "train_flops") for row in (*a, *b)}:
        sizes = [{_value(row, "samples") for row in _within(rows, limit)} for rows in (a, b)]
        best = max(best, (len(sizes[0] & sizes[1]), limit))
    return best[1] if best[0] > 1 else 0.0


def _within(rows: Sequence[Row], limit: float) -> list[Row]:
    return [row for row in rows if limit / ALIKE <= _value(row, "train_flops") <= limit * SLACK]


def _longest(rows: Sequence[Row], make: Callable[[Row, str], Point]) -> list[Point]:
    """Of each arch and size, the runs of the largest budget."""
    top: dict[tuple[Any, Any], float] = {}
    for row in rows:
        key = (row.get("arch"), row.get("samples"))
        top[key] = max(top.get(key, 0.0), _value(row, "budget"))
    return [make(row, "data") for row in rows if _value(row, "budget") == top[row.get("arch"), row.get("samples")]]


def _families(rows: Sequence[Row]) -> list[str]:
    return sorted({str(row.get("family")) for row in rows})


def _value(row: Row, column: str) -> float:
    value = row.get(column)
    return float(value) if isinstance(value, int | float) else 0.0
