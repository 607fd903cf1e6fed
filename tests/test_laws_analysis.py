"""Analysis: from rows to points, laws, headline and checklist, whatever the study lacks."""

import json
import math
import re
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic_study import BUDGETS, METRIC, SIZES, rows

from pipeline.errors import BadInput
from pipeline.laws.comparison.analysis import Analysis, analyse, points_from_rows
from pipeline.laws.comparison.crossover import Crossing
from pipeline.laws.comparison.frontier import frontier
from pipeline.laws.comparison.headline import headline
from pipeline.laws.comparison.law import make_law
from pipeline.laws.points import Point, cells_of

Row = dict[str, Any]


def of(found: list[Row]) -> Analysis:
    """Of the frontiers; what is matched has tests of its own."""
    return analyse(replace(points_from_rows(found, METRIC), matched=[]), METRIC, draws=100)


def pretrained() -> list[Row]:
    return [row for row in rows() if row["kind"] == "pretrain"]


def test_axes_hold_the_right_rows() -> None:
    selection = points_from_rows(rows(), METRIC)
    assert {p.run for p in selection.points["compute"]} == {
        r["digest"] for r in pretrained() if r["samples"] == SIZES[-1]
    }
    assert {p.run for p in selection.points["data"]} == {r["digest"] for r in pretrained() if r["budget"] == BUDGETS[2]}
    assert selection.missing == []
    assert "2 per multiply-add" in selection.conventions["C"]


def test_equal_epochs_make_a_data_axis() -> None:
    found = [{**r, "budget": r["samples"] * 10} for r in pretrained() if r["budget"] == BUDGETS[2]]
    selection = points_from_rows(found, METRIC)
    assert len(selection.points["data"]) == len(found)
    assert "follows the size" in selection.conventions["D"]


def test_nothing_is_dropped_silently() -> None:
    analysis = of(rows())
    on_axis = {axis: {p.run for p in ps} for axis, ps in points_from_rows(rows(), METRIC).points.items()}
    for axis, runs in on_axis.items():
        laws = [law for law in analysis.laws if law.axis == axis]
        excluded = {e["run"] for law in laws for e in law.excluded}
        assert len(runs) == len(excluded) + sum(law.n_runs for law in laws)
    reasons = {e["reason"] for law in analysis.laws for e in law.excluded}
    assert any(r.startswith("diverged: loss is not finite") for r in reasons)
    assert any(r.startswith("failed: shard") for r in reasons)


def test_real_shape_of_the_analysis() -> None:
    analysis = of(rows())
    plain = json.loads(analysis.to_json())
    assert {law["family"] for law in plain["laws"]} == {"vit", "hybrid", "resnet"}
    law = plain["laws"][0]
    assert len(law["band"]["x"]) == len(law["band"]["lo"]) == len(law["band"]["mid"]) == len(law["band"]["hi"])
    for lo, mid, hi in zip(law["band"]["lo"], law["band"]["mid"], law["band"]["hi"], strict=True):
        assert 0 < lo <= mid <= hi
    assert law["band"]["x"][-1] > law["x_max"]
    assert {"x", "predicted", "observed", "log_error", "inside"} <= law["holdout"].keys()
    assert len(plain["crossings"]) == 6
    assert analysis.headline.count(".") >= 1
    assert "ViT" in analysis.headline
    assert "ResNet" in analysis.headline
    assert all(analysis.checklist.values())
    assert Analysis.from_json(analysis.to_json()) == analysis


