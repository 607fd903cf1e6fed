"""Table: what is read is what was written, whatever holds it; every bad value is one sentence with row and column."""

import io
import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.laws.tables.columns import Columns, kind_of
from pipeline.laws.tables.table import Table, table

GOOD: dict[str, list[Any]] = {
    "C": [1e18, 2e18, 4e18, 8e18, 16e18],
    "loss": [3.0, 2.7, 2.5, 2.35, 2.2],
    "family": ["vit", "vit", "cnn", "cnn", "cnn"],
    "run": ["a", "b", "c", "d", "e"],
}
USED = Columns(("C",), "loss", group="family", run="run")


def changed(column: str, row: int, cell: Any) -> dict[str, list[Any]]:
    plain = {name: list(cells) for name, cells in GOOD.items()}
    plain[column][row - 1] = cell
    return plain


def refused(source: Any, columns: Columns = USED, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        table(source, columns, **options)
    said = str(caught.value)
    assert said.endswith((".", "?")) or ": valid: " in said, said
    assert "\n" not in said
    return said


def same(a: Table, b: Table) -> bool:
    return a.digest == b.digest and np.array_equal(np.sort(a.y), np.sort(b.y)) and a.groups == b.groups


def test_every_holder_gives_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(GOOD)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "t.csv").read_bytes())))
    arrays = {name: np.array(cells) for name, cells in GOOD.items()}
    holders = [GOOD, frame, arrays, *(str(tmp_path / f"t.{e}") for e in ("csv", "tsv", "parquet")), tmp_path / "t.csv"]
    for holder in [*holders, "-"]:
        assert same(table(holder, USED), table(GOOD, USED))


def test_the_digest_is_of_the_rows_used_and_of_no_order() -> None:
    frame = pd.DataFrame(GOOD | {"other": range(5)})
    shuffled = frame.sample(frac=1.0, random_state=3)[["run", "other", "loss", "family", "C"]]
    assert table(shuffled, USED).digest == table(GOOD, USED).digest
    assert table(frame.iloc[:4], USED).digest != table(GOOD, USED).digest
    assert table(changed("loss", 2, 2.7000001), USED).digest != table(GOOD, USED).digest
    dropped = table(changed("loss", 5, math.nan), USED, drop_bad=True)
    assert dropped.digest == table(frame.iloc[:4], USED).digest


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        (math.nan, "is NaN"),
        (None, "is empty"),
        ("", "is empty"),
        (math.inf, "is infinite"),
        ("-inf", "is infinite"),
        (0, "is 0, which has no logarithm"),
        (-2.5, "is negative (-2.5)"),
        ("abc", "is text ('abc')"),
        ("1,5", "is text ('1,5')"),
        ("76%", "is text"),
        (True, "is True, not a number"),
        (np.bool_(False), "is False, not a number"),
        ([1.0], "is [1.0], not a number"),
        (1 + 2j, "is (1+2j), not a number"),
        (10**400, "is too large"),
        ("1e999", "is infinite"),
        (1e300, "is 1e+300, outside"),
        (pd.Timestamp("2020-01-01"), "is Timestamp("),
    ],
)
@pytest.mark.parametrize("column", ["C", "loss"])
def test_a_bad_number_is_named_by_row_and_column(column: str, cell: Any, part: str) -> None:
    said = refused(changed(column, 3, cell))
    assert f"row 3, column '{column}' {part}" in said
    kept = table(changed(column, 3, cell), USED, drop_bad=True)
    assert [(d.row, d.column) for d in kept.dropped] == [(3, column)] and kept.dropped[0].reason
    assert len(kept.y) == 4


def test_numbers_of_all_kinds_are_numbers() -> None:
    mixed = GOOD | {"loss": ["3", np.float32(2.5), Decimal("2.25"), 2, " 1.5e0 "]}
    assert table(mixed, USED).y.tolist() == [3.0, 2.5, 2.25, 2.0, 1.5]


def test_missing_cells_of_frames_are_empty() -> None:
    frame = pd.DataFrame(GOOD).astype({"loss": "Float64"})
    frame.loc[1, "loss"] = pd.NA
    assert "row 2, column 'loss' is empty" in refused(frame)


