"""Contents: what one shard of a prepared split holds, in the order it lies there: the job of a task on it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.index import Index
from data_prep.manifest import SQUARE, Manifest
from data_prep.pack import BLOCK, NAME, Shard


@dataclass(frozen=True)
class Contents:
    shard: Shard
    where: str
    """Path or URL."""
    position: np.ndarray
    """Of each image in stored order; its key, if we packed it."""
    index: Index
    """Their entries."""
    side: int | None
    """Of every image, pixels, where all are square."""
    ours: bool
    """Whether it lies where we packed it, so that keys and labels can be foretold."""


def contents(folder: Path, manifest: Manifest, split: str, index: Index) -> Iterator[Contents]:
    """Shard by shard; the index must be that of the split."""
    ours = not manifest.base
    side = manifest.image_size if manifest.stored == SQUARE and ours else None
    by_place = np.lexsort((index.offset, index.shard))
    start = 0
    for shard in manifest.shards[split]:
        rows = by_place[start : start + shard.samples]
        own = Index(index.rows[rows], index.sets and index.sets.take(rows))
        yield Contents(shard, manifest.place(folder, shard), rows, own, side, ours)
        start += shard.samples


def key_at(file: int, offset: int) -> str:
    """Of the sample whose image begins there in an open tar that somebody else packed."""
    header = os.pread(file, BLOCK, offset - BLOCK)
    return header[NAME].rstrip(b"\0").decode(errors="replace").partition(".")[0]