def test_holdout_does_not_see_the_largest() -> None:
    points = [Point("vit", "v", s, x, 0.1 + x**-0.3, f"{s}{x}") for s in (0, 1) for x in (1.0, 3.0, 9.0, 27.0, 81.0)]
    spoiled = [Point(p.family, p.arch, p.seed, p.x, p.y * (3 if p.x == 81 else 1), p.run) for p in points]
    clean, dirty = (make_law("vit", "compute", "m", p, draws=50).law.holdout for p in (points, spoiled))
    assert clean
    assert dirty
    assert clean["predicted"] == pytest.approx(dirty["predicted"])
    assert clean["log_error"] == pytest.approx(0, abs=1e-6)
    assert dirty["log_error"] == pytest.approx(-math.log(3), abs=1e-6)
    assert clean["inside"]
    assert not dirty["inside"]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([], "No pre-training run is recorded yet."),
        ([r for r in rows() if r["kind"] == "transfer"], "only transfers"),
        (pretrained()[:1], "Only Hybrid was measured|Only ViT was measured|Only ResNet was measured"),
        ([r for r in pretrained() if r["family"] == "vit"], "Only ViT was measured"),
        ([r for r in pretrained() if r["samples"] == SIZES[-1]], "data was not varied"),
        ([r for r in pretrained() if r["budget"] == BUDGETS[2]], "In compute the data cannot tell"),
        ([{**r, "outcome": "failed", "reason": "no disk", METRIC: None} for r in pretrained()], "cannot tell"),
    ],
)
def test_study_that_lacks_something(found: list[Row], says: str) -> None:
    analysis = of(found)
    assert re.search(says, analysis.headline)
    assert Analysis.from_json(analysis.to_json()) == analysis


def test_doubt_on_both_axes_is_said_once() -> None:
    leads = {"vit": 0.1, "resnet": 0.3}
    drawn = {"leads": leads, "range_lo": 1e12, "range_hi": 8e12}
    compute = Crossing("compute", "vit", "resnet", "cannot tell", None, None, None, 0.9, 0.6, "", **drawn)
    data = replace(compute, axis="data", range_lo=1e3, range_hi=16e3, probability_in_range=0.001)
    assert headline([], [compute, data], []) == (
        "The data cannot tell whether ViT and ResNet cross: the probability is 60 % inside 1 to 8 TFLOPs and under 1 % "
        "inside 1,000 to 16,000 images."
    )
    assert headline([], [compute], []).startswith("In compute the data cannot tell")
    compute.ahead = {"vit": 0.01, "resnet": 0.99}
    assert headline([], [compute], []) == (
        "ResNet is ahead of ViT at 8 TFLOPs; whether they cross before, the data cannot tell, because a crossing "
        "inside 1 to 8 TFLOPs has a probability of 60 % only; data was not varied."
    )
    both = headline([], [compute, data], [])
    assert both.startswith("ResNet is ahead of ViT at 8 TFLOPs; whether they cross before, the data cannot tell: the")
    data.ahead = {"vit": 0.95, "resnet": 0.05}  # the axes disagree on who is ahead, so nobody is named
    assert headline([], [compute, data], []).startswith("The data cannot tell whether ViT and ResNet cross: ")


def test_two_rows_of_two_families() -> None:
    first = next(r for r in pretrained() if r["family"] == "vit")
    second = next(r for r in pretrained() if r["family"] == "resnet")
    analysis = of([first, second])
    assert analysis.crossings[0].answer == "cannot tell"
    assert {law.status for law in analysis.laws} == {"refused"}


def test_error_of_exactly_zero_is_listed() -> None:
    found = pretrained()
    found[0] = {**found[0], METRIC: 0.0}
    reasons = {e["reason"] for law in of(found).laws for e in law.excluded if e["run"] == found[0]["digest"]}
    assert reasons == {"its metric is exactly 0, which has no logarithm"}


@pytest.mark.parametrize("value", [1e300, 1e-300, -0.2, math.nan, math.inf])
def test_impossible_metric_is_listed_and_harms_nothing(value: float) -> None:
    found = pretrained()
    base = of(found[1:])
    found[0] = {**found[0], METRIC: value}
    spoiled = of(found)
    assert found[0]["digest"] in {e["run"] for law in spoiled.laws for e in law.excluded}
    assert spoiled.crossings == base.crossings
    assert spoiled.headline == base.headline


