import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import accepted, array, drained, refusal

from data_prep.sources import ArraySource, Record
from data_prep.sources.arrays import ArrayRow

Arrays = dict[str, np.ndarray]
KINDS = ["folder", "npz", "compressed"]


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def written(root: Path, arrays: dict[str, Any], kind: str = "npz") -> ArraySource:
    path = root / ("arrays" if kind == "folder" else "x.npz")
    if kind == "folder":
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
    else:
        (np.savez_compressed if kind == "compressed" else np.savez)(path, **arrays)
    return ArraySource(path=str(path))


def places(records: list[Record]) -> list[tuple[str, str | tuple[str, ...]]]:
    return [(r.split, r.label) for r in records]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
def test_rows_are_the_images(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    images = pixels(5, *shape)
    source = written(tmp_path, {"images": images, "labels": np.array([0, 1, 2, 1, 10])}, kind)
    deferred = [isinstance(record.image, ArrayRow) for record in source.records()]
    assert deferred == [kind != "compressed"] * 5
    records = drained(source.records())
    assert places(records) == [("train", label) for label in ("00", "01", "02", "01", "10")]
    for record, image in zip(records, images, strict=True):
        assert np.array_equal(array(record), image[..., 0] if shape[-1] == 1 else image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["x_{}|y_{}", "{}_images|{}_labels"])
def test_arrays_by_split(tmp_path: Path, kind: str, form: str) -> None:
    images, labels = form.split("|")
    arrays = {"class_names": np.array(["cat", "dog"])}
    for number, split in enumerate(("test", "train", "val")):
        arrays[images.format(split)] = pixels(2, 4, 4, seed=number)
        arrays[labels.format(split)] = np.array([[0], [1]], np.uint8)
    records = drained(written(tmp_path, arrays, kind).records())
    assert places(records) == [(split, name) for split in ("train", "val", "test") for name in ("cat", "dog")]
    assert np.array_equal(array(records[0]), pixels(2, 4, 4, seed=1)[0])


def test_a_split_for_every_image(tmp_path: Path) -> None:
    splits = np.array(["train", "Validation", "test"])
    arrays = {"images": pixels(3, 4, 4), "labels": np.array(["a", "b", "a"]), "split": splits}
    assert places(drained(written(tmp_path, arrays).records())) == [("train", "a"), ("val", "b"), ("test", "a")]


@pytest.mark.parametrize("kind", KINDS)
def test_sixteen_bits_and_floats_are_converted_as_stated(tmp_path: Path, kind: str) -> None:
    wide = np.array([[[0, 65535], [257, 128]], [[129, 32768], [65406, 65407]]], np.uint16)
    expected = np.array([[[0, 255], [1, 0]], [[1, 128], [254, 255]]], np.uint8)
    for number, images in enumerate((wide, wide.astype(">u2"), wide / 65535.0, (wide / 65535.0).astype(np.float32))):
        (tmp_path / str(number)).mkdir()
        source = written(tmp_path / str(number), {"images": images, "labels": np.arange(2)}, kind)
        found = np.stack([array(record) for record in drained(source.records())])
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([[1, 0, 1], [0, 0, 0], [0, 1, 0]], None, [("0", "2"), (), ("1",)]),
        ([[1, 0, 1], [0, 0, 0], [0, 1, 0]], ["a", "b", "c"], [("a", "c"), (), ("b",)]),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], None, ["2", "0", "1"]),
        ([2.0, 0.0, 1.0], None, ["2", "0", "1"]),
        ([b"x", b"y", b"x"], None, ["x", "y", "x"]),
        ([True, False, True], ["no", "yes"], ["yes", "no", "yes"]),
    ],
)
def test_labels(tmp_path: Path, labels: list[Any], names: list[str] | None, expected: list[Any]) -> None:
    arrays = {"images": pixels(3, 4, 4), "labels": np.array(labels)}
    if names:
        arrays["class_names"] = np.array(names)
    assert [r.label for r in drained(written(tmp_path, arrays).records())] == expected


