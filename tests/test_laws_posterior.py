"""Posterior of a crossover: exact on straight lines, calibrated on laws, honest past the range."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.crossover_coverage import covered, passed
from pipeline.laws.fit import fit
from pipeline.laws.multiplier import multiplier
from pipeline.laws.posterior import Posterior, Span, middle
from pipeline.laws.reach import Reach, below, reach
from pipeline.laws.uncertainty.sample import Sample

SPAN = Span.of(1.0, 100.0, 1e4)


@pytest.mark.parametrize(
    ("laws", "end", "noise", "seeds"),
    [("equal floors", 2.0, 0.02, 1), ("steep", 0.5, 0.02, 3), ("floors apart", 0.25, 0.04, 1)],
)
def test_nominal_90_percent_covers_85_to_95(laws: str, end: float, noise: float, seeds: int) -> None:
    """Within two standard errors, at 400 studies; the whole grid is in docs/crossover.md."""
    assert 0.82 < covered(passed(laws, end, noise, seeds, 400, stream=1)) < 0.975


def test_straight_lines_have_fiellers_interval() -> None:
    """ln y = a - b ln x of each family with delta so large that the fit is least squares."""
    x = np.geomspace(1.0, 100.0, 12)
    random = np.random.default_rng(0)
    curves = []
    for slope in (0.5, 0.3):
        y = 3.0 * (x / 10.0) ** -slope * np.exp(0.05 * random.standard_normal(len(x)))
        curves.append((fit(x, y, "power", delta=10.0), y))
    at = np.log(np.array([2.0, 9.0, 30.0]))
    sides = [reach(Sample.of(f, x, y), at[:, None] - f.centre) for f, y in curves]
    u = np.log(x) - np.log(x).mean()
    gap = curves[0][0].log(np.exp(at)) - curves[1][0].log(np.exp(at))
    scatter = [float((f.residuals**2).sum() / 10) for f, _ in curves]
    variance = [s * (1 / 12 + (at - np.log(x).mean()) ** 2 / (u**2).sum()) for s in scatter]
    dof = (variance[0] + variance[1]) ** 2 / (variance[0] ** 2 / 10 + variance[1] ** 2 / 10)
    from scipy.stats import t

    assert below(*sides)[0] == pytest.approx(t.cdf(-gap / np.sqrt(variance[0] + variance[1]), dof), abs=0.02)


@given(st.floats(0.5, 2.0), st.floats(-1.0, 7.0))
@settings(max_examples=30, deadline=None)
def test_probabilities_are_those_of_one_distribution(steep: float, centre: float) -> None:
    p = 1.0 / (1.0 + np.exp(-steep * (SPAN.grid - centre)))
    one, other = Posterior.of(SPAN, p), Posterior.of(SPAN, 1.0 - p)
    assert np.all(np.diff(one.passed) >= 0)
    assert one.leads[0] + one.in_range + one.leads[1] == pytest.approx(1.0)
    assert one.in_range <= one.ever + 1e-12 <= 1.0 + 1e-12
    assert one.leads == pytest.approx(other.leads[::-1]) and one.ahead == pytest.approx(other.ahead[::-1])
    lo, hi = one.interval(0.9)
    for end, odds in ((lo, -2.944), (hi, 2.944)):
        x = centre + odds / steep
        if SPAN.grid[0] < x < SPAN.grid[-1]:
            assert end == pytest.approx(np.exp(x), rel=0.02)
        else:
            assert end is None


def test_a_crossing_past_the_range_is_found_there() -> None:
    p = 1.0 / (1.0 + np.exp(-8.0 * (SPAN.grid - np.log(1000.0))))
    found = Posterior.of(SPAN, p)
    lo, hi = found.interval(0.9)
    assert lo and hi and 100 < lo < 1000 < hi
    assert found.in_range < 0.01 and found.ever > 0.99 and found.leads[1] > 0.99


def test_two_crossings_count_the_last_inside_the_range() -> None:
    gap = np.where(SPAN.grid < 1.0, -1.0, np.where(SPAN.grid < 3.0, 1.0, -1.0))
    assert middle(SPAN, gap) == pytest.approx(np.exp(3.0), rel=0.02)
    found = Posterior.of(SPAN, (gap < 0).astype(float))
    assert found.quantile(0.5) == pytest.approx(np.exp(3.0), rel=0.02)
    assert middle(SPAN, np.ones(len(SPAN.grid))) is None


def level_curve(value: float, deviation: float) -> Reach:
    knots = np.array([[[0.0, 1.0, 3.0]]])
    one = np.ones((1, 1))
    return Reach(value * one, deviation**2 * one, 20.0 * one, knots, deviation * knots, deviation * knots)


def test_a_bound_that_forbids_the_meeting_leaves_no_doubt() -> None:
    still = np.zeros((1, 1, 3))
    stuck = replace(level_curve(1.0, 0.1), down=still, up=still)
    other = replace(stuck, value=stuck.value + 0.1)
    assert below(stuck, stuck)[0, 0] == 0.5
    assert below(stuck, other)[0, 0] == 1.0 and below(other, stuck)[0, 0] == 0.0
    assert below(level_curve(1.0, 0.1), level_curve(1.2, 0.1))[0, 0] == pytest.approx(0.92, abs=0.02)


class Line:
    """ln y = -slope ln x + start, whose scatter is ``deviation`` everywhere."""

    def __init__(self, start: float, slope: float, deviation: float) -> None:
        self.start, self.slope, self.deviation = start, slope, deviation

    def middle(self, x: np.ndarray) -> np.ndarray:
        return self.start - self.slope * np.log(x)

    def mixture(self, x: np.ndarray) -> list[tuple[float, Reach]]:
        one, knots = np.ones((1, len(x))), np.tile([0.0, 1.0, 3.0], (1, len(x), 1))
        bend = self.deviation * knots
        return [(1.0, Reach(self.middle(x)[None], self.deviation**2 * one, 1e6 * one, knots, bend, bend))]


def test_the_multiplier_of_two_lines() -> None:
    """ln x at a level varies with sd deviation / slope in each, and the two are independent."""
    a, b = Line(0.0, 0.5, 0.03), Line(0.2, 0.4, 0.04)
    found = multiplier(a, b, ((1.0, 1e3), (1.0, 1e3)), 0.9)
    assert found
    best = (0.0 - found.at) / 0.5 - (0.2 - found.at) / 0.4
    half = 1.6449 * np.hypot(0.03 / 0.5, 0.04 / 0.4)
    assert np.log(found.ratio) == pytest.approx(best, abs=0.01)
    assert found.lo and found.hi
    assert (np.log(found.lo), np.log(found.hi)) == pytest.approx((best - half, best + half), abs=0.03)


def test_no_multiplier_where_one_starts_out_better_than_the_other_gets() -> None:
    assert multiplier(Line(0.0, 0.5, 0.03), Line(9.0, 0.1, 0.03), ((1.0, 1e3), (1.0, 1e3)), 0.9) is None
