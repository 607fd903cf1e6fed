"""Crossover: where one family's law passes another's; "none" and "cannot tell" are answers.

The posterior of the place comes from the profiles of both laws (``reach``, ``posterior``). It is asked inside the
stretch that both frontiers cover and, as extrapolation, up to a hundred times past it. Where a law cannot be trusted
the measured means are compared, draw by draw and inside the stretch only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.laws import wording
from pipeline.laws.comparison import telling
from pipeline.laws.comparison.law import Family, Fitted
from pipeline.laws.comparison.measured import Measured
from pipeline.laws.multiplier import multiplier
from pipeline.laws.posterior import HORIZON, NARROWEST, Posterior, Span
from pipeline.laws.reach import mixed_below
from pipeline.laws.verdict import Verdict


@dataclass
class Crossing:
    """``a`` overtakes ``b`` at x: behind just before it, ahead from there on. Otherwise ``a`` is the likelier to."""

    axis: str
    a: str
    b: str
    answer: str
    """crosses | none (one leads all along) | cannot tell"""
    x: float | None
    lo: float | None
    hi: float | None
    """Interval of x at ``level``, past ``range_hi`` by extrapolation; an end that the data do not bound is None."""
    level: float
    probability_in_range: float | None
    """That a overtakes b for good inside the range. None when there was nothing to judge by."""
    sentence: str
    method: str = ""
    """law, or measured: lines between the measured means, where a law does not fit or cannot be had."""
    leads: dict[str, float] | None = None
    """Probability that each family leads all along the range."""
    ahead: dict[str, float] | None = None
    """Probability that each family is ahead at the end of the range."""
    range_lo: float | None = None
    range_hi: float | None = None
    """The range both were measured in."""
    ratio: float | None = None
    """Compute of a over compute of b at ``ratio_at``; below 1 a is the cheaper. Compute axis only."""
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    """None where that end is not bounded by the data."""
    ratio_at: float | None = None
    """The best metric that both laws reach in their own range."""
    ratio_sentence: str = ""
    probability_ever: float | None = None
    """That a overtakes b inside the range or within ``HORIZON`` times the last point, if the laws hold there.
    None where only the measured means are compared."""
    quantiles: dict[str, float | None] = field(default_factory=dict)
    """Posterior: share -> x by which a has overtaken b with that probability; None where the data do not bound it."""
    matched: str = "frontier"
    """What is compared: frontier (the best archs of each family), size, compute."""
    archs: dict[str, str] = field(default_factory=dict)
    """The arch of each family, at matched size."""
    limit: float | None = None
    """About the FLOPs of every run, at matched compute."""


@dataclass(frozen=True)
class Match:
    """What two families are compared at; see ``Crossing``."""

    matched: str = "frontier"
    archs: Mapping[str, str] = field(default_factory=dict)
    limit: float | None = None


def cross(axis: str, a: Family, b: Family, level: float, match: Match | None = None) -> Crossing:
    """Compare two families on one axis. What neither laws nor repeated seeds can compare is "cannot tell" and why."""
    match = match or Match()
    found = Crossing(axis, a.law.family, b.law.family, "cannot tell", None, None, None, level, None, "")
    found.matched, found.archs, found.limit = match.matched, dict(match.archs), match.limit
    sides = _sides(a, b)
    if sides is None:
        reasons = [one.law.notes[0].rstrip(".") for one in (a, b) if one.fitted is None]
        found.sentence = telling.unsure(found, "; and ".join(dict.fromkeys(reasons)))
        return found
    low = max(one.law.x_min or 0.0 for one in (a, b))
    high = min(one.law.x_max or 0.0 for one in (a, b))
    if high < low * NARROWEST:
        where = [f"{wording.family(one.law.family)} at {telling.extent(axis, one.law)}" for one in (a, b)]
        found.sentence = telling.unsure(found, f"they were not run in a common range: {wording.listed(where)}")
        return found
    found.range_lo, found.range_hi = low, high
    found.method = "measured" if isinstance(sides[0], Measured) else "law"
    end = None if found.method == "measured" else max(one.law.x_max or high for one in (a, b)) * HORIZON
    _judge(found, Span.of(low, high, end), sides)
    if axis == "compute":
        _ratio(found, a, b)
    found.sentence = telling.sentence(found, a, b)
    return found


def _sides(a: Family, b: Family) -> tuple[Fitted, Fitted] | tuple[Measured, Measured] | None:
    """Laws where both fit, else the measured means where seeds were repeated, else laws that fit badly."""
    if a.fitted and b.fitted and not (a.fitted.noise.misfit or b.fitted.noise.misfit):
        return a.fitted, b.fitted
    if a.measured and b.measured:
        return a.measured, b.measured
    return (a.fitted, b.fitted) if a.fitted and b.fitted else None


def _posteriors(span: Span, a: Fitted | Measured, b: Fitted | Measured) -> tuple[Posterior, Posterior]:
    """Of a passing b, and of b passing a."""
    if isinstance(a, Fitted) and isinstance(b, Fitted):
        p = mixed_below(a, b, span.x)
        return Posterior.of(span, p), Posterior.of(span, 1.0 - p)
    gap = a.curves(span.x) - b.curves(span.x)
    return Posterior.of_draws(span, gap), Posterior.of_draws(span, -gap)


def _judge(found: Crossing, span: Span, sides: tuple[Fitted | Measured, Fitted | Measured]) -> None:
    """The answer: the likelier direction, and whether its interval has two ends."""
    gap = sides[0].middle(span.x) - sides[1].middle(span.x)
    verdict = Verdict.of(span, gap, _posteriors(span, *sides), found.level)
    found.leads, found.ahead = verdict.leads(found.a, found.b), verdict.ahead(found.a, found.b)
    if verdict.turned:
        found.a, found.b = found.b, found.a
    found.answer, posterior = verdict.answer, verdict.posterior
    found.probability_in_range, found.quantiles = posterior.in_range, posterior.quantiles
    found.probability_ever = posterior.ever if found.method == "law" else None
    if found.answer != "none":
        found.lo, found.hi = verdict.lo, verdict.hi
    if found.answer == "crosses":
        found.x = verdict.x


def _ratio(found: Crossing, a: Family, b: Family) -> None:
    """Compute that one needs over that of the other, at the best metric that both reach."""
    first, second = (a, b) if found.a == a.law.family else (b, a)
    if not (first.fitted and second.fitted):
        return
    ranges = tuple((one.law.x_min or 0.0, one.law.x_max or 0.0) for one in (first, second))
    known = multiplier(first.fitted, second.fitted, ranges, found.level)
    if known:
        found.ratio, found.ratio_lo, found.ratio_hi = known.ratio, known.lo, known.hi
        found.ratio_at = float(np.exp(known.at))
        found.ratio_sentence = telling.ratio(found, first.law.metric)