def test_several_bad_rows_are_counted() -> None:
    assert "(1 more row cannot be used)" in refused(changed("loss", 3, 0) | {"C": [1e18, "x", 4e18, 8e18, 16e18]})


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        (Columns(("C",), "los"), "no column 'los' for --y: did you mean 'loss'?"),
        (Columns(("D",), "loss"), "no column 'D' for --x"),
        (Columns(("C",), "loss", group="familly"), "did you mean 'family'?"),
        (Columns(("C", "C"), "loss"), "is named twice"),
        (Columns(("loss",), "loss"), "is named twice"),
        (Columns((), "loss"), "needs the names"),
        (Columns(("C",), ""), "needs the names"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_the_nearest(columns: Columns, part: str) -> None:
    assert part in refused(GOOD, columns)


def test_where_keeps_rows_and_names_what_is_there() -> None:
    assert table(GOOD, USED, where={"family": "cnn"}).rows.tolist() == [3, 4, 5]
    assert "did you mean 'cnn'?" in refused(GOOD, where={"family": "cn"})
    assert "no column 'famly' for --where" in refused(GOOD, where={"famly": "cnn"})


def test_a_row_recorded_twice_is_named() -> None:
    twice = {name: [*cells, cells[1]] for name, cells in GOOD.items()}
    assert "row 6, column 'loss' repeats row 2 in every column" in refused(twice)
    again = twice | {"loss": [*GOOD["loss"], 2.71]}
    assert "row 6, column 'run' repeats row 2: vit b at the same place" in refused(again)
    kept = table(again, USED, drop_bad=True)
    assert len(kept.y) == 5 and kept.dropped[0].row == 6


def test_two_seeds_with_the_same_loss_are_no_repeat() -> None:
    two = {"C": [1e18, 1e18, 2e18], "loss": [3.0, 3.0, 2.5], "seed": [0, 1, 0], "config": ["a", "a", "b"]}
    assert len(table(two, Columns(("C",), "loss", config="config", seed="seed")).y) == 3
    assert "repeats row 1: a seed 0" in refused(
        two | {"seed": [0, 0, 0], "note": [1, 2, 3]}, Columns(("C",), "loss", config="config", seed="seed")
    )


def test_one_distinct_place_is_refused() -> None:
    assert "one distinct place only, C = 1e+18" in refused(GOOD | {"C": [1e18] * 5})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("loss", "loss"),
        ("val_error", "error"),
        ("top1", "accuracy"),
        ("Accuracy (5-shot)", "accuracy"),
        ("terror", "loss"),
        ("accuracy_error", "error"),
    ],
)
def test_the_kind_of_a_metric_is_in_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_accuracies_are_shares_and_their_errors_are_fitted() -> None:
    shares = {"C": GOOD["C"], "accuracy": [0.5, 0.6, 0.7, 0.75, 0.0]}
    columns = Columns(("C",), "accuracy")
    assert table(shares, columns).falling.tolist() == pytest.approx([0.5, 0.4, 0.3, 0.25, 1.0])
    assert "leaves an error of 0" in refused(shares | {"accuracy": [0.5, 0.6, 0.7, 0.75, 1.0]}, columns)
    mixed = refused(shares | {"accuracy": [0.5, 0.6, 70.0, 75.0, 80.0]}, columns)
    assert "row 3, column 'accuracy': 70 is over 1" in mixed and "mixes units" in mixed
    assert "divide the column by 100" in refused(shares | {"accuracy": [50, 60, 70, 75, 80]}, columns)
    assert "no accuracy or error rate is" in refused(shares | {"accuracy": [0.5, 0.6, 700, 0.7, 0.8]}, columns)
    assert table(shares | {"accuracy": [50, 60, 70, 75, 80]}, columns, kind="loss").y.max() == 80
    assert "There is no kind of metric 'eror': did you mean 'error'?" in refused(shares, columns, kind="eror")


