"""Images for the tests: class folders of noise, archives of them, and where the large real data lies."""

import contextlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.sources import Deferred, Record
from pipeline.errors import BadInput

SHARED = Path(os.environ.get("CROSSOVER_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
CIFAR = SHARED / "cifar10-jpeg.tar.gz"
FASHION = SHARED / "fashion-mnist"


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"needs {path.name}, which is not part of the repository")


def picture(seed: int, size: tuple[int, int] = (32, 32), mode: str = "RGB", form: str = "JPEG", **save) -> bytes:
    """An encoded image of noise, width x height."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.frombytes(mode, size, pixels.tobytes()).save(buffer, form, **save)
    return buffer.getvalue()


def class_folder(root: Path, counts: dict[str, int], size: tuple[int, int] = (32, 32)) -> Path:
    """``counts``: images by folder, such as ``train/cat``."""
    for number, (name, count) in enumerate(counts.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f"{i:04d}.jpg").write_bytes(picture(10_000 * number + i, size))
    return root


def archived(folder: Path, path: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for file in sorted(folder.rglob("*")):
            archive.add(file, file.relative_to(folder), recursive=False)
    return path


def drained(records: Iterable[Record]) -> list[Record]:
    """Every record with its image read, as a worker reads them: runs of one kind at once, after a journey by pickle."""
    read: list[Record] = []
    for kind, run in groupby(records, lambda record: type(record.image)):
        listed = list(run)
        if issubclass(kind, Deferred):
            images = kind.read_all(pickle.loads(pickle.dumps([record.image for record in listed])))
            listed = [replace(record, image=image) for record, image in zip(listed, images, strict=True)]
        read += listed
    return read


def refusal(records: Callable[[], Iterable[Record]]) -> str:
    """The one sentence with which they are refused."""
    with pytest.raises(BadInput) as caught:
        drained(records())
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message


def accepted(records: Callable[[], Iterable[Record]]) -> list[Record] | None:
    """What is read; None if it is refused. Anything but BadInput fails the test."""
    with contextlib.suppress(BadInput):
        return drained(records())
    return None


def array(record: Record) -> np.ndarray:
    assert isinstance(record.image, np.ndarray)
    return record.image


def encoded(record: Record) -> bytes:
    assert isinstance(record.image, bytes)
    return record.image
