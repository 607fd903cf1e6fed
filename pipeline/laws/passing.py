"""Passing: where the curve of one group passes that of another, draw by draw."""

from collections.abc import Callable

import numpy as np

from pipeline.laws import wording
from pipeline.laws.document import Passing
from pipeline.laws.forms import Array

HORIZON = 100.0
"""How far past the last point a crossing is looked for, as a factor."""
GRID = 400
NARROWEST = 1.05
"""A common stretch shorter than this factor is none."""
Curves = Callable[[Array], Array]
"""x [n] -> ln y of the law itself and of its draws, [1 + B, n]."""


def passing(
    names: tuple[str, str], curves: tuple[Curves, Curves], ranges: tuple[tuple[float, float], ...], level: float
) -> Passing | None:
    """None where the two share no range. Lower is better."""
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if high < low * NARROWEST:
        return None
    end = max(r[1] for r in ranges) * HORIZON
    x = np.unique(np.concatenate([np.geomspace(low, high, GRID), np.geomspace(high, end, GRID)]))
    gap = curves[0](x) - curves[1](x)
    inside = x <= high
    leads = {names[0]: float((gap[1:, inside] < 0).all(1).mean()), names[1]: float((gap[1:, inside] > 0).all(1).mean())}
    at = [_place(np.log(x), inside, sign * gap) for sign in (1.0, -1.0)]
    first = int(np.isfinite(at[1][1:]).mean() > np.isfinite(at[0][1:]).mean())
    a, b = (names[0], names[1]) if first == 0 else (names[1], names[0])
    at, drawn = at[first][0], at[first][1:]
    lo, hi = _interval(drawn, level)
    within, somewhere = float((np.isfinite(drawn) & (drawn <= np.log(high))).mean()), float(np.isfinite(drawn).mean())
    x_best = float(np.exp(at)) if np.isfinite(at) else None
    answer = "crosses" if lo is not None and hi is not None and x_best is not None else "cannot tell"
    if answer != "crosses" and max(leads.values()) >= level:
        answer = "none"
    numbers = (x_best, lo, hi, level, within, somewhere)
    sentence = _sentence(a, b, answer, numbers, leads, (low, high))
    return Passing(a, b, answer, *numbers, leads, (low, high), (float(x[0]), float(x[-1])), sentence)


def _place(grid: Array, inside: np.ndarray, gap: Array) -> Array:
    """ln x [B] where each row of gaps [B, g] falls through 0 for the last time in the range measured.

    Minus infinity where it is below all along that range; where it is above at its end, the place past it from which
    it stays below, or infinity.
    """
    within, beyond = _last_fall(grid[inside], gap[:, inside]), _last_fall(grid, gap)
    at = np.where(gap[:, inside][:, -1] < 0, within, beyond)
    return np.where((gap[:, inside] < 0).all(1), -np.inf, at)


def _last_fall(grid: Array, gap: Array) -> Array:
    """ln x where each row falls through 0 to stay below; infinity where it does not."""
    falls = (gap[:, :-1] > 0) & (gap[:, 1:] <= 0)
    index = gap.shape[1] - 2 - np.argmax(falls[:, ::-1], axis=1)
    rows = np.arange(len(gap))
    before, after = gap[rows, index], gap[rows, index + 1]
    share = before / np.where(before > after, before - after, 1.0)
    at = grid[index] + share * (grid[index + 1] - grid[index])
    return np.where(falls.any(1) & (gap[:, -1] < 0), at, np.inf)


def _interval(at: Array, level: float) -> tuple[float | None, float | None]:
    """Equal-tailed; None at an end that lies outside the range searched."""
    low = float(np.quantile(at, (1 - level) / 2, method="lower"))
    high = float(np.quantile(at, (1 + level) / 2, method="higher"))
    return (float(np.exp(low)) if np.isfinite(low) else None), (float(np.exp(high)) if np.isfinite(high) else None)


def _sentence(
    a: str,
    b: str,
    answer: str,
    numbers: tuple[float | None, float | None, float | None, float, float, float],
    leads: dict[str, float],
    measured: tuple[float, float],
) -> str:
    x, lo, hi, level, within, ever = numbers
    extent = f"{wording.number(measured[0])} to {wording.number(measured[1])}"
    if answer == "crosses" and x is not None and lo is not None and hi is not None:
        said = f"{a} passes {b} at {wording.number(x)} ({wording.level(level)} interval {wording.number(lo)} to "
        beyond = "" if x <= measured[1] else f", which lies {wording.times(x / measured[1])} past the range measured"
        return f"{said}{wording.number(hi)}){beyond}."
    if answer == "none":
        leader = max(leads, key=lambda name: leads[name])
        return (
            f"{leader} is ahead of {b if leader == a else a} all along the range measured, {extent} (probability "
            f"{wording.chance(leads[leader])}): no crossover is seen."
        )
    return (
        f"The data cannot tell where {a} passes {b}: the probability is {wording.chance(within)} inside {extent} and "
        f"{wording.chance(ever)} within {HORIZON:g} times the last point."
    )
