"""Archives that somebody else packed, as a data set where they lie."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listed import ListedSource
from pictures import picture
from test_dedup import texture

from data_prep.manifest import open_index, read_manifest
from data_prep.prepare import find, prepare
from data_prep.sources import Order, Record, Stored, WebdatasetSource
from data_prep.verify import verify
from pipeline.data.reader import Reader
from pipeline.errors import BadInput

CLASSES = ("cat", "dog", "eel")


def write(path: Path, images: dict[str, tuple[bytes, str]]) -> None:
    """Of key: image and label; GNU or PAX as tarfile likes, with times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, (image, label) in images.items():
            for name, data in ((f"{key}.jpg", image), (f"{key}.cls", label.encode())):
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(data), 1.5
                archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    for number in range(4):
        images = {f"{number}/{i:03d}": (picture(100 * number + i, (40 + i, 36)), CLASSES[i % 3]) for i in range(30)}
        write(folder / f"train-{number}.tar", images)
    write(folder / "held" / "test-0.tar", {f"t{i}": (picture(900 + i, (40, 36)), CLASSES[i % 3]) for i in range(9)})
    return folder


def source_of(archives: Path, **fields: Any) -> WebdatasetSource:
    test = str(archives / "held")
    return WebdatasetSource(train=str(archives / "train-*.tar"), test=test, image_size=32, **fields)


def test_they_are_indexed_where_they_lie(archives: Path, tmp_path: Path) -> None:
    source = source_of(archives)
    dataset, made = prepare(source, "w", tmp_path / "data")
    assert (dataset.samples, dataset.val_samples, dataset.test_samples, dataset.classes) == (108, 12, 9, 3)
    manifest = read_manifest(made)
    assert manifest.base == str(archives)
    assert [shard.name for shard in manifest.shards["train"]] == [f"train-{k}.tar" for k in range(4)]
    assert [shard.name for shard in manifest.shards["test"]] == ["held/test-0.tar"]
    assert sum(shard.samples for shard in manifest.shards["train"]) == 108
    assert manifest.stored == Stored.original.value
    assert sorted(file.name for file in made.iterdir()) == [
        *("dataset.json", "test.index.npy", "train.index.npy", "val.index.npy")
    ]
    index = open_index(made, "train")
    for row in (0, 50, 107):
        tar = (archives / manifest.shards["train"][index.shard[row]].name).read_bytes()
        start, size = int(index.offset[row]), int(index.size[row])
        assert tar[start : start + 2] == b"\xff\xd8" and tar[start + size - 2 : start + size] == b"\xff\xd9"
    assert np.bincount(index.label[:9]).tolist() == [3, 3, 3]
    assert verify(made) == 129
    assert find(source, "w", tmp_path / "data") == (dataset, made)


def test_readers_read_them(archives: Path, tmp_path: Path) -> None:
    made = prepare(source_of(archives), "w", tmp_path / "data")[1]
    reader = Reader.open(made, "val")
    assert len(reader) == 12


def test_the_order_of_the_source_keeps_archives_one_after_another(archives: Path, tmp_path: Path) -> None:
    made = prepare(source_of(archives, order=Order.source, val_share=0.0), "w", tmp_path / "data")[1]
    index = open_index(made, "train")
    assert index.shard.tolist() == sorted(index.shard.tolist())
    assert all((np.diff(index.offset[index.shard == k].astype(int)) > 0).all() for k in range(4))


def test_squares_of_the_right_size_are_known_as_such(tmp_path: Path) -> None:
    write(tmp_path / "x.tar", {f"{i}": (picture(i), CLASSES[i % 3]) for i in range(9)})
    source = WebdatasetSource(train=str(tmp_path / "x.tar"), val_share=0.0)
    assert read_manifest(prepare(source, "w", tmp_path / "data")[1]).stored == Stored.square.value


def test_a_killed_run_goes_on_and_a_bad_archive_costs_only_itself(archives: Path, tmp_path: Path) -> None:
    source, root = source_of(archives), tmp_path / "data"
    whole = (archives / "train-2.tar").read_bytes()
    (archives / "train-2.tar").write_bytes(whole[: len(whole) // 2])

    def counted(function: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        for job in jobs:
            counts.append(job)
            yield function(job)

    for _ in range(2):
        counts: list[Any] = []
        with pytest.raises(BadInput, match=r"train-2\.tar, after key .*cut off"):
            prepare(source, "w", root, map=counted)
    assert len(list(root.rglob("*.part"))) == 2
    (archives / "train-2.tar").write_bytes(whole)
    prepare(source, "w", root)
    assert not list(root.glob(".*"))


@pytest.mark.parametrize("place", [600, -3])
def test_verify_names_archive_and_key(archives: Path, tmp_path: Path, place: int) -> None:
    made = prepare(source_of(archives), "w", tmp_path / "data")[1]
    path = archives / "train-1.tar"
    data = bytearray(path.read_bytes())
    if place < 0:
        path.write_bytes(data[:place])
        with pytest.raises(BadInput, match=r"train-1\.tar has no end block"):
            verify(made)
        return
    start = data.index(b"\xff\xd8", 20_000) + place
    data[start] ^= 255
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"archives/train-1\.tar, key 1/\d{3}: the image is damaged"):
        verify(made)


def test_what_cannot_be_done_in_place_is_said(archives: Path) -> None:
    with pytest.raises(BadInput, match=r"indexed in place are stored as they are: leave out data\.\*\.stored"):
        source_of(archives, stored=Stored.short_side)


def test_copies_of_test_images_are_left_out_of_them(tmp_path: Path) -> None:
    from data_prep.encode import Form, encode

    def jpeg(seed: int) -> bytes:
        return encode(texture(seed), Form(Stored.short_side, 64, 64, 95)).data

    test = [Record("test", "a", texture(s), f"{s}") for s in range(20)]
    down = prepare(ListedSource(image_size=64, listed=[*test, Record("train", "a", texture(99), "x")]), "d", tmp_path)
    write(tmp_path / "up" / "a.tar", {f"k{s}": (jpeg(s), "a") for s in range(100, 140)})
    write(tmp_path / "up" / "b.tar", {f"k{s}": (jpeg(s), "a") for s in (5, 200, 11, 201)})
    source = WebdatasetSource(train=str(tmp_path / "up"), image_size=64, distinct_from=["d"], val_share=0.0)
    dataset, made = prepare(source, "u", tmp_path, against={"d": down})
    assert dataset.samples == 42
    listed = (made / "duplicates.csv").read_text().splitlines()[1:]
    assert [line.split(",")[:2] for line in listed] == [[f"{tmp_path}/up/b.tar: k{s}", "d"] for s in (5, 11)]
    assert verify(made) == 42