def test_mixed_metrics_conventions_and_units_are_refused() -> None:
    for role, noun in (("metric", "metrics"), ("convention", "FLOPs conventions"), ("unit", "units")):
        plain = GOOD | {"what": ["p", "p", "q", "p", "p"]}
        said = refused(plain, Columns(("C",), "loss", **{role: "what"}))
        assert f"mix 2 {noun}" in said and "p (4 rows); q (1 row)" in said
        assert getattr(table(plain | {"what": ["p"] * 5}, Columns(("C",), "loss", **{role: "what"})), role) == "p"


def test_a_hole_on_the_axis_is_two_units() -> None:
    assert "jumps from 4 to 8e+18 with nothing between, as mixed units do" in refused(
        GOOD | {"C": [1, 2, 4, 8e18, 16e18]}
    )


def test_unfinished_runs_are_counted_and_named_and_dropped_when_asked() -> None:
    outcomes = GOOD | {"state": ["finished", "running", "failed", "done", "ok"]}
    columns = Columns(("C",), "loss", run="run", outcome="state")
    said = refused(outcomes, columns)
    assert "2 runs of 5 not finished: b (running), c (failed)" in said
    kept = table(outcomes, columns, drop_bad=True)
    assert kept.rows.tolist() == [1, 4, 5]
    assert [d.reason for d in kept.dropped] == ["is not finished (running)", "is not finished (failed)"]


def test_a_run_that_is_known_to_have_diverged_is_listed_whatever_its_loss() -> None:
    plain = changed("loss", 2, math.nan) | {"state": ["done", "diverged", "done", "diverged", "done"]}
    found = table(plain, Columns(("C",), "loss", run="run", outcome="state"))
    assert found.diverged.tolist() == [False, False, True, False]
    assert [(d.row, d.reason) for d in found.dropped] == [(2, "diverged: it is NaN")]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"C,loss\n", "has no rows"),
        (b"C,loss\n1,2\n3\n", "row 2 has 1 cells and the header 2"),
        (b"C,loss\n1,2,3\n", "row 1 has 3 cells"),
        (b"C,loss\n1,\xff\n", "is not UTF-8 text (byte 9, row 1)"),
        ("C,loss\n1,2\n".encode("utf-16"), "is not UTF-8 text"),
        (b'C,loss\n1,"2\n', "is no table that can be read"),
        (b"C,C\n1,2\n", "two columns 'C'"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert part in refused(str(tmp_path / "t.csv"), Columns(("C",), "loss"))


def test_paths_that_are_no_table(tmp_path: Path) -> None:
    assert "is a folder" in refused(str(tmp_path))
    assert "cannot be read" in refused(str(tmp_path / "none.csv"))
    assert "by its ending" in refused(str(tmp_path / "t.xlsx"))
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nonsense PAR1")
    assert "no Parquet that can be read" in refused(str(tmp_path / "t.parquet"))
    assert "A int is no table" in refused(3)
    assert "equally long" in refused({"C": [1, 2], "loss": [1]})
    assert "not a str" in refused({"C": "ab", "loss": [1, 2]})
    assert "has no rows" in refused({})


CELLS = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.sampled_from(["nan", "1e5", "-3", "0"]),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), st.booleans(), st.sampled_from(["loss", "accuracy"]))
def test_any_cells_are_a_table_or_bad_input(rows: list[tuple[Any, Any, Any]], drop: bool, y: str) -> None:
    plain = {name: [row[i] for row in rows] for i, name in enumerate(("C", y, "g"))}
    try:
        found = table(plain, Columns(("C",), y, group="g"), drop_bad=drop)
    except BadInput:
        return
    assert len(found.y) + len(found.dropped) == len(rows)
    assert np.isfinite(np.log(found.falling)).all() and np.isfinite(np.log(found.x)).all()


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60) | st.text(alphabet='a,b\n\r"1.e', max_size=60).map(str.encode), st.text(max_size=4))
def test_any_bytes_are_a_table_or_bad_input(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, column: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    path.write_bytes(content)
    for names in (Columns(("a",), "b"), Columns((column,), "b")):
        try:
            table(str(path), names)
        except BadInput:
            continue
