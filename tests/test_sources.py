import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import CIFAR, FASHION, archived, class_folder, needs, picture

from data_prep.encode import Form, encode
from data_prep.prepare import prepare
from data_prep.sources import DeclaredSource, DigitsSource, FractalSource, ImageSource, Record, Source, Stored
from data_prep.sources.cifar import ALLOWED
from pipeline.errors import BadInput


def read(path: Path, **fields) -> list[Record]:
    return list(ImageSource(path=str(path), **fields).records())


def places(records: list[Record]) -> list[tuple[str, Any]]:
    return sorted((r.split, r.label) for r in records)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "images", {"train/cat": 3, "train/dog": 2, "test/cat": 1, "test/dog": 1})


EXPECTED = [("test", "cat"), ("test", "dog"), *[("train", "cat")] * 3, *[("train", "dog")] * 2]


def test_a_folder_and_its_archives_hold_the_same_images(folder: Path, tmp_path: Path) -> None:
    paths = [folder, *(archived(folder, tmp_path / f"x.tar{end}", f"w:{end.strip('.')}") for end in ("", ".gz", ".xz"))]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    for path in (*paths, tmp_path / "x.zip"):
        records = read(path)
        assert places(records) == EXPECTED
        assert {r.image for r in records} == {r.image for r in read(folder)}  # type: ignore[misc]


def test_class_folders_without_splits_are_for_training(tmp_path: Path) -> None:
    assert places(read(class_folder(tmp_path / "x", {"cat": 1, "dog": 1}))) == [("train", "cat"), ("train", "dog")]


def test_linked_class_folders_are_followed_once(folder: Path) -> None:
    (folder / "train" / "again").symlink_to(folder, target_is_directory=True)
    assert places(read(folder)) == EXPECTED


def refusal(path: Path, **fields) -> str:
    with pytest.raises(BadInput) as caught:
        read(path, **fields)
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message


def test_what_is_missing_or_misplaced_is_named(folder: Path, tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"data\.NAME\.path"):
        ImageSource().records()
    (tmp_path / "empty").mkdir()
    assert "holds no image" in refusal(tmp_path / "empty")
    (folder / "train" / "bird").mkdir()
    assert "train/bird" in refusal(folder)
    (folder / "train" / "bird").rmdir()
    (folder / "loose.jpg").write_bytes(picture(0))
    assert "loose.jpg" in refusal(folder)
    (tmp_path / "text.tar").write_text("no archive")
    assert "text.tar" in refusal(tmp_path / "text.tar")


def test_an_empty_class_in_an_archive_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "bird").mkdir()
    assert "train/bird" in refusal(archived(folder, tmp_path / "x.tar.gz"))


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.01, 0.95))
def test_a_truncated_archive_is_refused(tmp_path_factory: pytest.TempPathFactory, mode: str, share: float) -> None:
    """Wherever it is cut, at the edge of a member too; the padding after a tar's end block may go."""
    root = tmp_path_factory.mktemp("cut")
    whole = archived(class_folder(root / "x", {"a": 3, "b": 3}), root / "x.tar", mode).read_bytes()
    ends = len(whole.rstrip(b"\0")) if mode == "w:" else len(whole)
    cut = int(share * ends)
    for length in (cut, cut - cut % 512):
        (root / "cut.tar").write_bytes(whole[:length])
        refusal(root / "cut.tar")


@pytest.mark.parametrize("layout", ["class folders", "cifar"])
def test_one_flipped_byte_of_a_gzipped_archive_is_refused(tmp_path: Path, layout: str) -> None:
    """Stored, not deflated, so that the archive opens and only the checksum at its end knows."""
    if layout == "cifar":
        folder = write_cifar(tmp_path)
        path = tmp_path / "cifar-10-python.tar.gz"
    else:
        folder = class_folder(tmp_path / "folder", {"a": 6, "b": 6})
        path = tmp_path / "flipped.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        archive.add(folder, folder.name)
    assert list(ImageSource(path=str(path)).records())
    data = bytearray(path.read_bytes())
    image = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    data[data.index(image.read_bytes()[500:600]) + 50] ^= 1
    path.write_bytes(data)
    assert "is no whole archive (CRC check failed" in refusal(path)


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    path = archived(class_folder(tmp_path / "x", {"a": 3, "b": 3}), tmp_path / "x.tar", "w")
    with tarfile.open(path) as archive:
        third = archive.getmembers()[3].offset
    data = bytearray(path.read_bytes())
    data[third + 5] ^= 1
    path.write_bytes(data)
    assert "damaged header" in refusal(path)


