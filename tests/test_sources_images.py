import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import CIFAR, FASHION, archived, array, drained, encoded, needs, refusal
from trees import write_cifar, write_idx

from data_prep.encode import Form, encode
from data_prep.sources import ImageSource, Record, Stored
from data_prep.sources.cifar import ALLOWED


def read(path: Path) -> list[Record]:
    return drained(ImageSource(path=str(path)).records())


def refused(path: Path, **fields) -> str:
    return refusal(ImageSource(path=str(path), **fields).records)


def places(records: list[Record]) -> list[tuple[str, str]]:
    return sorted((r.split, str(r.label)) for r in records)


def test_cifar_as_torchvision_holds_it(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    archive = archived(tmp_path, tmp_path.parent / "cifar-10-python.tar.gz")
    for path in (tmp_path, folder, archive):
        records = read(path)
        assert places(records) == sorted([("train", c) for c in "aabbcc"] + [("test", c) for c in "aabbcc"])
        first = pickle.loads((folder / "data_batch_1").read_bytes())[b"data"][0]
        (image,) = [array(r) for r in records if r.origin.endswith("data_batch_1[0]")]
        assert np.array_equal(image, first.reshape(3, 32, 32).transpose(1, 2, 0))


def python2_batch(data: bytes, labels: list[int]) -> bytes:
    """The opcodes that Python 2 wrote in 2009, byte for byte the form of the published batches."""
    shape = b"K" + bytes([len(labels)]) + b"M\x00\x0c\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(data)) + data + b"tb"
    )
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + b"".join(b"K" + bytes([x]) for x in labels) + b"eu."


def test_batches_as_python_2_wrote_them(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    data = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    (folder / "data_batch_1").write_bytes(python2_batch(data.tobytes(), [2, 0]))
    first, second = (r for r in read(folder) if r.split == "train")
    assert (first.label, second.label) == ("c", "a")
    assert np.array_equal(array(first), data[0].reshape(3, 32, 32).transpose(1, 2, 0))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch HACKED",)


class Codec:
    def __reduce__(self):
        import codecs

        return codecs.encode, ("x", "rot13")


@pytest.mark.parametrize("content", [Hostile(), Codec(), {b"data": 1, b"labels": [0]}, [1]])
def test_a_hostile_or_foreign_pickle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_cifar(tmp_path)
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, 2))
    assert "not CIFAR's" in refused(folder)
    assert not Path("HACKED").exists()


def test_the_unpickler_admits_arrays_only() -> None:
    assert {name for _, name in ALLOWED} == {"_reconstruct", "ndarray", "dtype", "encode"}


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files(tmp_path: Path, zipped: bool) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", zipped)
    for path in (tmp_path, tmp_path / "FashionMNIST", tmp_path / "FashionMNIST" / "raw"):
        assert len(read(path)) == 10
        assert {r.label for r in read(path)} == {"0", "1", "2"}


def test_damaged_idx_files_are_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "raw", zipped=True)
    images = folder / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    for data in (whole[:-20], whole[:10], gzip.compress(b"\0" * 100), gzip.compress(gzip.decompress(whole)[:-5])):
        images.write_bytes(data)
        assert "train-images-idx3-ubyte" in refused(folder)
    images.unlink()
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784))
    assert "1 train images but 5 labels" in refused(folder)


def test_a_name_that_torchvision_lacks_gets_a_hint(tmp_path: Path) -> None:
    assert "did you mean 'CIFAR10'" in refused(tmp_path, download=True, torchvision="CIFAR1O")
    assert "torchvision=CLASS" in refused(tmp_path, download=True)


@needs(CIFAR)
def test_the_first_images_of_cifar_are_stored_as_they_came() -> None:
    from itertools import islice

    for record in drained(islice(ImageSource(path=str(CIFAR)).records(), 20)):
        assert encode(encoded(record), Form(Stored.square, 32, 256, 90)).data == record.image
        assert (record.split, record.label) == ("train", "airplane")


@needs(FASHION)
def test_fashion_mnist_is_read_whole() -> None:
    records = read(FASHION)
    assert len(records) == 70_000
    assert sum(r.split == "test" for r in records) == 10_000
