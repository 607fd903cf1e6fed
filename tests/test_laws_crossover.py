"""Crossover: recovered where it is, refused where the data cannot tell, and covered by its interval."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.laws.comparison.analysis import Analysis, analyse
from pipeline.laws.comparison.crossover import Crossing
from pipeline.laws.points import Point

# family: (floor, factor at 1e13, exponent)
TRUE = {"vit": (0.05, 0.74, 0.30), "resnet": (0.08, 0.50, 0.21)}
PLACES = np.geomspace(1e13, 3e15, 6)


def curve(family: str, x: float) -> float:
    floor, factor, alpha = TRUE[family]
    return floor + factor * (x / 1e13) ** -alpha


def truth() -> float:
    lo, hi = math.log(1e13), math.log(1e16)
    for _ in range(80):
        mid = (lo + hi) / 2
        lo, hi = (mid, hi) if curve("vit", math.exp(mid)) > curve("resnet", math.exp(mid)) else (lo, mid)
    return math.exp(lo)


def study(
    noise: float = 0.0,
    seeds: int = 2,
    seed: int = 0,
    of: Callable[[str, float], float] = curve,
    places: np.ndarray = PLACES,
    shift: float = 0.0,
) -> list[Point]:
    random = np.random.default_rng(seed)
    points = []
    for family in TRUE:
        for s in range(seeds):
            moved = shift * random.standard_normal()
            for x in places:
                y = of(family, x) * math.exp(moved + noise * random.standard_normal())
                points.append(Point(family, f"{family}_s", s, float(x), y, f"{family}{s}{x:.3g}"))
    return points


def one(points: list[Point], axis: str = "compute", draws: int = 200) -> Crossing:
    (crossing,) = analyse({axis: points}, "val_error", draws=draws).crossings
    return crossing


def test_recovered_without_noise() -> None:
    found = one(study())
    assert (found.answer, found.a, found.b) == ("crosses", "vit", "resnet")
    assert found.x == pytest.approx(truth(), rel=1e-4)
    assert found.probability_in_range == 1
    assert found.sentence.startswith("ViT overtakes ResNet at 230 TFLOPs of training (90 % interval ")


def test_the_posterior_is_written_down() -> None:
    found = one(study(0.01))
    known = [x for x in found.quantiles.values() if x]
    assert len(known) == 9 and known == sorted(known)
    assert (found.quantiles["0.05"], found.quantiles["0.95"]) == pytest.approx((found.lo, found.hi), rel=1e-3)
    assert found.quantiles["0.5"] == pytest.approx(found.x, rel=0.05)


def test_reversed_order_is_said_the_right_way_round() -> None:
    other = {"vit": "resnet", "resnet": "vit"}
    found = one(study(of=lambda family, x: curve(other[family], x)))
    assert (found.answer, found.a, found.b) == ("crosses", "resnet", "vit")
    assert found.sentence.startswith("ResNet overtakes ViT")
    assert found.ratio is not None
    assert found.ratio < 1  # at the best level, the one that overtook needs less


def test_interval_covers_the_truth() -> None:
    hits = []
    for seed in range(25):
        found = one(study(0.02, seed=seed), draws=150)
        if found.answer == "crosses" and found.lo and found.hi:
            hits.append(found.lo <= truth() <= found.hi)
    assert len(hits) >= 22
    assert np.mean(hits) >= 0.8


def test_identical_families_are_not_told_apart() -> None:
    claims = [one(study(0.02, seed=s, of=lambda _, x: curve("vit", x)), draws=150).answer for s in range(12)]
    assert claims.count("cannot tell") >= 9


def test_exact_ties_cannot_be_told() -> None:
    found = one(study(of=lambda _, x: curve("vit", x)))
    assert found.answer == "cannot tell"
    assert found.sentence.startswith("The data cannot tell whether ViT and ResNet cross in compute, because ")


def test_leader_throughout_is_none() -> None:
    found = one(study(0.01, of=lambda family, x: curve("vit", x) * (1.3 if family == "resnet" else 1)))
    assert found.answer == "none"
    assert found.x is None
    assert "ViT is ahead of ResNet all along" in found.sentence
    assert found.ratio is not None
    assert found.ratio_lo is not None
    assert (found.ratio < 1) == (found.a == "vit")


@pytest.mark.parametrize("behind", ["vit", "resnet"])
def test_probabilities_are_of_a_passing_b_whoever_leads(behind: str) -> None:
    """The two come closer, so that only the one behind can pass, and only past the range."""
    found = one(
        study(
            0.01, of=lambda f, x: 0.05 + (1.5 if f == behind else 0.7) * (x / 1e13) ** (-0.3 if f == behind else -0.2)
        )
    )
    assert found.answer != "cannot tell" and found.a == behind
    assert found.probability_ever and found.probability_ever > 0.5 and (found.probability_in_range or 0) < 0.1


def test_noisy_flat_metric_claims_nothing() -> None:
    answers = []
    for seed in range(6):
        analysis = analyse({"compute": study(0.05, seed=seed, of=lambda _f, _x: 0.9)}, "val_error", draws=150)
        answers.append(analysis.crossings[0].answer)
    assert answers.count("cannot tell") >= 5


def test_seed_shifts_widen_the_interval() -> None:
    calm, shifted = one(study(0.002, seeds=3)), one(study(0.002, seeds=3, shift=0.02, seed=4))
    assert calm.lo
    assert calm.hi
    width = math.log(shifted.hi / shifted.lo) if shifted.lo and shifted.hi else math.inf
    assert width > 2 * math.log(calm.hi / calm.lo)


def test_who_is_ahead_at_the_end_is_known_where_the_families_cross() -> None:
    found = one(study(0.002, seeds=3))
    assert found.answer == "crosses"
    assert found.ahead is not None
    assert found.ahead[found.a] > 0.95 and found.ahead[found.b] < 0.05


def test_one_seed_is_said() -> None:
    assert "One seed only" in one(study(0.005, seeds=1)).sentence


def test_two_places_and_one_seed_are_too_few() -> None:
    found = one(study(0.01, seeds=1, places=np.array([1e14, 1e15])))
    assert found.answer == "cannot tell"
    assert "needs 3 distinct places" in found.sentence


def test_few_places_with_seeds_are_read_from_the_means() -> None:
    found = one(study(0.002, seeds=3, places=np.array([1e13, 3e15])))
    assert (found.answer, found.method) == ("crosses", "measured")
    assert found.lo
    assert found.hi
    assert "lines between the measured means" in found.sentence


def test_points_near_chance_do_not_bend_the_answer() -> None:
    found = one(
        study(0.004, seeds=3, of=lambda family, x: min(0.45, curve(family, x)), places=np.geomspace(1e13, 3e15, 8))
    )
    assert found.answer == "crosses"
    assert found.lo
    assert found.hi
    assert found.lo * 0.9 <= truth() <= found.hi * 1.1


def test_ranges_apart_cannot_be_told() -> None:
    points = [p for p in study() if (p.x < 1e14) == (p.family == "vit")]
    found = one(points)
    assert found.answer == "cannot tell"
    assert "common range" in found.sentence or "needs" in found.sentence


def test_family_without_points_on_an_axis() -> None:
    points = [
        p if p.family == "vit" else Point("resnet", "r", p.seed, p.x, math.nan, p.run, "", "failed: out of disk")
        for p in study()
    ]
    found = one(points)
    assert "ResNet has no usable point on training compute" in found.sentence


@given(st.randoms(use_true_random=False))
@settings(max_examples=5, deadline=None)
def test_order_of_points_does_not_matter(random) -> None:
    mixed = study(0.02)
    random.shuffle(mixed)
    assert analyse({"data": mixed}, "m", draws=50).to_json() == in_order()


@cache
def in_order() -> str:
    return analyse({"data": study(0.02)}, "m", draws=50).to_json()


def test_same_seed_same_analysis_other_seed_other_draws() -> None:
    points = {"compute": study(0.02)}
    first, again = (analyse(points, "val_error", draws=60, seed=3) for _ in range(2))
    other = analyse(points, "val_error", draws=60, seed=4)
    assert first == again
    assert first.laws[0].params == other.laws[0].params
    assert first.laws[0].intervals != other.laws[0].intervals


def test_a_third_family_changes_no_answer() -> None:
    points = study(0.02)
    third = [Point("hybrid", "h", p.seed, p.x, p.y * 1.1, "h" + p.run) for p in points if p.family == "vit"]
    two, three = (analyse({"compute": p}, "val_error", draws=60) for p in (points, points + third))
    assert two.crossings[0] in three.crossings


@given(st.floats(1e-6, 1e6))
@settings(max_examples=5, deadline=None)
def test_crossing_moves_with_the_unit_of_x(scale: float) -> None:
    moved = [Point(p.family, p.arch, p.seed, p.x * scale, p.y, p.run) for p in study(0.01)]
    base, other = unmoved(), one(moved, draws=60)
    assert base.x
    assert other.x == pytest.approx(base.x * scale, rel=1e-6)
    assert other.lo == pytest.approx((base.lo or 0) * scale, rel=1e-6)


@cache
def unmoved() -> Crossing:
    return one(study(0.01), draws=60)


def test_round_trip() -> None:
    analysis = analyse({"compute": study(0.02), "data": []}, "val_error", draws=60)
    assert Analysis.from_json(analysis.to_json()) == analysis
