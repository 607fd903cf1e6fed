"""A data set prepared elsewhere: its index comes, its shards stay."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from servers import faulty

from data_prep.prepare import prepare
from data_prep.sources import FractalSource, PreparedSource
from data_prep.verify import verify
from pipeline.data.localised import localised
from pipeline.data.reader import Reader, Reading
from pipeline.errors import BadInput

SOURCE = FractalSource(image_size=16, classes=4, per_class=60, points=256)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SOURCE, "f", tmp_path_factory.mktemp("original"))[1]


def test_from_a_folder(original: Path, tmp_path: Path) -> None:
    dataset, folder = prepare(PreparedSource(url=str(original)), "mine", tmp_path)
    assert not list(folder.glob("*.tar")) and dataset.name == "mine"
    there, here = Reader.open(original, "train"), Reader.open(folder, "train", Reading(cache_bytes=0))
    assert there.dataset.id == here.dataset.id
    assert np.array_equal(there.gather(np.arange(216))[0], here.gather(np.arange(216))[0])
    assert verify(folder) == 240
    assert prepare(PreparedSource(url=str(original)), "mine", tmp_path)[1] == folder


def test_from_a_server(original: Path, tmp_path: Path) -> None:
    served = {f"/x/{file.name}": file.read_bytes() for file in original.iterdir()}
    with faulty(objects=served) as server:
        fetch = partial(localised, tmp_path / "passing", 5.0)
        source = PreparedSource(url=f"{server.address}/x/")
        _, folder = prepare(source, "far", tmp_path / "data", localise=fetch)
        assert not server.gets("/x/train-00000.tar")
        reader = Reader.open(folder, "train", Reading(cache_bytes=0, fetch_seconds=5.0))
        expected = Reader.open(original, "train").gather(np.arange(216))
        for left, right in zip(expected, reader.gather(np.arange(216)), strict=True):
            assert np.array_equal(left, right)
        assert len(server.gets("/x/train-00000.tar")) == 1
        reader.close()
        assert verify(folder, localise=fetch) == 240


def test_what_is_no_prepared_data_set_is_one_sentence(original: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere is no prepared data set \(no dataset.json\)"):
        prepare(PreparedSource(url=str(tmp_path / "nowhere")), "x", tmp_path / "data")
    with pytest.raises(BadInput, match=r"data.NAME.url=FOLDER_OR_URL"):
        prepare(PreparedSource(), "x", tmp_path / "data")
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    (copy / "val.index.npy").write_bytes((copy / "train.index.npy").read_bytes())
    with pytest.raises(BadInput, match=r"copy/val.index.npy is damaged or does not belong"):
        prepare(PreparedSource(url=str(copy)), "x", tmp_path / "data")
    plain = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**plain, "schema": 99}))
    with pytest.raises(BadInput, match=r"copy/dataset.json was written by a newer Crossover"):
        prepare(PreparedSource(url=str(copy)), "x", tmp_path / "data")
    with pytest.raises(BadInput, match="4 classes where 5 are declared"):
        prepare(PreparedSource(url=str(original), classes=5), "x", tmp_path / "data")
    assert not list((tmp_path / "data").glob("*/dataset.json"))
