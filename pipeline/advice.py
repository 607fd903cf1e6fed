"""Advice: what a study's results say about its crossover, and which of its candidates should run next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pipeline.candidates import Candidates
from pipeline.laws.batch import first_batch
from pipeline.laws.comparison.crossover import Crossing, cross
from pipeline.laws.comparison.law import LEVEL, Family, make_law
from pipeline.laws.comparison.rows import points_from_rows
from pipeline.laws.design import Candidate, Pick, Proposal, Side, propose
from pipeline.laws.points import Cell, Point, cells_of, screen
from pipeline.ledger import Ledger
from pipeline.manifest import describe
from pipeline.study import Planned

LEAST_NOISE = 1e-4
BEHIND = 0.02
"""In ln y, besides twice the noise: an arch this far behind its family's law at a place is not proposed there."""
FARTHEST = 8.0
"""Past its own points an arch is trusted up to this factor."""
FRONTIER = 3
"""Places at which the laws are asked for when they are the goal, from the middle to the end of the candidates."""


@dataclass
class Advice:
    proposal: Proposal
    trials: dict[str, Planned] = field(default_factory=dict)
    """Those proposed, by digest, in order."""
    crossing: Crossing | None = None
    """As known so far; None before both families have laws."""
    first: bool = False
    """Nothing is known yet: places are spread, not planned."""

    @property
    def width(self) -> float | None:
        """Of the crossing's interval, in decades; None while it does not lie inside the range measured."""
        c = self.crossing
        if c is None or c.answer != "crosses" or not (c.lo and c.hi and c.range_hi) or c.hi > c.range_hi:
            return None
        return float(np.log10(c.hi / c.lo))

    def narrow(self, width: float) -> bool:
        """Whether the interval, not its forecast, is as narrow as wanted."""
        return self.width is not None and self.width <= width


def advise(grid: Candidates, trials: dict[str, Planned], budget: float, most: int, width: float = 0.0) -> Advice:
    """``trials``: the study as it stands. ``budget``: FLOPs that may be added.

    ``width``: the batch ends early where its forecast is as narrow, but not before its first trial while the interval
    itself is wider.
    """
    prepared = grid.prepared
    ledger, study = Ledger(prepared.store), prepared.config.study
    rows = describe(study, "", trials.values(), "").rows(ledger)
    points = points_from_rows(rows, study.metric.value).points.get(study.adaptive.axis, [])
    laws = [_law(family, study.adaptive.axis, study.metric.value, points) for family in grid.pair]
    left = grid.left(ledger.known())
    if any(law is None or law.fitted is None for law, _ in laws):
        return _first(grid, left, budget)
    (a, cells_a), (b, cells_b) = laws
    assert a and b
    cells = {a.law.family: (a, cells_a), b.law.family: (b, cells_b)}
    left = [c for c in left if _competes(grid.trials[c.name].arch, c, *cells[c.family])]
    frontier = _frontier(left) if study.adaptive.goal == "frontier" else ()
    plan = partial(propose, _side(a), _side(b), left, grid.cost, budget, most=most, frontier=frontier)
    advice = Advice(plan(width=width), crossing=cross(study.adaptive.axis, a, b, LEVEL))
    if not advice.proposal.picks and width and not advice.narrow(width):
        advice.proposal = plan()
    advice.trials = {p.candidate.name: grid.trials[p.candidate.name] for p in advice.proposal.picks}
    return advice


def _law(family: str, axis: str, metric: str, points: Sequence[Point]) -> tuple[Family | None, list[Cell]]:
    mine = [p for p in points if p.family == family]
    return (make_law(family, axis, metric, mine), cells_of(screen(mine)[0])) if mine else (None, [])


def _side(family: Family) -> Side:
    assert family.fitted
    found = family.fitted
    x = np.array([c.x for c in found.cells for _ in c.runs])
    noise = float(np.hypot(found.noise.point, found.noise.shift))
    return Side(family.law.family, found.fit, found.draws.theta, x, max(noise, LEAST_NOISE))


def _first(grid: Candidates, left: list[Candidate], budget: float) -> Advice:
    """Places spread over the axis, while a family has too few for a law."""
    chosen = first_batch(left, grid.cost, budget) if {c.family for c in left} == set(grid.pair) else []
    picks = [Pick(c, grid.cost(chosen[:i], c), float("inf")) for i, c in enumerate(chosen)]
    stop = "" if picks else "The budget pays for no first batch: two places of each family."
    return Advice(Proposal(picks, stop=stop), {c.name: grid.trials[c.name] for c in chosen}, first=True)


def _competes(arch: str, c: Candidate, family: Family, cells: list[Cell]) -> bool:
    """Whether an arch can be expected on its family's frontier there, by the line through its nearest two places."""
    assert family.fitted
    law = float(family.fitted.middle(np.array([c.x]))[0])
    slack = BEHIND + 2 * family.fitted.noise.point
    curves: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.arch.split(" ")[0] == arch:
            curves.setdefault(cell.arch, []).append(cell)
    if all(len(own) < 2 for own in curves.values()):
        return True
    return any(len(own) > 1 and _line(own, c.x) <= law + slack for own in curves.values())


def _line(own: list[Cell], x: float) -> float:
    """ln y on straight lines in (ln x, ln y), the outer ones extended; infinity too far out."""
    place, value = np.log([c.x for c in own]), np.array([c.value for c in own])
    at = float(np.log(x))
    if at > place[-1] + np.log(FARTHEST):
        return float("inf")
    i = int(np.clip(np.searchsorted(place, at) - 1, 0, len(own) - 2))
    return float(value[i] + (value[i + 1] - value[i]) * (at - place[i]) / (place[i + 1] - place[i]))


def _frontier(left: list[Candidate]) -> Any:
    x = [c.x for c in left] or [1.0]
    return np.geomspace(np.sqrt(min(x) * max(x)), max(x), FRONTIER)
