"""CIFAR-10 and CIFAR-100 in torchvision's layout: pickled batches, read by an unpickler that knows numpy arrays only."""

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.sources.base import Record
from pipeline.errors import BadInput

FOLDERS = {"cifar-10-batches-py": "batches.meta", "cifar-100-python": "meta"}
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


def holds(path: Path) -> bool:
    """Whether this is (a folder with, or the archive of) the python version of CIFAR."""
    if path.is_dir():
        return _folder(path) is not None
    return path.name.startswith(("cifar-10-python", "cifar-100-python"))


def records(path: Path) -> Iterator[Record]:
    files = _files(path)
    meta_name = next((n for n in ("batches.meta", "meta") if n in files), None)
    batches = sorted(n for n in files if n.startswith("data_batch") or n in ("train", "test", "test_batch"))
    if meta_name is None or not batches:
        raise BadInput(f"{path} lacks the batches of CIFAR: fetch it again.")
    meta = _load(files[meta_name], path)
    names = meta.get(b"label_names") or meta.get(b"fine_label_names") or []
    for batch in batches:
        content = _load(files[batch], path)
        labels = content.get(b"labels") or content.get(b"fine_labels") or []
        images = np.asarray(content[b"data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        split = "test" if batch.startswith("test") else "train"
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Record(split, names[label].decode(), np.ascontiguousarray(image), f"{path}:{batch}[{i}]")


def _folder(path: Path) -> Path | None:
    for name, meta in FOLDERS.items():
        for folder in (path, path / name):
            if (folder / meta).is_file() and folder.name == name:
                return folder
    return None


def _files(path: Path) -> dict[str, bytes]:
    folder = _folder(path) if path.is_dir() else None
    if folder is not None:
        return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    try:
        with tarfile.open(path, "r:*") as archive:
            members = [m for m in archive if m.isfile()]
            return {m.name.rsplit("/", 1)[-1]: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInput(f"{path} is no whole archive ({error}): fetch it again.") from error


def _load(data: bytes, path: Path) -> dict[bytes, Any]:
    try:
        return _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, IndexError) as error:
        raise BadInput(f"{path} holds a batch that is not CIFAR's ({error}): fetch it again.") from error
