"""Procedural sets that are drawn when they are read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.fractal import draw
from data_prep.index import Index, save_index
from data_prep.manifest import open_index, read_manifest
from data_prep.prepare import prepare
from data_prep.sources import FractalSource
from data_prep.verify import verify
from pipeline.data.reader import Reader, Reading
from pipeline.errors import BadInput

SOURCE = FractalSource(image_size=16, classes=6, per_class=50, points=256, test_share=0.1, virtual=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SOURCE, "f", tmp_path_factory.mktemp("virtual"))[1]


def test_it_has_an_index_and_no_shards(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.counts == {"train": 240, "val": 30, "test": 30}
    assert not any(manifest.shards.values())
    assert manifest.dataset().samples == SOURCE.facts("f").samples
    assert sorted(f.name for f in folder.iterdir()) == [
        *("dataset.json", "test.index.npy", "train.index.npy", "val.index.npy")
    ]
    assert verify(folder) == 300


def test_a_split_may_be_empty(tmp_path: Path) -> None:
    assert verify(prepare(replace(SOURCE, val_share=0.0, test_share=0.0), "f", tmp_path)[1]) == 300


def test_it_holds_every_image_once_in_proportional_prefixes(folder: Path) -> None:
    places = [
        (int(row["label"]), int(row["offset"]))
        for split in ("train", "val", "test")
        for row in open_index(folder, split).rows
    ]
    assert sorted(places) == [(label, instance) for label in range(6) for instance in range(50)]
    index = open_index(folder, "train")
    assert np.bincount(index.label[:60]).tolist() == [10] * 6


def test_its_images_are_those_of_the_files(folder: Path, tmp_path: Path) -> None:
    """The same ones are drawn, whether now or when they are read; which are held out differs, as the hashes do."""
    import io

    from PIL import Image

    stored = prepare(replace(SOURCE, virtual=False, val_share=0.0, test_share=0.0), "f", tmp_path)[1]
    tar = (stored / "train-00000.tar").read_bytes()
    rows = open_index(stored, "train").rows
    files = {
        Image.open(io.BytesIO(tar[start : start + size])).tobytes()
        for start, size in zip(rows["offset"].tolist(), rows["size"].tolist(), strict=True)
    }
    index = open_index(folder, "train")
    drawn = draw(read_manifest(folder).virtual, index.label, index.offset)
    assert {image.tobytes() for image in drawn} <= files


def test_verify_finds_an_entry_that_is_not_its_image(tmp_path: Path) -> None:
    made = prepare(SOURCE, "f", tmp_path)[1]
    manifest = read_manifest(made)
    rows = np.array(open_index(made, "train").rows)
    rows[17]["offset"] += 1
    manifest.index["train"] = save_index(made, "train", Index(rows))
    manifest.save(made)
    with pytest.raises(BadInput, match="train, position 17: the entry is not that of the image"):
        verify(made)


def test_a_virtual_set_is_another_than_the_stored_one_and_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    assert prepare(replace(SOURCE, virtual=False), "f", tmp_path)[0].id != read_manifest(folder).dataset_id()
    with pytest.raises(BadInput, match=r"data\.f\.virtual=false"):
        prepare(replace(SOURCE, distinct_from=["x"]), "f", tmp_path, against={"x": prepare(SOURCE, "f", tmp_path)})


@pytest.mark.parametrize("cache", [0, 2**30])
def test_a_reader_draws_the_images_that_files_would_hold(folder: Path, tmp_path: Path, cache: int) -> None:
    packed = prepare(replace(SOURCE, virtual=False), "f", tmp_path)[1]
    drawn = Reader.open(folder, "train", Reading(cache_bytes=cache))
    assert bool(drawn.cached) is bool(cache)
    images, labels = drawn.gather(np.arange(240))
    assert np.bincount(labels).tolist() == [40] * 6
    known = {
        image.tobytes()
        for split in ("train", "val", "test")
        for image in Reader.open(packed, split).gather(np.arange(len(open_index(packed, split))))[0]
    }
    assert {image.tobytes() for image in images} <= known and len({image.tobytes() for image in images}) == 240
    assert np.array_equal(drawn.gather(np.array([7, 3]))[0], images[[7, 3]])
