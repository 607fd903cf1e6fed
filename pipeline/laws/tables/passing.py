"""Passing: where the law of one group of a table passes that of another, and how much more of x one needs."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pipeline.laws import wording
from pipeline.laws.forms import Array
from pipeline.laws.multiplier import Multiplier, multiplier
from pipeline.laws.posterior import HORIZON, NARROWEST, Posterior, Span, middle
from pipeline.laws.reach import Curve, mixed_below
from pipeline.laws.tables.document import Passing

Range = tuple[float, float]


class Turn(NamedTuple):
    """One direction of passing: who passes whom, with the gap ln a - ln b at the places compared."""

    a: str
    b: str
    posterior: Posterior
    gap: Array


def passing(
    names: tuple[str, str], curves: tuple[Curve, Curve], ranges: tuple[Range, Range], level: float
) -> Passing | None:
    """None where the two share no range. Lower is better."""
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if high < low * NARROWEST:
        return None
    span = Span.of(low, high, max(r[1] for r in ranges) * HORIZON)
    turn = _likelier(names, curves, span)
    posterior = turn.posterior
    leads = dict(zip((turn.a, turn.b), posterior.leads, strict=True))
    lo, hi = posterior.interval(level)
    x = middle(span, turn.gap)
    answer = "crosses" if lo and hi else "none" if max(leads.values()) >= level else "cannot tell"
    if answer == "crosses":
        x = x or posterior.quantile(0.5) or lo
        lo, hi = min(lo or x or 0.0, x or 0.0), max(hi or 0.0, x or 0.0)
    numbers = (x, lo, hi, level, posterior.in_range, posterior.ever)
    swapped = turn.a != names[0]
    first, second = curves[::-1] if swapped else curves
    ratio = multiplier(first, second, ranges[::-1] if swapped else ranges, level)
    sentence = _sentence(turn.a, turn.b, answer, numbers, leads, (low, high))
    search = (low, float(span.x[-1]))
    found = Passing(turn.a, turn.b, answer, *numbers, leads, (low, high), search, sentence)
    found = replace(found, quantiles=posterior.quantiles)
    return replace(found, **_ratio(ratio)) if ratio else found


def _likelier(names: tuple[str, str], curves: tuple[Curve, Curve], span: Span) -> Turn:
    """The direction in which a crossing is more probable."""
    p, gap = mixed_below(*curves, span.x), curves[0].middle(span.x) - curves[1].middle(span.x)
    turns = (
        Turn(names[0], names[1], Posterior.of(span, p), gap),
        Turn(names[1], names[0], Posterior.of(span, 1.0 - p), -gap),
    )
    return max(turns, key=lambda turn: turn.posterior.likelihood)


def _ratio(ratio: Multiplier) -> dict[str, Any]:
    at = float(np.exp(ratio.at))
    return {"ratio": ratio.ratio, "ratio_lo": ratio.lo, "ratio_hi": ratio.hi, "ratio_at": at}


def _sentence(
    a: str,
    b: str,
    answer: str,
    numbers: tuple[float | None, float | None, float | None, float, float, float],
    leads: dict[str, float],
    measured: Range,
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
