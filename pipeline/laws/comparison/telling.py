"""Telling: the sentences of a crossing, made from its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.laws import wording
from pipeline.laws.comparison.matched import ALIKE
from pipeline.laws.posterior import HORIZON

if TYPE_CHECKING:
    from pipeline.laws.comparison.crossover import Crossing
    from pipeline.laws.comparison.law import Family, Law


def sentence(c: Crossing, a: Family, b: Family) -> str:
    assert c.range_lo and c.range_hi and c.leads is not None
    names, stretch = (wording.family(c.a), wording.family(c.b)), wording.stretch(c.axis, c.range_lo, c.range_hi)
    if c.answer == "crosses":
        said = f"{matched(c)}{names[0]} overtakes {names[1]} at {where(c)}."
    elif c.answer == "none":
        leader, share = max(c.leads.items(), key=lambda item: item[1])
        behind = c.b if leader == c.a else c.a
        said = (
            f"{matched(c)}{wording.family(leader)} is ahead of {wording.family(behind)} all along the range measured, "
            f"{stretch} (probability {wording.chance(share)}): no crossover is seen."
        )
    else:
        said = unsure(c, _doubt(c, stretch, a, b))
    return said + _caveat(c, a, b)


def where(c: Crossing) -> str:
    """The place of a crossing with its interval, and how far past the range measured it lies."""
    assert c.x and c.lo and c.hi and c.range_hi
    of = " of training" if c.axis == "compute" else ""
    interval = f"{wording.level(c.level)} interval {wording.span(c.axis, c.x, c.lo, c.hi)}"
    past = c.x / c.range_hi
    beyond = f", {wording.times(past)} past the range measured" if past > 1.05 else ""
    return f"{wording.place(c.axis, c.x)}{of} ({interval}){beyond}"


def matched(c: Crossing) -> str:
    """What is held equal, as the beginning of a sentence; nothing for the frontiers."""
    if c.matched == "size":
        return f"At equal size ({c.archs[c.a]} and {c.archs[c.b]}), "
    if c.matched == "compute" and c.limit:
        return f"At equal compute (runs of {wording.stretch('compute', c.limit / ALIKE, c.limit)}), "
    return ""


def unsure(c: Crossing, why: str) -> str:
    names = wording.family(c.a), wording.family(c.b)
    of = {"compute": "in compute", "data": "in data"}.get(c.axis, f"on {c.axis}")
    said = f"he data cannot tell whether {names[0]} and {names[1]} cross {of}, because {why}."
    return f"{held}t{said}" if (held := matched(c)) else f"T{said}"


def ratio(c: Crossing, metric: str) -> str:
    """Compute at equal metric; nothing where neither end is bounded."""
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


def extent(axis: str, law: Law) -> str:
    return wording.stretch(axis, law.x_min or 0.0, law.x_max or 0.0)


def _doubt(c: Crossing, stretch: str, a: Family, b: Family) -> str:
    share = c.probability_in_range or 0.0
    said = f"a crossing inside {stretch} has a probability of {wording.chance(share)}"
    if c.method == "law" and c.probability_ever is not None and c.probability_ever > share + 0.01:
        said += f" ({wording.chance(c.probability_ever)} within {HORIZON:g} times the last point)"
    if share >= c.level:
        said += f" but its {wording.level(c.level)} interval ends outside"
    shares = [
        f"{wording.family(f)} leads all along with {wording.chance(p)}" for f, p in (c.leads or {}).items() if p >= 0.01
    ]
    few = " and ".join(f"{one.law.n_points} for {wording.family(one.law.family)}" for one in (a, b))
    seeds = wording.counted(min(a.law.n_seeds, b.law.n_seeds), "seed")
    return f"{wording.listed([said, *shares])} (places on the frontier: {few}; {seeds})"


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
