"""Manifest: dataset.json says what a prepared data set is, index.npz where its images lie.

The dataset id is a hash of what the images, labels, classes and stored order are. It does not move with the compressor
that packed them, the machine, or the name people gave the data set.
"""

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import durable
from data_prep.pack import Shard
from pipeline.errors import BadInput
from pipeline.subset import Dataset

SCHEMA = 1
SPLITS = ("train", "val", "test")
AGAIN = "delete {} and run `crossover prepare` again."


@dataclass
class Manifest:
    name: str
    classes: list[str]
    image_size: int
    channels: int
    counts: dict[str, int]
    """Images by split."""
    content: dict[str, str]
    """By split, sha256 over (label, content hash) of every image in stored order."""
    order: dict[str, Any]
    duplicates: dict[str, int]
    """Copies of an image, exact in every pixel: within train, and from train in val and in test."""
    source: dict[str, Any]
    """Provenance: the source's fields, without paths of this machine."""
    origin: str
    """sha256 of where the source's files lay, so that they are known again without being named here."""
    rules: dict[str, str]
    shards: dict[str, list[Shard]]
    index_sha256: str
    tools: dict[str, str] = field(default_factory=dict)
    """Versions of what encoded the images."""
    schema: int = SCHEMA

    def dataset_id(self) -> str:
        identity = {
            "classes": self.classes,
            "image_size": self.image_size,
            "channels": self.channels,
            "content": self.content,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def dataset(self) -> Dataset:
        return Dataset(
            self.name,
            self.dataset_id(),
            self.counts["train"],
            len(self.classes),
            self.image_size,
            self.channels,
            self.counts["val"],
            self.counts["test"],
        )

    def save(self, folder: Path) -> None:
        durable.write(folder / "dataset.json", json.dumps(asdict(self), indent=1, sort_keys=True).encode())


def read_manifest(folder: Path) -> Manifest:
    """Raises BadInput when it is missing, unreadable, damaged, or of a newer schema."""
    path = folder / "dataset.json"
    try:
        plain = json.loads(path.read_text())
        if int(plain["schema"]) > SCHEMA:
            raise BadInput(
                f"{path} was written by a newer Crossover (schema {plain['schema']}, this one reads {SCHEMA}): upgrade."
            )
        shards = {split: [Shard(**shard) for shard in plain["shards"][split]] for split in SPLITS}
        manifest = Manifest(**{**plain, "shards": shards})
        manifest.dataset()
        return manifest
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{folder} is no prepared data set (no dataset.json): run `crossover prepare`.") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): mend its rights or its disk.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is damaged: {AGAIN.format(folder)}") from error


@dataclass
class Index:
    """Of one split, in stored order: shard, offset, size, label, crc32 and content hash of every image, (N,) each."""

    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray
    crc: np.ndarray
    content: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def digest(self) -> str:
        """sha256 over (label, content hash) in stored order."""
        pairs = np.empty(len(self), dtype=[("label", "<i4"), ("content", "<u8")])
        pairs["label"], pairs["content"] = self.label, self.content
        return hashlib.sha256(pairs.tobytes()).hexdigest()


FIELDS = {
    "shard": np.dtype("<u4"),
    "offset": np.dtype("<u8"),
    "size": np.dtype("<u4"),
    "label": np.dtype("<i4"),
    "crc": np.dtype("<u4"),
    "content": np.dtype("<u8"),
}


def save_indices(folder: Path, indices: dict[str, Index]) -> str:
    """Returns the sha256 of the arrays."""
    arrays = {f"{split}_{name}": getattr(index, name) for split, index in indices.items() for name in FIELDS}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    durable.write(folder / "index.npz", buffer.getvalue())
    return _hash(arrays)


def read_index(folder: Path, split: str) -> Index:
    """Raises BadInput for an unknown split, or an index that is missing, damaged or of another manifest."""
    if split not in SPLITS:
        raise BadInput(f"There is no split {split!r}: it is one of {', '.join(SPLITS)}.")
    path = folder / "index.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        index = Index(**{name: arrays[f"{split}_{name}"] for name in FIELDS})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise BadInput(f"{path} is missing or damaged: {AGAIN.format(folder)}") from error
    if _hash(arrays) != read_manifest(folder).index_sha256:
        raise BadInput(f"{path} does not belong to its dataset.json: {AGAIN.format(folder)}")
    return index


def _hash(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