@pytest.mark.parametrize("name", ["../evil/x.jpg", "/evil/cat/x.jpg", "train/../../evil/x.jpg"])
def test_paths_out_of_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        member = tarfile.TarInfo(name)
        member.size = len(picture(0))
        tar.addfile(member, io.BytesIO(picture(0)))
        zipped.writestr(name, picture(0))
    for ending in ("tar", "zip"):
        assert "points out" in refusal(tmp_path / f"x.{ending}")


def test_links_in_archives_are_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture(1))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "cat/link.jpg"), (tarfile.LNKTYPE, "cat/hard.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(member)
        member = tarfile.TarInfo("cat/real.jpg")
        member.size = len(picture(0))
        archive.addfile(member, io.BytesIO(picture(0)))
    assert [r.image for r in read(tmp_path / "x.tar")] == [picture(0)]


@pytest.mark.skipif(os.name != "posix", reason="POSIX rights")
def test_without_permission_there_is_one_sentence(folder: Path) -> None:
    """As a user without rights; root may read everything."""
    (folder / "train" / "dog").chmod(0)
    code = (
        "import os, sys\n"
        "from data_prep.sources import ImageSource\n"
        "from pipeline.errors import BadInput\n"
        "import data_prep.sources.archives, data_prep.sources.cifar, data_prep.sources.idx\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: list(ImageSource(path=sys.argv[1]).records())\n"
        "except BadInput as error: print(error)\n"
    )
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    (folder / "train" / "dog").chmod(0o755)
    assert "train/dog cannot be read (permission denied)" in done.stdout, done.stderr


# ---- torchvision's own layouts ----


def write_cifar(root: Path, names: int = 3) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b", b"c"][:names]}, 2))
    for batch in ("data_batch_1", "test_batch"):
        data = np.random.default_rng(len(batch)).integers(0, 256, (6, 3072), dtype=np.uint8)
        (folder / batch).write_bytes(pickle.dumps({b"data": data, b"labels": [0, 1, 2] * 2}, 2))
    return folder


def test_cifar_as_torchvision_holds_it(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    archive = archived(tmp_path, tmp_path.parent / "cifar-10-python.tar.gz")
    for path in (tmp_path, folder, archive):
        records = read(path)
        assert places(records) == sorted([("train", c) for c in "aabbcc"] + [("test", c) for c in "aabbcc"])
        first = pickle.loads((folder / "data_batch_1").read_bytes())[b"data"][0]
        (image,) = [r.image for r in records if r.origin.endswith("data_batch_1[0]")]
        assert np.array_equal(np.asarray(image), first.reshape(3, 32, 32).transpose(1, 2, 0))


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
    assert np.array_equal(np.asarray(first.image), data[0].reshape(3, 32, 32).transpose(1, 2, 0))


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
    assert "not CIFAR's" in refusal(folder)
    assert not Path("HACKED").exists()


def test_the_unpickler_admits_arrays_only() -> None:
    assert {name for _, name in ALLOWED} == {"_reconstruct", "ndarray", "dtype", "encode"}


def write_idx(folder: Path, zipped: bool, count: int = 5) -> Path:
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = struct.pack(">4I", 0x803, count, 28, 28) + bytes(range(count)) * 784
        labels = struct.pack(">2I", 0x801, count) + bytes(i % 3 for i in range(count))
        for name, data in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    return folder


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
        assert "train-images-idx3-ubyte" in refusal(folder)
    images.unlink()
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784))
    assert "1 train images but 5 labels" in refusal(folder)


