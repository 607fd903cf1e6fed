from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import accepted, drained, encoded, picture, refusal

from data_prep.sources import Record, TableSource
from data_prep.sources.deferred import FileImage

Columns = dict[str, list[Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(("a.jpg", "b,c.jpg", "deep/d.jpg")):
        (tmp_path / name).write_bytes(picture(number))
    return tmp_path


NAMES = ["a.jpg", "b,c.jpg", "deep/d.jpg"]


def written(folder: Path, ending: str, columns: Columns, **fields: Any) -> TableSource:
    path, table = folder / f"t{ending}", arrow.table(columns)
    if ending == ".parquet":
        parquet.write_table(table, path)
    else:
        csv.write_csv(table, path, csv.WriteOptions(delimiter="\t" if ending == ".tsv" else ","))
    return TableSource(path=str(path), **fields)


def places(records: list[Record]) -> list[tuple[str, str | tuple[str, ...]]]:
    return [(r.split, r.label) for r in records]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_paths_labels_and_splits(root: Path, ending: str) -> None:
    columns = {"other": [1, 2, 3], "label": ["01", "cat", "cat"], "path": NAMES, "split": ["Train", "valid", "test"]}
    source = written(root, ending, columns)
    assert all(isinstance(record.image, FileImage) for record in source.records())
    records = drained(source.records())
    assert places(records) == [("train", "01"), ("val", "cat"), ("test", "cat")]
    assert [r.image for r in records] == [picture(i) for i in range(3)]
    assert records[1].origin == f"{root}/t{ending}, row 2: b,c.jpg"


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_columns_by_other_names_a_root_elsewhere_and_numbers_for_labels(root: Path, ending: str) -> None:
    (root / "tables").mkdir()
    fields = {"path_column": "file", "label_column": "y", "split_column": "part", "root": str(root)}
    source = written(root / "tables", ending, {"file": NAMES, "y": [3, 10, 3]}, **fields)
    assert places(drained(source.records())) == [("train", "3"), ("train", "10"), ("train", "3")]


def test_several_labels(root: Path) -> None:
    expected = [("train", ("cat", "dog")), ("train", ()), ("train", ("dog",))]
    for ending in (".csv", ".parquet"):
        columns = {"path": NAMES, "label": ["cat | dog|cat", "", "dog"]}
        assert places(drained(written(root, ending, columns, label_separator="|").records())) == expected
    columns = {"path": NAMES, "label": [["cat", "dog"], [], ["dog"]]}
    assert places(drained(written(root, ".parquet", columns).records())) == expected


def test_absolute_paths_within_the_root_are_taken(root: Path) -> None:
    source = written(root, ".csv", {"path": [str(root / "a.jpg"), "deep/../a.jpg"], "label": ["x", "x"]})
    assert [r.image for r in drained(source.records())] == [picture(0)] * 2


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "gone.jpg"}, "gone.jpg does not exist"),
        ({"path": "deep"}, "deep is a folder"),
        ({"path": ""}, "has no path"),
        ({"path": "../x.jpg"}, "leads out of"),
        ({"path": "/etc/hostname"}, "leads out of"),
        ({"split": "dev"}, "is of split 'dev'"),
        ({"split": ""}, "is of split ''"),
        ({"label": ""}, "has no label"),
        ({"label": " nan"}, "has no label"),
    ],
)
def test_a_bad_row_is_named(root: Path, ending: str, change: dict[str, str], said: str) -> None:
    columns: Columns = {"path": NAMES, "label": ["x", "y", "z"], "split": ["train"] * 3}
    for name, cell in change.items():
        columns[name] = [columns[name][0], cell, columns[name][2]]
    message = refusal(written(root, ending, columns).records)
    assert said in message
    assert f"t{ending}, row 2" in message


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (arrow.array([1.0, float("nan"), 2.0]), "row 2 has no label"),
        (arrow.array([1.0, 2.5, 2.0]), "row 2 has the label 2.5"),
        (arrow.array(["a", None, "b"]), "row 2 has no label"),
        (arrow.array([["a"], None, []]), "row 2 has no label"),
        (arrow.array([["a"], [None], []]), "row 2 has no label"),
        (arrow.array([b"a", b"b", b"c"]), "row 1 has the label b'a'"),
    ],
)
def test_what_is_no_label_in_a_parquet_file(root: Path, column: arrow.Array, said: str) -> None:
    assert said in refusal(written(root, ".parquet", {"path": NAMES, "label": column}).records)


def test_categories_and_whole_floats_are_labels(root: Path) -> None:
    column = arrow.array(["cat", "dog", "cat"]).dictionary_encode()
    assert places(drained(written(root, ".parquet", {"path": NAMES, "label": column}).records()))[1] == ("train", "dog")
    records = drained(written(root, ".parquet", {"path": NAMES, "label": [1.0, 2.0, 1.0]}).records())
    assert places(records)[1] == ("train", "2")


def test_tables_that_cannot_be_read(root: Path) -> None:
    assert "no column 'label', did you mean 'labels'" in refusal(
        written(root, ".csv", {"path": NAMES, "labels": NAMES}).records
    )
    assert "has no rows" in refusal(written(root, ".csv", {"path": [], "label": []}).records)
    assert "data.NAME.path" in refusal(TableSource().records)
    assert "nowhere" in refusal(TableSource(path="nowhere.csv").records)
    assert "is no folder" in refusal(written(root, ".csv", {"path": NAMES, "label": NAMES}, root="nowhere").records)
    for name, content, said in (
        ("t.txt", b"", "by its ending"),
        ("t.csv", b"", "no table that can be read"),
        ("t.csv", b"path,label\na.jpg,x\na.jpg,x,y\n", "Row #3"),
        ("t.csv", b"path,label\n\xff,x\n", "UTF8"),
        ("t.csv", b"path,label,label\na.jpg,x,y\n", "two columns 'label'"),
        ("t.parquet", b"PAR1", "no table that can be read"),
    ):
        (root / name).write_bytes(content)
        assert said in refusal(TableSource(path=str(root / name)).records)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_a_parquet_file_gives_the_right_data_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Written with checksums, which only some writers do by default."""
    root = tmp_path_factory.mktemp("changed")
    (root / "a.jpg").write_bytes(picture(0))
    path = root / "t.parquet"
    columns = {"path": ["a.jpg"] * 3, "label": ["x", "y", "x"]}
    parquet.write_table(arrow.table(columns), path, write_page_checksum=True, store_schema=False)
    changed = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed if data.draw(st.booleans()) else changed[:place])
    found = accepted(TableSource(path=str(path)).records)
    if found is not None:
        assert {encoded(r) for r in found} == {picture(0)}
        assert len(found) == 3


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_a_csv_gives_data_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("changed")
    (root / "a.jpg").write_bytes(picture(0))
    text = bytearray(b'path,label,split\na.jpg,"x",train\na.jpg,y,val\n"a.jpg",x|y,test\n')
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    (root / "t.csv").write_bytes(text)
    found = accepted(TableSource(path=str(root / "t.csv"), label_separator="|").records)
    assert found is None or {encoded(record) for record in found} == {picture(0)}
