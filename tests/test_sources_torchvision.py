import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
import trees
from pictures import array, drained, picture, refusal

from data_prep.sources import Record, TorchvisionSource
from data_prep.sources.deferred import FileImage
from data_prep.sources.torchvision import SPLITS, _parameters


@pytest.fixture(autouse=True)
def no_network_and_no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our files are noise, so their sums are not those published; and nothing may be fetched."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("torchvision went to the network")

    def is_there(path: str | Path, md5: str | None = None) -> bool:
        return os.path.isfile(path)

    for name in dir(torchvision.datasets):
        module = getattr(torchvision.datasets, name)
        for attribute in ("download_url", "download_and_extract_archive", "download_file_from_google_drive"):
            if hasattr(module, attribute):
                monkeypatch.setattr(module, attribute, refuse)
        if hasattr(module, "check_integrity"):
            monkeypatch.setattr(module, "check_integrity", is_there)


def source(root: Path, dataset: str, **options: Any) -> TorchvisionSource:
    return TorchvisionSource(path=str(root), dataset=dataset, options=options)


def read(root: Path, dataset: str, **options: Any) -> list[Record]:
    return drained(source(root, dataset, **options).records())


def places(records: list[Record]) -> list[tuple[str, str | tuple[str, ...]]]:
    return [(r.split, r.label) for r in records]


def three(*names: str) -> list[tuple[str, str]]:
    return [(split, name) for split in ("train", "val", "test") for name in names]


FILES = {
    "DTD": (trees.write_dtd, three("banded", "dotted")),
    "Flowers102": (trees.write_flowers, three("pink primrose", "hard-leaved pocket orchid")),
    "OxfordIIITPet": (trees.write_pets, [(s, c) for s in ("train", "test") for c in ("Abyssinian", "Pug Dog")]),
    "EuroSAT": (trees.write_eurosat, [("train", c) for c in ("Forest", "Forest", "River", "River")]),
    "GTSRB": (trees.write_gtsrb, [("train", "0"), ("train", "1"), ("test", "1"), ("test", "0")]),
    "Caltech101": (trees.write_caltech, [("train", "ant"), ("train", "crab")]),
    "INaturalist": (
        trees.write_inaturalist,
        [
            (s, c)
            for s in ("train", "test")
            for c in ("00000_Animalia_a_b_c_d_e_f", "00001_Plantae_a_b_c_d_e_g") * 1
            for _ in (0, 1)
        ],
    ),
    "CelebA": (
        trees.write_celeba,
        [(s, label) for s in ("train", "val", "test") for label in (("Smiling", "Young"), ())],
    ),
}


@pytest.mark.parametrize("dataset", FILES)
def test_files_keep_their_bytes(tmp_path: Path, dataset: str) -> None:
    write, expected = FILES[dataset]
    write(tmp_path)
    records = list(source(tmp_path, dataset).records())
    assert all(isinstance(record.image, FileImage) for record in records)
    assert places(records) == expected
    for record in drained(records):
        assert record.image in [picture(i, form=form) for i in range(6) for form in ("JPEG", "PPM")]


def test_the_same_file_has_the_same_label(tmp_path: Path) -> None:
    trees.write_flowers(tmp_path)
    assert [r.image for r in read(tmp_path, "Flowers102")] == [picture(i) for i in range(6)]


def test_arrays_are_lossless(tmp_path: Path) -> None:
    trees.write_svhn(tmp_path)
    records = read(tmp_path, "SVHN")
    assert places(records) == [("train", "0"), ("train", "9"), ("train", "8"), ("test", "0"), ("test", "9")]
    pixels = np.random.default_rng(3).integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
    assert np.array_equal(np.stack([array(r) for r in records[:3]], axis=3), pixels)
    trees.write_stl(tmp_path)
    records = read(tmp_path, "STL10")
    assert places(records) == [
        (s, c) for s, n in (("train", 3), ("test", 2)) for c in ("airplane", "bird", "airplane")[:n]
    ]
    pixels = np.random.default_rng(3).integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    assert np.array_equal(array(records[0]), pixels[0].transpose(2, 1, 0))  # it is stored by columns
    trees.write_idx(tmp_path / "MNIST" / "raw", zipped=False)
    records = read(tmp_path, "MNIST")
    assert places(records)[:3] == [("train", "0 - zero"), ("train", "1 - one"), ("train", "2 - two")]
    assert np.array_equal(array(records[0]), np.frombuffer(bytes(range(5)) * 784, np.uint8)[:784].reshape(28, 28))


