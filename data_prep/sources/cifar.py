"""CIFAR-10 and CIFAR-100 in torchvision's layout: pickles, read by an unpickler that knows numpy arrays only."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

from data_prep.sources.base import Record
from data_prep.sources.entries import unpacked, whole
from data_prep.tarscan import FILE, members
from pipeline.errors import BadInput

SIDE = 32
FOLDERS = {"cifar-10-batches-py": "batches.meta", "cifar-100-python": "meta"}
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "train", "test")


def _latin1(text: str, encoding: str) -> bytes:
    """What ``_codecs.encode`` is used for in these files; its other codecs are kept out."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding!r} is not allowed")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _Unpickler(pickle.Unpickler):
    """Arrays, and the builtins that pickle makes without importing anything."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image needs") from None


def holds(path: Path) -> bool:
    """Whether this is (a folder with, or the archive of) the python version of CIFAR."""
    if path.is_dir():
        return _folder(path) is not None
    return path.name.startswith(("cifar-10-python", "cifar-100-python"))


def records(path: Path) -> Iterator[Record]:
    """Raises BadInput for batches that are missing, damaged, or want to run code."""
    files = _files(path)
    meta_name = next((name for name in FOLDERS.values() if name in files), None)
    batches = [name for name in BATCHES if name in files]
    if meta_name is None or not batches:
        raise BadInput(f"{path} lacks the batches of CIFAR: fetch it again.")
    try:
        meta = _load(files[meta_name])
        names = [str(name, "utf-8") for name in meta.get(b"label_names") or meta[b"fine_label_names"]]
        for batch in batches:
            images, labels = _arrays(_load(files[batch]))
            split = "test" if batch.startswith("test") else "train"
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield Record(split, names[label], image, f"{path}: {batch}[{number}]")
    except BadInput:
        raise
    except Exception as error:  # a hostile or cut pickle can raise anything
        raise BadInput(f"{path} holds a batch that is not CIFAR's ({error}): fetch it again.") from error


def _arrays(batch: dict[bytes, Any]) -> tuple[np.ndarray, list[int]]:
    """uint8 (N, 32, 32, 3) and N labels."""
    data = batch[b"data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        raise ValueError("its data is no uint8 array")
    images = np.ascontiguousarray(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    return images, batch.get(b"labels") or batch[b"fine_labels"]


def _folder(path: Path) -> Path | None:
    for name, meta in FOLDERS.items():
        for folder in (path, path / name):
            if folder.name == name and (folder / meta).is_file():
                return folder
    return None


def _files(path: Path) -> dict[str, bytes]:
    """The known files, by name."""
    wanted = {*BATCHES, *FOLDERS.values()}
    folder = _folder(path) if path.is_dir() else None
    with whole(path):
        if folder is not None:
            return {file.name: file.read_bytes() for file in folder.iterdir() if file.name in wanted}
        with unpacked(path) as (read, _):
            return {
                name: read(member.size, member.offset)
                for member in members(read)
                if member.kind == FILE and (name := member.name.rpartition("/")[2]) in wanted
            }


def _load(data: bytes) -> dict[bytes, Any]:
    return _Unpickler(io.BytesIO(data), encoding="bytes").load()
