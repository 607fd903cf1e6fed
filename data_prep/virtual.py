"""Virtual: a procedural data set that is drawn whenever it is read: an index and no shards.

An entry's offset is the number of the instance in its class, its size is 0, and its content is a hash of all that
decides the image.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.assemble import assemble
from data_prep.fractal import contents, draw
from data_prep.index import ROW, Index
from data_prep.labels import Labels
from data_prep.manifest import Manifest
from data_prep.pack import Shard
from data_prep.sources import FractalSource
from data_prep.splits import check_classes, cut
from pipeline.errors import BadInput


def make_virtual(source: FractalSource, name: str, work: Path) -> Manifest:
    """Raises BadInput."""
    if source.distinct_from:
        raise BadInput(f"data.{name}.distinct_from needs images to compare: set data.{name}.virtual=false.")
    drawing = source.drawing()
    label_N, instance_N, content_N = source.numbered(drawing)
    labels = Labels([source.class_name(label) for label in range(source.classes)], label_N.astype(np.int32))
    rows = np.zeros(len(label_N), dtype=ROW)
    rows["content"], rows["width"], rows["height"] = content_N, source.image_size, source.image_size
    split_N = cut(source, np.zeros(len(label_N), np.int8), content_N, labels)
    check_classes(source, split_N, labels)
    manifest = assemble(source, name, work, rows, labels, split_N, _Drawn(instance_N))
    manifest.virtual = drawing
    return manifest


class _Drawn:
    """Stored nowhere."""

    def __init__(self, instance_N: np.ndarray) -> None:
        self.instance_N = instance_N

    def store(self, split: str, order: np.ndarray) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        return [], np.zeros(len(order), np.int64), self.instance_N[order]


def trouble(drawing: dict[str, Any], index: Index) -> Iterator[str]:
    """What is wrong with a split: an entry that is not the image it says it is, a category that cannot be drawn."""
    if (bad := np.flatnonzero(contents(drawing, index.label, index.offset) != index.content)).size:
        yield f"position {bad[0]}: the entry is not that of the image that would be drawn"
    _, first = np.unique(index.label, return_index=True)
    drawn = draw(drawing, index.label[first], index.offset[first])
    if (blank := np.flatnonzero(~drawn.any(axis=(1, 2, 3)))).size:
        yield f"position {first[blank].min()}: the image is blank"
