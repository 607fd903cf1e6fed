"""Manifest: dataset.json says what a prepared data set is; its hash is the dataset id. index.npz says where images lie."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.pack import Shard
from pipeline.errors import BadInput
from pipeline.subset import Dataset

SCHEMA = 1
SPLITS = ("train", "val", "test")


@dataclass
class Manifest:
    name: str
    classes: list[str]
    image_size: int
    channels: int
    source: dict[str, Any]
    """Provenance: the source's fields, without paths of this machine."""
    counts: dict[str, int]
    """Images by split."""
    order: dict[str, Any]
    shards: dict[str, list[Shard]]
    index_sha256: str
    schema: int = SCHEMA
    rules: dict[str, str] = field(default_factory=dict)

    def dataset_id(self) -> str:
        """sha256 over everything but the name people gave it."""
        plain = {k: v for k, v in asdict(self).items() if k != "name"}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

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
        (folder / "dataset.json").write_text(json.dumps(asdict(self), indent=1, sort_keys=True))


def read_manifest(folder: Path) -> Manifest:
    """Raises BadInput when it is missing, damaged, or of a newer schema."""
    path = folder / "dataset.json"
    try:
        plain = json.loads(path.read_text())
        if int(plain["schema"]) > SCHEMA:
            raise BadInput(
                f"{path} was written by a newer Crossover (schema {plain['schema']}, this one reads {SCHEMA}): upgrade."
            )
        shards = {split: [Shard(**s) for s in listed] for split, listed in plain["shards"].items()}
        return Manifest(**{**plain, "shards": shards})
    except FileNotFoundError as error:
        raise BadInput(f"{folder} is no prepared data set (no dataset.json): run `crossover prepare`.") from error
    except PermissionError as error:
        raise BadInput(f"{path} cannot be read (permission denied): mend its rights.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged: delete {folder} and run `crossover prepare` again.") from error


@dataclass
class Index:
    """Of one split, in stored order: shard, offset, size, label and crc32 of every image."""

    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray
    crc: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


FIELDS = {"shard": np.uint32, "offset": np.uint64, "size": np.uint32, "label": np.int32, "crc": np.uint32}


def save_indices(folder: Path, indices: dict[str, Index]) -> str:
    """Returns the sha256 of the arrays."""
    arrays = {f"{split}_{name}": getattr(index, name) for split, index in indices.items() for name in FIELDS}
    with (folder / "index.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return _hash(arrays)


def read_index(folder: Path, split: str) -> Index:
    """Raises BadInput for an index that is missing or does not belong to the manifest."""
    path = folder / "index.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        index = Index(**{name: arrays[f"{split}_{name}"] for name in FIELDS})
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadInput(
            f"{path} is missing or damaged ({error}): delete {folder} and run `crossover prepare` again."
        ) from error
    except Exception as error:  # zipfile and zlib raise their own kinds for cut files
        raise BadInput(f"{path} is damaged: delete {folder} and run `crossover prepare` again.") from error
    if _hash(arrays) != read_manifest(folder).index_sha256:
        raise BadInput(f"{path} does not belong to its dataset.json: delete {folder} and run `crossover prepare` again.")
    return index


def _hash(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
