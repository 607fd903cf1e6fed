"""Files for other programs: readable by pandas and DuckDB, with the same columns and bytes every time."""

import csv
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import synthetic_study as synthetic

from pipeline.errors import BadInput
from pipeline.report import export


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return synthetic.rows()


def query(sql: str) -> list[Any]:
    answer = duckdb.sql(sql)
    assert answer is not None
    return answer.fetchall()


def test_csv_and_parquet_hold_the_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    made = export.export(rows, tmp_path / "out")
    assert [p.name for p in made] == ["trials.csv", "trials.parquet"]
    frame = pd.read_parquet(made[1])
    assert list(frame.columns) == list(export.COLUMNS)
    assert len(frame) == len(rows)
    by_digest = {r["digest"]: r for r in rows}
    for record in frame.to_dict("records"):
        row = by_digest[str(record["digest"])]
        assert record["train_flops"] == row["train_flops"]
        assert record["val_error"] == row["val_error"] or (pd.isna(record["val_error"]) and row["val_error"] is None)
    sums = "select family, count(*), sum(budget) from '{}' group by family order by family"
    asked = [query(sums.format(path)) for path in made]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 3


def test_types_do_not_depend_on_the_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    all_rows = export.export(rows, tmp_path / "all", ["parquet"])[0]
    none = export.export([], tmp_path / "none", ["parquet"])[0]
    describe = "describe select * from '{}'"
    assert query(describe.format(all_rows)) == query(describe.format(none))


def test_equal_rows_in_any_order_give_equal_bytes(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    formats = ("csv", "parquet", "latex")
    first = export.export(rows, tmp_path / "a", formats, synthetic.analysis())
    again = export.export(rows[::-1], tmp_path / "b", formats, synthetic.analysis())
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]


def test_odd_values_survive(tmp_path: Path) -> None:
    odd = {
        "digest": "a", "kind": "pretrain", "reason": 'line one\nline "two", Ü', "seed": True,
        "samples": 2**60 + 1, "val_error": float("nan"), "note": {"x": 1}, "extra_int": 3, "extra_float": 0.5,
        "shots": None,
    }  # fmt: skip
    paths = export.export([odd], tmp_path)
    with paths[0].open(newline="", encoding="utf-8") as file:
        (read,) = list(csv.DictReader(file))
    assert read["reason"] == odd["reason"]
    assert read["samples"] == str(2**60 + 1)
    assert read["val_error"] == read["seed"] == read["shots"] == ""
    (typed,) = pd.read_parquet(paths[1]).to_dict("records")
    assert typed["extra_int"] == 3
    assert typed["extra_float"] == 0.5
    assert typed["note"] == "{'x': 1}"


def test_laws_as_csv_and_latex(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    made = export.export(rows, tmp_path, ["csv", "latex"], synthetic.analysis())
    assert [p.name for p in made] == ["trials.csv", "laws.csv", "laws.tex"]
    laws = pd.read_csv(tmp_path / "laws.csv")
    alpha = laws[(laws.family == "vit") & (laws.quantity == "alpha")].iloc[0]
    assert (alpha["value"], round(alpha["lo"], 6), round(alpha["hi"], 6)) == (0.3, 0.27, 0.34)
    text = (tmp_path / "laws.tex").read_text()
    assert text.count(r"\\") == 4
    assert r"$E + A x^{-\alpha}$" in text
    assert text.count("$") % 2 == 0


def test_latex_escapes() -> None:
    assert export._tex("50 % of a_b & {c}\\") == r"50 \% of a\_b \& \{c\}\textbackslash{}"


def test_unknown_format_and_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="parquet"):
        export.export([], tmp_path, ["parqet"])
    with pytest.raises(BadInput, match="svg"):
        export.figures([], {}, tmp_path, ["gif"])
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="Cannot write"):
        export.export([], tmp_path / "file" / "folder")


def test_figures_without_a_browser(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    made = export.figures(rows, synthetic.analysis(), tmp_path, ["svg", "png", "pdf"])
    assert [p.name for p in made[:2]] == ["compute.svg", "compute.png"]  # in the order asked for
    assert {p.stem for p in made} == {"compute", "data", "transfer-0", "transfer-1"}
    svg = made[0].read_text()
    assert "var(--" not in svg
    assert "ViT × ResNet" in svg
    assert made[1].read_bytes().startswith(b"\x89PNG")
    before = [p.read_bytes() for p in made if p.suffix != ".pdf"]
    again = export.figures(rows, synthetic.analysis(), tmp_path, ["svg", "png"])
    assert [p.read_bytes() for p in again] == before


def test_figures_of_nothing_are_none(tmp_path: Path) -> None:
    assert export.figures([], {}, tmp_path) == []
