"""Arrays of images and labels: an .npz, or a folder of .npy files. Nothing is unpickled; rows are read where they lie.

Keys, or names of files: ``images``, ``labels`` and perhaps ``split``; or ``x_train``, ``y_train`` and perhaps those of
``val`` and ``test`` (Keras); or ``train_images``, ``train_labels`` and so on (MedMNIST). ``class_names`` names classes.

Images, (N, H, W) or (N, H, W, 1, 3 or 4): uint8 as they are; uint16 times 255/65535 and floats in [0, 1] times 255,
rounded. Labels, (N,): whole numbers or text. (N, K) of zeros and ones: K labels, several to an image; where every image
has exactly one, they are classes.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_prep.npyscan import BROKEN, StoredArray, array_bytes, arrays
from data_prep.sources.archives import SPLITS
from data_prep.sources.base import Deferred, Record
from data_prep.sources.deferred import read_pieces, reading
from data_prep.sources.files import FileSource
from pipeline.errors import BadInput

LAYOUTS = (
    (re.compile("images()"), "labels{}"),
    (re.compile("x_(train|val|test)"), "y_{}"),
    (re.compile("(train|val|test)_images"), "{}_labels"),
)
"""Key of images, its split in brackets; key of the labels that belong to them."""
CHANNELS = (1, 3, 4)
SURROGATES = (0xD800, 0xDFFF)
"""Numbers of no character."""
Part = tuple[list[str], StoredArray, np.ndarray]
"""Split of each image, or one for all; images; labels."""


@dataclass
class ArraySource(FileSource):
    """``path`` is the .npz or the folder."""

    kind: ClassVar[str] = "arrays"

    def records(self) -> Iterator[Record]:
        path = self.located("FILE_OR_FOLDER, an .npz or a folder of .npy files")
        if path.suffix == ".npy":
            raise BadInput(f"{path} is one array: give the folder that it and its labels lie in, {path.parent}.")
        with _readable(path):
            found = arrays(path)
            parts = _parts(path, found)
            names = found["class_names"].load().ravel() if "class_names" in found else None
            labels = _labels([labels for *_, labels in parts], names)
            for (splits, images, _), own in zip(parts, labels, strict=True):
                for number, (image, label) in enumerate(zip(_images(images), own, strict=True)):
                    split = splits[number if len(splits) > 1 else 0]
                    yield Record(split, label, image, f"{path}: {images.name}[{number}]")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        with reading(path):
            yield
    except BROKEN as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BadInput(f"{path} holds no arrays of images that can be read ({reason}).") from error


@dataclass(frozen=True, slots=True)
class ArrayRow(Deferred):
    """One image of an array, read where it lies."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: str
    named: str

    def read(self) -> np.ndarray:
        return next(iter(self.read_all([self])))

    @classmethod
    def read_all(cls, images: Sequence[Any]) -> Iterable[np.ndarray]:
        places = ((i.path, i.offset, array_bytes(i.shape, np.dtype(i.dtype))) for i in images)
        for image, data in zip(images, read_pieces(places), strict=True):
            yield _pixels(np.frombuffer(data, image.dtype).reshape(image.shape), image.named)


def _images(array: StoredArray) -> Iterator[ArrayRow | np.ndarray]:
    """Deferred where they can be read alone; a compressed member is read from its beginning, row by row."""
    if array.start is None:
        for number, row in enumerate(array.rows()):
            yield _pixels(row, f"{array.path}: {array.name}[{number}]")
        return
    for number in range(array.shape[0]):
        place = array.start + number * array.row_bytes
        named = f"{array.path}: {array.name}[{number}]"
        yield ArrayRow(str(array.path), place, array.shape[1:], array.dtype.str, named)


