"""The planner: what it takes, what it refuses, and that its choice beats an even grid."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.design import Study, even, planned, square
from pipeline.errors import BadInput
from pipeline.laws.batch import BATCHES, batch_size, first_batch
from pipeline.laws.design import Candidate, Proposal, Side, propose


def sides(at: float = 1e6, seed: int = 0) -> tuple[Side, Side]:
    study = Study(at, 0.02, (7, seed))
    return study.side("a"), study.side("b")


def grid(count: int = 12) -> list[Candidate]:
    return [Candidate(f"{f} {x:.3g}", f, float(x)) for f in "ab" for x in np.geomspace(1e4, 1e7, count)]


def plain(budget: float, **options: float) -> Proposal:
    return propose(*sides(), grid(), lambda _, c: c.x, budget, **options)  # type: ignore[arg-type]


def test_every_trial_narrows_and_the_budget_holds() -> None:
    found = plain(2e7)
    deviations = [found.sd, *(pick.sd for pick in found.picks)]
    assert found.picks and all(later < earlier for earlier, later in pairwise(deviations))
    assert found.cost <= 2e7 and found.cost == pytest.approx(sum(p.candidate.x for p in found.picks))
    assert len({pick.candidate.name for pick in found.picks}) == len(found.picks)


def test_more_compute_never_says_less() -> None:
    assert plain(3e7).picks[-1].sd <= plain(3e6).picks[-1].sd


def test_stop_rules_are_said() -> None:
    assert "as narrow as wanted" in plain(1e9, width=3.0).stop
    assert "full with 2" in plain(1e9, most=2).stop
    assert "pays for no candidate" in plain(1.0).stop
    assert plain(1e9).stop == "Every candidate is taken."


def test_a_shared_trunk_makes_the_next_trial_cheap() -> None:
    """A trial whose family already has a longer one costs a tenth."""

    def shared(taken: list[Candidate], c: Candidate) -> float:
        return c.x * (0.1 if any(t.family == c.family and t.x > c.x for t in taken) else 1.0)

    found = propose(*sides(), grid(), shared, 4e6)  # type: ignore[arg-type]
    assert found.picks[-1].sd < 0.9 * plain(4e6).picks[-1].sd


def test_laws_that_cannot_cross_get_trials_where_they_are_nearest() -> None:
    a, _ = sides()
    far = Side("b", a.fit, a.theta + np.array([0.0, 3.0, 0.0]) + np.array([5.0, 0.0, 0.0]), a.x, a.noise)
    found = propose(a, far, grid(), lambda _, c: c.x, 1e7)
    assert found.crossing == 0 and found.asked == "gap" and found.picks
    assert found.picks[-1].sd < found.sd


def test_the_frontier_can_be_asked_for_instead() -> None:
    """What is wanted far out is bought far out, and on both laws."""
    far = plain(4e7, frontier=(1e7,))  # type: ignore[arg-type]
    assert far.asked == "frontier"
    assert {pick.candidate.family for pick in far.picks} == {"a", "b"}
    near = plain(4e7, frontier=(1e5,))  # type: ignore[arg-type]
    assert far.sd != near.sd
    centre = [np.mean([np.log(p.candidate.x) for p in found.picks[:4]]) for found in (far, near)]
    assert centre[0] > centre[1] + 0.5


def test_the_first_batch_reaches_as_far_as_it_can_pay_with_both_families_alike() -> None:
    found = first_batch(grid(), lambda _, c: c.x, 3e6)
    reach = {f: sorted(c.x for c in found if c.family == f) for f in "ab"}
    assert reach["a"] == reach["b"] and len(reach["a"]) >= 2
    assert sum(c.x for c in found) <= 3e6 < 4 * sum(c.x for c in found)
    assert first_batch(grid(), lambda _, c: c.x, 1.0) == []


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_budget_that_is_none(budget: float) -> None:
    with pytest.raises(BadInput, match="positive number of FLOPs"):
        plain(budget)


def test_candidates_and_costs_are_checked() -> None:
    with pytest.raises(BadInput, match="neither a nor b"):
        propose(*sides(), [Candidate("c 1", "c", 1.0)], lambda _, c: c.x, 1e7)
    with pytest.raises(BadInput, match="must be positive"):
        propose(*sides(), [Candidate("a 0", "a", 0.0)], lambda _, c: c.x, 1e7)
    with pytest.raises(BadInput, match="costs a positive number"):
        propose(*sides(), grid(), lambda _, c: 0.0, 1e7)


@pytest.mark.parametrize("part", [1.0, 0.9])
def test_batches_double_and_use_the_budget_up(part: float) -> None:
    """Also where each spends a little less than it may."""
    spent, sizes = 0.0, []
    while size := batch_size(15.0, spent):
        sizes.append(size)
        spent += size * (part if size < 15.0 - spent else 1.0)
    assert spent == 15.0 and len(sizes) == BATCHES
    assert all(later > (1 + 0.9 * part) * earlier for earlier, later in pairwise(sizes))
    assert part < 1.0 or sizes == [1.0, 2.0, 4.0, 8.0]


def test_nothing_is_left_of_a_budget_that_was_passed() -> None:
    assert batch_size(15.0, 15.0) == batch_size(15.0, 16.0) == 0.0


def test_half_the_variance_of_an_even_grid_at_equal_compute() -> None:
    """Midway, where the benchmark finds about a quarter; the standard deviation of ln of the ratio is about 0.5."""
    errors = np.zeros((16, 2))
    for seed, found in enumerate(errors):
        one, other = Study(1e6, 0.02, (3, 2 * seed)), Study(1e6, 0.02, (3, 2 * seed + 1))
        budget = even(one)
        assert 0.9 * budget < planned(other, budget) <= budget * (1 + 1e-9)
        found[:] = one.crossing() - 6, other.crossing() - 6
    assert square(errors[:, 1]) < 0.6 * square(errors[:, 0])
