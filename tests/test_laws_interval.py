"""Interval: coverage, widening with distance, and that only configurations count."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from benchmarks.coverage import CASES, TUNED, coverage, studies
from pipeline.errors import BadInput
from pipeline.laws.fit import Fit, fit
from pipeline.laws.uncertainty.interval import METHODS, Intervals, intervals, parameter_intervals
from pipeline.laws.uncertainty.sample import Sample
from pipeline.laws.uncertainty.spread import spread
from pipeline.laws.uncertainty.student import equivalent, quantile

X = np.repeat(np.geomspace(1e3, 1e5, 9), 2)
NAMES = [f"{c}/{s}" for c in range(9) for s in range(2)]
AT = np.array([1e4, 1e5, 1e6])


def noisy(seed: int = 0, noise: float = 0.02) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (0.15 + (X / 1e3) ** -0.4) * np.exp(noise * random.standard_normal(len(X)))


def told(found: Fit, x: ArrayLike, y: ArrayLike, at: ArrayLike, runs: Any = None, **how: Any) -> Intervals:
    fitted = {name: how.pop(name) for name in ("weights", "over") if name in how}
    return intervals(Sample.of(found, x, y, runs, **fitted), at, **how)


def width(found: Intervals) -> np.ndarray:
    return np.log(found.hi / found.lo)


@pytest.mark.parametrize("noise", ["even .02", "shared .02"])
@pytest.mark.parametrize("case", ["power_floor, 9", "chinchilla, 9"])
def test_default_covers_what_it_says(case: str, noise: str) -> None:
    """Within 3 standard errors of 92 to 97 %, at 200 studies."""
    mean, new, _ = coverage(CASES[case], noise, "profile", 200, TUNED)
    assert np.all((mean > 0.88) & (mean < 0.995)) and np.all((new > 0.88) & (new < 0.995))
    assert abs(mean.mean() - 0.95) < 0.03


def test_checkpoints_cover_too() -> None:
    mean, _, _ = coverage(CASES["chinchilla, 9 of 5 checkpoints"], "run .02", "profile", 80, TUNED)
    assert np.all(mean > 0.88)


@pytest.mark.parametrize("method", METHODS)
def test_ordered_widening_and_deterministic(method: str) -> None:
    y, order = noisy(), np.random.default_rng(1).permutation(len(X))
    found = fit(X, y)
    one = told(found, X, y, AT, NAMES, method=method, draws=200)
    two = told(found, X[order], y[order], AT, [NAMES[i] for i in order], method=method, draws=200)
    assert np.all((one.new_lo < one.lo) & (one.lo <= one.mean) & (one.mean <= one.hi) & (one.hi < one.new_hi))
    assert width(one)[2] > 1.5 * width(one)[1] and width(one)[2] > 1.5 * width(one)[0]
    assert one.distance[:, 0] == pytest.approx([1.0, 1.0, 10.0])
    assert np.array_equal(one.lo, two.lo) and np.array_equal(one.new_hi, two.new_hi)
    assert one.configs == 9


@given(lift=st.floats(1e-3, 1e3), scale=st.floats(1e-6, 1e6), level=st.floats(0.5, 0.99))
@settings(max_examples=8, deadline=None)
def test_units_do_not_matter(lift: float, scale: float, level: float) -> None:
    y = noisy()
    one = told(fit(X, y), X, y, AT, level=level)
    two = told(fit(scale * X, lift * y), scale * X, lift * y, scale * AT, level=level)
    assert two.lo == pytest.approx(lift * one.lo, rel=1e-5) and two.hi == pytest.approx(lift * one.hi, rel=1e-5)


def test_higher_level_is_wider() -> None:
    y = noisy()
    found = fit(X, y)
    widths = [width(told(found, X, y, AT, level=level)) for level in (0.5, 0.8, 0.95, 0.99)]
    assert np.all(np.diff(widths, axis=0) > 0)


def test_checkpoints_of_the_same_runs_do_not_narrow_it() -> None:
    y, copies = noisy(), 50
    many = np.exp(1e-6 * np.arange(copies))
    x_all, y_all = np.outer(X, many).ravel(), np.repeat(y, copies)
    names = np.repeat(NAMES, copies).tolist()
    once = told(fit(X, y), X, y, AT, NAMES)
    often = told(fit(x_all, y_all), x_all, y_all, AT, names)
    naive = told(fit(x_all, y_all), x_all, y_all, AT)
    assert often.configs == 9 and once.configs == 9
    assert np.all(width(often) > 0.7 * width(once)) and np.all(width(naive) < 0.7 * width(once))
    assert often.noise == pytest.approx(once.noise, rel=0.3)


def test_one_configuration_says_so() -> None:
    y = noisy()
    found = told(fit(X, y), X, y, AT, ["one"] * len(X))
    assert found.configs == len(X) and "one configuration" in found.notes[0]


def test_profile_of_a_nearly_straight_fit_is_the_t_interval() -> None:
    y = noisy(noise=1e-4)
    found = fit(X, y, "power_floor", delta=1.0)
    profile, delta = (told(found, X, y, AT, method=m) for m in ("profile", "delta"))
    assert profile.lo == pytest.approx(delta.lo, rel=1e-5) and profile.hi == pytest.approx(delta.hi, rel=1e-5)


def test_noise_that_falls_is_followed() -> None:
    random, x = np.random.default_rng(0), np.repeat(np.geomspace(1e3, 1e6, 25), 4)
    scale = 0.04 * (x / 1e3) ** -0.2
    y = (0.15 + (x / 1e3) ** -0.4) * np.exp(scale * random.standard_normal(len(x)))
    found = told(fit(x, y), x, y, [1e3, 1e6])
    new = np.log(found.new_hi / found.new_lo)
    assert 2.0 * new[1] < new[0] < 6.0 * new[1]


def test_quiet_places_do_not_take_the_noise_of_loud_ones() -> None:
    """The fit follows the loud places and leaves their noise at the quiet: it is told apart from their own."""
    sample, at, _, _ = studies(CASES["chinchilla, 16"], "falling .02", 200, TUNED)
    trend = spread(sample, sample.form.log(sample.theta, at)[1]).trend
    fall = np.ptp(trend.scale(sample.u)) * np.median(trend.slope)
    assert 0.8 < fall / -np.log(16.0) < 1.0  # shrunk towards none


def test_diverged_runs_that_weigh_nothing_count_for_nothing() -> None:
    y, weights = noisy(), np.where(np.arange(len(X)) >= 16, 1e-6, 1.0)
    spoilt = np.where(weights < 1, 2.0, 1.0) * y
    found = told(fit(X, spoilt, weights=weights), X, spoilt, AT, weights=weights)
    without = told(fit(X[:16], y[:16]), X[:16], y[:16], AT)
    assert width(found) == pytest.approx(width(without), rel=0.03)
    assert found.noise == pytest.approx(without.noise, rel=0.01)


@pytest.mark.parametrize("sound", [2, 4, 6, 8])
def test_few_points_that_weigh_anything(sound: int) -> None:
    y, weights = noisy(), np.where(np.arange(len(X)) < sound, 1.0, 1e-6)
    found = told(fit(X, y, weights=weights), X, y, AT, weights=weights)
    assert np.all(width(found) > 0) and np.all(found.new_hi > found.hi)


def test_student_of_unequal_squares() -> None:
    assert equivalent(np.eye(6) / 6) == pytest.approx(6.0) and equivalent(np.zeros((3, 3))) == pytest.approx(
        1.0, abs=1e-3
    )
    parts, random = np.array([0.7, 0.2, 0.1]), np.random.default_rng(0)
    ratio = random.standard_normal(200_000) / np.sqrt(random.chisquare(1.0, (200_000, 3)) @ parts)
    assert quantile(equivalent(np.diag(parts)), 0.95) == pytest.approx(np.quantile(np.abs(ratio), 0.95), rel=0.02)


def test_lower_envelope() -> None:
    y = noisy()
    below = told(fit(X, y, over=10.0), X, y, AT, over=10.0)
    middle = told(fit(X, y), X, y, AT)
    assert np.all(below.mean[:2] < middle.mean[:2])
    assert np.all((below.lo < below.mean) & (below.mean < below.hi))


def test_surface_with_weights() -> None:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(2e8, 2e10, 4)))
    x, random = np.stack([n, d], axis=1), np.random.default_rng(0)
    y = (1.8172 + 482.01 * n**-0.3478 + 2085.43 * d**-0.3658) * np.exp(0.01 * random.standard_normal(16))
    weights = random.integers(1, 4, 16)
    found = told(fit(x, y, "chinchilla", weights), x, y, [[1e9, 2e10], [1e10, 2e11]], weights=weights)
    assert found.distance == pytest.approx(np.array([[1.0, 1.0], [10.0, 10.0]]))
    assert width(found)[1] > width(found)[0]


def test_exact_data_has_a_narrow_interval() -> None:
    y = 0.15 + (X / 1e3) ** -0.4
    assert np.all(width(told(fit(X, y), X, y, AT)) < 1e-6)


def test_parameters_lie_in_their_intervals_and_respect_bounds() -> None:
    y = noisy()
    found = fit(X, y)
    ends = parameter_intervals(Sample.of(found, X, y))
    assert all(lo < found.params[name] < hi for name, (lo, hi) in ends.items())
    assert ends["E"][0] < 0.15 < ends["E"][1] and ends["alpha"][0] < 0.4 < ends["alpha"][1]
    straight = (X / 1e3) ** -0.2 * y / (0.15 + (X / 1e3) ** -0.4)
    assert parameter_intervals(Sample.of(fit(X, straight), X, straight))["E"][0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"method": "profil"}, "no interval 'profil'.*profile"),
        ({"level": 1.0}, "between 0 and 1, not at 1"),
        ({"at": [0.0]}, "finite, positive places"),
        ({"at": [[1.0, 2.0]]}, "1 input"),
    ],
)
def test_refused_in_words(asked: dict, says: str) -> None:
    y = noisy()
    with pytest.raises(BadInput, match=says):
        told(fit(X, y), X, y, **{"at": AT, **asked})