def _pixels(row: np.ndarray, named: str) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3 or 4). Raises BadInput for floats that are no shares of white."""
    if row.dtype.kind == "f":
        if not (row.min() >= 0 and row.max() <= 1):
            raise BadInput(f"{named} holds {row.min():g} to {row.max():g}, where floats lie in 0 to 1: store uint8.")
        row = (row.astype(np.float64) * 255 + 0.5).astype(np.uint8)
    elif row.dtype.itemsize == 2:
        row = (row * (255 / 65535) + 0.5).astype(np.uint8)
    return row[..., 0] if row.ndim == 3 and row.shape[-1] == 1 else row


def _parts(path: Path, found: dict[str, StoredArray]) -> list[Part]:
    """Raises ValueError for arrays that are missing or do not fit."""
    for pattern, labelled in LAYOUTS:
        matches = [match for key in found if (match := pattern.fullmatch(key))]
        if matches:
            parts = [_part(found, match[0], labelled.format(match[1]), match[1]) for match in matches]
            return sorted(parts, key=lambda part: list(SPLITS).index(part[0][0]))
    held = ", ".join(sorted(found)) or "none"
    raise ValueError(f"its arrays are {held}; name them images and labels, or x_train and y_train")


def _part(found: dict[str, StoredArray], key: str, labelled: str, split: str) -> Part:
    images = found[key]
    _check_images(images)
    if labelled not in found:
        raise ValueError(f"it has {key} but no {labelled}")
    labels = found[labelled].load()
    splits = [split or "train"]
    if labels.shape[:1] != images.shape[:1]:
        raise ValueError(f"it has {key} {images.shape} but {labelled} {labels.shape}")
    if not split and "split" in found:
        splits = [_split(cell, row) for row, cell in enumerate(_texts(found["split"].load()))]
        if len(splits) != len(labels):
            raise ValueError(f"it has {key} {images.shape} but {len(splits)} in split")
    return splits, images, labels


def _check_images(array: StoredArray) -> None:
    shape, dtype = array.shape, array.dtype
    if len(shape) == 4 and shape[-1] not in CHANNELS and shape[1] in CHANNELS:
        raise ValueError(f"{array.name} {shape} has its channels first: store numpy.moveaxis(images, 1, -1)")
    if not (len(shape) == 3 or (len(shape) == 4 and shape[-1] in CHANNELS)) or 0 in shape:
        raise ValueError(f"{array.name} is of shape {shape}, where images are (N, H, W) or (N, H, W, 1, 3 or 4)")
    if dtype.kind != "f" and dtype not in (np.uint8, np.uint16, np.dtype(">u2")):
        raise ValueError(f"{array.name} is of {dtype}, where images are uint8, uint16 or floats in 0 to 1")


def _split(cell: str, row: int) -> str:
    if cell.lower() not in SPLITS:
        raise ValueError(f"split[{row}] is {cell!r}, which is none of train, val and test")
    return SPLITS[cell.lower()]


def _texts(array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise ValueError(f"an array {array.shape} of {array.dtype} lies where one of text, (N,), is needed")
    if array.dtype.kind == "U" and array.dtype.itemsize:
        code = np.ascontiguousarray(array).view(array.dtype.str[0] + "u4")
        if ((code > sys.maxunicode) | ((code >= SURROGATES[0]) & (code <= SURROGATES[1]))).any():
            raise ValueError(f"its text, an array {array.shape} of {array.dtype}, is damaged")
    return [str(cell, "utf-8") if isinstance(cell, bytes) else cell for cell in array.tolist()]


def _labels(parts: list[np.ndarray], names: np.ndarray | None) -> list[list[str] | list[tuple[str, ...]]]:
    """Of every part. Raises ValueError for what are no labels."""
    parts = [part[:, 0] if part.ndim == 2 and part.shape[1] == 1 else part for part in parts]
    if all(part.ndim == 1 and part.dtype.kind in "US" for part in parts):
        texts = [_texts(part) for part in parts]
        if any(not cell.strip() for part in texts for cell in part):
            raise ValueError("a label is empty")
        return list(texts)
    whole = [_whole(part) for part in parts]
    if all(part.ndim == 1 for part in whole):
        name = _namer(names, max(int(part.max(initial=0)) for part in whole) + 1)
        return [[name(number) for number in part.tolist()] for part in whole]
    top = max(int(part.max(initial=0)) for part in whole)
    if any(part.ndim != 2 or part.shape[1] != whole[0].shape[1] for part in whole) or top > 1:
        raise ValueError("its labels are neither (N,) whole numbers or text nor (N, K) zeros and ones")
    name = _namer(names, whole[0].shape[1])
    if all((part.sum(axis=1) == 1).all() for part in whole):
        return [[name(number) for number in part.argmax(axis=1).tolist()] for part in whole]
    return [[tuple(name(number) for number in np.flatnonzero(row).tolist()) for row in part] for part in whole]


def _whole(part: np.ndarray) -> np.ndarray:
    """int64; raises ValueError for what is no whole number from 0 on."""
    with np.errstate(invalid="ignore"):
        number = part.astype(np.int64) if part.dtype.kind in "iubf" else None
    if number is None or (number != part).any() or number.min(initial=0) < 0:
        raise ValueError(f"its labels, an array {part.shape} of {part.dtype}, are not all whole numbers from 0 on")
    return number


def _namer(names: np.ndarray | None, count: int) -> Callable[[int], str]:
    """What a class is called; without names, by its number, with as many digits as the largest."""
    if names is None:
        digits = len(str(count - 1))
        return lambda number: f"{number:0{digits}d}"
    known = _texts(names)
    if len(known) < count or len(set(known)) < len(known):
        raise ValueError(f"class_names has {len(set(known))} different names where {count} classes are labelled")
    return known.__getitem__
