"""The page: says what the rows and the analysis say, nothing else, whatever they hold."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import synthetic_study as synthetic
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report import charts, checklist, numbers, page, series, tables, theme, ticks

SCRIPT = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.S)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return synthetic.rows()


@pytest.fixture(scope="module")
def html(rows: list[dict[str, Any]]) -> str:
    return page.render(rows, synthetic.analysis(), synthetic.study())


def island(html: str) -> dict[str, Any]:
    match = SCRIPT.search(html)
    assert match
    return json.loads(match[1])


def test_import_is_light() -> None:
    code = "import sys, pipeline.report.page, pipeline.report.export; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "torch",
        "ray",
        "altair",
        "pandas",
        "pyarrow",
        "vl_convert",
        "jinja2",
        "numpy",
        "lightning",
        "wandb",
    }
    assert not heavy & set(loaded)


def test_page_is_small_and_has_every_part(html: str) -> None:
    assert len(html) < 2_000_000
    for said in (
        "ViT overtakes ResNet at 0.29\u00a0PFLOPs",
        "163 of 164",
        "1 diverged, 1 failed",
        "42\u00a0% saved by sharing",
        "With three data sizes the data cannot tell",
        "loss is not finite at step 812",
        "not on the lower envelope",
        "Reporting checklist",
        "schedule: wsd",
        "not bracketed in this study",
    ):
        assert said in html
    assert list(island(html)["charts"]) == ["compute", "data", "transfer-0", "transfer-1", "curves"]


@pytest.mark.parametrize(("schedule", "said"), [("wsd", True), ("rsqrt", True), ("cosine", False), ("linear", False)])
def test_the_bias_of_sharing_is_named_beside_the_laws(rows: list[dict[str, Any]], schedule: str, said: bool) -> None:
    html = page.render([{**row, "schedule": schedule} for row in rows], synthetic.analysis(), synthetic.study())
    assert ("differed by less than 1 % of their error" in html) is said


def test_equal_input_gives_equal_bytes(rows: list[dict[str, Any]], html: str) -> None:
    assert page.render(list(rows), synthetic.analysis(), synthetic.study()) == html


def test_page_names_no_other_host(html: str) -> None:
    shell = html.replace(page.library(), "")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", shell)
    assert "default-src 'none'" in shell


@pytest.mark.parametrize("evil", ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}"])
def test_everything_from_outside_is_escaped(evil: str) -> None:
    row = {
        **synthetic.rows()[0],
        "arch": evil,
        "family": evil,
        "reason": evil,
        "log": evil,
        "outcome": "failed",
    }
    study = {
        **synthetic.study(curves=False),
        "name": evil,
        "question": evil,
        "config_yaml": evil,
        "created": evil,
    }
    analysis = synthetic.analysis()
    analysis["headline"] = analysis["crossings"][0]["sentence"] = analysis["laws"][0]["form"] = evil
    analysis["checklist"] = {evil: evil}
    html = page.render([row, synthetic.rows()[1]], analysis, study).replace(page.library(), "")
    assert "<script>alert" not in html
    assert "<img" not in html
    trials = island(html)["trials"]
    assert [row["all"][trials["fields"].index("log")] for row in trials["rows"]].count(evil) == 1


def test_what_diverged_is_not_passed_off_as_done(rows: list[dict[str, Any]]) -> None:
    two = [{**row, "outcome": "diverged"} for row in rows[:2]]
    assert page.status(two, {}, {"totals": {"trials_planned": 2}}).startswith("2 of 2 trials done, 2 of them diverged")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_give_a_page_that_says_what_is_missing(rows: list[dict[str, Any]], count: int) -> None:
    html = page.render(rows[:count], {}, {"name": "small", "totals": {"trials_planned": 9}})
    assert f"{count} of 9 trials done" in html
    assert "No law yet" in html
    assert ("Nothing to draw yet" in html) is (count == 0)
    assert ("no pre-training trial has finished" in html) is (count == 0)
    assert ("only one family has finished" in html) is (count > 0)
    assert ("no point was run with two seeds" in html) is (count == 1)


def test_study_without_anything_renders() -> None:
    assert "No trial has finished yet" in page.render([], {}, {})


def test_only_failures(rows: list[dict[str, Any]]) -> None:
    html = page.render([r for r in rows if r["outcome"] != "done"], {}, synthetic.study(curves=False))
    assert "Nothing to draw yet" in html
    assert "image bytes are truncated" in html


def test_no_law_is_drawn_that_the_analysis_does_not_have(rows: list[dict[str, Any]]) -> None:
    without = {c.name: c for c in charts.build(rows, {"metric": synthetic.METRIC}, {})}
    assert "No law is drawn" in without["compute"].caption
    assert len(without["compute"].spec["layer"]) == 2  # points and the lines that join seed means
    with_law = {c.name: c for c in charts.build(rows, synthetic.analysis(), {})}
    assert any("lo" in d[0] for d in _drawn(with_law["compute"].spec))
    assert "No law is drawn" in with_law["data"].caption


def test_law_is_solid_where_fitted_and_dashed_beyond(rows: list[dict[str, Any]]) -> None:
    points = series.compute_points(rows, synthetic.METRIC)
    before, beyond, shade, rings = charts._law_rows(synthetic.analysis()["laws"], points)
    for family in synthetic.LAWS:
        held = next(r["x"] for r in rings if r["family"] == family)
        fitted = max(p["x"] for p in points if p["family"] == family and p["x"] < held * 0.999)
        solid = [r["x"] for r in before if r["family"] == family]
        dashed = [r["x"] for r in beyond if r["family"] == family]
        assert max(solid) <= fitted
        assert dashed[0] == max(solid)
        assert len({*solid, *dashed}) == sum(r["family"] == family for r in shade)


def test_band_with_holes_is_not_filled_in() -> None:
    band = {"x": [1, 2, 3], "mid": [0.3, None, 0.1], "lo": [0.2, None, 0.1], "hi": [0.4, None, float("nan")]}
    assert series.band({"band": band}) == {"x": [1, 3], "mid": [0.3, 0.1]}
    assert series.band({"band": None}) == {}
    assert series.band({"band": {"x": [1], "mid": [1]}}) == {}


def test_points_are_the_rows(rows: list[dict[str, Any]]) -> None:
    by_digest = {r["digest"]: r for r in rows}
    points = series.compute_points(rows, synthetic.METRIC)
    assert {by_digest[p["run"]]["samples"] for p in points} == {synthetic.SIZES[-1]}
    assert all(by_digest[p["run"]]["val_error"] == p["y"] for p in points)
    assert {p["x"] for p in series.data_points(rows, synthetic.METRIC)} == set(map(float, synthetic.SIZES))
    for _, transfers in series.transfer_panels(rows):
        parents = {by_digest[by_digest[p["run"]]["parent"]]["train_flops"] for p in transfers}
        assert parents == {p["x"] for p in transfers}


def tuned(rate: float, dev: float | None, seed: int = 0, parent: str = "p") -> dict[str, Any]:
    return {
        "kind": "transfer", "outcome": "done", "parent": parent, "task": "pets", "protocol": "finetune",
        "finetune_steps": 500, "finetune_lr": rate, "transfer_seed": seed, "dev_error": dev, "test_error": 1 - rate,
    }  # fmt: skip


def test_the_dev_split_chooses_the_rate() -> None:
    """By the mean over seeds, for each parent by itself; the test split has no say."""
    grid = [tuned(0.1, 0.2), tuned(0.1, 0.5, 1), tuned(0.3, 0.3), tuned(0.3, 0.3, 1)]
    other = [tuned(0.1, 0.1, parent="q"), tuned(0.3, 0.2, parent="q")]
    assert series.chosen_rates([*grid, *other]) == [*grid[2:], other[0]]
    assert series.chosen_rates([tuned(0.1, None), tuned(0.3, 0.2)]) == [tuned(0.1, None), tuned(0.3, 0.2)]
    assert series.chosen_rates([tuned(0.1, 0.2), tuned(0.3, 0.2)]) == [tuned(0.1, 0.2)], "of equals the smaller"
    assert series.chosen_rates([]) == []


def test_seed_means() -> None:
    points = [{"family": "vit", "arch": "a", "x": 1.0, "y": y} for y in (0.2, 0.4)]
    assert series.means(points) == [
        {"family": "vit", "arch": "a", "x": 1.0, "y": pytest.approx(0.3), "lo": 0.2, "hi": 0.4, "n": 2}
    ]


def test_learning_rate_is_bracketed_only_inside() -> None:
    row = synthetic.rows()[0]
    tried = [{**row, "lr": lr, "val_error": e} for lr, e in ((1e-4, 0.5), (1e-3, 0.3), (1e-2, 0.4))]
    assert "ViT: 0.00010, 0.0010, 0.010 (bracketed)" in dict(checklist.checklist(tried, {}, {}))["learning rates"]
    tried[1]["val_error"] = 0.6
    assert "(not bracketed" in dict(checklist.checklist(tried, {}, {}))["learning rates"]


def test_mixed_conventions_are_both_named(rows: list[dict[str, Any]]) -> None:
    mixed = [rows[0], {**rows[1], "flops_convention": "counted"}]
    assert dict(checklist.checklist(mixed, {}, {}))["FLOPs convention"].count(";") >= 1


def test_crossing_that_cannot_be_told_shows_no_number() -> None:
    told, untold = tables.crossings(synthetic.analysis())
    assert told["at"] == "290\u00a0TFLOPs"
    assert told["interval"] == "[170\u00a0TFLOPs, 520\u00a0TFLOPs]"
    assert untold["at"] == numbers.MISSING
    assert untold["interval"] == ""


def test_write_is_atomic(tmp_path: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    path = page.write(tmp_path / "deep" / "report.html", rows[:2], {}, {})
    before = path.read_text()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        page.write(path, rows, {}, {})
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3.2e15, "3.2 PFLOPs"), (12_400, "12.4 kFLOPs"), (999_960, "1 MFLOPs"), (0, "0 FLOPs"), (None, "–")],
)
def test_human_flops(value: Any, shown: str) -> None:
    assert numbers.flops(value).replace("\u00a0", " ") == shown


def test_human_numbers() -> None:
    assert numbers.duration(5000).replace("\u00a0", " ") == "1.39 h"
    assert numbers.measured("val_error", 0.1234).replace("\u00a0", " ") == "12.3 %"
    assert numbers.measured("val_loss", 1.234) == "1.23"
    assert numbers.digits(6.02e23) == "6.02·10²³"
    assert numbers.digits(float("nan")) == numbers.MISSING
    assert numbers.interval(None, 1.0) == ""


@given(st.floats(1e-6, 1e27), st.integers(1, 6))
def test_scaled_keeps_the_value(value: float, significant: int) -> None:
    number, _, unit = numbers.scaled(value, "", significant).partition(numbers.JOIN)
    if "·" not in number:
        size = {"": 1.0, **{name: size for size, name in numbers._STEPS}}[unit]
        assert float(number.replace(",", "")) * size == pytest.approx(value, rel=10.0 ** (1 - significant))


@given(st.lists(st.floats(1e-9, 1e26), min_size=1, max_size=8))
def test_ticks_lie_in_the_domain(values: list[float]) -> None:
    domain = ticks.log_domain(values)
    found = ticks.log_ticks(domain)
    assert domain[0] < min(values) <= max(values) < domain[1]
    assert 2 <= len(found) <= 9
    assert all(domain[0] <= t <= domain[1] for t in found)
    assert found == sorted(set(found))


@given(st.lists(st.sampled_from(["vit", "resnet", "hybrid", "mixer", "swin", "mlp"]), unique=True))
def test_family_colours_are_stable_and_distinct(names: list[str]) -> None:
    slots = theme.slots(theme.order(set(names)))
    assert len(set(slots.values())) == len(names)
    assert all(slots[f] == i for i, f in enumerate(theme.TITLES) if f in slots)


def test_json_cannot_close_its_script() -> None:
    text = page.safe_json({"a": "</script><!--", "b": float("nan"), "c": [float("inf"), {"d": "\u2028"}]})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": None, "c": [None, {"d": "\u2028"}]}


def test_analysis_of_the_laws_is_understood(rows: list[dict[str, Any]]) -> None:
    """The real analysis of the same rows, not the hand-made one."""
    laws = pytest.importorskip("pipeline.laws.comparison.analysis")
    analysis = synthetic.fitted(laws)
    html = page.render(rows, analysis, synthetic.study(curves=False))
    assert len(tables.laws(analysis)) == html.count('data-label="Parameters"') > 0


def _drawn(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The data of every layer."""
    layers = [layer for part in spec["layer"] for layer in part.get("layer", [part])]
    return [layer["data"]["values"] for layer in layers if "data" in layer]
