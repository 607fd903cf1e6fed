"""Index: where every image of a split lies, in stored order: one row of fixed size each, memory-mapped and so shared by
all processes of a node. Images with several labels have them in a second file. Suffixes: N images.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep import durable
from data_prep.digest import sha256
from pipeline.errors import BadInput

ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("content", "<u8"),
        ("shard", "<u4"),
        ("size", "<u4"),
        ("label", "<i4"),
        ("crc", "<u4"),
        ("width", "<u2"),
        ("height", "<u2"),
    ]
)
"""36 bytes: place and length in the shard (bytes), hash of the pixels, class, crc32 of the bytes, pixels."""
HASHED = 64 * 2**20
"""Up to this size an index is hashed at every opening; a larger one once per node, then known by its size and time."""


@dataclass
class LabelSets:
    """Of the k-th image the classes ``ids[starts[k] : starts[k + 1]]``; int64 (N + 1,) and int32."""

    starts: np.ndarray
    ids: np.ndarray

    def of(self, row: int) -> np.ndarray:
        return self.ids[self.starts[row] : self.starts[row + 1]]

    def take(self, rows: np.ndarray) -> "LabelSets":
        """Of these images, in their order."""
        first = self.starts[rows]
        counts = self.starts[rows + 1] - first
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        return LabelSets(starts, self.ids[np.repeat(first - starts[:-1], counts) + np.arange(starts[-1])])

    @classmethod
    def collect(cls, sets: Iterable[np.ndarray]) -> "LabelSets":
        listed = [np.asarray(ids, dtype=np.int32) for ids in sets]
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids in listed], dtype=np.int64)]).astype(np.int64)
        return cls(starts, np.concatenate(listed) if listed else np.empty(0, np.int32))


@dataclass
class Index:
    """Rows (N,) of ROW, never to be written to; the labels of images that have several (or none)."""

    rows: np.ndarray
    sets: LabelSets | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shard(self) -> np.ndarray:
        return self.rows["shard"]

    @property
    def offset(self) -> np.ndarray:
        return self.rows["offset"]

    @property
    def size(self) -> np.ndarray:
        return self.rows["size"]

    @property
    def label(self) -> np.ndarray:
        """Class; of an image with several labels its rarest, -1 without any."""
        return self.rows["label"]

    @property
    def crc(self) -> np.ndarray:
        return self.rows["crc"]

    @property
    def content(self) -> np.ndarray:
        return self.rows["content"]

    def digest(self) -> str:
        """sha256 over (label, content hash) in stored order, and over all labels where there are several."""
        pairs = np.empty(len(self), dtype=[("label", "<i4"), ("content", "<u8")])
        pairs["label"], pairs["content"] = self.label, self.content
        digest = hashlib.sha256(pairs.tobytes())
        if self.sets is not None:
            digest.update(self.sets.starts.astype("<i8").tobytes() + self.sets.ids.astype("<i4").tobytes())
        return digest.hexdigest()


def index_path(folder: Path, split: str) -> Path:
    return folder / f"{split}.index.npy"


def sets_path(folder: Path, split: str) -> Path:
    return folder / f"{split}.labels.npz"


def index_files(folder: Path, split: str) -> list[Path]:
    """Those that exist or must."""
    return [index_path(folder, split), *(p for p in [sets_path(folder, split)] if p.exists())]


def save_index(folder: Path, split: str, index: Index) -> str:
    """Returns the sha256 of the files. Raises OSError."""
    with durable.opened(index_path(folder, split)) as file:
        np.save(file, np.ascontiguousarray(index.rows, dtype=ROW), allow_pickle=False)
    if index.sets is not None:
        with durable.opened(sets_path(folder, split)) as file:
            np.savez(file, starts=index.sets.starts, ids=index.sets.ids)
    return _hash(index_files(folder, split))


def read_index(folder: Path, split: str, sha256: str) -> Index:
    """Raises BadInput when it is missing, damaged, or not the one with this digest."""
    path, again = index_path(folder, split), f"delete {folder} and run `crossover prepare` again."
    try:
        rows = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        sets = None
        if sets_path(folder, split).exists():
            with np.load(sets_path(folder, split), allow_pickle=False) as stored:
                sets = LabelSets(stored["starts"], stored["ids"])
        known = _digest(folder, split)
    except Exception as error:  # a damaged header or zip raises many kinds
        raise BadInput(f"{path} is missing or damaged: {again}") from error
    if rows.dtype != ROW or rows.ndim != 1 or known != sha256:
        raise BadInput(f"{path} is damaged or does not belong to its dataset.json: {again}")
    return Index(rows, sets)


def _digest(folder: Path, split: str) -> str:
    """Of the files; a large index is read through once per node and then trusted while its size and time stand."""
    files = index_files(folder, split)
    stats = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    if sum(size for size, _ in stats) <= HASHED:
        return _hash(files)
    note, state = folder / f".{split}.index.checked", json.dumps(stats)
    try:
        seen = json.loads(note.read_text())
        if seen["state"] == state:
            return str(seen["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = _hash(files)
    if os.access(folder, os.W_OK):
        durable.write(note, json.dumps({"state": state, "sha256": found}).encode())
    return found


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()
