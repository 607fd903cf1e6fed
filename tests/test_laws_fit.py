"""Fit: noise-free recovery, robustness, what is refused, and what a fit says about itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.laws.fit import fit
from pipeline.laws.forms import form_named
from pipeline.laws.points import distinct

X = np.geomspace(1e12, 1e16, 12)


def law(x: np.ndarray, floor: float, factor: float, alpha: float) -> np.ndarray:
    return floor + factor * (x / 1e12) ** -alpha


@pytest.mark.parametrize("seed", range(20))
def test_floor_recovered_without_noise(seed: int) -> None:
    random = np.random.default_rng(seed)
    floor, factor, alpha = random.uniform(0.01, 0.3), random.uniform(0.3, 3), random.uniform(0.1, 1.0)
    found = fit(X, law(X, floor, factor, alpha))
    assert found.params["E"] == pytest.approx(floor, rel=1e-6)
    assert found.params["A"] == pytest.approx(factor * 1e12**alpha, rel=1e-6)
    assert found.params["alpha"] == pytest.approx(alpha, rel=1e-6)
    assert found.status == "converged"


def test_power_recovered_without_noise() -> None:
    found = fit(X, 3.0 * X**-0.2, "power")
    assert found.params == pytest.approx({"A": 3.0, "alpha": 0.2}, rel=1e-9)


def test_no_floor_is_a_bound() -> None:
    found = fit(X, 3.0 * X**-0.2)
    assert found.params["E"] == pytest.approx(0, abs=1e-9)
    assert found.params["alpha"] == pytest.approx(0.2, rel=1e-6)
    assert found.status == "at a bound"


def test_constant_is_not_identified() -> None:
    assert fit(X, np.full(len(X), 0.5)).status != "converged"


def test_outlier_moves_little() -> None:
    random = np.random.default_rng(0)
    y = law(X, 0.05, 1.0, 0.3) * np.exp(0.01 * random.standard_normal(len(X)))
    spoiled = y.copy()
    spoiled[5] *= 2
    assert fit(X, spoiled).params["alpha"] == pytest.approx(fit(X, y).params["alpha"], rel=0.1)


@given(scale=st.floats(1e-9, 1e9), lift=st.floats(1e-3, 1e3), order=st.permutations(range(9)))
@settings(max_examples=40, deadline=None)
def test_units_and_order_do_not_matter(scale: float, lift: float, order: list[int]) -> None:
    x = np.geomspace(1e3, 1e6, 9)
    y = (0.1 + 2 * (x / 1e3) ** -0.4) * np.exp(0.02 * np.sin(7 * np.arange(9)))
    base, other = fit(x, y), fit((x * scale)[order], (y * lift)[order])
    assert other.params["alpha"] == pytest.approx(base.params["alpha"], rel=1e-6)
    assert other.params["E"] == pytest.approx(base.params["E"] * lift, rel=1e-6)
    assert other.predict(x * scale * 3) == pytest.approx(base.predict(x * 3) * lift, rel=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        ([1, 2, 3], [3, 2, 1], "needs 4 distinct places"),
        ([1, 1, 1, 2], [4, 3, 2, 1], "there are 2"),
        ([1, 2, 3, 4], [3, 2, 1, 0], "value 3 is 0"),
        ([1, 2, 3, 4], [3, 2, -1, 1], "finite and positive"),
        ([1, 2, float("inf"), 4], [3, 2, 1, 1], "every x"),
        ([1, 2, 3, 4], [3, 2, float("nan"), 1], "every y"),
        ([1, 2, 3], [3, 2], "as many"),
        ([], [], "no point"),
    ],
)
def test_refused_in_words(x: list[float], y: list[float], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        fit(x, y)


def test_unknown_form_is_named() -> None:
    with pytest.raises(BadInput, match="power_floor"):
        form_named("power_flor")


def test_places_a_hair_apart_are_one() -> None:
    assert distinct([1.0, 1.0 + 1e-9, 2.0]) == 2
