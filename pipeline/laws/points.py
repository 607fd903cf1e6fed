"""Point: one measured value of the metric at one place on an axis, and the cells that hold the seeds of one place."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

AXES = ("compute", "data")
"""compute: training FLOPs. data: unique training samples."""
LIMITS = {"its place on the axis": (1e-9, 1e33), "its metric": (1e-12, 1e12)}
"""What a number can be and still be fitted; no real study comes near."""


@dataclass(frozen=True)
class Point:
    """``x`` in the unit of the axis, ``y`` the metric (lower is better).

    A point with ``excluded`` set is listed with that reason and never fitted; its ``y`` may be NaN.
    """

    family: str
    arch: str
    seed: int
    x: float
    y: float
    run: str
    """Digest of the trial."""
    setting: str = ""
    """Tells apart trials of one arch that differ in their recipe, for example the learning rate."""
    excluded: str = ""


@dataclass(frozen=True)
class Cell:
    """The runs of one arch and setting at one x: what a seed repeats."""

    arch: str
    """Arch and setting; an envelope is taken over these."""
    x: float
    logs: tuple[float, ...]
    """ln y of each run."""
    seeds: tuple[int, ...]
    runs: tuple[str, ...]

    @property
    def value(self) -> float:
        """Mean of ln y over seeds."""
        return math.fsum(self.logs) / len(self.logs)


def screen(points: Iterable[Point]) -> tuple[list[Point], list[Point]]:
    """(usable, excluded with a reason), each in an order that does not depend on the order given."""
    usable: list[Point] = []
    excluded: list[Point] = []
    seen: set[tuple[str, str, str, float, str]] = set()
    for point in sorted(points, key=_order):
        reason = point.excluded or _unfit(point)
        key = (point.family, point.arch, point.setting, point.x, point.run)
        if not reason and point.run and key in seen:
            reason = "recorded twice"
        seen.add(key)
        if reason:
            excluded.append(replace(point, excluded=reason))
        else:
            usable.append(point)
    return usable, excluded


def cells_of(points: Iterable[Point]) -> list[Cell]:
    """Usable points of one family, grouped by arch, setting and x; ordered by x, then arch."""
    groups: dict[tuple[float, str], list[Point]] = {}
    for point in sorted(points, key=_order):
        name = f"{point.arch} {point.setting}".strip()
        groups.setdefault((float(point.x), name), []).append(point)
    return [
        Cell(
            arch,
            x,
            tuple(math.log(p.y) for p in members),
            tuple(p.seed for p in members),
            tuple(p.run for p in members),
        )
        for (x, arch), members in sorted(groups.items())
    ]


def distinct(values: Iterable[float] | np.ndarray) -> int:
    """How many places these are, x [n] or [n, d]; places closer than one part in a million are one."""
    logs = np.log(np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float))
    if not len(logs):
        return 0
    if logs.ndim == 2 and logs.shape[1] > 1:
        return len(np.unique(np.round(logs * 1e6), axis=0))
    return int(1 + np.count_nonzero(np.diff(np.sort(logs.ravel())) > 1e-6))


def _unfit(point: Point) -> str:
    if not (math.isfinite(point.x) and point.x > 0):
        return f"its place on the axis is {point.x:g}, not a positive number"
    if not math.isfinite(point.y):
        return "its metric is not a finite number"
    if point.y == 0:
        return "its metric is exactly 0, which has no logarithm"
    if point.y < 0:
        return f"its metric is negative ({point.y:g}), which has no logarithm"
    for (noun, (low, high)), value in zip(LIMITS.items(), (point.x, point.y), strict=True):
        if not low <= value <= high:
            return f"{noun} is {value:g}, outside {low:g} to {high:g}"
    return ""


def _order(point: Point) -> tuple[str, str, str, float, int, str, float]:
    x, y = (v if math.isfinite(v) else math.inf for v in (point.x, point.y))
    return (point.family, point.arch, point.setting, x, point.seed, point.run, y)