def test_fake_data_needs_no_files() -> None:
    made = TorchvisionSource(dataset="FakeData", options={"size": 5, "image_size": [3, 8, 8], "num_classes": 3})
    records = drained(made.records())
    assert len(records) == 5
    assert {array(record).shape for record in records} == {(8, 8, 3)}
    assert {record.label for record in records} <= {"0", "1", "2"}


def test_options_reach_the_class(tmp_path: Path) -> None:
    trees.write_dtd(tmp_path)
    assert places(read(tmp_path, "DTD", partition=2)) == three("banded", "dotted")
    one, two = read(tmp_path, "DTD"), read(tmp_path, "DTD", partition=2)
    assert [r.image for r in one] != [r.image for r in two]
    assert "did you mean 'partition'" in refusal(source(tmp_path, "DTD", partitoin=2).records)
    trees.write_pets(tmp_path)
    labels = [r.label for r in read(tmp_path, "OxfordIIITPet", target_types="binary-category")]
    assert labels == ["0", "1"] * 2
    trees.write_celeba(tmp_path)
    assert [r.label for r in read(tmp_path, "CelebA", target_type="identity")] == ["7", "8"] * 3


def test_an_option_that_chooses_a_split_gives_that_alone(tmp_path: Path) -> None:
    trees.write_dtd(tmp_path)
    assert {r.split for r in read(tmp_path, "DTD", split="test")} == {"train"}


def test_cifar_is_not_unpickled_by_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = trees.write_cifar(tmp_path)
    assert len(read(tmp_path, "CIFAR10")) == len(read(folder, "CIFAR10")) == 12

    class Hostile:
        def __reduce__(self):
            return os.system, ("touch HACKED",)

    (folder / "data_batch_1").write_bytes(pickle.dumps(Hostile(), 2))
    assert "not CIFAR's" in refusal(source(tmp_path, "CIFAR10").records)
    assert not Path("HACKED").exists()


def test_two_cifars_side_by_side_are_told_apart(tmp_path: Path) -> None:
    trees.write_cifar(tmp_path)
    for path in (tmp_path, tmp_path / "cifar-10-batches-py"):
        assert "no cifar-100-python" in refusal(source(path, "CIFAR100").records)


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert "cannot read DTD" in refusal(source(tmp_path, "DTD").records)
    assert "download=true" in refusal(source(tmp_path, "DTD").records)
    assert "nowhere" in refusal(source(tmp_path / "nowhere", "SVHN").records)
    assert "data.NAME.path" in refusal(TorchvisionSource(dataset="SVHN").records)
    assert "did you mean 'SVHN'" in refusal(source(tmp_path, "SVNH").records)
    assert "no labelled images" in refusal(source(tmp_path, "UCF101").records)
    assert "such as" in refusal(source(tmp_path, "").records)
    fetched = TorchvisionSource(path=str(tmp_path), dataset="ImageNet", download=True)
    assert "cannot fetch ImageNet" in refusal(fetched.records)


@pytest.mark.parametrize("cut", [0, 50, 300])
def test_damaged_files_are_one_sentence(tmp_path: Path, cut: int) -> None:
    trees.write_svhn(tmp_path)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:cut])
    assert "cannot read SVHN" in refusal(source(tmp_path, "SVHN").records)


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    trees.write_stl(tmp_path)
    assert "its label is -1" in refusal(source(tmp_path, "STL10", split="unlabeled").records)


def test_nothing_is_fetched_unless_told(tmp_path: Path) -> None:
    """Whatever the class's own default is: that of SEMEION is to download."""
    for dataset in SPLITS:
        if dataset != "FakeData":
            refusal(source(tmp_path, dataset).records)
    with pytest.raises(AssertionError, match="network"):
        torchvision.datasets.SEMEION(root=str(tmp_path))


def test_every_class_of_the_table_exists_and_knows_its_arguments() -> None:
    for name, splits in SPLITS.items():
        known = _parameters(getattr(torchvision.datasets, name))
        assert all(set(arguments) <= known for arguments in splits.values()), name
