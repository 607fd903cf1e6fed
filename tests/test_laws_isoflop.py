"""IsoFLOP: optima by both routes on known surfaces, what is refused and why, bias and coverage at small size."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.isoflop import CASES, Case
from pipeline.errors import BadInput
from pipeline.laws.isoflops.allocation import agreement
from pipeline.laws.isoflops.budget import profiles, turn
from pipeline.laws.isoflops.isoflop import IsoFLOP, isoflop
from pipeline.laws.isoflops.joint import grid_of
from pipeline.laws.isoflops.surface import surface
from pipeline.laws.isoflops.valley import settle

LOPSIDED = Case("lopsided", (1.7, 2e3, 60.0, 0.5, 0.2), off=-0.3)
DRAWS = 60


def runs(case: Case, seed: int = 0, noise: float | None = None) -> dict[str, Any]:
    random = np.random.Generator(np.random.Philox(key=[seed, 1]))
    return case.runs(random, case.noise if noise is None else noise)


def closed_form(a: float, alpha: float, b: float, beta: float, k: float = 6.0) -> tuple[float, float]:
    """ln of N* at C = 1, and the exponent of C, of E + A N^-alpha + B D^-beta, C = k N D (Hoffmann et al., eq. 4)."""
    exponent = beta / (alpha + beta)
    return np.log(alpha * a / (beta * b)) / (alpha + beta) - exponent * np.log(k), exponent


@cache
def lopsided() -> IsoFLOP:
    return isoflop(**runs(LOPSIDED), draws=DRAWS)


@pytest.mark.parametrize("case", [c for c in CASES if c.coupling == 1 and not c.overhead], ids=lambda c: c.name)
def test_optimum_is_exact_without_noise(case: Case) -> None:
    table = runs(case, noise=0.0)
    found = isoflop(**table, draws=DRAWS)
    floor, a, b, alpha, beta = case.params
    log, exponent = closed_form(a, alpha, b, beta)
    size, samples = found.allocation.size, found.allocation.samples
    assert size.exponent.value == pytest.approx(exponent, rel=1e-6)
    assert size(1e20).value == pytest.approx(np.exp(log + exponent * np.log(1e20)), rel=1e-5)
    assert samples is not None
    assert samples.exponent.value == pytest.approx(1 - exponent, rel=1e-6)
    assert samples(1e20).value == pytest.approx(1e20 / 6 / size(1e20).value, rel=1e-5)
    best = floor + a * size(1e19).value ** -alpha + b * samples(1e19).value ** -beta
    assert found.allocation.loss is not None
    assert found.allocation.loss(1e19).value == pytest.approx(best, rel=1e-4)
    assert found.rates == pytest.approx((alpha, beta), rel=1e-3)
    assert not found.refused and not found.outliers


def test_measured_flops_are_followed() -> None:
    case = CASES[-1]
    assert case.overhead > 0
    found = isoflop(**runs(case, noise=0.0), draws=DRAWS)
    assert found.allocation.size.exponent.value == pytest.approx(case.exponent(), rel=0.005)
    assert abs(closed_form(*(case.params[i] for i in (1, 3, 2, 4)))[1] / case.exponent() - 1) > 0.02
    c, optima = case.optima()
    for budget, flops, n in zip(found.budgets, np.exp(c), optima, strict=True):
        assert budget.size is not None and budget.samples is not None
        assert budget.size.value == pytest.approx(np.exp(n), rel=0.02)
        assert budget.samples.value == pytest.approx(flops / np.exp(case.each(n)), rel=0.03)


def test_parabola_is_bent_where_the_valley_is_not() -> None:
    found, truth = isoflop(**runs(replace(LOPSIDED, off=0.0), noise=0.0), draws=DRAWS), LOPSIDED.exponent()
    assert abs(found.compared["parabola"].value / truth - 1) > 0.04
    assert abs(found.compared["cubic"].value / truth - 1) < 0.01
    assert abs(found.allocation.size.exponent.value / truth - 1) < 1e-4


@pytest.mark.parametrize("case", [LOPSIDED, CASES[2], CASES[6]], ids=lambda c: c.name)
def test_bias_and_coverage(case: Case) -> None:
    """600 data sets in one batch: bias within 1 % and 95 % intervals that cover at least 90 %."""
    from scipy.special import stdtrit

    table = runs(case, noise=0.0)
    kept = profiles(table["size"], table["flops"], table["loss"])
    grid, _ = grid_of(kept)
    c = np.log([p.flops for p in kept])
    line = np.stack([np.ones_like(c), c - c.mean()], axis=1)
    random = np.random.Generator(np.random.Philox(key=[5, 5]))
    losses = grid.y * np.exp(case.noise * random.standard_normal((600, *grid.y.shape)))
    start = np.concatenate([np.log([0.3, 0.3]), np.linalg.lstsq(line, grid.n.mean(1), rcond=None)[0]])
    found = settle(grid, line, np.tile(start, (600, 1)), losses)
    dof = grid.y.size - 2 * len(c) - 4
    exponent, truth = found.theta[:, 3], case.exponent()
    wide = stdtrit(dof, 0.975) * np.sqrt(found.covariance(dof)[:, 3, 3])
    assert abs(exponent.mean() / truth - 1) < 0.01
    assert np.mean(np.abs(exponent - truth) <= wide) >= 0.9


@pytest.mark.slow
def test_bootstrap_intervals_cover() -> None:
    truth, inside = LOPSIDED.exponent(), []
    for seed in range(60):
        exponent = isoflop(**runs(LOPSIDED, seed), draws=200).allocation.size.exponent
        inside.append(exponent.lo <= truth <= exponent.hi)
    assert np.mean(inside) >= 0.88


def test_interval_grows_with_noise_and_holds_the_value() -> None:
    widths = []
    for noise in (0.0005, 0.002):
        exponent = isoflop(**runs(LOPSIDED, noise=noise), draws=DRAWS).allocation.size.exponent
        assert exponent.lo < exponent.value < exponent.hi
        widths.append(exponent.hi - exponent.lo)
    assert widths[1] > 2 * widths[0]


def test_edge_is_refused_in_words() -> None:
    table = runs(replace(LOPSIDED, drift=1.9), noise=0.0)
    found = isoflop(**table, draws=DRAWS)
    assert [bool(b.refused) for b in found.budgets] == [False, False, False, False, True]
    assert found.budgets[-1].size is None
    assert "lies on the edge, at the smallest model run" in found.refused[0]
    assert "add smaller ones" in found.sentences[1]
    assert found.allocation.size.exponent.value == pytest.approx(LOPSIDED.exponent(), rel=1e-4)
    with pytest.raises(BadInput, match="needs 3 budgets with an optimum inside their sizes: budget 1 EFLOPs: the opt"):
        isoflop(**runs(replace(LOPSIDED, off=2.0), noise=0.0), draws=DRAWS)
    with pytest.raises(BadInput, match=r"at the largest model run .* add larger ones"):
        isoflop(**runs(replace(LOPSIDED, off=-2.0, drift=0.0), noise=0.0), draws=DRAWS)


def test_what_is_no_valley_is_told_from_an_edge() -> None:
    table = runs(LOPSIDED)
    third = table["loss"].reshape(5, 7)[2]
    third[:] = 2 * third.max() - third
    found = isoflop(**table, draws=DRAWS)
    assert [bool(b.refused) for b in found.budgets] == [False, False, True, False, False]
    assert found.refused[0].startswith("budget 32 EFLOPs is not convex")
    assert found.allocation.size.exponent.lo < LOPSIDED.exponent() < found.allocation.size.exponent.hi


def test_a_budget_that_is_too_wide_is_refused_by_itself() -> None:
    table = runs(LOPSIDED, noise=1e-4)
    table["flops"][:7] = 1e18 * np.geomspace(0.7, 1.4, 7)
    found = isoflop(**table, draws=DRAWS)
    assert found.refused[0].startswith("budget 990 PFLOPs has runs of 7e+17 to 1.4e+18 FLOPs")
    assert len([b for b in found.budgets if b.size]) == 4


def test_runs_that_miss_their_budget_are_of_it_all_the_same() -> None:
    case = replace(LOPSIDED, rounding=0.15)
    found = isoflop(**runs(case, noise=0.0), draws=DRAWS)
    assert len(found.budgets) == 5 and not found.refused
    assert found.allocation.size.exponent.value == pytest.approx(0.2 / 0.7, rel=1e-6)


def test_diverged_by_their_own_account_count_nothing() -> None:
    table = runs(LOPSIDED)
    told = np.zeros(35, dtype=bool)
    told[[2, 18]] = True
    found = isoflop(**table, known=told, draws=DRAWS)
    assert found.outliers == [2, 18]


def test_too_few_sizes_are_refused() -> None:
    table = runs(LOPSIDED)
    kept = np.array([i for i in range(35) if not 3 <= i < 7])
    found = isoflop(**{k: v[kept] for k, v in table.items()}, draws=DRAWS)
    assert found.refused == ["budget 1 EFLOPs has 3 model sizes, and a profile needs 4"]
    with pytest.raises(BadInput, match=r"11 runs|needs 3 budgets"):
        isoflop(**{k: v[:14] for k, v in table.items()}, draws=DRAWS)


def test_diverged_runs_move_little_and_are_listed() -> None:
    table = runs(LOPSIDED)
    plain = lopsided().allocation.size.exponent
    for rows in ([3, 17, 30], [0, 13, 26], [6, 7, 24]):
        loss = table["loss"].copy()
        loss[rows] *= [1.5, 2.0, 3.0]
        found = isoflop(**{**table, "loss": loss}, draws=DRAWS)
        assert set(rows) <= set(found.outliers)
        assert f"{rows[0]}" in found.sentences[-1]
        assert abs(found.allocation.size.exponent.value - plain.value) < (plain.hi - plain.lo) / 2


def test_curved_path_of_optima_is_told() -> None:
    table = runs(LOPSIDED, noise=1e-4)
    c = np.log(table["flops"] / 3e19)
    table["size"] = table["size"] * np.exp(0.02 * c**2)
    found = isoflop(table["size"], table["flops"], table["loss"], draws=DRAWS)
    assert found.line_p < 0.01
    assert "do not lie on one power law" in found.sentences[-1]


def test_routes_agree_and_disagree() -> None:
    table, found = runs(LOPSIDED), lopsided()
    other = surface(found, table["size"], table["samples"], table["loss"])
    assert other.fit.params["alpha"] == pytest.approx(0.5, abs=0.1)
    assert other.agreement.p > 0.05
    assert other.agreement.exponent.lo < 0 < other.agreement.exponent.hi
    assert other.agreement.sentence.startswith("The two routes agree")
    coupled = runs(replace(LOPSIDED, coupling=1.4, off=0.0), noise=1e-3)
    first = isoflop(**coupled, draws=DRAWS)
    against = surface(first, coupled["size"], coupled["samples"], coupled["loss"]).agreement
    assert against.p < 0.05
    assert against.sentence.startswith("The two routes disagree")


def test_surface_is_the_closed_form() -> None:
    table = runs(LOPSIDED, noise=0.0)
    found = isoflop(**table, draws=DRAWS)
    other = surface(found, table["size"], table["samples"], table["loss"])
    log, exponent = closed_form(2e3, 0.5, 60.0, 0.2)
    assert other.allocation.size.exponent.value == pytest.approx(exponent, rel=1e-6)
    assert other.allocation.size(1e20).value == pytest.approx(np.exp(log + exponent * np.log(1e20)), rel=1e-5)
    assert agreement(found.allocation.size, other.allocation.size).p == 1


def test_second_route_needs_samples_and_a_law_of_two_inputs() -> None:
    table = runs(LOPSIDED)
    found = isoflop(table["size"], table["flops"], table["loss"], draws=DRAWS)
    assert found.allocation.samples is None
    with pytest.raises(BadInput, match="needs the samples of each run"):
        surface(found, table["size"], table["samples"], table["loss"])
    with pytest.raises(BadInput, match="no law of model size N and samples D"):
        surface(found, table["size"], table["samples"], table["loss"], "power")


def test_flops_may_follow_from_samples() -> None:
    table = runs(LOPSIDED)
    given = lopsided()
    each = table["flops"] / table["samples"]
    follows = isoflop(table["size"], None, table["loss"], table["samples"], each, draws=DRAWS)
    assert follows.allocation.size.exponent.value == pytest.approx(given.allocation.size.exponent.value, rel=1e-9)
    with pytest.raises(BadInput, match="needs the FLOPs of each run"):
        isoflop(table["size"], None, table["loss"], table["samples"])


@given(order=st.permutations(range(35)), scale=st.floats(1e-6, 1e6), lift=st.floats(0.01, 100))
@settings(max_examples=4, deadline=None)
def test_order_and_units_do_not_matter(order: list[int], scale: float, lift: float) -> None:
    table, base = runs(LOPSIDED), lopsided().allocation.size.exponent
    moved = {"size": table["size"] * scale, "flops": table["flops"], "loss": table["loss"] * lift}
    other = isoflop(**{k: v[order] for k, v in moved.items()}, draws=DRAWS).allocation.size.exponent
    assert (other.value, other.lo, other.hi) == pytest.approx((base.value, base.lo, base.hi), rel=1e-5)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("loss", float("nan"), "Column loss must be finite and positive; row 4 holds nan"),
        ("loss", -1.0, "row 4 holds -1"),
        ("size", 0.0, "Column size .* row 4 holds 0"),
        ("flops", float("inf"), "Column flops .* row 4 holds inf"),
    ],
)
def test_bad_values_are_named(column: str, value: float, said: str) -> None:
    table = runs(LOPSIDED)
    table[column][4] = value
    with pytest.raises(BadInput, match=said):
        isoflop(**table, draws=DRAWS)


def test_bad_tables() -> None:
    table = runs(LOPSIDED)
    with pytest.raises(BadInput, match="equally long"):
        isoflop(table["size"][1:], table["flops"], table["loss"])
    with pytest.raises(BadInput, match="at fixed compute needs them within a factor"):
        isoflop(table["size"], np.geomspace(1e18, 1e19, 35), table["loss"])
    with pytest.raises(BadInput, match="Column size must be numbers"):
        isoflop(["small"], [1e18], [2.0])
    with pytest.raises(BadInput, match="3 values for 35 runs"):
        isoflop(**table, known=[True, False, False])
    with pytest.raises(BadInput, match="A seed is"):
        isoflop(**table, seed=-1)
    with pytest.raises(BadInput, match="20 draws"):
        isoflop(**table, draws=3)
    with pytest.raises(BadInput, match="needs 3 budgets"):
        isoflop([], [], [])
    named = isoflop(**table, budget=np.repeat([1e18, 5.6e18, 3.2e19, 1.8e20, 1e21], 7), draws=DRAWS)
    assert len(named.budgets) == 5


@given(
    losses=st.lists(st.sampled_from([1e-9, 0.5, 0.9, 0.99, 1.0, 1.01, 2.0, 1e6]), min_size=12, max_size=12),
    spread=st.sampled_from([0.0, 1e-7, 1.0, 30.0]),
)
@settings(max_examples=25, deadline=None)
def test_any_losses_give_numbers_or_a_sentence(losses: list[float], spread: float) -> None:
    size = np.exp(10 + spread * np.tile(np.arange(4.0), 3))
    try:
        found = isoflop(size, np.repeat([1e15, 1e16, 1e17], 4), losses, draws=20)
    except BadInput:
        return
    exponent = found.allocation.size.exponent
    assert np.all(np.isfinite([exponent.value, exponent.lo, exponent.hi]))
    json.loads(found.to_json())


def test_pandas_columns_and_json() -> None:
    import pandas as pd

    frame = pd.DataFrame(runs(LOPSIDED))
    found = isoflop(frame["size"], frame["flops"], frame["loss"], frame["samples"], draws=DRAWS)
    assert "grows as C^" in found.sentences[0]
    plain = json.loads(found.to_json())
    assert plain["exponents"]["size"]["value"] == found.allocation.size.exponent.value
    assert len(plain["budgets"]) == len(plain["loss"]) == 5


def test_polynomials_are_checked() -> None:
    def checked(values: list[float], degree: int) -> str:
        size = np.exp(np.arange(len(values), dtype=float))
        one = profiles(size, np.full(len(values), 1e18), np.exp(np.array(values)))[0]
        return turn(one, degree).check

    assert checked([4.0, 1.0, 0.0, 1.0, 4.0], 2) == "bracketed"
    assert checked([4.0, 1.0, 0.0, 1.0, 4.0], 3) == "bracketed"
    assert checked([0.0, 3.0, 4.0, 3.0, 0.0], 2) == "no minimum"
    assert checked([0.0, 1.1, 8.2, 27.3, 64.4], 3) == "no minimum"
    assert checked([9.0, 4.0, 2.0, 1.0, 0.5], 2) in ("outside the sizes", "bracketed")
    assert checked([16.0, 9.0, 4.0, 1.0], 2) == "outside the sizes"
    assert checked([1.0, 0.0, 1.0], 3) == "too few sizes"
