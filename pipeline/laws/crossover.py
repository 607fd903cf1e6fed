"""Crossover: where one family's law passes another's, from paired draws; "none" and "cannot tell" are answers.

Only the range that both families were run in is searched: beyond it there is no evidence, and none is made up.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.laws.bootstrap import FamilyFit

LEVEL = 0.9
SURE = 0.9
"""Share of the draws that must agree before an answer is given."""
GRID = 400
TITLES = {"vit": "ViT", "hybrid": "Hybrid", "resnet": "ResNet"}
UNITS = ((1e21, "ZFLOPs"), (1e18, "EFLOPs"), (1e15, "PFLOPs"), (1e12, "TFLOPs"), (1e9, "GFLOPs"), (1e6, "MFLOPs"))


@dataclass
class Crossing:
    axis: str
    """compute or data."""
    a: str
    b: str
    answer: str
    """crosses (a overtakes b), none (one is ahead throughout) or cannot tell."""
    x: float | None
    lo: float | None
    hi: float | None
    level: float
    probability_in_range: float
    """Share of the draws in which a overtakes b within the common range."""
    sentence: str
    ratio: float | None = None
    """On the compute axis: compute of a over compute of b at the lowest metric both reach; below 1 a is cheaper."""
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    ratio_at: float | None = None


def crossing(axis: str, a: FamilyFit, b: FamilyFit, level: float = LEVEL) -> Crossing:
    """Where ``a`` overtakes ``b`` for good: worse before, better after."""
    low, high = max(a.x.min(), b.x.min()), min(a.x.max(), b.x.max())
    names = TITLES.get(a.family, a.family), TITLES.get(b.family, b.family)
    if not low < high:
        sentence = f"{names[0]} and {names[1]} were not run in a common range of {axis}: the data cannot tell."
        return Crossing(axis, a.family, b.family, "cannot tell", None, None, None, level, 0.0, sentence)
    grid = np.linspace(math.log(low), math.log(high), GRID)
    ahead = a.log_draws(grid) - b.log_draws(grid) < 0
    at = _overtakes(ahead, grid)
    inside = ~np.isnan(at)
    share = float(inside.mean())
    shares = {"a": float(ahead.all(1).mean()), "b": float((~ahead).all(1).mean())}
    middle = _overtakes((a.log_curve(grid) - b.log_curve(grid) < 0)[None], grid)[0]
    found = Crossing(axis, a.family, b.family, "cannot tell", None, None, None, level, share, "")
    if share >= SURE:
        tail = (1 - level) / 2
        lo, mid, hi = (float(np.exp(v)) for v in np.quantile(at[inside], [tail, 0.5, 1 - tail]))
        found.answer, found.lo, found.hi = "crosses", lo, hi
        found.x = float(np.exp(middle)) if not np.isnan(middle) else mid
    elif max(shares.values()) >= SURE:
        found.answer = "none"
    found.sentence = _sentence(found, names, shares, low, high)
    if axis == "compute":
        _ratio(found, a, b, level)
    return found


def _overtakes(ahead: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Per draw the last grid point at which ``a`` comes ahead and stays so; nan where it never does."""
    behind_last = ahead.shape[1] - 1 - np.argmax(~ahead[:, ::-1], axis=1)
    crosses = ahead[:, -1] & (~ahead).any(1)
    return np.where(crosses, grid[np.minimum(behind_last + 1, len(grid) - 1)], np.nan)


def _ratio(found: Crossing, a: FamilyFit, b: FamilyFit, level: float) -> None:
    """Compute of a over compute of b at the lowest metric that both laws reach in their own range."""
    curves = []
    for family in (a, b):
        grid = np.linspace(math.log(family.x.min()), math.log(family.x.max()), GRID)
        curves.append((grid, family.log_curve(grid), family.log_draws(grid)))
    target = max(curve[1][-1] for curve in curves)
    if any(target > curve[1][0] for curve in curves):
        return
    point = [_reach(grid, mid[None], target)[0] for grid, mid, _ in curves]
    draws = [_reach(grid, drawn, target) for grid, _, drawn in curves]
    ratio = draws[0] - draws[1]
    ratio = ratio[~np.isnan(ratio)]
    if len(ratio) < SURE * len(draws[0]) or np.isnan(point).any():
        return
    tail = (1 - level) / 2
    found.ratio, found.ratio_at = float(np.exp(point[0] - point[1])), float(np.exp(target))
    found.ratio_lo, found.ratio_hi = (float(np.exp(v)) for v in np.quantile(ratio, [tail, 1 - tail]))


def _reach(grid: np.ndarray, log_y: np.ndarray, target: float) -> np.ndarray:
    """ln x at which each falling curve reaches ``target``; extrapolated along its last slope by a tenth at most."""
    reached = log_y <= target + 1e-12
    first = reached.argmax(1)
    rows = np.arange(len(log_y))
    before = np.maximum(first - 1, 0)
    drop = log_y[rows, before] - log_y[rows, first]
    part = np.where(drop > 0, (log_y[rows, before] - target) / np.where(drop > 0, drop, 1.0), 1.0)
    inside = grid[before] + np.clip(part, 0, 1) * (grid[first] - grid[before])
    slope = (log_y[:, -1] - log_y[:, -2]) / (grid[-1] - grid[-2])
    beyond = grid[-1] + np.where(slope < 0, (target - log_y[:, -1]) / np.where(slope < 0, slope, -1.0), np.nan)
    span = 0.5 * (grid[-1] - grid[0])
    beyond = np.where(beyond <= grid[-1] + span, beyond, np.nan)
    return np.where(reached.any(1), inside, beyond)


def amount(axis: str, x: float) -> str:
    """410 GFLOPs, or 4,608 images."""
    if axis == "data":
        return f"{x:,.0f} images"
    factor, unit = next(((f, u) for f, u in UNITS if x >= f), (1.0, "FLOPs"))
    return f"{x / factor:.3g} {unit}"


def _sentence(c: Crossing, names: tuple[str, str], shares: dict[str, float], low: float, high: float) -> str:
    a, b = names
    where = "of training compute" if c.axis == "compute" else "of training data"
    extent = f"from {amount(c.axis, low)} to {amount(c.axis, high)} {where}"
    if c.answer == "crosses":
        assert c.x is not None and c.lo is not None and c.hi is not None
        return (
            f"{a} overtakes {b} at {amount(c.axis, c.x)} {where} "
            f"({c.level:.0%} interval {amount(c.axis, c.lo)} to {amount(c.axis, c.hi)})."
        )
    if c.answer == "none":
        ahead, behind = (a, b) if shares["a"] >= shares["b"] else (b, a)
        return f"{ahead} is ahead of {behind} throughout, {extent}: there is no crossover in this range."
    return (
        f"The data cannot tell whether {a} overtakes {b} {extent}: in {c.probability_in_range:.0%} of the bootstrap "
        f"draws it does, in {shares['a']:.0%} it is ahead throughout, in {shares['b']:.0%} it stays behind."
    )
