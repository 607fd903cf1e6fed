"""idx files as MNIST and Fashion-MNIST come: in Debian's dataset-fashion-mnist, or below torchvision's .../raw."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.sources.base import Record
from pipeline.errors import BadInput

PARTS = {"train": "train", "test": "t10k"}


def holds(path: Path) -> bool:
    return _folder(path) is not None


def records(path: Path) -> Iterator[Record]:
    folder = _folder(path)
    if folder is None:
        raise BadInput(f"{path} lacks train-images-idx3-ubyte: fetch the data set again.")
    for split, part in PARTS.items():
        images = _read(folder, f"{part}-images-idx3-ubyte", 3)
        labels = _read(folder, f"{part}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise BadInput(f"{folder} has {len(images)} {split} images but {len(labels)} labels: fetch it again.")
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Record(split, str(label), image, f"{folder}: {part}[{i}]")


def _folder(path: Path) -> Path | None:
    for folder in (path, path / "raw", *sorted(path.glob("*/raw"))):
        if any((folder / f"train-images-idx3-ubyte{ending}").is_file() for ending in ("", ".gz")):
            return folder
    return None


def _read(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """The array of one file, gzipped or not. The header names type, dimensions and shape, big-endian."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    if not plain.exists() and not zipped.exists():
        raise BadInput(f"{folder} lacks {name}: fetch the data set again.")
    try:
        data = plain.read_bytes() if plain.exists() else gzip.decompress(zipped.read_bytes())
        magic = struct.unpack(">I", data[:4])[0]
        shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
        if magic != 0x800 + dimensions:
            raise ValueError(f"magic number {magic:#x}")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except PermissionError as error:
        raise BadInput(f"{error.filename} cannot be read (permission denied): mend its rights.") from error
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise BadInput(f"{folder}/{name} is truncated or no idx file ({error}): fetch it again.") from error
