"""Analysis: the laws of a study, their crossings, the one-sentence answer, and what a reader needs to judge them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import BadInput
from pipeline.laws.comparison import headline, reporting
from pipeline.laws.comparison.bootstrap import DRAWS
from pipeline.laws.comparison.crossover import Crossing, Match, cross
from pipeline.laws.comparison.law import LEVEL, Family, Law, make_law
from pipeline.laws.comparison.rows import Selection, points_from_rows
from pipeline.laws.points import AXES, Point

__all__ = ["Analysis", "Crossing", "Law", "Point", "Selection", "analyse", "points_from_rows"]

FORMAT = 2
MATCHED_DRAWS = 200
"""Of a law at matched size or compute, of which only the crossing is shown."""
ORDER = ("vit", "hybrid", "resnet")


@dataclass
class Analysis:
    metric: str
    laws: list[Law] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    """On the frontiers: the best archs of each family."""
    matched: list[Crossing] = field(default_factory=list)
    """At matched size and at matched compute."""
    headline: str = ""
    checklist: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """What could not be said and why, in sentences."""
    format: int = FORMAT

    def to_json(self) -> str:
        """Strict JSON (no NaN, no infinity)."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Analysis":
        """Raises BadInput for what is no Analysis, or one of a newer format."""
        try:
            plain = json.loads(text)
            written = int(plain["format"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput("This is no Analysis of Crossover: run `crossover fit` to make one.") from error
        if written > FORMAT:
            raise BadInput(f"This Analysis has format {written}, newer than {FORMAT}: upgrade Crossover to read it.")
        try:
            laws = [_law(law) for law in plain.pop("laws")]
            crossings, matched = (
                [Crossing(**crossing) for crossing in plain.pop(name, [])] for name in ("crossings", "matched")
            )
            return cls(laws=laws, crossings=crossings, matched=matched, **plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput("This Analysis is damaged: run `crossover fit` to make it again.") from error


def analyse(
    points: Selection | Mapping[str, Iterable[Point]],
    metric: str,
    form: str = "",
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Analysis:
    """Fit every family on every axis, cross every pair, and say what follows.

    ``points`` by axis, "compute" (x in training FLOPs) and "data" (x in unique samples). ``form`` is a name of
    ``FORMS``; without one each law takes a floor where it has places enough. Deterministic in ``seed`` and the
    points; their order does not matter. Raises BadInput for an unknown axis or form, too few draws, or a level
    outside 0 to 1.
    """
    selection = points if isinstance(points, Selection) else Selection({a: list(p) for a, p in points.items()})
    _check(selection, form, draws, level)
    result = Analysis(metric, missing=list(selection.missing))
    for axis in AXES:
        found = selection.points.get(axis, [])
        families = _ordered({p.family for p in found})
        reach = max((p.x for p in found if p.x < float("inf")), default=1.0)
        known: list[Family] = []
        for family in families:
            mine = [p for p in found if p.family == family]
            known.append(make_law(family, axis, metric, mine, form, draws, seed, level, reach))
        result.laws += [one.law for one in known]
        result.missing += [one.law.notes[0] for one in known if one.fitted is None]
        for i, a in enumerate(known):
            result.crossings += [cross(axis, a, b, level) for b in known[i + 1 :]]
    result.matched = _matched(selection, metric, form, min(draws, MATCHED_DRAWS), seed, level)
    result.headline = headline.headline(result.laws, result.crossings, result.missing)
    result.checklist = reporting.checklist(metric, result.laws, selection.conventions, draws, seed, level)
    return result


def _matched(selection: Selection, metric: str, form: str, draws: int, seed: int, level: float) -> list[Crossing]:
    found = []
    for one in selection.matched:
        a, b = _ordered(set(one.points))
        reach = max((p.x for points in one.points.values() for p in points if p.x < float("inf")), default=1.0)
        laws = [make_law(f, one.axis, metric, one.points[f], form, draws, seed, level, reach) for f in (a, b)]
        found.append(cross(one.axis, laws[0], laws[1], level, Match(one.matched, one.archs, one.limit)))
    return found


def _ordered(families: set[str]) -> list[str]:
    return [f for f in ORDER if f in families] + sorted(families - set(ORDER))


def _law(plain: dict[str, Any]) -> Law:
    intervals = {name: (float(lo), float(hi)) for name, (lo, hi) in plain["intervals"].items()}
    return Law(**{**plain, "intervals": intervals})


def _check(selection: Selection, form: str, draws: int, level: float) -> None:
    from pipeline.laws.forms import form_named

    if unknown := sorted(set(selection.points) - set(AXES)):
        raise BadInput(f"There is no axis {unknown[0]!r}: valid: {', '.join(AXES)}")
    if form:
        form_named(form)
    if draws < 20:
        raise BadInput(f"An interval needs at least 20 bootstrap draws, not {draws}.")
    if not 0 < level < 1:
        raise BadInput(f"The level of an interval lies between 0 and 1, not at {level}.")