def test_a_name_that_torchvision_lacks_gets_a_hint(tmp_path: Path) -> None:
    assert "did you mean 'CIFAR10'" in refusal(tmp_path, download=True, torchvision="CIFAR1O")
    assert "torchvision=CLASS" in refusal(tmp_path, download=True)


# ---- facts and fingerprints ----


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), st.integers(4, 12), st.floats(0, 0.4), st.floats(0, 0.4))
def test_facts_are_what_is_prepared(
    tmp_path_factory: pytest.TempPathFactory, classes: int, per_class: int, val: float, test: float
) -> None:
    source = FractalSource(
        image_size=16, classes=classes, per_class=per_class, val_share=val, test_share=test, points=256
    )
    dataset, _ = prepare(source, "f", tmp_path_factory.mktemp("facts"))
    facts = source.facts("f")
    assert facts.id.startswith("unprepared:")
    assert (dataset.samples, dataset.val_samples, dataset.test_samples, dataset.classes) == (
        facts.samples,
        facts.val_samples,
        facts.test_samples,
        facts.classes,
    )


def test_digits_are_real_and_cut_by_content(tmp_path: Path) -> None:
    source = DigitsSource(val_share=0.1)
    dataset, _ = prepare(source, "digits", tmp_path)
    facts = source.facts("digits")
    assert (dataset.samples, dataset.val_samples, dataset.test_samples) == (
        facts.samples,
        facts.val_samples,
        facts.test_samples,
    )
    assert dataset.samples + dataset.val_samples + dataset.test_samples == 1797


def test_the_fingerprint_moves_with_the_content(folder: Path) -> None:
    def fingerprint(**fields) -> str:
        return ImageSource(path=str(folder), **fields).fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    assert fingerprint(samples=7, classes=2) == before
    assert fingerprint(image_size=64) != before
    (folder / "train" / "cat" / "new.jpg").write_bytes(picture(9))
    assert fingerprint() != before


def test_a_download_keeps_its_fingerprint_when_it_arrives(tmp_path: Path) -> None:
    source = ImageSource(path=str(tmp_path / "there"), download=True, torchvision="CIFAR10")
    before = source.fingerprint()
    (tmp_path / "there").mkdir()
    assert source.fingerprint() == before


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(BadInput, match="val_share"):
        Source(val_share=share)


def test_sources_are_structured_configs() -> None:
    from omegaconf import OmegaConf

    for kind in (FractalSource, DigitsSource, ImageSource):
        config = OmegaConf.structured(kind)
        config.order = "balanced"
        built = OmegaConf.to_object(config)
        assert isinstance(built, kind)
        assert built.order.name == "balanced"


@needs(CIFAR)
def test_the_first_images_of_cifar_are_stored_as_they_came() -> None:
    from itertools import islice

    for record in islice(ImageSource(path=str(CIFAR)).records(), 20):
        assert isinstance(record.image, bytes)
        assert encode(record.image, Form(Stored.square, 32, 256, 90)).data == record.image
        assert (record.split, record.label) == ("train", "airplane")


@needs(FASHION)
def test_fashion_mnist_is_read_whole() -> None:
    records = read(FASHION)
    assert len(records) == 70_000
    assert sum(r.split == "test" for r in records) == 10_000


def test_a_declared_data_set_has_facts_and_no_images(tmp_path: Path) -> None:
    source = DeclaredSource(samples=303_000_000, classes=5, image_size=224, reason="it is private, take another")
    facts = source.facts("jft")
    assert (facts.samples, facts.classes, facts.image_size, facts.val_samples) == (303_000_000, 5, 224, 0)
    with pytest.raises(BadInput, match=r"only declared.*: it is private, take another"):
        prepare(source, "jft", tmp_path)
    assert source.fingerprint() == DeclaredSource(samples=303_000_000, classes=5, image_size=224).fingerprint()
    for samples, classes in ((0, 5), (10, -1)):
        with pytest.raises(BadInput, match="declared data set"):
            DeclaredSource(samples=samples, classes=classes)
