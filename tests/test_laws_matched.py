"""Matched: archs of equal size, runs of equal compute."""

import pytest
from synthetic_study import METRIC, SIZES, rows

from pipeline.laws.comparison.analysis import analyse, points_from_rows
from pipeline.laws.comparison.matched import Comparison


def matched(of: str, axis: str) -> list[Comparison]:
    return [c for c in points_from_rows(rows(), METRIC).matched if (c.matched, c.axis) == (of, axis)]


@pytest.mark.parametrize("axis", ["compute", "data"])
def test_archs_are_each_others_nearest_in_size(axis: str) -> None:
    pairs = [tuple(sorted(c.archs.values())) for c in matched("size", axis)]
    assert ("resnet_nano", "vit_nano") in pairs and ("resnet_micro", "vit_micro") in pairs
    assert len(pairs) == len(set(pairs)) == 6
    for one in matched("size", axis):
        assert {p.arch for points in one.points.values() for p in points} == set(one.archs.values())


def test_archs_far_apart_in_size_are_not_compared() -> None:
    grown = [row | ({"params": row["params"] * 2} if row["family"] == "vit" else {}) for row in rows()]
    pairs = {tuple(sorted(c.archs)) for c in points_from_rows(grown, METRIC).matched if c.matched == "size"}
    assert pairs == {("hybrid", "resnet")}


def test_equal_compute_is_what_both_families_were_given_on_the_most_sizes() -> None:
    found = matched("compute", "data")
    assert len(found) == 3
    flops = {row["digest"]: row["train_flops"] for row in rows()}
    for one in found:
        assert one.limit
        for points in one.points.values():
            assert {p.x for p in points} == set(SIZES)
            assert all(one.limit / 1.5 <= flops[p.run] <= one.limit * 1.001 for p in points)
        assert max(flops[p.run] for points in one.points.values() for p in points) > 0.9 * one.limit


def test_runs_whose_costs_differ_are_not_matched_in_compute() -> None:
    dear = [row | ({"train_flops": row["train_flops"] * 100} if row["family"] == "vit" else {}) for row in rows()]
    pairs = {tuple(sorted(c.points)) for c in points_from_rows(dear, METRIC).matched if c.matched == "compute"}
    assert pairs == {("hybrid", "resnet")}


def test_one_arch_a_family_and_one_size_leave_nothing_to_match() -> None:
    few = [r for r in rows() if "nano" in str(r["arch"]) and r["samples"] == SIZES[-1]]
    assert points_from_rows(few, METRIC).matched == []


def test_the_analysis_says_what_was_held_equal() -> None:
    few = [r for r in rows() if r["family"] != "hybrid"]
    analysis = analyse(points_from_rows(few, METRIC), METRIC, draws=50)
    assert {c.matched for c in analysis.crossings} == {"frontier"}
    size, compute = (next(c for c in analysis.matched if c.matched == of) for of in ("size", "compute"))
    assert size.sentence.startswith("At equal size (") and compute.sentence.startswith("At equal compute (runs of ")
    assert size.archs and compute.limit
