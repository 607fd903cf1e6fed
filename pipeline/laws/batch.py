"""Batch: how a budget is cut into batches with a fit between them, and the first one, before there is a law to plan by.

What a batch costs doubles: the early ones are cheap, because they are planned by laws that are hardly known, and the
last, about half of the budget, by nearly all there is to know.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.laws.design import Candidate, Cost
from pipeline.laws.forms import Array

BATCHES = 4
"""That a budget is cut into. Three or five narrow a crossover about as well (docs/next.md)."""


def batch_size(budget: float, spent: float) -> float:
    """FLOPs of the next batch: twice the last, so that ``BATCHES`` of them use the budget up.

    It follows from what was spent alone, so that a study that died goes on where it was. What would leave less than
    itself is the last and takes it all; 0 when nothing is left.
    """
    left = max(0.0, budget - spent)
    size = spent + budget / (2**BATCHES - 1)
    return left if left < 2 * size else size


def first_batch(candidates: Sequence[Candidate], cost: Cost, budget: float, places: int = 6) -> list[Candidate]:
    """Before anything is known: log-even places, as many for each family, from the least as far as ``budget`` pays;
    fewer than ``places`` only where it does not pay for so many. Of equals the first given is taken.

    Empty when it does not even pay for the two cheapest places of each family.
    """
    families = {name: [c for c in candidates if c.family == name] for name in sorted({c.family for c in candidates})}
    low = max(min(c.x for c in own) for own in families.values())
    tops = sorted({c.x for c in candidates if c.x > low}, reverse=True)
    for count in range(places, 1, -1):
        for top in tops:
            taken: list[Candidate] = []
            for own in families.values():
                taken += _spread(own, np.geomspace(min(c.x for c in own), top, count))
            if sum(cost(taken[:i], c) for i, c in enumerate(taken)) <= budget:
                return taken
    return []


def _spread(own: Sequence[Candidate], places: Array) -> list[Candidate]:
    """The nearest candidate to each place, none twice."""
    taken: list[Candidate] = []
    for place in places:
        left = [c for c in own if all(c.x != t.x for t in taken)]
        if left:
            taken.append(min(left, key=lambda c: abs(np.log(c.x / place))))
    return taken