@pytest.mark.parametrize("flops", [0, None, math.inf, 1e300, 10**32])
def test_impossible_compute_breaks_nothing(flops: Any) -> None:
    found = pretrained()
    found[0] = {**found[0], "train_flops": flops}
    analysis = of(found)
    assert Analysis.from_json(analysis.to_json()) == analysis


def test_recorded_twice_is_listed() -> None:
    found = pretrained()
    law = next(law for law in of([*found, found[0]]).laws if law.family == found[0]["family"])
    assert {"run": found[0]["digest"], "reason": "recorded twice"} in law.excluded


def test_mixed_conventions_are_refused() -> None:
    found = pretrained()
    found[3] = {**found[3], "flops_convention": "multiply-adds"}
    with pytest.raises(BadInput, match=r"2 FLOPs conventions.*multiply-adds \(1 rows\)"):
        points_from_rows(found, METRIC)


def test_mixed_data_sets_are_refused() -> None:
    found = pretrained()
    found[3] = {**found[3], "dataset": "other"}
    with pytest.raises(BadInput, match="2 upstream data sets"):
        points_from_rows(found, METRIC)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(BadInput, match="val_error"):
        points_from_rows(rows(), "val_eror")


def test_several_learning_rates_compete() -> None:
    found = pretrained()
    worse = [
        {**r, "digest": "w" + r["digest"], "setting": "lr=0.1", METRIC: r[METRIC] * 1.2} for r in found if r[METRIC]
    ]
    base, more = of(found), of(found + worse)
    for one, other in zip(base.laws, more.laws, strict=True):
        assert other.params == pytest.approx(one.params)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "laws": [{}], "crossings": []}'])
def test_damaged_json_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Analysis.from_json(text)


def test_newer_format_is_refused() -> None:
    with pytest.raises(BadInput, match="newer"):
        Analysis.from_json('{"format": 99}')


@pytest.mark.parametrize("wrong", [{"draws": 3}, {"level": 90.0}, {"form": "powr"}])
def test_bad_settings(wrong: Row) -> None:
    with pytest.raises(BadInput):
        analyse({"compute": []}, METRIC, **wrong)


def test_bad_axis() -> None:
    with pytest.raises(BadInput, match="computer"):
        analyse({"computer": []}, METRIC)


def test_frontier_is_the_lower_envelope() -> None:
    small = [Point("vit", "small", 0, x, y, f"s{x}") for x, y in ((1, 0.9), (2, 0.6), (4, 0.5), (8, 0.45))]
    large = [Point("vit", "large", 0, x, y, f"l{x}") for x, y in ((2, 0.8), (6, 0.48), (16, 0.3))]
    cells = cells_of(small + large)
    kept = frontier(cells).kept(np.array([[c.value for c in cells]]))[0]
    beaten = {(c.arch, c.x) for c, k in zip(cells, kept, strict=True) if not k}
    assert beaten == {("large", 2), ("large", 6), ("small", 8)}  # each lies above the line between the other's points


def test_one_arch_is_all_frontier() -> None:
    cells = cells_of([Point("vit", "v", 0, x, y, f"{x}") for x, y in ((1, 0.9), (2, 0.95), (3, 0.5))])
    assert frontier(cells).kept(np.array([[c.value for c in cells]])).all()


def test_a_thousand_draws_are_fast() -> None:
    points = [
        Point("vit", f"v{a}", s, x * 2**a, 0.1 + (x * 2**a) ** -0.3 * (1 + 0.01 * s), f"{a}{s}{x}")
        for a in range(3)
        for s in (0, 1)
        for x in (1.0, 3.0, 9.0, 27.0, 81.0)
    ]
    began = time.perf_counter()
    make_law("vit", "compute", "m", points, draws=1000)
    assert time.perf_counter() - began < 3
