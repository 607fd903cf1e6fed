"""Headline: the project's question answered in one sentence, from the crossings of ViT and ResNet."""

from collections.abc import Sequence

from pipeline.laws import wording
from pipeline.laws.comparison import telling
from pipeline.laws.comparison.crossover import Crossing
from pipeline.laws.comparison.law import Law
from pipeline.laws.points import AXES

PAIR = {"vit", "resnet"}


def headline(laws: Sequence[Law], crossings: Sequence[Crossing], missing: Sequence[str]) -> str:
    """One sentence over both axes. Of another pair when ViT and ResNet are not both there."""
    pair = PAIR if any({c.a, c.b} == PAIR for c in crossings) else None
    pair = pair or ({crossings[0].a, crossings[0].b} if crossings else None)
    if pair is None:
        return _nothing(laws, missing)
    found = [c for axis in AXES for c in crossings if c.axis == axis and {c.a, c.b} == pair]
    both_unsure = len(found) == len(AXES) and all(map(_is_drawn_unsure, found))
    parts = [_both_unsure(found)] if both_unsure else [_part(c) for c in found]
    parts += [_unvaried(axis) for axis in AXES if not any(c.axis == axis for c in crossings)]
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}."


def _is_drawn_unsure(c: Crossing) -> bool:
    """Whether the data cannot tell although there were laws to draw from, and most draws do not cross."""
    drawn = c.probability_in_range is not None and c.range_lo and c.range_hi and c.leads
    return bool(c.answer == "cannot tell" and drawn and (c.probability_in_range or 0.0) < c.level)


def _both_unsure(found: Sequence[Crossing]) -> str:
    """The same doubt on both axes, said once."""
    a, b = wording.family(found[0].a), wording.family(found[0].b)
    chances = [
        f"{wording.chance(c.probability_in_range or 0.0)} inside "
        f"{wording.stretch(c.axis, c.range_lo or 0.0, c.range_hi or 0.0)}"
        for c in found
    ]
    likely = f"the probability is {' and '.join(chances)}"
    sure = {wording.place(c.axis, c.range_hi or 0.0): leader for c in found if (leader := _ahead(c))}
    if len(set(sure.values())) == 1:
        first = next(iter(sure.values()))
        behind = b if first == a else a
        places = " and ".join(sure)
        return f"{first} is ahead of {behind} at {places}; whether they cross before, the data cannot tell: {likely}"
    return f"the data cannot tell whether {a} and {b} cross: {likely}"


def _ahead(c: Crossing) -> str:
    """Who is ahead at the end of the range, where that is sure."""
    leader, share = max((c.ahead or {"": 0.0}).items(), key=lambda item: item[1])
    return wording.family(leader) if share >= c.level else ""


def _part(c: Crossing) -> str:
    """One axis in a clause: the answer, and how sure."""
    a, b = wording.family(c.a), wording.family(c.b)
    if c.answer == "crosses" and c.x and c.lo and c.hi:
        return f"{a} overtakes {b} at {telling.where(c)}"
    if c.probability_in_range is None or not (c.range_lo and c.range_hi) or not c.leads:
        why = c.sentence.split(", because ", 1)[-1].rstrip(".")
        return f"{_along(c.axis)} the data cannot tell whether {a} and {b} cross, because {why}"
    extent = wording.stretch(c.axis, c.range_lo, c.range_hi)
    if c.answer == "none":
        leader = max(c.leads, key=lambda name: (c.leads or {})[name])
        behind = b if leader == c.a else a
        return f"{_along(c.axis)} {wording.family(leader)} is ahead of {behind} all along from {extent}"
    likely = c.probability_in_range >= c.level
    end = f", and its {wording.level(c.level)} interval ends outside" if likely else " only"
    why = f"because a crossing inside {extent} has a probability of {wording.chance(c.probability_in_range)}{end}"
    if first := _ahead(c):
        behind = b if first == a else a
        at = wording.place(c.axis, c.range_hi)
        return f"{first} is ahead of {behind} at {at}; whether they cross before, the data cannot tell, {why}"
    return f"{_along(c.axis)} the data cannot tell whether {a} and {b} cross, {why}"


def _along(axis: str) -> str:
    return {"compute": "in compute", "data": "in data"}.get(axis, f"on {axis}")


def _unvaried(axis: str) -> str:
    return "data was not varied" if axis == "data" else "compute was not varied"


def _nothing(laws: Sequence[Law], missing: Sequence[str]) -> str:
    families = sorted({law.family for law in laws})
    if len(families) == 1:
        return f"Only {wording.family(families[0])} was measured, so there is nothing to compare it with."
    if not families:
        return missing[0] if missing else "Nothing is measured yet."
    names = wording.listed([wording.family(f) for f in families])
    why = f" {missing[0]}" if missing else ""
    return f"No axis has two families: {names} cannot be compared.{why}"
