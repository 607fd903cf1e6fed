"""Make: one data set, in a folder of its own: from a source's images to shards, indices and a manifest."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep import durable
from data_prep.distinct import find_copies
from data_prep.executor import Executor, Progress
from data_prep.index import ROW, Index, save_index
from data_prep.labels import Labels, resolve
from data_prep.manifest import SPLITS, Manifest
from data_prep.order import permutation
from data_prep.pack import Shard
from data_prep.part import Skipped
from data_prep.shards import Packed, jobs, pack
from data_prep.sources import Source, Stored
from data_prep.splits import LEFT_OUT, check_classes, cut
from data_prep.spool import Spool, fill

SKIPPED = "skipped.csv"
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


def make(
    source: Source, name: str, work: Path, map: Executor, progress: Progress, against: dict[str, Path]
) -> Manifest:
    """``against``: folders of the data sets whose test images must not be in it. Raises BadInput, OSError."""
    spool = fill(source, work / "spool", map, progress)
    labels = resolve(spool.rows["label"], spool.labels, also=spool.lost)
    split_N, dedup = spool.rows["split"].astype(np.int8), {}
    if against:
        copies = find_copies(spool, work, against, map, progress)
        split_N[copies.rows], dedup = LEFT_OUT, copies.report
    split_N = cut(source, split_N, spool.rows["content"], labels)
    check_classes(source, split_N, labels, spool.lost)
    if spool.listed:
        durable.write(work / SKIPPED, _table(spool.listed))
    storing = Packing(spool, labels, work, map, progress, int((split_N != LEFT_OUT).sum()))
    manifest = assemble(source, name, work, spool.rows, labels, split_N, storing)
    manifest.skipped, manifest.dedup = spool.skipped, dedup
    return manifest


class Storing(Protocol):
    """How the images of a split come to lie in shards."""

    def store(self, split: str, order: np.ndarray) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        """Of the rows in this order: their shards, and of each its shard and offset, (N,)."""
        ...


class Packing:
    """Into new tars, from the spool, a task a shard."""

    def __init__(self, spool: Spool, labels: Labels, work: Path, map: Executor, progress: Progress, total: int) -> None:
        self.spool, self.labels, self.work = spool, labels, work
        self.map, self.progress = map, progress
        self.done, self.total = 0, total

    def store(self, split: str, order: np.ndarray) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        packed: list[Packed] = []
        for shard in self.map(pack, jobs(split, self.spool, self.labels, order, self.work)):
            packed.append(shard)
            self.done += shard.shard.samples
            self.progress("Packing", self.done, self.total)
        shard_N = np.repeat(np.arange(len(packed)), [len(p.offsets) for p in packed])
        offsets = [np.array(p.offsets, dtype=np.uint64) for p in packed]
        return [p.shard for p in packed], shard_N, np.concatenate([np.empty(0, np.uint64), *offsets])


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


def _table(skipped: Sequence[Skipped]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["origin", "reason"])
    writer.writerows([one.origin, one.reason] for one in skipped)
    return text.getvalue().encode()
