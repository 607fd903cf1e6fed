"""Passing: where the law of one group of a table passes that of another, and how much more of x one needs."""

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.laws import wording
from pipeline.laws.multiplier import Multiplier, multiplier
from pipeline.laws.posterior import HORIZON, NARROWEST, Posterior, Span
from pipeline.laws.reach import Curve, mixed_below
from pipeline.laws.tables.document import Passing
from pipeline.laws.verdict import Verdict

Range = tuple[float, float]


def passing(
    names: tuple[str, str], curves: tuple[Curve, Curve], ranges: tuple[Range, Range], level: float
) -> Passing | None:
    """None where the two share no range. Lower is better."""
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if high < low * NARROWEST:
        return None
    span = Span.of(low, high, max(r[1] for r in ranges) * HORIZON)
    p, gap = mixed_below(*curves, span.x), curves[0].middle(span.x) - curves[1].middle(span.x)
    verdict = Verdict.of(span, gap, (Posterior.of(span, p), Posterior.of(span, 1.0 - p)), level)
    posterior, leads = verdict.posterior, verdict.leads(*names)
    if verdict.turned:
        names, curves, ranges = (names[1], names[0]), (curves[1], curves[0]), (ranges[1], ranges[0])
    numbers = (verdict.x, verdict.lo, verdict.hi, level, posterior.in_range, posterior.ever)
    sentence = _sentence(*names, verdict.answer, numbers, leads, (low, high))
    search = (low, float(span.x[-1]))
    found = Passing(*names, verdict.answer, *numbers, leads, (low, high), search, sentence)
    found = replace(found, quantiles=posterior.quantiles)
    ratio = multiplier(*curves, ranges, level)
    return replace(found, **_ratio(ratio)) if ratio else found


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
