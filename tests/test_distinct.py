"""Copies of downstream test images are left out of an upstream set, and listed."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listed import ListedSource
from PIL import Image, ImageOps
from test_dedup import texture

from data_prep import distinct, spool
from data_prep.dedup import SIMILAR
from data_prep.distinct import COPIES
from data_prep.manifest import open_index, read_manifest
from data_prep.prepare import Prepared, find, prepare
from data_prep.sources import Record, Stored
from data_prep.verify import verify
from pipeline.errors import BadInput

SIZE = 64


def records(seeds: range, split: str, prefix: str) -> list[Record]:
    return [Record(split, "ab"[s % 2], texture(s, SIZE), f"{prefix}{s}") for s in seeds]


@pytest.fixture(scope="module")
def downstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    root = tmp_path_factory.mktemp("downstream")
    pets = records(range(100, 140), "test", "p") + records(range(200, 210), "train", "p")
    cars = records(range(300, 340), "test", "c") + records(range(400, 410), "train", "c")
    return {
        "pets": prepare(ListedSource(image_size=SIZE, listed=pets), "pets", root),
        "cars": prepare(ListedSource(image_size=SIZE, listed=cars, name="cars"), "cars", root),
    }


def upstream(**fields: Any) -> ListedSource:
    """200 images of its own, and copies: of test images, in each split, and of training images, which may stay."""
    listed = records(range(1000, 1200), "train", "own")
    mirrored = np.asarray(ImageOps.mirror(Image.fromarray(texture(103, SIZE))))
    smaller = np.asarray(Image.fromarray(texture(305, SIZE)).resize((48, 48)))
    listed += [
        Record("train", "a", texture(100, SIZE), "copy of pets 100"),
        Record("val", "a", mirrored, "mirror image of pets 103"),
        Record("train", "b", smaller, "smaller cars 305"),
        Record("test", "b", texture(110, SIZE), "in its own test split"),
        Record("train", "b", texture(205, SIZE), "of a training image"),
        *records(range(1200, 1204), "val", "own"),
    ]
    return ListedSource(
        image_size=SIZE, listed=listed, distinct_from=["pets", "cars"], name="up", stored=Stored.original, **fields
    )


def test_copies_are_left_out_and_listed(
    downstream: dict[str, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK_RECORDS", 30)
    monkeypatch.setattr(distinct, "BLOCK", 64)
    told: list[tuple[str, int, int | None]] = []
    dataset, made = prepare(upstream(), "up", tmp_path, progress=lambda *what: told.append(what), against=downstream)
    assert (dataset.samples, dataset.val_samples, dataset.test_samples) == (201, 4, 1)
    with (made / COPIES).open() as file:
        rows = list(csv.DictReader(file))
    found = {row["upstream"]: row for row in rows}
    assert set(found) == {"copy of pets 100", "mirror image of pets 103", "smaller cars 305"}
    assert [found[origin]["data set"] for origin in sorted(found)] == ["pets", "pets", "cars"]
    assert [found[origin]["mirrored"] for origin in sorted(found)] == ["False", "True", "False"]
    assert all(SIMILAR <= float(row["similarity"]) <= 1 for row in rows)
    key = int(found["copy of pets 100"]["test key"])
    pets = open_index(downstream["pets"][1], "test")
    assert pets.content[key] == content_of(100)
    dedup = read_manifest(made).dedup
    assert dedup["against"] == {name: dataset.id for name, (dataset, _) in downstream.items()}
    assert (dedup["removed"], dedup["similar"]) == (3, SIMILAR)
    assert [one for one in told if one[0] == "Comparing"][-1] == ("Comparing", 418, 418)
    assert verify(made) == 206


def content_of(seed: int) -> int:
    from data_prep.encode import Form, encode

    return encode(texture(seed, SIZE), Form(Stored.square, SIZE, 1, 90)).content


def test_another_test_split_is_another_upstream_set(downstream: dict[str, Prepared], tmp_path: Path) -> None:
    source = upstream()
    made = prepare(source, "up", tmp_path, against=downstream)
    assert find(source, "up", tmp_path, downstream) == made
    assert find(source, "up", tmp_path) is None
    other = records(range(500, 520), "test", "o") + records(range(600, 604), "train", "o")
    changed = {**downstream, "cars": prepare(ListedSource(image_size=SIZE, listed=other, name="o"), "cars", tmp_path)}
    assert find(source, "up", tmp_path, changed) is None


def test_a_data_set_without_test_images_cannot_be_kept_distinct_from(tmp_path: Path) -> None:
    plain = prepare(ListedSource(image_size=SIZE, listed=records(range(4), "train", "x")), "x", tmp_path)
    source = ListedSource(image_size=SIZE, listed=records(range(9), "train", "y"), distinct_from=["x"], name="y")
    with pytest.raises(BadInput, match="distinct_from names 'x', which has no stored test images"):
        prepare(source, "y", tmp_path, against={"x": plain})
