"""Diverged: all spoilt runs are listed, next to no clean one, and exponents stay where they were."""

import numpy as np
import pytest

from benchmarks.diverged import EXPONENTS, spoil, standard_errors, study
from pipeline.laws.diverged import LITTLE, diverged
from pipeline.laws.fit import fit


@pytest.mark.parametrize(("form", "count", "noise"), [("power_floor", 40, 0.02), ("chinchilla", 100, 0.01)])
def test_a_tenth_of_spoilt_runs_is_listed_and_moves_exponents_by_less_than_an_error(
    form: str, count: int, noise: float
) -> None:
    wrong, moves = 0, []
    for seed in range(6):
        x, y, spoilt = study(form, count, noise, seed)
        bad = spoil(y, spoilt, seed)
        found = diverged(x, bad, form)
        assert found.listed[spoilt].all()
        assert (found.excess[spoilt] > found.limit).all()
        assert set(found.weights[found.listed]) == {LITTLE} and set(found.weights[~found.listed]) == {1.0}
        wrong += int((found.listed & ~spoilt).sum())
        before, after = fit(x, y, form), fit(x, bad, form, found.weights)
        error = standard_errors(x, y, form, seed, draws=100)
        moves.append([abs(after.params[n] - before.params[n]) / e for n, e in zip(EXPONENTS[form], error, strict=True)])
    assert np.max(moves) <= 1.0, moves
    assert wrong <= 0.01 * 6 * count


@pytest.mark.parametrize("count", [8, 12, 200])
def test_of_clean_studies_nothing_is_listed(count: int) -> None:
    assert not any(diverged(*study("power_floor", count, 0.03, seed)[:2]).listed.any() for seed in range(5))


def test_exact_points_and_a_form_that_misses_condemn_nothing() -> None:
    x = np.geomspace(1, 1e6, 60)
    kink = np.where(x < 1e2, 3.0, 3.0 * (x / 1e2) ** -0.4)
    for y in (2.0 + x**-0.5, kink, np.full(60, 2.0)):
        assert not diverged(x, y).listed.any()


def test_a_run_that_is_better_is_never_listed() -> None:
    x, y, spoilt = study("power_floor", 30, 0.02, 0)
    assert not diverged(x, np.where(spoilt, y / 2, y)).listed.any()


def test_what_is_known_is_listed_and_order_does_not_matter() -> None:
    x, y, spoilt = study("power_floor", 30, 0.02, 1)
    known = np.arange(30) == 4
    bad = spoil(y, spoilt, 1)
    found = diverged(x, bad, known=known)
    assert found.listed[4]
    order = np.random.default_rng(0).permutation(30)
    again = diverged(x[order], bad[order], known=known[order])
    assert np.array_equal(again.listed, found.listed[order])
