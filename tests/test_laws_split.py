"""Split: the document of ``fit_isoflop`` on known surfaces, accuracies, few budgets, noise that hides valleys."""

import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.isoflop import Case
from pipeline.errors import BadInput
from pipeline.laws.isoflops.isotabular import fit_isoflop
from pipeline.laws.isoflops.surface import alone

BASE = Case("base", (1.69, 406.4, 410.7, 0.34, 0.28))


def frame(case: Case = BASE, seed: int = 0, noise: float | None = None) -> dict[str, Any]:
    random = np.random.Generator(np.random.Philox(key=[seed, 11]))
    columns = case.runs(random, case.noise if noise is None else noise)
    return {"N": columns["size"], "D": columns["samples"], "C": columns["flops"], "loss": columns["loss"]}


def plain(document: Any) -> dict[str, Any]:
    return json.loads(document.to_json(), parse_constant=pytest.fail)


def test_both_routes_are_exact_without_noise() -> None:
    (split,) = plain(fit_isoflop(frame(noise=0.0), compute="C", draws=30, predict=[1e20, 1e22]))["groups"]
    a = 0.28 / 0.62
    for route in ("isoflop", "surface"):
        assert split[route]["exponents"]["size"]["value"] == pytest.approx(a, rel=1e-5)
        assert split[route]["exponents"]["samples"]["value"] == pytest.approx(1 - a, rel=1e-5)
    assert split["agreement"]["agree"] and split["status"] == "both routes"
    for best in split["predictions"]:
        assert 6 * best["size"]["value"] * best["samples"]["value"] == pytest.approx(best["flops"], rel=1e-4)
    assert [b["distance"] for b in split["predictions"]] == pytest.approx([1, 10, 1, 10])


def test_what_lies_ahead_follows_the_cost_of_a_sample() -> None:
    case = replace(BASE, overhead=3.0)
    n = np.linspace(np.log(1e6), np.log(1e13), 200_001)
    d = np.log(1e23) - case.each(n)
    at = int(np.argmin(case.loss(n, d)))
    (split,) = fit_isoflop(frame(case, noise=0.0), compute="C", draws=30, predict=[1e23]).groups
    valley, surface = split.predictions
    assert surface.samples is not None and surface.y is not None and valley.samples is not None
    assert surface.size.value == pytest.approx(np.exp(n[at]), rel=0.05)
    assert surface.samples.value == pytest.approx(np.exp(d[at]), rel=0.05)
    assert surface.y.value == pytest.approx(case.loss(n, d)[at], rel=1e-3)
    assert valley.samples.value == pytest.approx(np.exp(d[at]), rel=0.15)


def test_three_budgets_tell_no_loss_ahead() -> None:
    rows = frame(replace(BASE, budgets=3))
    (split,) = fit_isoflop(rows, compute="C", draws=30, predict=[1e22]).groups
    valley, surface = split.predictions
    assert valley.y is None and surface.y is not None and "four budgets" in split.notes[0]


def test_an_accuracy_is_told_as_one() -> None:
    rows = frame(Case("error", (0.08, 60.0, 40.0, 0.42, 0.30)), noise=0.0)
    top1 = {"N": rows["N"], "D": rows["D"], "top1": 1 - rows["loss"]}
    (split,) = fit_isoflop(top1, y="top1", draws=30, predict=[1e20]).groups
    best = split.budgets[2].y
    assert best is not None and best.lo <= best.value <= best.hi
    assert best.value == pytest.approx(top1["top1"].reshape(5, 7)[2].max(), abs=0.002)
    assert split.pareto is not None
    assert split.pareto.corners[-1][1] == pytest.approx(top1["top1"].max())


def test_where_valleys_drown_the_surface_still_tells() -> None:
    (split,) = fit_isoflop(frame(seed=2, noise=0.05), compute="C", draws=30, predict=[1e20]).groups
    assert split.status == "surface only" and split.isoflop is None and split.agreement is None
    assert "is not convex" in split.refused[0] or "lies on the edge" in split.refused[0]
    assert [best.route for best in split.predictions] == ["surface"]


