"""Resample: whole runs, paired draws, and what does not change them."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.fit import Fit, fit
from pipeline.laws.uncertainty.resample import Resample, resample
from pipeline.laws.uncertainty.sample import Sample

CONFIGS, SEEDS = 9, 2
X = np.repeat(np.geomspace(1e3, 1e5, CONFIGS), SEEDS)
NAMES = [f"{c}/{s}" for c in range(CONFIGS) for s in range(SEEDS)]
TRUE = 0.15 + (X / 1e3) ** -0.4


def noisy(seed: int = 0) -> np.ndarray:
    return TRUE * np.exp(0.02 * np.random.default_rng(seed).standard_normal(len(X)))


def drawn_of(found: Fit, x: ArrayLike, y: ArrayLike, runs: Any = None, **how: Any) -> Resample:
    return resample(Sample.of(found, x, y, runs), **how)


@pytest.mark.parametrize("method", ["wild", "run"])
def test_order_does_not_matter_and_the_seed_does(method: str) -> None:
    y, order = noisy(), np.random.default_rng(1).permutation(len(X))
    found = fit(X, y)
    first = drawn_of(found, X, y, NAMES, method=method, draws=50)
    shuffled = drawn_of(found, X[order], y[order], [NAMES[i] for i in order], method=method, draws=50)
    other = drawn_of(found, X, y, NAMES, method=method, draws=50, seed=1)
    assert np.array_equal(first.theta, shuffled.theta)
    assert not np.array_equal(first.theta, other.theta)


@pytest.mark.parametrize("method", ["wild", "run"])
def test_families_with_the_same_runs_are_drawn_together(method: str) -> None:
    """Noise that two families share cancels in their difference, draw by draw."""
    y = noisy()
    thetas = [drawn_of(fit(X, k * y), X, k * y, NAMES, method=method, draws=50).theta for k in (1.0, 1.3)]
    assert thetas[0] == pytest.approx(thetas[1], abs=1e-6)


def test_draws_of_a_family_that_lacks_a_run_stay_paired() -> None:
    y = noisy()
    found = [fit(X[k:], y[k:]) for k in (0, 1)]
    at = np.array([3e4])
    logs = [
        f.log(at, drawn_of(f, X[k:], y[k:], NAMES[k:], method="run", draws=200).theta)[:, 0]
        for k, f in enumerate(found)
    ]
    assert np.asarray(np.corrcoef(logs))[0, 1] > 0.9


def test_spread_is_that_of_repeated_studies() -> None:
    at = np.array([3e4])
    truth = np.std([fit(X, noisy(seed)).log(at)[0] for seed in range(40)])
    y = noisy()
    found = fit(X, y)
    for method in ("wild", "run"):
        drawn = found.log(at, drawn_of(found, X, y, NAMES, method=method, draws=400).theta)
        assert 0.5 * truth < drawn.std() < 2.0 * truth


def test_checkpoints_of_a_run_count_once() -> None:
    y, copies = noisy(), 50
    many = np.exp(1e-6 * np.arange(copies))
    x_all, y_all = np.outer(X, many).ravel(), np.repeat(y, copies)
    names = np.repeat(NAMES, copies).tolist()
    at = np.array([3e4, 1e6])
    once, often = fit(X, y), fit(x_all, y_all)
    for method in ("wild", "run"):
        one = once.log(at, drawn_of(once, X, y, NAMES, method=method, draws=200).theta).std(0)
        all_ = often.log(at, drawn_of(often, x_all, y_all, names, method=method, draws=200).theta).std(0)
        assert np.all(all_ > 0.7 * one)


def test_auto_is_wild_for_few_configurations() -> None:
    y = noisy()
    assert drawn_of(fit(X, y), X, y, NAMES, draws=5).method == "wild"
    x = np.geomspace(1e3, 1e5, 40)
    many = 0.15 + (x / 1e3) ** -0.4
    assert drawn_of(fit(x, many), x, many, draws=5).method == "run"


def test_draws_without_places_enough_are_counted() -> None:
    x = np.geomspace(1e3, 1e5, 4)
    y = (0.15 + (x / 1e3) ** -0.4) * np.exp([0.01, -0.01, 0.01, -0.01])
    found = fit(x, y)
    drawn = drawn_of(found, x, y, method="run", draws=200)
    assert drawn.replaced > 0 and np.all(np.isfinite(drawn.theta))


def test_refused_in_words() -> None:
    y = noisy()
    found = fit(X, y)
    with pytest.raises(BadInput, match=r"no bootstrap 'wilt'.*wild"):
        drawn_of(found, X, y, method="wilt")
    with pytest.raises(BadInput, match="fitted to 18 points, and here are 17"):
        drawn_of(found, X[1:], y[1:])
