"""Class folders, on disk or inside an archive: the folder that an image lies in is its class."""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.sources.base import Record
from data_prep.sources.entries import entries
from pipeline.errors import BadInput

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def records(path: Path) -> Iterator[Record]:
    """Images in a fixed order. Raises BadInput for a damaged archive, an empty class, or a name that comes twice."""
    folders: set[str] = set()
    classes: dict[str, tuple[str, str]] = {}
    names = array("q")
    for name, image in entries(path):
        if image is None:
            folders.add(name)
            continue
        folder = name.rpartition("/")[0]
        if folder not in classes:
            classes[folder] = _place(name, path)
        names.append(hash(name))
        yield Record(*classes[folder], image, f"{path}: {name}")
    if not classes:
        raise BadInput(f"{path} holds no image: give class folders with .jpg or .png files, as CLASS/x.jpg.")
    _refuse_empty(path, folders, set(classes))
    _refuse_repeated(path, np.frombuffer(names, np.int64))


def _place(name: str, path: Path) -> tuple[str, str]:
    """(split, class) of an image: the folder it lies in is its class, a ``train`` or ``test`` above it its split."""
    *above, last = name.split("/")[:-1] or ("",)
    split = next((SPLITS[part.lower()] for part in above if part.lower() in SPLITS), "")
    if not last or (last.lower() in SPLITS and not split):
        raise BadInput(
            f"Image {name} in {path} lies in no class folder: arrange images as CLASS/x.jpg or train/CLASS/x.jpg."
        )
    return split or "train", last


def _refuse_empty(path: Path, folders: set[str], classes: set[str]) -> None:
    """A folder beside the class folders, with nothing in it, is a class that somebody forgot to fill."""
    beside = {folder.rpartition("/")[0] for folder in classes}
    inhabited = {above for folder in classes for above in _above(folder)}
    for folder in sorted(folders - classes - inhabited - {"", "__MACOSX"}):
        above, _, last = folder.rpartition("/")
        if above in beside and last.lower() not in SPLITS:
            raise BadInput(f"Class folder {folder} in {path} holds no image: fill or remove it.")


def _above(folder: str) -> Iterator[str]:
    while folder := folder.rpartition("/")[0]:
        yield folder


def _refuse_repeated(path: Path, hashes: np.ndarray) -> None:
    """Eight bytes a name are kept; which one it is, a second look finds."""
    values, counts = np.unique(hashes, return_counts=True)
    suspects, seen = set(values[counts > 1].tolist()), set()
    for name, image in entries(path) if suspects else []:
        if image is not None and hash(name) in suspects:
            if name in seen:
                raise BadInput(f"{path} holds {name} twice: make it anew with one image under each name.")
            seen.add(name)