def test_runs_that_fill_the_axis_are_no_profiles_but_a_surface() -> None:
    random = np.random.default_rng(0)
    n, d = (10 ** random.uniform(lo, lo + 2, 60) for lo in (7, 9))
    rows = {"N": n, "D": d, "loss": 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28}
    (split,) = fit_isoflop(rows, draws=30).groups
    assert split.status == "surface only" and split.surface is not None
    assert split.surface.exponents["size"].value == pytest.approx(0.28 / 0.62, rel=1e-4)


def test_budgets_by_name_and_by_gaps_are_the_same() -> None:
    rows = frame()
    named = rows | {"nominal": np.repeat(np.geomspace(1e18, 1e21, 5), 7)}
    by_gap, by_name = (fit_isoflop(named, compute="C", budget=b, draws=30).groups[0] for b in ("", "nominal"))
    assert by_gap.isoflop and by_name.isoflop
    one, other = (split.isoflop.exponents["size"].value for split in (by_gap, by_name) if split.isoflop)
    assert one == pytest.approx(other, rel=1e-9)


def test_diverged_runs_are_listed_by_their_row() -> None:
    rows = frame()
    rows["loss"][16] *= 1.8
    rows["state"] = ["diverged" if i == 3 else "done" for i in range(35)]
    (split,) = fit_isoflop(rows, compute="C", outcome="state", draws=30).groups
    assert [(run.row, run.why) for run in split.aside] == [
        (4, "diverged by its outcome"),
        (17, "far off what the others near it say"),
    ]
    assert split.pareto is not None and 4 not in split.pareto.rows


def test_samples_that_are_no_function_of_flops_and_size_are_told() -> None:
    rows = frame(replace(BASE, overhead=3.0))
    assert not fit_isoflop(rows, compute="C", draws=30).groups[0].notes
    (turned,) = fit_isoflop(rows, ("D", "N"), compute="C", draws=30).groups
    assert "--x is model size first" in turned.notes[0]


def test_checkpoints_of_one_run_are_told() -> None:
    rows = frame() | {"run": np.arange(35) // 2}
    assert "several rows of one run" in fit_isoflop(rows, compute="C", run="run", draws=30).notes[0]


@pytest.mark.slow
def test_the_surface_alone_covers() -> None:
    truth, inside = BASE.exponent(), []
    for seed in range(60):
        rows = frame(seed=seed)
        exponent = alone(rows["N"], rows["D"], rows["C"], rows["loss"], draws=200, seed=seed).allocation.size.exponent
        inside.append(exponent.lo <= truth <= exponent.hi)
    assert np.mean(inside) >= 0.88


def test_runs_of_a_refused_budget_take_part_in_the_surface() -> None:
    rows = frame(replace(BASE, drift=1.9), noise=0.0)
    (split,) = fit_isoflop(rows, compute="C", draws=30).groups
    assert sum(bool(b.refused) for b in split.budgets) == 2 and split.isoflop and split.isoflop.budgets == 3
    assert split.surface is not None
    assert split.surface.exponents["size"].value == pytest.approx(0.28 / 0.62, rel=1e-5)


def test_the_whole_table_is_refused_where_no_group_tells() -> None:
    rows = {name: values[[0, 3, 7, 10]] for name, values in frame().items()}
    with pytest.raises(
        BadInput, match="No best model size can be told: isoFLOP profiles: a law of the best size needs"
    ):
        fit_isoflop(rows, compute="C")


@settings(deadline=None, max_examples=8)
@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.floats(0.0, 1.0),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.sampled_from(["chinchilla", "kaplan"]),
)
def test_any_grid_is_a_document_or_bad_input(budgets: int, sizes: int, noise: float, scale: float, form: str) -> None:
    rows = frame(replace(BASE, budgets=budgets, sizes=sizes), budgets, noise)
    rows["loss"] = rows["loss"] * scale
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            plain(fit_isoflop(rows, compute="C", form=form, draws=20, predict=[1.0, 1e30]))
        except BadInput:
            return
