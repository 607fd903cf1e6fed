"""From records to parts: what is read where, what is skipped, what a resumed run reads again."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listed import FileImage, ListedSource, Squares
from pictures import picture

from data_prep import spool
from data_prep.make import SKIPPED
from data_prep.manifest import open_index, read_manifest
from data_prep.prepare import find, prepare
from data_prep.sources import Record
from pipeline.errors import BadInput
from pipeline.subset import OnBadSample

SKIP = OnBadSample.skip_and_count


def array(level: int) -> np.ndarray:
    return np.full((8, 8), level, dtype=np.uint8)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(-1, 255), min_size=1, max_size=40, unique=True), st.integers(1, 7), st.booleans())
def test_deferred_images_are_those_they_stand_for(
    tmp_path_factory: pytest.TempPathFactory, levels: list[int], chunk: int, mixed: bool
) -> None:
    """Read in runs of one kind, some failing, in chunks of any size."""
    good = [level for level in levels if level >= 0]
    if not good:
        return

    def image(level: int) -> Any:
        return array(level) if mixed and level % 3 == 0 else Squares(level)

    deferred = [Record("train", "x", image(level), f"{level}") for level in levels]
    plain = [Record("train", "x", array(level), f"{level}") for level in good]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "CHUNK_RECORDS", chunk)
        root = tmp_path_factory.mktemp("deferred")
        made = prepare(ListedSource(listed=deferred, on_bad_sample=SKIP, name="a"), "a", root)
    same = prepare(ListedSource(listed=plain, name="b"), "b", root)
    assert made[0].id == same[0].id
    assert read_manifest(made[1]).skipped == len(levels) - len(good)


@pytest.fixture
def photos(tmp_path: Path) -> list[Record]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02d}.jpg").write_bytes(picture(i, (8, 8)))
    return [
        Record("train", "ab"[i % 2], FileImage(folder / f"{i:02d}.jpg"), str(folder / f"{i:02d}.jpg"))
        for i in range(40)
    ]


def test_a_resumed_run_reads_only_what_is_missing(
    photos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK_RECORDS", 8)

    def two_tasks(function: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        for number, job in enumerate(jobs):
            if number == 2:
                raise KeyboardInterrupt
            yield function(job)

    source = ListedSource(listed=photos)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, "x", tmp_path / "data", map=two_tasks)
    told: list[tuple[str, int]] = []
    made = prepare(source, "x", tmp_path / "data", progress=lambda what, done, total: told.append((what, done)))
    reads = (tmp_path / "photos" / "reads").read_text().split()
    assert sorted(reads) == [f"{i:02d}.jpg" for i in range(40)]
    assert told == [("Reading", 24), ("Reading", 32), ("Reading", 40), ("Packing", 40)]
    assert made[0] == prepare(source, "x", tmp_path / "again")[0]


def test_a_bad_image_is_named_and_what_was_read_stays(
    photos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK_RECORDS", 8)
    bad = tmp_path / "photos" / "29.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:100])
    source = ListedSource(listed=photos)
    with pytest.raises(BadInput, match=r"photos/29.jpg is no readable image \(.*\): mend .*skip_and_count\."):
        prepare(source, "x", tmp_path / "data")
    bad.write_bytes(whole)
    prepare(source, "x", tmp_path / "data")
    reads = (tmp_path / "photos" / "reads").read_text().split()
    assert len(reads) == 40 + 6
    assert not list((tmp_path / "data").glob(".*"))


def test_bad_images_are_skipped_counted_and_listed_where_that_is_allowed(photos: list[Record], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "03.jpg").write_bytes(b"no image")
    (folder / "08.jpg").unlink()
    source = ListedSource(listed=photos, on_bad_sample=SKIP)
    dataset, made = prepare(source, "x", tmp_path / "data")
    assert dataset.samples == 38
    assert read_manifest(made).skipped == 2
    with (made / SKIPPED).open() as file:
        listed = list(csv.reader(file))[1:]
    assert listed == [
        [str(folder / "03.jpg"), "unknown format"],
        [str(folder / "08.jpg"), "No such file or directory"],
    ]
    assert find(source, "x", tmp_path / "data") == (dataset, made)
    with pytest.raises(BadInput, match=r"left out of .*: 2 of its images, .*data\.x\.on_bad_sample=skip_and_count"):
        find(ListedSource(listed=photos), "x", tmp_path / "data")


def test_what_was_skipped_before_is_not_forgotten_when_it_is_no_longer_allowed(
    photos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK_RECORDS", 8)
    (tmp_path / "photos" / "03.jpg").write_bytes(b"no image")

    def one_task(function: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        yield function(next(iter(jobs)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(ListedSource(listed=photos, on_bad_sample=SKIP), "x", tmp_path / "data", map=one_task)
    with pytest.raises(BadInput, match=r"03\.jpg is no readable image"):
        prepare(ListedSource(listed=photos), "x", tmp_path / "data")


def test_a_class_of_which_nothing_can_be_read_is_named(photos: list[Record], tmp_path: Path) -> None:
    records = [*photos, Record("train", "lost", b"", "lost/1.jpg")]
    with pytest.raises(BadInput, match="Class 'lost' has no training image, after those that cannot be read"):
        prepare(ListedSource(listed=records, on_bad_sample=SKIP), "x", tmp_path / "data")
    everything = [Record("train", "lost", b"", "lost/1.jpg")]
    with pytest.raises(BadInput, match="no image"):
        prepare(ListedSource(listed=everything, on_bad_sample=SKIP), "x", tmp_path / "data")


def test_work_begun_before_the_files_changed_is_removed(photos: list[Record], tmp_path: Path) -> None:
    def never(function: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    class Changed(ListedSource):
        def content(self) -> dict[str, Any]:
            return {"changed": len(self.listed)}

    for records in (photos[:10], photos):
        with pytest.raises(KeyboardInterrupt):
            prepare(Changed(listed=records), "x", tmp_path / "data", map=never)
    assert len(list((tmp_path / "data").glob(".*.partial"))) == 1
    with pytest.raises(KeyboardInterrupt):
        prepare(Changed(listed=photos, image_size=4), "x", tmp_path / "data", map=never)
    assert len(list((tmp_path / "data").glob(".*.partial"))) == 2, "other fields: still of use"


def test_the_index_holds_the_size_of_what_is_stored(photos: list[Record], tmp_path: Path) -> None:
    from data_prep.sources import Stored

    records = [Record("train", "x", picture(i, (20 + i, 30)), f"{i}") for i in range(5)]
    made = prepare(ListedSource(listed=records, stored=Stored.original), "x", tmp_path)[1]
    index = open_index(made, "train")
    assert sorted(index.rows["width"].tolist()) == [20, 21, 22, 23, 24]
    assert set(index.rows["height"].tolist()) == {30}
    ids = {
        prepare(ListedSource(listed=records, stored=stored, short_side=16, quality=quality), "x", tmp_path)[0].id
        for stored in Stored
        for quality in (50, 90)
    }
    assert len(ids) == 4, "quality is of the short side only, and part of what the data set is"


def test_a_fault_of_the_disk_is_no_fault_of_the_image(photos: list[Record], tmp_path: Path) -> None:
    """It is not skipped, and what was read stays."""

    class Faulty(FileImage):
        def read(self) -> bytes:
            raise OSError(5, "Input/output error", str(self.path))

    records = [*photos[:300], Record("train", "a", Faulty(tmp_path / "photos" / "00.jpg"), "here")]
    with pytest.raises(BadInput, match=r"photos/00\.jpg cannot be read or written \(Input/output error\).*continues"):
        prepare(ListedSource(listed=records, on_bad_sample=SKIP), "x", tmp_path / "data")
    assert list((tmp_path / "data").glob(".*.partial"))


def test_a_damaged_part_is_made_again(photos: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a power cut may leave it: image bytes lost, or its table."""
    for place in (20, -20):
        source, root = ListedSource(listed=photos), tmp_path / str(place)

        def cut(function: Any, jobs: Iterable[Any], place: int = place, root: Path = root) -> Iterator[Any]:
            yield from map(function, jobs)
            (part,) = root.rglob("*.part")
            data = bytearray(part.read_bytes())
            data[place : place + 4] = bytes(4)
            part.write_bytes(data)

        with pytest.raises(BadInput, match=r"\.part was damaged on the disk.*run the same command again"):
            prepare(source, "x", root, map=cut)
        prepare(source, "x", root)
