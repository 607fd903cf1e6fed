"""Images of varied size, several labels, and images that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
import varied

from data_prep.index import LabelSets
from data_prep.manifest import open_index
from pipeline.data.datamodule import Batches
from pipeline.data.decoders import decoder, installed
from pipeline.data.reader import Reader, Reading
from pipeline.errors import BadInput
from pipeline.placement import Backend
from pipeline.subset import OnBadSample, Subset

SKIP = OnBadSample.skip_and_count
S = varied.SIDE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    varied.write(tmp_path / "data" / "pictures")
    return tmp_path / "data" / "pictures"


def reading(cache: bool = True, skip: bool = False, backend: Backend = Backend.pillow) -> Reading:
    return Reading(backend, None, 2**30 if cache else 0, SKIP if skip else OnBadSample.fail)


def change(path: Path, position: int, data: bytes = b"\0") -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(data)


def damage(folder: Path, *rows: int) -> None:
    index = open_index(folder, "train")
    for row in rows:
        change(folder / f"train-{index.shard[row]:05d}.tar", int(index.offset[row]) + 20, b"\1\2\3")


def psnr(left: np.ndarray, right: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.square(left.astype(float) - right).mean())))


@pytest.mark.parametrize("backend", list(Backend))
@pytest.mark.parametrize("cache", [True, False])
def test_the_middle_of_every_picture_is_given(tmp_path: Path, backend: Backend, cache: bool) -> None:
    if not installed(backend):
        pytest.skip(f"{backend.value} is not installed")
    images = varied.write(tmp_path / "x", form="PNG")
    reader = Reader.open(tmp_path / "x", "train", reading(cache, backend=backend))
    assert bool(reader.cached) is cache
    given, labels = reader.gather(np.arange(40))
    assert given.shape == (40, S, S, 3) and labels.tolist() == [k % 3 for k in range(40)]
    for image, got in zip(images, given, strict=True):
        side = round(0.875 * min(image.size))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        cut = image.resize((S, S), 2, box=(left, top, left + side, top + side))
        assert psnr(np.asarray(cut), got) > (30 if backend is not Backend.pillow else 90)


@pytest.mark.parametrize("backend", list(Backend))
def test_cached_or_not_threads_or_not_the_batches_are_equal(folder: Path, backend: Backend) -> None:
    if not installed(backend):
        pytest.skip(f"{backend.value} is not installed")
    cached, direct = (Reader.open(folder, "train", reading(cache, backend=backend)) for cache in (True, False))
    subset = Subset(cached.dataset.id, 30)
    plain = list(Batches(direct, subset, 0, 16, 0, 6, crop_area=0.1))
    for reader, threads in ((cached, 1), (direct, 3), (cached, 2)):
        for left, right in zip(plain, Batches(reader, subset, 0, 16, 0, 6, 0, 0, 1, 0.1, threads), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    later = list(Batches(direct, subset, 0, 16, 3, 6, 0, 1, 2, 0.1))
    assert torch.equal(later[0][0], plain[3][0][8:])


def test_every_visit_cuts_another_box(folder: Path) -> None:
    reader = Reader.open(folder, "train")
    batches = Batches(reader, Subset(reader.dataset.id, 1), 0, 8, 0, 1, crop_area=0.1)
    assert len({image.numpy().tobytes() for image in batches.batch(0)[0]}) > 5
    still = Batches(reader, Subset(reader.dataset.id, 1), 0, 8, 0, 1).batch(0)[0]
    assert all(torch.equal(still[0], image) for image in still)


def test_several_labels_are_marks(tmp_path: Path) -> None:
    sets = LabelSets.collect([np.arange(k % 4) % 3 for k in range(40)])
    varied.write(tmp_path / "x", sets=sets)
    reader = Reader.open(tmp_path / "x", "train")
    _, labels, _ = Batches(reader, Subset(reader.dataset.id, 40), 0, 40, 0, 1).batch(0)
    assert labels.dtype == torch.float32 and sorted(labels.sum(1).tolist()) == sorted(k % 4 for k in range(40))
    assert reader.labels[2].tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("cache", [True, False])
def test_a_bad_picture_is_named(folder: Path, cache: bool) -> None:
    damage(folder, 25)
    with pytest.raises(BadInput, match=r"train-00001.tar has damaged bytes at key 000000025"):
        Reader.open(folder, "train", reading(cache)).gather(np.arange(40))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("cache", [True, False])
def test_or_left_out_and_counted(folder: Path, cache: bool, threads: int) -> None:
    whole = Reader.open(folder, "train", reading(False)).gather(np.arange(40))
    damage(folder, 5, 6, 39)
    reader = Reader.open(folder, "train", reading(cache, skip=True))
    images, labels = reader.gather(np.arange(40))
    expected = np.arange(40)
    expected[[5, 6, 39]] = [7, 7, 0]
    assert np.array_equal(images, whole[0][expected]) and np.array_equal(labels, whole[1][expected])
    assert reader.replaced == {5: 7, 6: 7, 39: 0} and reader.bad_samples == 3
    again = Reader.open(folder, "train", reading(cache, skip=True))
    batches = list(Batches(again, Subset(reader.dataset.id, 40), 0, 20, 0, 2, threads=threads))
    assert again.bad_samples == 3
    seen = np.concatenate([labels.numpy() for _, labels, _ in batches])
    assert np.bincount(seen).tolist() == np.bincount(whole[1][expected]).tolist()


def test_nothing_readable_at_all_is_still_a_sentence(tmp_path: Path) -> None:
    varied.write(tmp_path / "x", count=4)
    damage(tmp_path / "x", 0, 1, 2, 3)
    with pytest.raises(BadInput, match="damaged bytes"):
        Reader.open(tmp_path / "x", "train", reading(False, skip=True)).gather(np.arange(4))


def test_a_wrong_index_is_named(folder: Path) -> None:
    reader = Reader.open(folder, "train", reading(False))
    rows = np.array(reader.index.rows)
    rows["width"][3] += 1
    reader.images.index.rows = rows  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match=r"key 000000003: the image is .* in the index"):
        reader.gather(np.arange(5))


def test_a_decoder_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"placement.decoder=simplejpeg needs simplejpeg"):
        decoder(Backend.simplejpeg)
