"""Crossover: where one family's law passes another's, draw by draw; "none" and "cannot tell" are answers.

Only the stretch that both frontiers cover is searched: past it there is no evidence. A draw in which one family leads
all along has its crossing, if any, off one end; such draws count as lying beyond that end when the interval is taken.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.laws import wording
from pipeline.laws.forms import Array
from pipeline.laws.law import Family, Fitted, Law
from pipeline.laws.measured import Measured

GRID = 400
NARROWEST = 1.05
"""A common stretch shorter than this factor is none."""


@dataclass
class Crossing:
    """``a`` overtakes ``b`` at x: behind just before it, ahead from there on. Otherwise the two as given."""

    axis: str
    a: str
    b: str
    answer: str
    """crosses | none (one leads all along) | cannot tell"""
    x: float | None
    lo: float | None
    hi: float | None
    """Interval of x at ``level``; given when the answer is crosses, and then inside the range searched."""
    level: float
    probability_in_range: float | None
    """Share of draws in which a overtakes b for good inside the range. None when there was nothing to draw from."""
    sentence: str
    method: str = ""
    """law, or measured: lines between the measured means, where a law does not fit or cannot be had."""
    leads: dict[str, float] | None = None
    """Share of draws in which each family leads all along the range."""
    ahead: dict[str, float] | None = None
    """Share of draws in which each family is ahead at the end of the range."""
    range_lo: float | None = None
    range_hi: float | None = None
    """The range searched."""
    ratio: float | None = None
    """Compute of a over compute of b at ``ratio_at``; below 1 a is the cheaper. Compute axis only."""
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    """None where that end is not bounded by the data."""
    ratio_at: float | None = None
    """The best metric that both laws reach in their own range."""
    ratio_sentence: str = ""


def cross(axis: str, a: Family, b: Family, level: float) -> Crossing:
    """Compare two families on one axis. What neither laws nor repeated seeds can compare is "cannot tell" and why."""
    names = wording.family(a.law.family), wording.family(b.law.family)
    found = Crossing(axis, a.law.family, b.law.family, "cannot tell", None, None, None, level, None, "")
    sides = _sides(a, b)
    if sides is None:
        reasons = [one.law.notes[0].rstrip(".") for one in (a, b) if one.fitted is None]
        found.sentence = _unsure(axis, names, "; and ".join(dict.fromkeys(reasons)))
        return found
    low = max(one.law.x_min or 0.0 for one in (a, b))
    high = min(one.law.x_max or 0.0 for one in (a, b))
    if high < low * NARROWEST:
        where = [f"{name} at {_extent(axis, one.law)}" for name, one in zip(names, (a, b), strict=True)]
        found.sentence = _unsure(axis, names, f"they were not run in a common range: {wording.listed(where)}")
        return found
    found.method = "measured" if isinstance(sides[0], Measured) else "law"
    found.range_lo, found.range_hi = low, high
    x = np.geomspace(low, high, GRID)
    gap = sides[0].curves(x) - sides[1].curves(x)
    _judge(found, np.log(x), gap, (sides[0].middle(x) - sides[1].middle(x))[None])
    first, second = (a, b) if found.a == a.law.family else (b, a)
    if axis == "compute" and first.fitted and second.fitted:
        _ratio(found, (first.law, first.fitted), (second.law, second.fitted))
        found.ratio_sentence = _ratio_sentence(found, first.law.metric)
    found.sentence = _sentence(found, a, b)
    return found


def _sides(a: Family, b: Family) -> tuple[Fitted, Fitted] | tuple[Measured, Measured] | None:
    """Laws where both fit, else the measured means where seeds were repeated, else laws that fit badly."""
    if a.fitted and b.fitted and not (a.fitted.noise.misfit or b.fitted.noise.misfit):
        return a.fitted, b.fitted
    if a.measured and b.measured:
        return a.measured, b.measured
    return (a.fitted, b.fitted) if a.fitted and b.fitted else None


def _judge(found: Crossing, grid: Array, gap: Array, middle: Array) -> None:
    """Answer from gaps (ln a - ln b) of the draws [B, g] and of the fit [1, g]."""
    slack = 1e-9
    ahead = {found.a: (gap < -slack).all(1), found.b: (gap > slack).all(1)}
    found.leads = {name: float(always.mean()) for name, always in ahead.items()}
    found.ahead = {found.a: float((gap[:, -1] < -slack).mean()), found.b: float((gap[:, -1] > slack).mean())}
    options = []
    for first, second, sign in ((found.a, found.b, 1.0), (found.b, found.a, -1.0)):
        at = np.where(ahead[first], -np.inf, _passes(grid, sign * gap))
        options.append((float(np.isfinite(at).mean()), first, second, sign, at))
    share, first, second, sign, at = max(options, key=lambda option: option[0])
    found.probability_in_range = share
    tail = (1 - found.level) / 2
    low = float(np.quantile(at, tail, method="lower"))
    high = float(np.quantile(at, 1 - tail, method="higher"))
    if share >= found.level and np.isfinite(low) and np.isfinite(high):
        own = float(_passes(grid, sign * middle)[0])
        centre = own if np.isfinite(own) else float(np.median(at))
        found.answer, found.a, found.b = "crosses", first, second
        found.x, found.lo, found.hi = (float(np.exp(v)) for v in (centre, min(low, centre), max(high, centre)))
    elif max(found.leads.values()) >= found.level:
        found.answer = "none"


def _passes(grid: Array, gap: Array) -> Array:
    """Where each row of gaps falls through 0 for the last time to stay below; infinity where it does not."""
    falls = (gap[:, :-1] > 0) & (gap[:, 1:] <= 0)
    index = gap.shape[1] - 2 - np.argmax(falls[:, ::-1], axis=1)
    rows = np.arange(len(gap))
    before, after = gap[rows, index], gap[rows, index + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(before > after, before / (before - after), 0.5)
    at = grid[index] + share * (grid[index + 1] - grid[index])
    return np.where(falls.any(1) & (gap[:, -1] < 0), at, np.inf)


def _ratio(found: Crossing, a: tuple[Law, Fitted], b: tuple[Law, Fitted]) -> None:
    """x at which each law has fallen to the best level both reach in range; the level is fixed, the laws are drawn."""
    both = (a, b)
    at = max(float(one.middle(np.array([law.x_max]))[0]) for law, one in both)
    if any(float(one.middle(np.array([law.x_min]))[0]) < at for law, one in both):
        return  # one family starts out better than the other ever gets: any ratio would be extrapolation
    place = [float(_reached(one, one.fit.theta[None], at)[0]) for _, one in both]
    if not np.all(np.isfinite(place)):
        return
    drawn = [_reached(one, one.draws.theta, at) for _, one in both]
    with np.errstate(invalid="ignore"):
        factor = drawn[0] - drawn[1]
    neither = np.isnan(factor)  # counted against both ends
    tail = (1 - found.level) / 2
    low = float(np.quantile(np.where(neither, -np.inf, factor), tail, method="lower"))
    high = float(np.quantile(np.where(neither, np.inf, factor), 1 - tail, method="higher"))
    found.ratio, found.ratio_at = float(np.exp(place[0] - place[1])), float(np.exp(at))
    found.ratio_lo, found.ratio_hi = (float(np.exp(v)) if abs(v) < 60 else None for v in (low, high))


def _reached(one: Fitted, theta: Array, v: float) -> Array:
    """ln x at which curves theta [B, p] fall to ln y = v."""
    return one.fit.form.inverse(theta, v - one.fit.offset) + one.fit.centre


def _sentence(c: Crossing, a: Family, b: Family) -> str:
    names = wording.family(c.a), wording.family(c.b)
    assert c.range_lo and c.range_hi and c.leads is not None and c.probability_in_range is not None
    extent = wording.stretch(c.axis, c.range_lo, c.range_hi)
    if c.answer == "crosses" and c.x and c.lo and c.hi:
        of = " of training" if c.axis == "compute" else ""
        interval = f"{wording.level(c.level)} interval {wording.span(c.axis, c.x, c.lo, c.hi)}"
        said = f"{names[0]} overtakes {names[1]} at {wording.place(c.axis, c.x)}{of} ({interval})."
    elif c.answer == "none":
        leader, share = max(c.leads.items(), key=lambda item: item[1])
        behind = c.b if leader == c.a else c.a
        said = (
            f"{wording.family(leader)} is ahead of {wording.family(behind)} all along the range measured, {extent} "
            f"(probability {wording.chance(share)}): no crossover is seen."
        )
    else:
        said = _unsure(c.axis, names, _doubt(c, extent, a, b))
    return said + _caveat(c, a, b)


def _doubt(c: Crossing, extent: str, a: Family, b: Family) -> str:
    share = c.probability_in_range or 0.0
    said = f"a crossing inside {extent} has a probability of {wording.chance(share)}"
    if share >= c.level:
        said += f" but its {wording.level(c.level)} interval ends outside"
    shares = [
        f"{wording.family(f)} leads all along with {wording.chance(p)}" for f, p in (c.leads or {}).items() if p >= 0.01
    ]
    few = " and ".join(f"{one.law.n_points} for {wording.family(one.law.family)}" for one in (a, b))
    seeds = wording.counted(min(a.law.n_seeds, b.law.n_seeds), "seed")
    return f"{wording.listed([said, *shares])} (places on the frontier: {few}; {seeds})"


def _ratio_sentence(c: Crossing, metric: str) -> str:
    if c.ratio is None or c.ratio_at is None:
        return ""
    ends = [wording.number(v) if v else "" for v in (c.ratio_lo, c.ratio_hi)]
    if all(ends):
        interval = f"{ends[0]} to {ends[1]}"
    elif any(ends):
        interval = f"at least {ends[0]}" if ends[0] else f"at most {ends[1]}"
    else:
        return ""
    return (
        f"To reach a {wording.metric(metric)} of {wording.measured(metric, c.ratio_at)}, {wording.family(c.a)} needs "
        f"{wording.times(c.ratio)} the compute of {wording.family(c.b)} ({wording.level(c.level)} interval {interval})."
    )


def _unsure(axis: str, names: tuple[str, str], why: str) -> str:
    of = {"compute": "in compute", "data": "in data"}.get(axis, f"on {axis}")
    return f"The data cannot tell whether {names[0]} and {names[1]} cross {of}, because {why}."


def _caveat(c: Crossing, a: Family, b: Family) -> str:
    """What weakens the answer, in one short sentence."""
    if c.method == "measured":
        bad = [one.law.family for one in (a, b) if one.fitted is None or one.fitted.noise.misfit]
        law = "the law" if len(bad) == 1 else "the laws"
        why = "cannot be fitted" if any(one.fitted is None for one in (a, b)) else "fit the points badly"
        why = why.replace("fit ", "fits ") if len(bad) == 1 else why
        named = wording.listed([wording.family(f) for f in bad])
        return f" Read from lines between the measured means, because {law} of {named} {why}."
    if min(a.law.n_seeds, b.law.n_seeds) == 1:
        return " One seed only: shifts between seeds are not in the interval."
    return ""


def _extent(axis: str, law: Law) -> str:
    return wording.stretch(axis, law.x_min or 0.0, law.x_max or 0.0)