IMAGES, LABELS = pixels(3, 4, 5, 3), np.arange(3)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": pixels(3, 3, 8, 8), "labels": LABELS}, "channels first"),
        ({"images": pixels(3, 1, 8, 8), "labels": LABELS}, "channels first"),
        ({"images": pixels(3, 8, 8, 5), "labels": LABELS}, "(3, 8, 8, 5)"),
        ({"images": pixels(3, 64), "labels": LABELS}, "(3, 64)"),
        ({"images": pixels(0, 4, 4), "labels": LABELS[:0]}, "(0, 4, 4)"),
        ({"images": np.zeros((3, 4, 4), np.int64), "labels": LABELS}, "of int64"),
        ({"images": np.zeros((3, 4, 4), bool), "labels": LABELS}, "of bool"),
        ({"images": np.full((3, 4, 4), 255.0), "labels": LABELS}, "images[0] holds 255 to 255"),
        ({"images": np.full((3, 4, 4), np.nan), "labels": LABELS}, "images[0] holds nan"),
        ({"images": np.asfortranarray(pixels(3, 4, 4)), "labels": LABELS}, "Fortran order"),
        ({"images": IMAGES}, "no labels"),
        ({"x_train": IMAGES}, "no y_train"),
        ({"pictures": IMAGES, "labels": LABELS}, "its arrays are labels, pictures"),
        ({"images": IMAGES, "labels": np.arange(4)}, "(4,)"),
        ({"images": IMAGES, "labels": np.array(2)}, "()"),
        ({"images": IMAGES, "labels": LABELS - 1}, "whole numbers from 0 on"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "whole numbers from 0 on"),
        ({"images": IMAGES, "labels": np.array([0, np.nan, 1])}, "whole numbers from 0 on"),
        ({"images": IMAGES, "labels": np.array(["a", "", "b"])}, "a label is empty"),
        ({"images": IMAGES, "labels": np.full((3, 2), 2)}, "zeros and ones"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a", "b"])}, "2 different names where 3"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.arange(3)}, "where one of text"),
        ({"images": IMAGES, "labels": LABELS, "split": np.array(["train"])}, "1 in split"),
        ({"images": IMAGES, "labels": LABELS, "split": np.array(["train", "dev", "x"])}, "split[1] is 'dev'"),
        ({"images": IMAGES, "labels": np.array([1, "a", None], object)}, "unpickling"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_will_not_do_are_one_sentence(tmp_path: Path, kind: str, arrays: Arrays, said: str) -> None:
    assert said in refusal(written(tmp_path, arrays, kind).records)


def test_a_hostile_pickle_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    class Hostile:
        def __reduce__(self):
            return os.system, ("touch HACKED",)

    monkeypatch.chdir(tmp_path)
    source = written(tmp_path, {"images": IMAGES, "labels": np.array([Hostile()] * 3, object)}, "folder")
    assert "unpickling" in refusal(source.records)
    (tmp_path / "arrays" / "labels.npy").write_bytes(pickle.dumps(Hostile()))
    assert "labels.npy" in refusal(source.records)
    assert not Path("HACKED").exists()


def test_what_is_no_file_of_arrays(tmp_path: Path) -> None:
    assert "data.NAME.path" in refusal(ArraySource().records)
    assert "nowhere" in refusal(ArraySource(path="nowhere.npz").records)
    np.save(tmp_path / "images.npy", IMAGES)
    assert "is one array" in refusal(ArraySource(path=str(tmp_path / "images.npy")).records)
    (tmp_path / "x.npz").write_bytes(b"no zip")
    assert "x.npz holds no arrays" in refusal(ArraySource(path=str(tmp_path / "x.npz")).records)
    (tmp_path / "empty").mkdir()
    assert "its arrays are none" in refusal(ArraySource(path=str(tmp_path / "empty")).records)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path, {"images": IMAGES, "labels": LABELS}, "folder")
    path = tmp_path / "arrays" / "images.npy"
    whole = path.read_bytes()
    for data in (whole[:-1], whole[:70], whole[:5], b"", whole + b"x"):
        path.write_bytes(data)
        assert "images.npy" in refusal(source.records)


@settings(max_examples=120, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["npz", "compressed"]))
def test_any_changed_byte_of_an_npz_gives_the_right_data_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str
) -> None:
    root = tmp_path_factory.mktemp("changed")
    source = written(root, {"images": IMAGES, "labels": LABELS}, kind)
    changed = bytearray((root / "x.npz").read_bytes())
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    (root / "x.npz").write_bytes(changed if data.draw(st.booleans()) else changed[:place])
    found = accepted(source.records)
    if found is not None:
        assert places(found) == [("train", str(i)) for i in range(3)]
        assert all(np.array_equal(array(r), image) for r, image in zip(found, IMAGES, strict=True))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_an_npy_gives_data_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """An .npy has no checksum, so values may differ; but nothing else may happen."""
    source = written(tmp_path_factory.mktemp("changed"), {"images": IMAGES, "labels": np.array(list("abc"))}, "folder")
    path = Path(source.path) / data.draw(st.sampled_from(["images.npy", "labels.npy"]))
    changed = bytearray(path.read_bytes())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    found = accepted(source.records)
    assert found is None or len(found) == 3
