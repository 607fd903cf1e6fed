"""Manifest: dataset.json says what a prepared data set is; its index says where the images lie.

The dataset id is a hash of what the images, labels, classes and stored order are. It does not move with the compressor
that packed them, the machine, or the name people gave the data set.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_prep import durable
from data_prep.index import Index, read_index
from data_prep.pack import Shard
from pipeline.errors import BadInput
from pipeline.subset import Dataset

SCHEMA = 2
SPLITS = ("train", "val", "test")
SQUARE = "square"
ENCODING = {"short_side", "quality"}
"""Fields of a source that re-encodes, which its content hashes, being of the pixels before, do not tell apart."""
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
    """By split, in the order of their numbers; a name is a file beside this one, or under ``base``."""
    index: dict[str, str]
    """By split, sha256 of the index."""
    stored: str = SQUARE
    """What is kept of each image; anything but ``square`` varies in size and is cut to ``image_size`` when read."""
    multilabel: bool = False
    base: str = ""
    """Folder or URL, without a slash at its end, of shards that lie elsewhere: archives indexed in place, or a data set
    prepared elsewhere."""
    skipped: int = 0
    """Images of the source that could not be used and were counted out, as ``on_bad_sample`` allowed."""
    dedup: dict[str, Any] = field(default_factory=dict)
    """Which near-duplicates of which test sets were left out, by which thresholds."""
    virtual: dict[str, Any] = field(default_factory=dict)
    """Of a procedural set that is drawn when read: what draws it."""
    tools: dict[str, str] = field(default_factory=dict)
    """Versions of what encoded the images."""
    schema: int = SCHEMA

    def dataset_id(self) -> str:
        identity = {
            "classes": self.classes,
            "image_size": self.image_size,
            "channels": self.channels,
            "content": self.content,
            **({"stored": self.stored} if self.stored != SQUARE else {}),
            **({"encoding": [self.source[k] for k in sorted(ENCODING)]} if self.source.keys() >= ENCODING else {}),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def place(self, folder: Path, shard: Shard) -> str:
        """Path or URL of a shard; ``folder`` is that of dataset.json."""
        return f"{self.base}/{shard.name}" if self.base else str(folder / shard.name)

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
            self.multilabel,
        )

    def save(self, folder: Path) -> None:
        durable.write(folder / "dataset.json", json.dumps(asdict(self), indent=1, sort_keys=True).encode())


def read_manifest(folder: Path) -> Manifest:
    """Raises BadInput when it is missing, unreadable, damaged, or of a newer schema."""
    path = folder / "dataset.json"
    try:
        plain = json.loads(path.read_text())
        if int(plain["schema"]) != SCHEMA:
            age, mend = ("a newer", "upgrade.") if plain["schema"] > SCHEMA else ("an older", AGAIN.format(folder))
            raise BadInput(
                f"{path} was written by {age} Crossover (schema {plain['schema']}, this one reads {SCHEMA}): {mend}"
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


def open_index(folder: Path, split: str, manifest: Manifest | None = None) -> Index:
    """Raises BadInput for an unknown split, or an index that is missing, damaged or of another manifest."""
    if split not in SPLITS:
        raise BadInput(f"There is no split {split!r}: it is one of {', '.join(SPLITS)}.")
    manifest = manifest or read_manifest(folder)
    return read_index(folder, split, manifest.index[split])
