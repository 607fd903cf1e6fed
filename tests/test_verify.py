"""Verification: what is wrong with a prepared data set is found, and said by shard and key."""

import hashlib
import json
import random
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import shards
from data_prep.index import Index, save_index
from data_prep.manifest import SCHEMA, open_index, read_manifest
from data_prep.pack import BLOCK
from data_prep.prepare import prepare
from data_prep.sources import FractalSource
from data_prep.verify import verify
from pipeline.errors import BadInput

SOURCE = FractalSource(image_size=16, classes=6, per_class=50, points=256, test_share=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SOURCE, "f", tmp_path_factory.mktemp("verify"))[1]


def damaged(folder: Path, tmp_path: Path, name: str, change) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(change(file.read_bytes()) if file.name == name else file.read_bytes())
    return copy


def flipped(position: int):
    def change(data: bytes) -> bytes:
        place = position % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return change


def test_verify_names_the_first_bad_shard_and_key(folder: Path, tmp_path: Path) -> None:
    index = open_index(folder, "train")
    place = int(index.offset[7]) + 20
    cases = [
        (flipped(place), r"train-00000.tar, key 000000007: the image is damaged"),
        (lambda data: data[:place], r"train-00000.tar, key 000000007: the image is cut off"),
        (lambda data: data[:-1024], "no end block"),
        (flipped(int(index.offset[7]) - 500), r"key 000000007: the image has a damaged header or label"),
        (lambda data: data + bytes(512), "not the one that was indexed"),
    ]
    for number, (change, message) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(BadInput, match=message):
            verify(damaged(folder, tmp_path / str(number), "train-00000.tar", change))


@pytest.mark.parametrize("name", ["dataset.json", "train.index.npy"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_manifest_or_index_is_named(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    with pytest.raises(BadInput, match=f"copy.{name}"):
        verify(damaged(folder, tmp_path, name, lambda data: data[: int(share * len(data))]))


def test_a_flipped_bit_of_the_index_is_found(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "train.index.npy").read_bytes()
    copy = damaged(folder, tmp_path, "", lambda data: data)
    for position in range(0, len(whole), 211):
        (copy / "train.index.npy").write_bytes(flipped(position)(whole))
        with pytest.raises(BadInput, match=r"train.index.npy is (missing or )?damaged"):
            open_index(copy, "train")


def test_a_newer_schema_is_refused(folder: Path, tmp_path: Path) -> None:
    def newer(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), "schema": SCHEMA + 1, "unheard": 1}).encode()

    with pytest.raises(BadInput, match="newer Crossover"):
        read_manifest(damaged(folder, tmp_path, "dataset.json", newer))


def test_any_flipped_byte_of_a_shard_is_found_and_named_by_its_key(folder: Path, tmp_path: Path) -> None:
    """Header, image, label and padding alike."""
    whole = (folder / "val-00000.tar").read_bytes()
    copy = damaged(folder, tmp_path, "", lambda data: data)
    starts = [int(offset) - BLOCK for offset in open_index(folder, "val").offset]
    for position in random.Random(0).sample(range(len(whole) - 2 * BLOCK), 60):
        key = int(np.searchsorted(starts, position, side="right")) - 1
        (copy / "val-00000.tar").write_bytes(flipped(position)(whole))
        with pytest.raises(BadInput, match=f"val-00000.tar, key {key:09d}: the image "):
            verify(copy)


def test_an_image_that_cannot_be_decoded_is_named_though_its_digest_is_right(tmp_path: Path) -> None:
    """As after a fault of what packed it: digests are of the broken bytes."""
    made = prepare(SOURCE, "f", tmp_path)[1]
    manifest, index = read_manifest(made), open_index(made, "train")
    rows, path = np.array(index.rows), made / "train-00000.tar"
    tar = bytearray(path.read_bytes())
    for key in (30, 5):
        start = int(rows[key]["offset"])
        tar[start + 60 : start + 64] = b"\0\0\0\0"
        rows[key]["crc"] = zlib.crc32(bytes(tar[start : start + int(rows[key]["size"])]))
    path.write_bytes(tar)
    manifest.index["train"] = save_index(made, "train", Index(rows))
    manifest.shards["train"] = [shards.Shard(path.name, 240, len(tar), hashlib.sha256(tar).hexdigest())]
    manifest.save(made)
    with pytest.raises(BadInput, match=r"train-00000.tar, key 000000005: the image cannot be decoded \(.+\); delete"):
        verify(made)


def test_sizes_that_are_not_those_of_the_index_are_named(tmp_path: Path) -> None:
    made = prepare(SOURCE, "f", tmp_path)[1]
    rows = np.array(open_index(made, "train").rows)
    rows[11]["width"] = 17
    manifest = read_manifest(made)
    manifest.index["train"] = save_index(made, "train", Index(rows))
    manifest.save(made)
    with pytest.raises(BadInput, match="key 000000011: the image has 16 x 16 pixels, not those of the index"):
        verify(made)


def test_the_first_bad_one_is_named_whoever_finds_which_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_SAMPLES", 50)
    made = prepare(SOURCE, "f", tmp_path)[1]
    index = open_index(made, "train")
    for row in (210, 130, 77):
        path = made / f"train-{index.shard[row]:05d}.tar"
        path.write_bytes(flipped(int(index.offset[row]) + 40)(path.read_bytes()))

    def backwards(function: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        listed = list(jobs)
        results = [function(job) for job in reversed(listed)]
        yield from reversed(results)

    for executor in (map, backwards):
        with pytest.raises(BadInput, match=r"train-00001.tar, key 000000077"):
            verify(made, executor)


def test_a_missing_shard_is_named(folder: Path, tmp_path: Path) -> None:
    copy = damaged(folder, tmp_path, "", lambda data: data)
    (copy / "val-00000.tar").unlink()
    with pytest.raises(BadInput, match=r"val-00000.tar is missing or unreadable \(No such file"):
        verify(copy)


def test_an_index_of_another_data_set_is_found(folder: Path, tmp_path: Path) -> None:
    other = prepare(FractalSource(image_size=16, classes=6, per_class=50, points=256, seed=1), "o", tmp_path / "o")[1]
    copy = damaged(folder, tmp_path, "", lambda data: data)
    (copy / "train.index.npy").write_bytes((other / "train.index.npy").read_bytes())
    with pytest.raises(BadInput, match=r"train.index.npy is damaged or does not belong"):
        verify(copy)


def test_progress_is_told_to_the_last_image(folder: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    assert verify(folder, progress=lambda *what: told.append(what)) == 300
    assert told == [("Verifying", 240, 300), ("Verifying", 270, 300), ("Verifying", 300, 300)]
