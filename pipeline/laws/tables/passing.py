"""Passing: where the law of one group of a table passes that of another, and how much more of x one needs."""

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.laws import wording
from pipeline.laws.multiplier import Multiplier
from pipeline.laws.pair import Pair, Ranges
from pipeline.laws.posterior import HORIZON, NARROWEST, Posterior, Span
from pipeline.laws.tables.document import Passing
from pipeline.laws.verdict import Verdict

TOLD = 0.01
"""The least probability of which the sentence speaks."""


def passing(names: tuple[str, str], pair: Pair, ranges: Ranges, level: float) -> Passing | None:
    """None where the two share no range. Lower is better."""
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if high < low * NARROWEST:
        return None
    span = Span.of(low, high, max(r[1] for r in ranges) * HORIZON)
    p = pair.below(span.x)
    verdict = Verdict.of(span, pair.gap(span.x), (Posterior.of(span, p), Posterior.of(span, 1.0 - p)), level)
    posterior, leads = verdict.posterior, verdict.leads(*names)
    if verdict.turned:
        names, pair, ranges = (names[1], names[0]), pair.turned(), (ranges[1], ranges[0])
    found = Passing(
        *names,
        verdict.answer,
        verdict.x,
        verdict.lo,
        verdict.hi,
        level,
        posterior.in_range,
        posterior.ever,
        leads,
        measured=(low, high),
        search=(low, float(span.x[-1])),
        sentence="",
        quantiles=posterior.quantiles,
    )
    ratio = pair.ratio(ranges, level)
    return replace(found, sentence=_sentence(found), **(_ratio(ratio) if ratio else {}))


def _ratio(ratio: Multiplier) -> dict[str, Any]:
    at = float(np.exp(ratio.at))
    return {"ratio": ratio.ratio, "ratio_lo": ratio.lo, "ratio_hi": ratio.hi, "ratio_at": at}


def _sentence(found: Passing) -> str:
    a, b, x, (low, high) = found.a, found.b, found.x, found.measured
    extent = f"{wording.number(low)} to {wording.number(high)}"
    if found.answer == "crosses" and x and found.lo and found.hi:
        interval = f"{wording.level(found.level)} interval {wording.number(found.lo)} to {wording.number(found.hi)}"
        beyond = "" if x <= high else f", which lies {wording.times(x / high)} past the range measured"
        return f"{a} passes {b} at {wording.number(x)} ({interval}){beyond}."
    leader = max(found.leads, key=lambda name: found.leads[name])
    share = wording.chance(found.leads[leader])
    if found.answer == "none":
        return (
            f"{leader} is ahead of {b if leader == a else a} all along the range measured, {extent} (probability "
            f"{share}): no crossover is seen."
        )
    within, ever = wording.chance(found.probability_in_range), wording.chance(found.probability_ever)
    ahead = f"; {leader} is ahead all along with {share}" if found.leads[leader] >= TOLD else ""
    return (
        f"The data cannot tell where {a} passes {b}: the probability is {within} inside {extent} and {ever} within "
        f"{HORIZON:g} times the last point{ahead}."
    )
