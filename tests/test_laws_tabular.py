"""Tabular: one call from a table to a document that says all that was done."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tabled import families, plain

from benchmarks.diverged import spoil, study
from pipeline import __version__
from pipeline.errors import BadInput
from pipeline.laws.forms import FORMS
from pipeline.laws.tables.tabular import fit_table


def test_a_document_says_what_was_done_and_found() -> None:
    found = plain(fit_table(families(), "C", "loss", group="family", form="power_floor", predict=[1e21, 1e23]))
    assert found["version"] == __version__ and len(found["data"]["sha256"]) == 64
    assert found["data"]["columns"] == {"x": "C", "y": "loss", "group": "family"}
    assert found["settings"]["form"] == "power_floor" and "Huber" in found["settings"]["loss"]
    vit = next(law for law in found["groups"] if law["group"] == "vit")
    (form,) = vit["forms"]
    assert form["status"] == "converged" and form["condition"] > 1 and form["delta"] > 0 and form["starts"] > 1
    lo, hi = form["intervals"]["alpha"]
    assert lo < form["params"]["alpha"] < hi and lo < 0.30 < hi
    inside, far = vit["predictions"]
    assert inside["distance"] == 1 and far["distance"] == pytest.approx(10)
    for p in vit["predictions"]:
        assert p["new_lo"] < p["lo"] < p["mean"] < p["hi"] < p["new_hi"]
    assert far["hi"] / far["lo"] > inside["hi"] / inside["lo"]


def test_the_largest_are_held_out_by_every_input_and_by_compute() -> None:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    table = {"params": n, "tokens": d, "loss": 1.8 + 482.0 * n**-0.35 + 2085.0 * d**-0.37}
    (law,) = plain(fit_table(table, ["params", "tokens"], "loss", form="chinchilla"))["groups"]
    assert [held["by"] for held in law["held_out"]] == ["params", "tokens", "params x tokens"]
    for held in law["held_out"]:
        points = [stage["points"] for stage in held["stages"]]
        assert held["rmse"] < 1e-5 and points == sorted(points)
    table["loss"][-1] *= np.e**0.05  # the last of all
    last = [h["last"] for h in plain(fit_table(table, ["params", "tokens"], "loss"))["groups"][0]["held_out"]]
    assert last == pytest.approx([0.05 / 5**0.5, 0.05 / 5**0.5, 0.05], rel=0.05)


def test_what_is_held_out_is_sound_and_enough() -> None:
    table = families(noise=0.0)
    table["loss"][-1] *= 2.0
    cnn, vit = plain(fit_table(table, "C", "loss", group="family", form="power_floor"))["groups"]
    assert cnn["diverged"] and cnn["held_out"][0]["last"] < 1e-4 and vit["held_out"][0]["last"] < 1e-4
    assert cnn["held_out"][0]["stages"][-1]["points"] == 16
    few = {name: column[:10] for name, column in families().items()}
    (held,) = plain(fit_table(few, "C", "loss", form="power_floor"))["groups"][0]["held_out"]
    assert [stage["points"] for stage in held["stages"]] == [8]
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 3), np.geomspace(1e9, 1e11, 5)))
    loss = 1.8 + 482.0 * n**-0.35 + 2085.0 * d**-0.37
    flat = plain(fit_table({"N": n, "D": d, "loss": loss}, ["N", "D"], "loss"))["groups"][0]["held_out"]
    assert [held["by"] for held in flat] == ["D", "N x D"]  # two sizes tell no exponent
    below = plain(fit_table(families(), "C", "loss", group="family", form="power_floor", envelope=True))["groups"]
    assert not below[0]["held_out"]


@pytest.mark.parametrize("form", ["power_floor", "ensemble"])
def test_the_crossing_of_two_groups_is_found(form: str) -> None:
    (crossing,) = plain(fit_table(families(), "C", "loss", group="family", form=form, draws=200))["crossings"]
    assert (crossing["a"], crossing["b"], crossing["answer"]) == ("vit", "cnn", "crosses")
    assert crossing["lo"] < 1e20 < crossing["hi"] and crossing["hi"] / crossing["lo"] < 10
    assert crossing["probability_in_range"] > 0.95
    assert "vit passes cnn at" in crossing["sentence"]


def test_a_crossing_that_cannot_be_seen_is_not_claimed() -> None:
    ahead = families()
    ahead["loss"] = np.where(ahead["family"] == "cnn", 2.0 * ahead["loss"], ahead["loss"])
    (crossing,) = fit_table(ahead, "C", "loss", group="family", form="power_floor", draws=100).crossings
    assert crossing.answer == "none" and crossing.leads["vit"] > 0.95 and "no crossover is seen" in crossing.sentence
    short = families(noise=0.2)
    (crossing,) = fit_table(short, "C", "loss", group="family", form="power_floor", draws=100).crossings
    assert crossing.answer == "cannot tell" and "cannot tell" in crossing.sentence
    apart = families()
    apart["C"] = np.where(apart["family"] == "cnn", 1e4, 1.0) * apart["C"]
    found = fit_table(apart, "C", "loss", group="family", form="power", draws=100)
    assert not found.crossings and "not measured in a common range" in found.notes[0]


def test_it_is_deterministic_and_rows_have_no_order() -> None:
    given = families()
    order = np.random.default_rng(1).permutation(len(given["C"]))
    shuffled = {name: values[order] for name, values in given.items()}
    how: dict[str, Any] = {"group": "family", "form": "power_floor", "draws": 50, "predict": [1e23]}
    first, again, other = (plain(fit_table(t, "C", "loss", **how)) for t in (given, given, shuffled))
    assert first == again
    assert first["data"]["sha256"] == other["data"]["sha256"]
    for a, b in zip(first["groups"], other["groups"], strict=True):
        one, two = ({k: v for k, v in law["predictions"][0].items() if k != "x"} for law in (a, b))
        assert one == pytest.approx(two, rel=1e-9)
    assert first["crossings"][0]["lo"] == pytest.approx(other["crossings"][0]["lo"], rel=1e-6)


def test_spoilt_runs_are_listed_and_move_nothing() -> None:
    x, y, spoilt = study("chinchilla", 100, 0.01, 3)
    clean, bad = ({"N": x[:, 0], "D": x[:, 1], "loss": v} for v in (y, spoil(y, spoilt, 3)))
    before, after = (fit_table(t, ("N", "D"), "loss", draws=50).groups[0] for t in (clean, bad))
    assert after.form == "chinchilla" and not before.diverged
    assert [p.row for p in after.diverged] == (np.flatnonzero(spoilt) + 1).tolist()
    assert all(0 < p.weight < 0.01 and p.excess > 0.3 for p in after.diverged)
    for name in ("alpha", "beta"):
        lo, hi = before.forms[0].intervals[name]
        assert lo and hi
        error = (hi - lo) / 2 / 1.96
        assert abs(after.forms[0].params[name] - before.forms[0].params[name]) <= error  # type: ignore[operator]
        wide = after.forms[0].intervals[name]
        assert wide[0] and wide[1] and (wide[1] - wide[0]) < 1.5 * (hi - lo)
    assert after.noise == pytest.approx(before.noise, rel=0.3)


def test_dropped_rows_are_in_the_document_with_their_reason() -> None:
    broken = families()
    broken["loss"] = [*broken["loss"][:-1], math.nan]
    found = plain(fit_table(broken, "C", "loss", group="family", form="power", drop_bad=True, draws=50))
    assert found["dropped"] == [{"row": 36, "column": "loss", "reason": "is NaN"}]
    assert found["data"]["rows_used"] == 35


def test_accuracies_are_predicted_as_accuracies() -> None:
    c = np.geomspace(1e3, 1e7, 12)
    error = 0.05 + 5.0 * c**-0.3
    noisy = 1 - error * np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
    for form in ("power_floor", "ensemble"):
        law = fit_table({"n": c, "accuracy": noisy}, "n", "accuracy", form=form, predict=[1e9, 1.0], draws=100).groups[
            0
        ]
        far, tiny = law.predictions
        assert far.mean == pytest.approx(1 - 0.05 - 5 * 1e9**-0.3, abs=0.02)
        assert far.new_lo <= far.lo <= far.mean <= far.hi <= far.new_hi < 1
        assert tiny.mean == 0 and tiny.lo == 0 and tiny.distance == pytest.approx(1e3)


def test_an_accuracy_from_loss_is_fitted_as_it_is() -> None:
    loss = np.linspace(2.0, 4.0, 15)
    accuracy = 0.1 + 0.8 / (1 + np.exp(4 * (loss - 3)))
    law = fit_table({"loss": loss, "acc": accuracy}, "loss", "acc", form="sigmoid", predict=[2.5], draws=50).groups[0]
    assert law.predictions[0].mean == pytest.approx(0.1 + 0.8 / (1 + np.exp(-2)), rel=1e-6)


def test_runs_widen_what_their_checkpoints_cannot() -> None:
    random = np.random.default_rng(0)
    c = np.tile(np.geomspace(1e3, 1e6, 12), 8)
    shift = np.repeat(0.05 * random.standard_normal(8), 12)
    rows = {"n": c, "loss": (1 + 9 * c**-0.3) * np.exp(shift + 0.001 * random.standard_normal(96))}
    rows |= {"run": np.repeat(np.arange(8), 12), "size": np.repeat(np.arange(8), 12)}
    how: dict[str, Any] = {"form": "power_floor", "predict": [1e6], "draws": 200, "bootstrap": "run"}
    alone = fit_table(rows, "n", "loss", **how).groups[0]
    runs = fit_table(rows, "n", "loss", run="run", config="size", **how).groups[0]
    assert runs.runs == 8 and alone.runs == 96
    widths = [p.hi - p.lo for p in (alone.predictions[0], runs.predictions[0])]
    assert widths[1] > 1.5 * widths[0]


def test_a_group_that_is_too_small_is_refused_by_name_and_the_others_stand() -> None:
    few = families()
    keep = (few["family"] == "vit") | (few["C"] < 1e19)
    few = {name: values[keep] for name, values in few.items()}
    found = fit_table(few, "C", "loss", group="family", form="power_floor", draws=50)
    status = {law.group: (law.status, law.notes) for law in found.groups}
    assert status["vit"][0] == "converged" and status["cnn"][0] == "refused"
    assert "power_floor has 3 parameters and needs 5 distinct places, and cnn has 2" in status["cnn"][1][0]
    with pytest.raises(BadInput, match="needs 5 distinct places"):
        fit_table({"C": [1, 2, 3, 4], "loss": [4, 3, 2, 1]}, "C", "loss", form="power_floor")


def test_of_a_grid_the_best_inside_it_counts() -> None:
    c = np.repeat(np.geomspace(1e3, 1e6, 8), 3)
    lr = np.tile([1e-3, 3e-3, 1e-2], 8)
    off = np.where(lr == 3e-3, 0.0, 0.2)
    rows = {"C": c, "loss": (1 + 9 * c**-0.3) * np.exp(off), "lr": lr}
    found = fit_table(rows, "C", "loss", tuned="lr", form="power_floor", draws=20)
    assert found.groups[0].points == 8 and len(found.dropped) == 16
    assert found.dropped[0]["reason"] == "is 0.001, and 0.003 is better at C = 1000"
    edge = rows | {"loss": rows["loss"] * np.where((c == 1e3) & (lr == 1e-2), 0.5, 1.0)}
    with pytest.raises(BadInput, match="The best lr at C = 1000 lies on the edge of its grid, at the largest value"):
        fit_table(edge, "C", "loss", tuned="lr", form="power_floor", draws=20)
    found = fit_table(edge, "C", "loss", tuned="lr", form="power_floor", draws=20, drop_bad=True)
    assert found.groups[0].points == 7 and sum("on the edge" in row["reason"] for row in found.dropped) == 3
    with pytest.raises(BadInput, match="row 1, column 'lr' is text"):
        fit_table(rows | {"lr": ["high", *lr[1:]]}, "C", "loss", tuned="lr")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"form": "powr"}, "did you mean 'power'?"),
        ({"form": "chinchilla"}, "chinchilla has the inputs N, D, and --x names 1"),
        ({"x": ("C", "seed"), "form": "ensemble"}, "ensemble has the inputs x, and --x names 2"),
        ({"x": ("C", "seed"), "predict": [1.0, 2.0, 3.0]}, "2 inputs, and --predict has 3 numbers"),
        ({"delta": 0.0}, "Huber's delta"),
        ({"delta": math.nan}, "Huber's delta"),
        ({"level": 1.0}, "level of an interval"),
        ({"draws": 3}, "20 to 100,000 draws"),
        ({"bootstrap": "wilde"}, "did you mean 'wild'?"),
        ({"envelope": True}, "no envelope"),
        ({"seed": -1}, "A seed is"),
        ({"predict": [-1.0]}, "positive places, not at -1"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(change: dict[str, Any], part: str) -> None:
    with pytest.raises(BadInput) as caught:
        fit_table(families(), **{"x": "C", "y": "loss", **change})
    assert part in str(caught.value)


def test_losses_that_rise_are_told() -> None:
    found = fit_table({"C": np.geomspace(1, 1e3, 9), "score": np.linspace(1, 2, 9)}, "C", "score", form="power")
    assert "score rises with C" in found.groups[0].notes[-1]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_registry_fits_a_table(form: str) -> None:
    inputs = FORMS[form].inputs
    random = np.random.default_rng(2)
    rows = {name: np.exp(random.uniform(1, 6, 40)) for name in inputs}
    y = 0.5 + sum(3.0 * (column / 10) ** -0.4 for column in rows.values())
    if form == "sigmoid":
        y = 0.1 + 0.8 / (1 + np.exp(0.05 * (rows[inputs[0]] - 100)))
    found = fit_table({**rows, "y": y * np.exp(0.01 * random.standard_normal(40))}, inputs, "y", form=form, draws=20)
    assert plain(found)["groups"][0]["forms"][0]["form"] == form


NUMBERS = st.one_of(
    st.floats(allow_nan=True, width=32),
    st.floats(1e-3, 1e3),
    st.sampled_from([0.0, 1.0, 1e18, -1.0, 1e30, 1e-9]),
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from("ab")), min_size=1, max_size=14),
    st.sampled_from(["", "power", "power_floor", "shifted"]),
    st.sampled_from(["loss", "error"]),
    st.sampled_from(["", "run", "wild"]),
    st.sampled_from([[], [], ["alpha"], ["A", "alpha"]]),
)
def test_any_numbers_are_a_document_or_bad_input(
    rows: list[tuple[float, float, str]], form: str, y: str, bootstrap: str, share: list[str]
) -> None:
    table = {"x": [r[0] for r in rows], y: [r[1] for r in rows], "g": [r[2] for r in rows]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            how: dict[str, Any] = {"group": "g", "form": form, "bootstrap": bootstrap, "share": share}
            found = fit_table(table, "x", y, **how, predict=[1.0, 1e6], draws=20, drop_bad=True)
        except BadInput:
            return
    plain(found)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(1e-3, 1e3), min_size=8, max_size=14, unique=True),
    st.floats(1e-12, 1e12),
    st.floats(0, 5),
    st.sampled_from(["", "power", "m4", "bnsl1"]),
)
def test_any_good_numbers_are_a_document(places: list[float], scale: float, spread: float, form: str) -> None:
    random = np.random.default_rng(len(places))
    y = np.clip(scale * np.exp(spread * random.standard_normal(len(places))), 1e-12, 1e12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            plain(fit_table({"x": places, "loss": y}, "x", "loss", form=form, draws=20, predict=[1e9]))
        except BadInput:
            return
