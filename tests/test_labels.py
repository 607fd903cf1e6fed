"""Labels: one per image, or several or none."""

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listed import ListedSource
from webdataset.compat import WebDataset

from data_prep.labels import in_order, resolve
from data_prep.manifest import open_index, read_manifest
from data_prep.prepare import prepare
from data_prep.sources import Record
from data_prep.verify import verify
from pipeline.errors import BadInput

NAMES = st.sampled_from("abcdef")
KINDS = st.lists(st.lists(NAMES, max_size=4, unique=True).map(tuple), min_size=1, max_size=30)


@given(KINDS)
def test_the_rarest_label_stands_for_an_image(kinds: list[tuple[str, ...]]) -> None:
    labels = resolve(np.arange(len(kinds)), list(kinds))
    counts = Counter(name for kind in kinds for name in kind)
    assert labels.classes == sorted(counts)
    assert labels.sets is not None
    for number, kind in enumerate(kinds):
        assert [labels.classes[i] for i in labels.sets.of(number)] == sorted(kind)
        rarest = min(kind, key=lambda name: (counts[name], name), default=None)
        assert labels.label[number] == (-1 if rarest is None else labels.classes.index(rarest))
    assert labels.trained(np.ones(len(kinds), dtype=bool)).tolist() == [counts[name] for name in labels.classes]


@given(st.lists(NAMES, min_size=1, max_size=30))
def test_single_labels_are_numbered_in_order_of_their_names(names: list[str]) -> None:
    kinds = list(dict.fromkeys(names))
    labels = resolve(np.array([kinds.index(name) for name in names]), list(kinds))
    assert labels.sets is None
    assert [labels.classes[i] for i in labels.label] == names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    g = np.random.default_rng(0)

    def record(i: int) -> Record:
        label = ("common", *(("odd",) if i % 2 else ()), *(("rare",) if i % 10 == 0 else ()))
        return Record("train", label if i % 7 else (), g.integers(0, 256, (8, 8, 3), dtype=np.uint8), f"{i}")

    source = ListedSource(listed=[record(i) for i in range(100)], val_share=0.1)
    return prepare(source, "m", tmp_path)[1]


def test_a_prepared_set_knows_all_labels(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.classes == ["common", "odd", "rare"]
    assert manifest.multilabel and manifest.dataset().multilabel
    index = open_index(folder, "train")
    assert index.sets is not None
    seen = Counter(tuple(index.sets.of(row).tolist()) for row in range(len(index)))
    assert set(seen) == {(), (0,), (0, 1), (0, 2)}
    for row in range(len(index)):
        labels = index.sets.of(row).tolist()
        assert index.label[row] == (labels[-1] if labels else -1)
    assert verify(folder) == 100


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_stock_webdataset_reads_several_labels(folder: Path) -> None:
    index = open_index(folder, "train")
    assert index.sets is not None
    with tarfile.open(folder / "train-00000.tar") as archive:
        assert archive.getnames()[:2] == ["000000000.png", "000000000.json"]
    stock: Any = WebDataset(str(folder / "train-00000.tar"), shardshuffle=False)
    read = [json["labels"] for (json,) in stock.decode().to_tuple("json")]
    assert read == [index.sets.of(row).tolist() for row in range(len(index))]


def test_a_label_changes_what_the_data_set_is(tmp_path: Path) -> None:
    pictures = [np.full((8, 8), level, dtype=np.uint8) for level in range(4)]
    ids = set()
    for kinds in ([("a",), ("b",), ("a", "b"), ()], [("a",), ("b",), ("b",), ()], ["a", "b", "b", "a"]):
        records = [Record("train", kind, image, "x") for kind, image in zip(kinds, pictures, strict=True)]
        ids.add(prepare(ListedSource(listed=records, name=json.dumps(kinds)), "x", tmp_path)[0].id)
    assert len(ids) == 3


def test_a_label_that_only_test_images_have_is_named(tmp_path: Path) -> None:
    pictures = [np.full((8, 8), level, dtype=np.uint8) for level in range(3)]
    records = [Record("train", ("a", "b"), pictures[0], "x"), Record("test", ("a", "c"), pictures[1], "y")]
    with pytest.raises(BadInput, match="Class 'c' has no training image"):
        prepare(ListedSource(listed=records), "x", tmp_path)


def test_classes_that_are_numbers_come_by_value() -> None:
    """So that the class of a label that is a number is that number."""
    assert in_order({str(k) for k in range(12)}) == [str(k) for k in range(12)]
    assert in_order({"10", "2", "x"}) == ["10", "2", "x"]
    assert in_order({"010", "9", "10"}) == ["9", "010", "10"]
    assert resolve(np.array([0, 1, 2]), ["10", "2", "1"]).label.tolist() == [2, 1, 0]
