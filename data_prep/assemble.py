"""Assemble: from rows, labels and splits to ordered indices and the manifest, however the images come to be stored."""

from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.index import ROW, Index, save_index
from data_prep.labels import Labels
from data_prep.manifest import SPLITS, Manifest
from data_prep.order import permutation
from data_prep.pack import Shard
from data_prep.sources import Source, Stored

RULES = {
    "split": "before ordering: of each class the images with the smallest content hash, copies together",
    "label": "of an image with several labels, the rarest stands for it where classes are counted",
}
CONVERSION = {
    Stored.square: "RGB; up to a quarter smaller: zero-padded; else short side resized, centre cut; kept if it fits",
    Stored.original: "upright 8-bit RGB or grey JPEG and PNG kept; else RGB, as JPEG q95 4:4:4 if lossy, or PNG",
    Stored.short_side: "RGB, short side resized where larger, JPEG 4:2:0; JPEG that is small enough is kept",
}
DESCRIBED = ("size", "crc", "content", "width", "height")
"""Columns that rows have in common with the index."""


class Storing(Protocol):
    """How the images of a split come to lie in shards."""

    def store(self, split: str, order: np.ndarray) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        """Of the rows in this order: their shards, and of each its shard and offset, (N,)."""
        ...


def assemble(
    source: Source,
    name: str,
    work: Path,
    rows: np.ndarray,
    labels: Labels,
    split_N: np.ndarray,
    storing: Storing,
) -> Manifest:
    """Order every split, have it stored, and save its index."""
    indices: dict[str, Index] = {}
    shards: dict[str, list[Shard]] = {}
    for code, split in enumerate(SPLITS):
        members = np.flatnonzero(split_N == code)
        content_N = rows["content"][members]
        order = members[permutation(labels.label[members], content_N, source.order, source.order_seed)]
        shards[split], shard_N, offset_N = storing.store(split, order)
        index = np.zeros(len(order), dtype=ROW)
        index["shard"], index["offset"], index["label"] = shard_N, offset_N, labels.label[order]
        for column in DESCRIBED:
            index[column] = rows[column][order]
        indices[split] = Index(index, labels.sets and labels.sets.take(order))
    return Manifest(
        name=name,
        classes=labels.classes,
        image_size=source.image_size,
        channels=3,
        counts={split: len(index) for split, index in indices.items()},
        content={split: index.digest() for split, index in indices.items()},
        order={"rule": source.order.value, "seed": source.order_seed},
        duplicates=_duplicates(indices),
        source=source.describe(),
        origin=source.origin(),
        rules={**RULES, "conversion": CONVERSION[source.stored]},
        shards=shards,
        index={split: save_index(work, split, index) for split, index in indices.items()},
        stored=source.stored.value,
        multilabel=labels.sets is not None,
        tools=_tools(),
    )


def _duplicates(indices: dict[str, Index]) -> dict[str, int]:
    train = indices["train"].content
    return {
        "within train": len(train) - len(np.unique(train)),
        "train in val": int(np.isin(train, indices["val"].content).sum()),
        "train in test": int(np.isin(train, indices["test"].content).sum()),
    }


def _tools() -> dict[str, str]:
    import PIL

    return {"numpy": np.__version__, "pillow": PIL.__version__}
