import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.fractal import category, render
from data_prep.manifest import open_index
from data_prep.prepare import prepare
from data_prep.sources import FractalSource
from pipeline.data.reader import Reader, Reading
from pipeline.errors import BadInput

SOURCE = FractalSource(image_size=16, classes=4, per_class=60, points=256)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SOURCE, "f", tmp_path_factory.mktemp("reader"))[1]


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def test_the_images_are_those_that_were_made(folder: Path) -> None:
    """Every image of the reader is one of the generator's, with its label."""
    categories = [category(0, c, 16) for c in range(4)]
    labels = np.repeat(np.arange(4), 60)
    made = render(categories, np.tile(np.arange(60), 4), labels, 0, 16, 256)
    known = {image.tobytes(): int(label) for image, label in zip(made, labels, strict=True)}
    seen = 0
    for split in ("train", "val"):
        reader = Reader.open(folder, split)
        images, read_labels = reader.gather(np.arange(len(reader)))
        assert (images.dtype, images.shape, read_labels.dtype) == (np.uint8, (len(reader), 16, 16, 3), np.int64)
        assert [known[image.tobytes()] for image in images] == read_labels.tolist() == reader.labels.tolist()
        seen += len(images)
    assert seen == 240


@pytest.mark.parametrize("ids", [[], [0], [5, 5, 2], list(range(200, 0, -7)), [-1]])
def test_decoded_or_not_the_batches_are_equal(folder: Path, ids: list[int]) -> None:
    mapped, direct = Reader.open(folder, "train"), Reader.open(folder, "train", Reading(cache_bytes=0))
    assert len(mapped.cached) == 216 and not direct.cached
    wanted = np.array(ids, dtype=np.int64)
    for left, right in zip(mapped.gather(wanted), direct.gather(wanted), strict=True):
        assert np.array_equal(left, right)
    mapped.gather(wanted)[0][:] = 0  # a batch is the caller's to change
    assert np.array_equal(mapped.gather(wanted)[0], direct.gather(wanted)[0])
    direct.close()


def test_positions_out_of_range_raise(folder: Path) -> None:
    for cache in (0, 2**30):
        with pytest.raises(IndexError):
            Reader.open(folder, "train", Reading(cache_bytes=cache)).gather(np.array([10_000]))


def change(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("cache", [0, 2**30])
def test_a_flipped_bit_is_named(folder: Path, cache: int) -> None:
    index = open_index(folder, "train")
    change(folder / "train-00000.tar", int(index.offset[11]) + int(index.size[11]) // 2)
    with pytest.raises(BadInput, match=r"train-00000.tar has damaged bytes at key 000000011"):
        Reader.open(folder, "train", Reading(cache_bytes=cache)).gather(np.arange(40))
    assert not list(folder.parent.glob("cache/*.decoded"))
    assert len(Reader.open(folder, "val")) == 24


@pytest.mark.parametrize("decoded_before", [True, False])
def test_a_truncated_or_missing_shard_is_named(folder: Path, decoded_before: bool) -> None:
    if decoded_before:
        Reader.open(folder, "train")
    shard = folder / "train-00000.tar"
    whole, cut = shard.read_bytes(), int(open_index(folder, "train").offset[30]) + 5
    shard.write_bytes(whole[:cut])
    with pytest.raises(BadInput, match=r"train-00000.tar is cut off at key 000000030"):
        Reader.open(folder, "train")
    shard.write_bytes(whole[:-512])
    with pytest.raises(BadInput, match="cut off at its end"):
        Reader.open(folder, "train")
    shard.unlink()
    with pytest.raises(BadInput, match=r"train-00000.tar is missing"):
        Reader.open(folder, "train")


def test_what_is_not_prepared_or_empty_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no prepared data set"):
        Reader.open(tmp_path, "train")
    with pytest.raises(BadInput, match="no test images"):
        Reader.open(folder, "test")
    with pytest.raises(BadInput, match="no split 'trian'"):
        Reader.open(folder, "trian")


def test_threads_may_share_a_reader(folder: Path) -> None:
    reader = Reader.open(folder, "train", Reading(cache_bytes=0))
    expected = reader.gather(np.arange(100))[0]
    wrong: list[int] = []

    def read() -> None:
        for _ in range(5):
            wrong.append(int((reader.gather(np.arange(100))[0] != expected).sum()))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0] * 20


def test_closing_gives_the_files_back(folder: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    reader = Reader.open(folder, "train", Reading(cache_bytes=0))
    before = count()  # the mapped index has one of its own
    reader.gather(np.arange(3))
    assert count() == before + 1
    reader.close()
    assert count() == before


def test_gathering_decoded_images_has_no_loop(folder: Path) -> None:
    """A loose floor for a busy machine; above a million on a quiet one."""
    reader = Reader.open(folder, "train")
    ids = np.random.default_rng(0).integers(0, len(reader), 256)
    began = time.process_time()
    for _ in range(50):
        reader.gather(ids)
    assert 50 * 256 / (time.process_time() - began) > 100_000
