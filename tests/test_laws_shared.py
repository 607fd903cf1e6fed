"""Shared law: parameters in common, told where they are not, and refused in words."""

from typing import Any

import numpy as np
import pytest
from tabled import families, plain

from pipeline.errors import BadInput
from pipeline.laws.tables.tabular import fit_table


def alike(noise: float = 0.01) -> dict[str, Any]:
    """Two families with one floor, 1.2, that cross at 1e20."""
    table, random = families(), np.random.default_rng(1)
    slopes = np.where(table["family"] == "vit", 0.40, 0.25)
    law = 1.2 + 1.6 * (table["C"] / 1e20) ** -slopes
    return table | {"loss": law * np.exp(noise * random.standard_normal(len(law)))}


@pytest.mark.parametrize("bootstrap", ["", "run", "wild"])
def test_shared_parameters_are_one_and_make_all_surer(bootstrap: str) -> None:
    how: dict[str, Any] = {"form": "power_floor", "group": "family", "predict": [1e24]}
    how |= {"bootstrap": bootstrap, "draws": 300}
    shared, apart = (plain(fit_table(alike(), "C", "loss", share=share, **how)) for share in (["E"], []))
    assert shared["settings"]["share"] == ["E"] and not shared["notes"]
    floors, ends = ([law["forms"][0][of]["E"] for law in shared["groups"]] for of in ("params", "intervals"))
    assert floors[0] == floors[1] == pytest.approx(1.2, abs=0.03) and ends[0] == ends[1]
    lone = [law["forms"][0]["intervals"]["E"] for law in apart["groups"]]
    assert ends[0][1] - ends[0][0] < max(hi - lo for lo, hi in lone)
    for law in shared["groups"]:
        assert law["points"] == 18 and law["status"] == "converged"
        assert law["predictions"][0]["hi"] - law["predictions"][0]["lo"] < 0.2
    (crossing,) = shared["crossings"]
    assert (crossing["a"], crossing["b"], crossing["answer"]) == ("vit", "cnn", "crosses")
    assert crossing["lo"] < 1e20 < crossing["hi"] and crossing["ratio"] < 1


def test_what_is_not_shared_in_truth_is_told() -> None:
    found = fit_table(families(), "C", "loss", group="family", form="power_floor", share=["E"])
    assert found.notes[0].startswith("The points speak against sharing E (p < 0.001, F test)")


def test_sharing_takes_surfaces_and_leaves_small_groups_out() -> None:
    random = np.random.default_rng(0)
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4)))
    loss = [1.8 + a * n**-0.35 + 2085.0 * d**-0.37 for a in (400.0, 600.0)]
    y = np.concatenate(loss) * np.exp(0.005 * random.standard_normal(32))
    table = {"N": np.tile(n, 2), "D": np.tile(d, 2), "loss": y, "family": np.repeat(["a", "b"], 16)}
    more = {"N": [1e8] * 3, "D": [1e9, 1e10, 1e11], "loss": [3.0, 2.5, 2.2], "family": ["c"] * 3}
    table = {name: np.concatenate([column, more[name]]) for name, column in table.items()}
    share = ["E", "alpha", "B", "beta"]
    how: dict[str, Any] = {"x": ["N", "D"], "y": "loss", "group": "family", "form": "chinchilla"}
    document = fit_table(table, **how, share=share, predict=[1e10, 1e12])
    a, b, _ = document.groups
    assert [law.status for law in document.groups] == ["converged", "converged", "converged"]
    few = fit_table(table, **how, share=["E"])
    assert few.groups[2].status == "refused" and "c has 3: share more" in few.groups[2].notes[0]
    assert a.forms[0].params["A"] != b.forms[0].params["A"] and a.forms[0].params["B"] == b.forms[0].params["B"]
    assert a.predictions[0].mean < b.predictions[0].mean


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ({"share": ["alpah"], "group": "family"}, "did you mean 'alpha'"),
        ({"share": ["A"], "group": "family"}, "share these too"),
        ({"share": ["E"], "group": "family", "form": "ensemble"}, "name one form with --form"),
        ({"share": ["E"]}, "here are 1: name the column of groups with --group"),
    ],
)
def test_what_cannot_be_shared_is_one_sentence(how: dict[str, Any], part: str) -> None:
    with pytest.raises(BadInput, match=part):
        fit_table(alike(), "C", "loss", **{"form": "power_floor", **how})


def test_diverged_runs_are_not_counted_where_they_cannot_be_weighed() -> None:
    table = alike() | {"outcome": np.full(36, "done", dtype=object)}
    table["outcome"][0] = "diverged"
    kept = (table["family"] == "cnn") | np.isin(table["C"], np.unique(table["C"])[:3])
    table = {name: column[kept] for name, column in table.items()}
    how: dict[str, Any] = {"group": "family", "form": "power_floor", "share": ["E", "alpha"], "outcome": "outcome"}
    with pytest.raises(BadInput, match="vit has diverged runs and 3 distinct places"):
        fit_table(table, "C", "loss", **how)
