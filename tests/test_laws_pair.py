"""Pair: two laws of one fit with shared parameters, compared with what two separate fits say."""

import numpy as np
import pytest

from benchmarks.crossover_coverage import covered, passed_together
from pipeline.laws.groups import GroupFit, fit_groups
from pipeline.laws.pair import Together
from pipeline.laws.uncertainty.sample import Sample

X = np.repeat(np.geomspace(1e4, 4e6, 9), 2)
RANGES = ((1e4, 4e6), (1e4, 4e6))
PLACES = np.geomspace(2e5, 5e6, 9)


def together(share: list[str], noise: float = 0.01, seed: int = 0) -> Together:
    """vit falls faster and passes cnn at 1e6; both have a floor of 0.05."""
    random = np.random.default_rng(seed)
    y = np.concatenate([0.05 + 0.15 * (X / 1e6) ** -slope for slope in (0.3, 0.5)])
    y *= np.exp(noise * random.standard_normal(len(y)))
    group = ["cnn"] * len(X) + ["vit"] * len(X)
    found = fit_groups(np.tile(X, 2), y, group, "power_floor", share)
    placed = np.column_stack([np.tile(X, 2), [1.0] * len(X) + [2.0] * len(X)])
    return Together(found, Sample.of(found.joint, placed, y), "vit", "cnn")


def straight(noise: float) -> tuple[GroupFit, np.ndarray]:
    random = np.random.default_rng(3)
    y = np.exp(np.concatenate([-0.2 * np.log(X / 1e6), -0.3 * np.log(X / 1e6)]) + noise * random.standard_normal(36))
    return fit_groups(np.tile(X, 2), y, ["cnn"] * 18 + ["vit"] * 18, "power", (), delta=9.0), y


def test_the_gap_of_two_lines_is_tested_as_by_hand() -> None:
    """Student's t of least squares on the means of configurations, with the noise of both pooled."""
    found, y = straight(0.05)
    placed = np.column_stack([np.tile(X, 2), [1.0] * 18 + [2.0] * 18])
    pair = Together(found, Sample.of(found.joint, placed, y), "vit", "cnn")
    places, means = np.log(X[::2]), np.log(y).reshape(2, 9, 2).mean(-1)
    design, at = np.vander(places, 2), np.vander(np.log(PLACES), 2)
    inverse = np.linalg.inv(design.T @ design)
    theta = [inverse @ design.T @ m for m in means]
    rest = np.concatenate([m - design @ t for m, t in zip(means, theta, strict=True)])
    variance = 2 * (rest @ rest) / 14 * np.einsum("ij,jk,ik->i", at, inverse, at)
    from scipy.stats import t

    gap = at @ (theta[1] - theta[0])
    assert pair.gap(PLACES) == pytest.approx(gap, abs=1e-6)
    assert pair.below(PLACES) == pytest.approx(t.cdf(-gap / np.sqrt(variance), 14), abs=0.05)


def test_turned_it_says_the_opposite() -> None:
    pair = together(["E"])
    other = pair.turned()
    assert other.gap(PLACES) == pytest.approx(-pair.gap(PLACES))
    assert other.below(PLACES) == pytest.approx(1.0 - pair.below(PLACES))
    one, two = pair.ratio(RANGES, 0.9), other.ratio(RANGES, 0.9)
    assert one and two and one.lo and one.hi
    assert (one.ratio, one.lo, one.hi) == pytest.approx((1 / two.ratio, 1 / (two.hi or 0), 1 / (two.lo or 0)))
    assert one.lo < one.ratio < one.hi < 1.0


def test_what_is_shared_moves_no_crossing() -> None:
    shared, apart = together(["E"]), together([])
    widths = []
    for pair in (shared, apart):
        p = pair.below(np.geomspace(3e5, 3e6, 400))
        widths.append(np.count_nonzero((p > 0.05) & (p < 0.95)))
    assert widths[0] < 0.9 * widths[1]


def test_curves_that_are_one_cannot_be_told_apart() -> None:
    assert together(["E", "A", "alpha"]).below(PLACES) == pytest.approx(0.5)


def test_a_ratio_that_is_never_reached_is_none() -> None:
    assert together(["E"]).ratio(((1e4, 4e6), (1e9, 1e10)), 0.9) is None


def test_the_interval_of_a_crossing_covers_what_it_says() -> None:
    """Within 3 standard errors of 90 %."""
    assert 0.8 <= covered(passed_together("equal floors", 1.0, 0.02, 3, 80, stream=5)) <= 1.0
