"""Small trees in the layouts that data sets are published in, filled with noise."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
from pictures import picture


def write_cifar(root: Path, names: int = 3) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b", b"c"][:names]}, 2))
    for batch in ("data_batch_1", "test_batch"):
        data = np.random.default_rng(len(batch)).integers(0, 256, (6, 3072), dtype=np.uint8)
        (folder / batch).write_bytes(pickle.dumps({b"data": data, b"labels": [0, 1, 2] * 2}, 2))
    return folder


def write_idx(folder: Path, zipped: bool, count: int = 5) -> Path:
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = struct.pack(">4I", 0x803, count, 28, 28) + bytes(range(count)) * 784
        labels = struct.pack(">2I", 0x801, count) + bytes(i % 3 for i in range(count))
        for name, data in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    return folder


def _photos(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))


def write_dtd(root: Path) -> None:
    names = [f"{c}/{c}_{i:04d}.jpg" for c in ("banded", "dotted") for i in range(3)]
    _photos(root / "dtd" / "dtd" / "images", names)
    (root / "dtd" / "dtd" / "labels").mkdir()
    for part in (1, 2):
        for place, split in enumerate(("train", "val", "test")):
            listed = [name for i, name in enumerate(names) if i % 3 == (place + part) % 3]
            (root / "dtd" / "dtd" / "labels" / f"{split}{part}.txt").write_text("\n".join(listed))


def write_flowers(root: Path) -> None:
    from scipy.io import savemat

    folder = root / "flowers-102"
    _photos(folder / "jpg", [f"image_{i:05d}.jpg" for i in range(1, 7)])
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2, 1, 2, 1, 2]], np.uint8)})
    ids = {"trnid": [[1, 2]], "valid": [[3, 4]], "tstid": [[5, 6]]}
    savemat(folder / "setid.mat", {name: np.array(value, np.uint16) for name, value in ids.items()})


def write_pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    breeds = (("Abyssinian", 1, 1), ("pug_dog", 2, 2))
    _photos(folder / "images", [f"{breed}_{i}.jpg" for breed, *_ in breeds for i in (1, 2)])
    (folder / "annotations").mkdir()
    for number, split in enumerate(("trainval", "test"), start=1):
        lines = [f"{breed}_{number} {label} {species} 1\n" for breed, label, species in breeds]
        (folder / "annotations" / f"{split}.txt").write_text("".join(lines))


def write_eurosat(root: Path) -> None:
    _photos(root / "eurosat" / "2750", [f"{c}/{c}_{i}.jpg" for c in ("Forest", "River") for i in (1, 2)])


def write_gtsrb(root: Path) -> None:
    folder = root / "gtsrb"
    pictures = [picture(number, form="PPM") for number in range(4)]
    for number, data in enumerate(pictures[:2]):
        place = folder / "GTSRB" / "Training" / f"{number:05d}" / "00000.ppm"
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
    images = folder / "GTSRB" / "Final_Test" / "Images"
    images.mkdir(parents=True)
    for number, data in enumerate(pictures[2:]):
        (images / f"{number:05d}.ppm").write_bytes(data)
    (folder / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;1\n00001.ppm;0\n")


def write_caltech(root: Path) -> None:
    folder = root / "caltech101"
    _photos(folder / "101_ObjectCategories", [f"{c}/image_0001.jpg" for c in ("ant", "crab", "BACKGROUND_Google")])


def write_inaturalist(root: Path) -> None:
    names = ["00000_Animalia_a_b_c_d_e_f", "00001_Plantae_a_b_c_d_e_g"]
    for version in ("2021_train", "2021_valid"):
        _photos(root / version, [f"{name}/{i}.jpg" for name in names for i in (2, 1)])


def write_svhn(root: Path) -> None:
    from scipy.io import savemat

    for split, count in (("train", 3), ("test", 2)):
        pixels = np.random.default_rng(count).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        savemat(root / f"{split}_32x32.mat", {"X": pixels, "y": np.array([[10 - i] for i in range(count)], np.uint8)})


def write_stl(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir()
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    for split, count in (("train", 3), ("test", 2)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        (folder / f"{split}_X.bin").write_bytes(pixels.tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes(1 + i % 2 for i in range(count)))
    (folder / "unlabeled_X.bin").write_bytes(bytes(3 * 96 * 96))
    (folder / "fold_indices.txt").write_text("")


def write_celeba(root: Path) -> None:
    folder = root / "celeba"
    names = [f"{i:06d}.jpg" for i in range(1, 7)]
    _photos(folder / "img_align_celeba", names)
    tables = {
        "list_attr_celeba.txt": ("6\nBald Smiling Young\n", ["-1 1 1", "-1 -1 -1"] * 3),
        "identity_CelebA.txt": ("", ["7", "8"] * 3),
        "list_bbox_celeba.txt": ("6\nx y w h\n", ["0 0 1 1"] * 6),
        "list_landmarks_align_celeba.txt": ("6\na b\n", ["0 0"] * 6),
        "list_eval_partition.txt": ("", ["0", "0", "1", "1", "2", "2"]),
    }
    for table, (head, values) in tables.items():
        lines = [f"{name} {value}\n" for name, value in zip(names, values, strict=True)]
        (folder / table).write_text(head + "".join(lines))
